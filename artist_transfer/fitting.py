"""Fitting a space: which method serves, and how far it may be trusted."""

from collections.abc import Callable
from typing import Protocol

import numpy as np
import numpy.typing as npt

from artist_transfer.artist_mean import ArtistMeanModel, artist_means
from artist_transfer.audio_only import fit_audio_only
from artist_transfer.catalogue import Catalogue, CatalogueRows
from artist_transfer.confidence import ConfidenceTable
from artist_transfer.errors import NotEnoughTracksError
from artist_transfer.interactions import Interactions
from artist_transfer.model import FittedModel, ModelFacts, TransferModel
from artist_transfer.options import EpochReport, FitOptions
from artist_transfer.ranking import row_cosine
from artist_transfer.types import WarmTracks

# The ranking transfer has a calibration of its own, so that its table is empty.
_NO_SIZES, _NO_COSINES = np.empty(0, dtype=np.int64), np.empty(0, dtype=np.float64)


def fit(
    warm: WarmTracks,
    options: FitOptions | None = None,
    *,
    interactions: Interactions | None = None,
    on_epoch: Callable[[EpochReport], None] | None = None,
) -> TransferModel:
    """Fit the transfer of one space.

    With fewer than `FitOptions.min_train_tracks` warm tracks that have a catalogue, the artist mean serves. Otherwise
    the ranking transfer is trained, and of the two the better on held-out tracks serves: the trained one where its mean
    NDCG lies above the artist mean's by more than one standard error of the paired difference, so that a few lucky
    held-out tracks do not choose a network that learned nothing. `FitOptions.method` forces one, or the network of the
    ACARec paper. The ranking transfer places every track; with the other two, tracks without a catalogue are projected
    from content alone (`artist_transfer.audio_only`). The model's `why` says in one sentence what serves and for what
    reason.

    Parameters
    ----------
    warm : WarmTracks
        The space's tracks with content and collaborative vectors.
    options : FitOptions, optional
        How to fit; the defaults where None.
    interactions : Interactions, optional
        Who listened to these tracks. With it the ranking transfer learns to be found by their listeners, without it to
        be found from the other tracks as the true vector would be.
    on_epoch : callable, optional
        Called after each epoch of training with an `EpochReport`; never where the network is not trained.

    Returns
    -------
    TransferModel
        Its ``metrics`` hold ``warm_tracks``, ``trainable_tracks``, ``cosine_artist_mean`` and ``cosine_audio_only``
        (left out, mean over tracks; absent where there is nothing to measure); after training also ``train_tracks``,
        ``held_out_tracks``, ``neighbours`` (the k of NDCG@k), for "acarec" ``epochs`` and ``best_epoch``, and on the
        held-out tracks, METHOD being the trained one, ``ndcg_METHOD``, ``ndcg_artist_mean``,
        ``ndcg_gain_standard_error`` (of the paired difference), ``cosine_METHOD`` and
        ``cosine_artist_mean_held_out``.

    Raises
    ------
    NotEnoughTracksError
        There is no warm track; or `FitOptions.method` is "ranking" or "acarec" and the space holds too few to train on.
    TransferInputError
        ``DEVICE_UNAVAILABLE``; ``SHAPE_MISMATCH`` where `interactions` is not of these tracks.
    """
    options = FitOptions() if options is None else options
    if len(warm) == 0:
        raise NotEnoughTracksError(
            f"Space {warm.space_id} has no warm track with a content vector; encode the audio of its tracks first.",
            reason="NOT_ENOUGH_TRACKS",
            field="warm",
        )
    if interactions is not None:
        interactions.check(len(warm), warm.dim)
    catalogue = Catalogue(warm)
    selected = catalogue.select(warm.as_cold(), options.catalogue_limit)
    trainable = np.flatnonzero(selected.sizes > 0).astype(np.int64)
    metrics = {"warm_tracks": float(len(warm)), "trainable_tracks": float(trainable.size)}
    audio_only, audio_cosine = fit_audio_only(warm)
    mean_cosine = _left_out_artist_mean(warm, selected, trainable)
    if audio_cosine.size:
        metrics["cosine_audio_only"] = float(audio_cosine.mean())
    if mean_cosine.size:
        metrics["cosine_artist_mean"] = float(mean_cosine.mean())

    def facts(method: str, why: str, sizes: npt.NDArray[np.int64], cosine: npt.NDArray[np.float64]) -> ModelFacts:
        return ModelFacts(
            method=method,
            space_id=warm.space_id,
            encoder_id=warm.encoder_id,
            content_dim=warm.content_dim,
            dim=warm.dim,
            why=why,
            options=options,
            confidence=ConfidenceTable.estimate(sizes, cosine, audio_cosine),
            metrics=metrics,
        )

    def artist_mean(why: str) -> FittedModel:
        return ArtistMeanModel(facts("artist_mean", why, selected.sizes[trainable], mean_cosine), audio_only)

    if options.method == "artist_mean":
        return artist_mean("The artist mean serves because the fit was told to use it.")
    if options.method == "auto" and trainable.size < options.min_train_tracks:
        return artist_mean(
            f"The artist mean serves because only {trainable.size} warm tracks have another track of their artist to "
            f"learn from and training needs {options.min_train_tracks}."
        )

    trained = "acarec" if options.method == "acarec" else "ranking"
    too_few = NotEnoughTracksError(
        f"Space {warm.space_id} has {trainable.size} warm tracks with another track of their artist, too few to learn "
        "from some and judge by others; add tracks or let the method be auto.",
        reason="NOT_ENOUGH_TRACKS",
        field="warm",
    )
    if trainable.size < 3:  # one to judge by, two to learn from
        if options.method == "auto":
            return artist_mean(
                f"The artist mean serves because {trainable.size} warm tracks leave none to judge a trained network by."
            )
        raise too_few

    # Torch is needed from here on only.
    from artist_transfer.training import split_held_out

    held_out = split_held_out(trainable, options)
    if trained == "ranking":
        from artist_transfer.ranking_fit import fit_ranking
        from artist_transfer.ranking_model import RankingModel

        ranked = fit_ranking(warm, interactions, held_out, options, on_epoch)
        metrics |= _compared("ranking", ranked, held_out.size)
        why, better = _verdict("ranking transfer", ranked.ndcg, ranked.mean_ndcg, ranked.list_length, options)
        if not better:
            return artist_mean(why)
        return RankingModel(
            facts("ranking", why, _NO_SIZES, _NO_COSINES),
            audio_only,
            ranked.reader,
            ranked.calibration,
            ranked.widening,
        )

    from artist_transfer.acarec import AcarecModel
    from artist_transfer.training import train

    training = train(warm, held_out, options, on_epoch)
    if training is None:
        raise too_few
    metrics |= _compared("acarec", training, training.ndcg.size)
    metrics |= {"epochs": float(training.epochs), "best_epoch": float(training.best_epoch)}
    why, _ = _verdict("ACARec network", training.ndcg, training.mean_ndcg, training.list_length, options)
    return AcarecModel(
        facts("acarec", why, training.sizes, training.cosine),
        audio_only,
        training.network,
        training.scaling,
        device=options.device,
    )


class _Measured(Protocol):
    """What both trainings say of their held-out tracks."""

    @property
    def ndcg(self) -> npt.NDArray[np.float64]: ...
    @property
    def mean_ndcg(self) -> npt.NDArray[np.float64]: ...
    @property
    def cosine(self) -> npt.NDArray[np.float64]: ...
    @property
    def mean_cosine(self) -> npt.NDArray[np.float64]: ...
    @property
    def list_length(self) -> int: ...
    @property
    def train_tracks(self) -> int: ...


def _compared(method: str, measured: _Measured, held_out: int) -> dict[str, float]:
    return {
        "train_tracks": float(measured.train_tracks),
        "held_out_tracks": float(held_out),
        "neighbours": float(measured.list_length),
        f"ndcg_{method}": _mean(measured.ndcg),
        "ndcg_artist_mean": _mean(measured.mean_ndcg),
        "ndcg_gain_standard_error": _standard_error(measured.ndcg - measured.mean_ndcg),
        f"cosine_{method}": _mean(measured.cosine),
        "cosine_artist_mean_held_out": _mean(measured.mean_cosine),
    }


def _verdict(
    name: str,
    ndcg: npt.NDArray[np.float64],
    mean_ndcg: npt.NDArray[np.float64],
    list_length: int,
    options: FitOptions,
) -> tuple[str, bool]:
    """Say in a sentence what serves, and whether it is the trained one."""
    error = _standard_error(ndcg - mean_ndcg)
    figures = (
        f"NDCG@{list_length} {_mean(ndcg):.3f} for the {name}, {_mean(mean_ndcg):.3f} for the artist mean, standard "
        f"error {error:.3f}"
    )
    if options.method != "auto":
        return f"The {name} serves because the fit was told to use it; on held-out tracks: {figures}.", True
    if ndcg.size and _mean(ndcg) - _mean(mean_ndcg) > error:
        return f"The {name} serves because it was the better on held-out tracks: {figures}.", True
    return (
        f"The artist mean serves because the {name} was not clearly better on held-out tracks ({figures}).",
        False,
    )


def _mean(values: npt.NDArray[np.float64]) -> float:
    return float(values.mean()) if values.size else 0.0


def _standard_error(values: npt.NDArray[np.float64]) -> float:
    return float(values.std(ddof=1) / np.sqrt(values.size)) if values.size > 1 else 0.0


def _left_out_artist_mean(
    warm: WarmTracks, selected: CatalogueRows, trainable: npt.NDArray[np.int64]
) -> npt.NDArray[np.float64]:
    """Cosine of each trainable track's vector with the mean of its catalogue, which never holds the track itself."""
    if trainable.size == 0:
        return np.empty(0, dtype=np.float64)
    kept = CatalogueRows(np.append(selected.indptr[:-1][trainable], selected.indptr[-1]), selected.rows, selected.roles)
    return row_cosine(artist_means(kept, warm.collaborative), warm.collaborative[trainable])

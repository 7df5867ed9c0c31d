"""Fitting a space: which method serves, and how far it may be trusted."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from artist_transfer.artist_mean import ArtistMeanModel, artist_means
from artist_transfer.audio_only import fit_audio_only
from artist_transfer.catalogue import Catalogue, CatalogueRows
from artist_transfer.confidence import ConfidenceTable
from artist_transfer.errors import NotEnoughTracksError
from artist_transfer.model import FittedModel, ModelFacts, TransferModel
from artist_transfer.options import EpochReport, FitOptions
from artist_transfer.ranking import row_cosine
from artist_transfer.types import WarmTracks


def fit(
    warm: WarmTracks,
    options: FitOptions | None = None,
    *,
    on_epoch: Callable[[EpochReport], None] | None = None,
) -> TransferModel:
    """Fit the transfer of one space.

    With fewer than `FitOptions.min_train_tracks` warm tracks that have a catalogue, the artist mean serves. Otherwise
    the network is trained, and of the network and the artist mean the better on held-out tracks serves: the network
    where its mean NDCG lies above the artist mean's by more than one standard error of the paired difference, so that
    a few lucky held-out tracks do not choose a network that learned nothing. `FitOptions.method` forces one. Tracks
    without a catalogue are always projected from content alone (`artist_transfer.audio_only`). The model's `why` says
    in one sentence what serves and for what reason.

    Parameters
    ----------
    warm : WarmTracks
        The space's tracks with content and collaborative vectors.
    options : FitOptions, optional
        How to fit; the defaults where None.
    on_epoch : callable, optional
        Called after each epoch of training with an `EpochReport`; never where the network is not trained.

    Returns
    -------
    TransferModel
        Its ``metrics`` hold ``warm_tracks``, ``trainable_tracks``, ``cosine_artist_mean`` and ``cosine_audio_only``
        (left out, mean over tracks; absent where there is nothing to measure); after training also ``train_tracks``,
        ``held_out_tracks``, ``epochs``, ``best_epoch``, ``neighbours`` (the k of NDCG@k), and on the held-out tracks
        ``ndcg_acarec``, ``ndcg_artist_mean``, ``ndcg_gain_standard_error`` (of the paired difference),
        ``cosine_acarec`` and ``cosine_artist_mean_held_out``.

    Raises
    ------
    NotEnoughTracksError
        There is no warm track; or `FitOptions.method` is "acarec" and the space holds too few to train on.
    TransferInputError
        ``DEVICE_UNAVAILABLE``.
    """
    options = FitOptions() if options is None else options
    if len(warm) == 0:
        raise NotEnoughTracksError(
            f"Space {warm.space_id} has no warm track with a content vector; encode the audio of its tracks first.",
            reason="NOT_ENOUGH_TRACKS",
            field="warm",
        )
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

    # Torch is needed from here on only.
    from artist_transfer.acarec import AcarecModel
    from artist_transfer.training import split_held_out, train

    training = train(warm, split_held_out(trainable, options), options, on_epoch) if trainable.size >= 2 else None
    if training is None:
        if options.method == "acarec":
            raise NotEnoughTracksError(
                f"Space {warm.space_id} has {trainable.size} warm tracks with another track of their "
                "artist, too few to "
                "learn from some and judge by others; add tracks or let the method be auto.",
                reason="NOT_ENOUGH_TRACKS",
                field="warm",
            )
        return artist_mean(
            f"The artist mean serves because {trainable.size} warm tracks leave none to judge a trained network by."
        )

    gain = training.ndcg - training.mean_ndcg
    error = float(gain.std(ddof=1) / np.sqrt(gain.size)) if gain.size > 1 else 0.0
    metrics |= {
        "train_tracks": float(training.train_tracks),
        "held_out_tracks": float(gain.size),
        "epochs": float(training.epochs),
        "best_epoch": float(training.best_epoch),
        "neighbours": float(training.list_length),
        "ndcg_acarec": float(training.ndcg.mean()),
        "ndcg_artist_mean": float(training.mean_ndcg.mean()),
        "ndcg_gain_standard_error": error,
        "cosine_acarec": float(training.cosine.mean()),
        "cosine_artist_mean_held_out": float(training.mean_cosine.mean()),
    }
    figures = (
        f"NDCG@{training.list_length} {training.ndcg.mean():.3f} for the trained network, "
        f"{training.mean_ndcg.mean():.3f} for the artist mean, standard error {error:.3f}"
    )
    if options.method == "auto" and float(gain.mean()) <= error:
        return artist_mean(
            f"The artist mean serves because the trained network was not clearly better on {gain.size} held-out tracks "
            f"({figures})."
        )
    reason = "the fit was told to use it" if options.method == "acarec" else "it was the better"
    why = f"The trained network serves because {reason}; on {gain.size} held-out tracks: {figures}."
    return AcarecModel(
        facts("acarec", why, training.sizes, training.cosine),
        audio_only,
        training.network,
        training.scaling,
        device=options.device,
    )


def _left_out_artist_mean(
    warm: WarmTracks, selected: CatalogueRows, trainable: npt.NDArray[np.int64]
) -> npt.NDArray[np.float64]:
    """Cosine of each trainable track's vector with the mean of its catalogue, which never holds the track itself."""
    if trainable.size == 0:
        return np.empty(0, dtype=np.float64)
    kept = CatalogueRows(np.append(selected.indptr[:-1][trainable], selected.indptr[-1]), selected.rows, selected.roles)
    return row_cosine(artist_means(kept, warm.collaborative), warm.collaborative[trainable])

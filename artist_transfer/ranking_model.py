"""The ranking transfer as a model: one network for every target, whatever is known of it."""

from __future__ import annotations

from collections.abc import Sequence
from weakref import WeakKeyDictionary

import numpy as np
import numpy.typing as npt
import torch

from artist_transfer.acarec import resolve_device
from artist_transfer.audio_only import AudioOnly
from artist_transfer.calibration import Calibration, signs
from artist_transfer.catalogue import Catalogue, CatalogueRows
from artist_transfer.credits import IntArray
from artist_transfer.descriptors import Descriptors
from artist_transfer.model import FittedModel, ModelFacts, Placement
from artist_transfer.ranking_network import RankingNetwork
from artist_transfer.ranking_training import TrackTensors, credited_besides, network_shape, read
from artist_transfer.types import ColdTracks, FloatArray

# Floats of catalogue vectors and keys held at once: 64 MiB.
_GATHER = 2**24
_LEAST_TARGETS = 32  # of a block: below that its fixed costs outweigh what padding costs
_CHEAP_COLUMNS = 8  # of padding: they cost less than another block's fixed costs and thinner matrix products


class RankingReader:
    """Runs networks over catalogues, in blocks of like size and bounded work.

    Parameters
    ----------
    networks : sequence of RankingNetwork
        In evaluation mode, of one shape, on one device; their answers are averaged.
    descriptors : Descriptors
        Of their training tracks.
    length_power : float
        The lengths of the answers, in the space's unit, are raised to this power.
    scale : float
        The answers are then multiplied by this number, besides the space's unit.
    """

    def __init__(
        self,
        networks: Sequence[RankingNetwork],
        descriptors: Descriptors,
        length_power: float,
        scale: float = 1.0,
    ) -> None:
        self.networks = tuple(networks)
        self.descriptors = descriptors
        self.length_power = length_power
        self.scale = scale
        self._device = next(self.networks[0].parameters()).device
        # A catalogue never changes: described once, it serves every batch of releases for as long as somebody keeps it.
        self._tracks: WeakKeyDictionary[Catalogue, TrackTensors] = WeakKeyDictionary()

    def read(
        self, targets: ColdTracks, selected: CatalogueRows, catalogue: Catalogue, batch_size: int
    ) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Place targets.

        Parameters
        ----------
        targets : ColdTracks
            m targets.
        selected : CatalogueRows
            Their catalogues; may be empty.
        catalogue : Catalogue
            Whose tracks `selected` names.
        batch_size : int
            Targets to work on at once, at most.

        Returns
        -------
        vectors : ndarray, shape (m, dim), float32
            In the space's own scale.
        weights : ndarray, shape (nnz,), float32
            How much each catalogue track counted.
        popularity : ndarray, shape (m, 3), float32
            Quantiles .05, .5 and .95 of the standardised log listens.
        """
        tracks = self._tensors(catalogue)
        shape = self.networks[0].shape
        vectors = np.empty((len(targets), shape.dim), dtype=np.float32)
        popularity = np.empty((len(targets), 3), dtype=np.float32)
        weights = np.empty(selected.rows.size, dtype=np.float32)
        described = torch.from_numpy(self.descriptors.describe(targets.content, targets.release_day)).to(self._device)
        credited = credited_besides(targets.credits.indptr, self._device)
        for block in _blocks(selected.sizes, batch_size, 2 * shape.dim):
            batch = selected.padded(block)
            rows, roles = batch.rows, batch.roles
            if rows.shape[1] == 0:  # no catalogue at all: one empty column
                rows, roles = np.full((block.size, 1), -1), np.zeros((block.size, 1), dtype=np.int8)
            at = torch.from_numpy(block).to(self._device)
            given = (
                described[at],
                credited[at],
                torch.from_numpy(rows).to(self._device),
                torch.from_numpy(roles.astype(np.int64)).to(self._device),
            )
            with torch.inference_mode():
                answers = read(self.networks, tracks, *given)
            placed, counted, listens = (
                torch.stack(part).mean(dim=0).cpu().numpy() for part in zip(*answers, strict=True)
            )
            vectors[block], popularity[block] = placed, listens
            weights[_places(selected, block)] = counted[rows >= 0]
        length = np.linalg.norm(vectors, axis=1, keepdims=True)
        vectors *= np.where(length > 0.0, length, 1.0) ** np.float32(self.length_power - 1.0)
        return vectors * (self.descriptors.length * np.float32(self.scale)), weights, popularity

    def _tensors(self, catalogue: Catalogue) -> TrackTensors:
        known = self._tracks.get(catalogue)
        if known is None:
            known = self._tracks[catalogue] = TrackTensors.of(catalogue.tracks, self.descriptors, self._device)
        return known


class RankingModel(FittedModel):
    """Places every target with the ranking network: with a catalogue or without, content known or not.

    Parameters
    ----------
    facts : ModelFacts
        What the model says about itself.
    audio_only : AudioOnly
        Serves no target here; kept so that every model can say what content alone says.
    reader : RankingReader
        The trained networks.
    calibration : Calibration
        Of the confidence.
    widening : tuple of two float
        By how much the interval of the standardised log listens is widened on both sides, so that nine of ten
        hidden tracks lie in it, with a catalogue and without; NaN where no listens were known.
    """

    def __init__(
        self,
        facts: ModelFacts,
        audio_only: AudioOnly,
        reader: RankingReader,
        calibration: Calibration,
        widening: tuple[float, float],
    ) -> None:
        super().__init__(facts, audio_only)
        self._reader = reader
        self._calibration = calibration
        self._widening = widening

    @classmethod
    def from_tensors(
        cls,
        facts: ModelFacts,
        audio_only: AudioOnly,
        tensors: dict[str, npt.NDArray[np.generic]],
        *,
        device: str = "auto",
    ) -> RankingModel:
        """Rebuild the model; raises KeyError, ValueError or RuntimeError where `tensors` do not fit."""
        descriptors = Descriptors.from_tensors(tensors, facts.content_dim)
        ranking = facts.options.ranking
        shape = network_shape(descriptors.width, facts.dim, ranking)
        networks = []
        for member in range(ranking.members):
            prefix = f"network{member}."
            with torch.device("meta"):  # takes no memory and draws no weights, whatever size the options claim
                network = RankingNetwork(shape)
            network.load_state_dict(
                {
                    name.removeprefix(prefix): torch.from_numpy(np.array(value, dtype=np.float32))
                    for name, value in tensors.items()
                    if name.startswith(prefix)
                },
                assign=True,
            )
            networks.append(network.to(resolve_device(device)).eval())
        scale, known, new = (float(value) for value in np.array(tensors["ranking.scale_and_widening"]).reshape(3))
        return cls(
            facts,
            audio_only,
            RankingReader(networks, descriptors, ranking.length_power, scale),
            Calibration.from_tensors(tensors),
            (known, new),
        )

    def tensors(self) -> dict[str, npt.NDArray[np.generic]]:
        """All weights by name, as they are saved."""
        reader = self._reader
        return {
            **super().tensors(),
            **{
                f"network{member}.{name}": value.detach().cpu().numpy()
                for member, network in enumerate(reader.networks)
                for name, value in network.state_dict().items()
            },
            **reader.descriptors.tensors(),
            **self._calibration.tensors(),
            "ranking.scale_and_widening": np.asarray([reader.scale, *self._widening], dtype=np.float64),
        }

    def read_catalogues(
        self, targets: ColdTracks, selected: CatalogueRows, catalogue: Catalogue, batch_size: int
    ) -> tuple[FloatArray, FloatArray]:
        """See `FittedModel.read_catalogues`; empty catalogues are taken too."""
        vectors, weights, _ = self._reader.read(targets, selected, catalogue, batch_size)
        return vectors, weights

    def place(self, targets: ColdTracks, selected: CatalogueRows, catalogue: Catalogue, batch_size: int) -> Placement:
        """See `FittedModel.place`."""
        vectors, weights, quantiles = self._reader.read(targets, selected, catalogue, batch_size)
        confidence = np.empty(len(targets), dtype=np.float32)
        for begin in range(0, len(targets), batch_size):
            at = np.arange(begin, min(begin + batch_size, len(targets)))
            known = signs(vectors[at], selected.take(at), catalogue.tracks.collaborative, targets.content_known[at])
            confidence[at] = self._calibration.of(known)
        return Placement(vectors, weights, confidence, self._popularity(quantiles, selected.sizes > 0))

    def _popularity(self, quantiles: FloatArray, has: npt.NDArray[np.bool_]) -> FloatArray:
        """Median and bounds of the listens to expect, shape (m, 3): low, median, high."""
        widening = np.where(has, *self._widening).astype(np.float32)
        if np.isnan(widening).any():
            return np.full_like(quantiles, np.nan)
        # Quantiles that were learned one by one may cross; sorted they are no worse (Chernozhukov et al. 2010).
        ordered = np.sort(quantiles, axis=1)
        ordered[:, 0] -= widening
        ordered[:, 2] += widening
        return self._reader.descriptors.listens_of(np.sort(ordered, axis=1))


def _blocks(sizes: IntArray, batch_size: int, floats: int) -> list[IntArray]:
    """Targets of like catalogue size, so that there is little padding, and not more at once than fits."""
    order = np.argsort(-sizes, kind="stable").astype(np.int64)
    descending = -sizes[order]
    blocks, begin = [], 0
    while begin < order.size:
        widest = max(1, int(sizes[order[begin]]))
        # Where catalogues are half as long, more than half of the work would be padding.
        shortest = (widest - _CHEAP_COLUMNS) // 2
        half = int(np.searchsorted(descending, -shortest, side="left")) if shortest > 0 else order.size
        count = max(1, min(batch_size, _GATHER // (floats * widest), max(half - begin, _LEAST_TARGETS)))
        blocks.append(order[begin : begin + count])
        begin += count
    return blocks


def _places(selected: CatalogueRows, targets: IntArray) -> IntArray:
    """Where the catalogues of `targets` stand among all rows, one behind the other."""
    counts = selected.sizes[targets]
    before = np.cumsum(counts) - counts
    places: IntArray = np.arange(counts.sum()) + np.repeat(selected.indptr[:-1][targets] - before, counts)
    return places

"""What every transfer model can do, and the part that all of them share: tiers, confidence, explanation."""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from typing import Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from artist_transfer.audio_only import AudioOnly
from artist_transfer.catalogue import Catalogue, CatalogueRows
from artist_transfer.confidence import ConfidenceTable
from artist_transfer.errors import TransferInputError
from artist_transfer.options import FitOptions
from artist_transfer.types import ColdTracks, FloatArray, Projection, Tier

LEANED_ON = 8
"""Catalogue tracks that an explanation names at most."""


@runtime_checkable
class TransferModel(Protocol):
    """A fitted transfer from content and catalogue to the collaborative space.

    The same targets with the same catalogue always give the same projection; a target's projection does not depend on
    the other targets of the call (up to float rounding), nor on the order of the catalogue.

    Attributes
    ----------
    model_id : str
        File-name safe; differs wherever the answers may differ.
    method : str
        "ranking", "acarec" or "artist_mean"; "carried" where it was fitted on an older training.
    space_id, encoder_id : str
        What the model was fitted on.
    content_dim, dim : int
        Length of a content vector and of a collaborative vector.
    why : str
        One sentence: why this method serves.
    metrics : dict of str to float
        What the fit measured, see `artist_transfer.fitting.fit`.
    """

    @property
    def model_id(self) -> str: ...  # noqa: D102  (the class describes its attributes)
    @property
    def method(self) -> str: ...  # noqa: D102
    @property
    def space_id(self) -> str: ...  # noqa: D102
    @property
    def encoder_id(self) -> str: ...  # noqa: D102
    @property
    def content_dim(self) -> int: ...  # noqa: D102
    @property
    def dim(self) -> int: ...  # noqa: D102
    @property
    def why(self) -> str: ...  # noqa: D102
    @property
    def metrics(self) -> dict[str, float]: ...  # noqa: D102

    def project(self, targets: ColdTracks, catalogue: Catalogue, *, batch_size: int = 1024) -> Projection:
        """Place targets in the space.

        Parameters
        ----------
        targets : ColdTracks
            m targets; none is fine.
        catalogue : Catalogue
            The warm tracks of the model's space.
        batch_size : int
            Targets to work on at once, at most.

        Returns
        -------
        Projection
            Of the m targets, in their order.

        Raises
        ------
        TransferInputError
            ``SHAPE_MISMATCH``, ``SPACE_MISMATCH`` or ``ENCODER_MISMATCH`` where targets or catalogue are not of the
            model's kind; ``OPTION_OUT_OF_RANGE`` for `batch_size` below 1.
        """
        ...


@dataclass(frozen=True)
class ModelFacts:
    """What a model says about itself, all of it plain values.

    Attributes
    ----------
    method, space_id, encoder_id, content_dim, dim, why, metrics
        As in `TransferModel`.
    options : FitOptions
        Of the fit; the catalogue limit rules projection too.
    confidence : ConfidenceTable
        Measured by the fit.
    """

    method: str
    space_id: str
    encoder_id: str
    content_dim: int
    dim: int
    why: str
    options: FitOptions
    confidence: ConfidenceTable
    metrics: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Placement:
    """Where a model puts m targets.

    Attributes
    ----------
    vectors : ndarray, shape (m, dim), float32
    weights : ndarray, shape (nnz,), float32
        How much each selected catalogue track counted; at least 0, sum 1 over each target's catalogue.
    confidence : ndarray, shape (m,), float32
        Expected cosine with the true vector, in [0, 1].
    popularity : ndarray, shape (m, 3), float32
        Low, median and high listens; NaN where not known.
    """

    vectors: FloatArray
    weights: FloatArray
    confidence: FloatArray
    popularity: FloatArray


class FittedModel(ABC):
    """Base of the transfer models: everything but how a target reads its catalogue.

    Parameters
    ----------
    facts : ModelFacts
        What the model says about itself.
    audio_only : AudioOnly
        For targets without a catalogue.
    """

    def __init__(self, facts: ModelFacts, audio_only: AudioOnly) -> None:
        self.facts = facts
        self.audio_only = audio_only
        self._model_id = ""

    @property
    def model_id(self) -> str:
        """Method and the start of a hash over weights and facts, e.g. "acarec-1a2b3c4d5e6f"."""
        if not self._model_id:
            self._model_id = model_id(self.facts, self.tensors())
        return self._model_id

    @property
    def method(self) -> str:
        """Which method reads the catalogue."""
        return self.facts.method

    @property
    def space_id(self) -> str:
        """The space that the model projects into."""
        return self.facts.space_id

    @property
    def encoder_id(self) -> str:
        """The encoder whose content vectors the model reads."""
        return self.facts.encoder_id

    @property
    def content_dim(self) -> int:
        """Length of a content vector."""
        return self.facts.content_dim

    @property
    def dim(self) -> int:
        """Length of a collaborative vector."""
        return self.facts.dim

    @property
    def why(self) -> str:
        """One sentence: why this method serves."""
        return self.facts.why

    @property
    def metrics(self) -> dict[str, float]:
        """What the fit measured."""
        return dict(self.facts.metrics)

    def tensors(self) -> dict[str, npt.NDArray[np.generic]]:
        """All weights by name, as they are saved."""
        return self.audio_only.tensors()

    @abstractmethod
    def read_catalogues(
        self, targets: ColdTracks, selected: CatalogueRows, catalogue: Catalogue, batch_size: int
    ) -> tuple[FloatArray, FloatArray]:
        """Project targets that all have a catalogue.

        Parameters
        ----------
        targets : ColdTracks
            m targets.
        selected : CatalogueRows
            Their catalogues, none empty.
        catalogue : Catalogue
            Whose tracks `selected` names.
        batch_size : int
            Targets to work on at once, at most.

        Returns
        -------
        vectors : ndarray, shape (m, dim), float32
        weights : ndarray, shape (nnz,), float32
            How much each selected catalogue track counted; at least 0, sum 1 over each target's catalogue.
        """

    def place(self, targets: ColdTracks, selected: CatalogueRows, catalogue: Catalogue, batch_size: int) -> Placement:
        """Place targets with and without a catalogue: the latter by content alone.

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
        """
        has = selected.sizes > 0
        vectors = np.empty((len(targets), self.dim), dtype=np.float32)
        weights = np.empty(0, dtype=np.float32)
        if has.any():
            at = np.flatnonzero(has)
            vectors[at], weights = self.read_catalogues(targets.take(at), selected.take(at), catalogue, batch_size)
        if not has.all():
            vectors[~has] = self.audio_only.predict(targets.content[~has])
        unknown = np.full((len(targets), 3), np.nan, dtype=np.float32)
        return Placement(vectors, weights, self.facts.confidence.of(selected.sizes), unknown)

    def project(self, targets: ColdTracks, catalogue: Catalogue, *, batch_size: int = 1024) -> Projection:
        """Place targets in the space; see `TransferModel.project`."""
        self._check(targets, catalogue, batch_size)
        selected = catalogue.select(targets, self.facts.options.catalogue_limit)
        placed = self.place(targets, selected, catalogue, batch_size)
        sizes = selected.sizes
        return Projection(
            vectors=placed.vectors,
            tiers=np.where(sizes > 0, Tier.ARTIST_TRANSFER, Tier.AUDIO_ONLY).astype(np.int8),
            confidence=placed.confidence,
            catalogue_size=sizes.astype(np.int32),
            leaned_on=tuple(_explain(selected, placed.weights, catalogue)),
            popularity=placed.popularity[:, 1],
            popularity_low=placed.popularity[:, 0],
            popularity_high=placed.popularity[:, 2],
        )

    def _check(self, targets: ColdTracks, catalogue: Catalogue, batch_size: int) -> None:
        warm = catalogue.tracks
        if batch_size < 1:
            raise TransferInputError(
                f"batch_size is {batch_size}; give at least 1.",
                reason="OPTION_OUT_OF_RANGE",
                field="batch_size",
            )
        if targets.content.shape[1] != self.content_dim:
            raise TransferInputError(
                f"The targets' content has {targets.content.shape[1]} dimensions and the model {self.model_id} reads "
                f"{self.content_dim}; encode them with {self.encoder_id}.",
                reason="SHAPE_MISMATCH",
                field="targets.content",
            )
        if targets.encoder_id not in ("", self.encoder_id) or warm.encoder_id != self.encoder_id:
            other = warm.encoder_id if warm.encoder_id != self.encoder_id else targets.encoder_id
            raise TransferInputError(
                f"The content comes from {other} and the model {self.model_id} reads {self.encoder_id}; "
                "encode with the "
                "model's encoder or fit a model for this one.",
                reason="ENCODER_MISMATCH",
                field="encoder_id",
            )
        if warm.space_id != self.space_id:
            raise TransferInputError(
                f"The catalogue lies in space {warm.space_id} and the model {self.model_id} projects into "
                f"{self.space_id}; load the model of the catalogue's space.",
                reason="SPACE_MISMATCH",
                field="catalogue",
            )
        if (warm.content_dim, warm.dim) != (self.content_dim, self.dim):
            raise TransferInputError(
                f"The catalogue has {warm.content_dim} content and {warm.dim} collaborative dimensions, the model "
                f"{self.model_id} has {self.content_dim} and {self.dim}; fit a model on this catalogue.",
                reason="SHAPE_MISMATCH",
                field="catalogue",
            )


def model_id(facts: ModelFacts, tensors: Mapping[str, npt.NDArray[np.generic]]) -> str:
    """Name a model: its method and 12 hex digits of a SHA-256 over its weights and what rules its answers.

    Parameters
    ----------
    facts : ModelFacts
        Method, space, encoder, catalogue limit and confidence count.
    tensors : mapping of str to ndarray
        All weights by name.
    """
    digest = hashlib.sha256()
    rules = (
        facts.method,
        facts.space_id,
        facts.encoder_id,
        facts.options.catalogue_limit,
        facts.options.ranking.length_power,
        asdict(facts.confidence),
    )
    digest.update(repr(rules).encode())
    for name in sorted(tensors):
        tensor = np.ascontiguousarray(tensors[name])
        digest.update(f"{name} {tensor.dtype.str} {tensor.shape}".encode())
        digest.update(tensor.tobytes())
    return f"{facts.method.replace('_', '-')}-{digest.hexdigest()[:12]}"


def _explain(selected: CatalogueRows, weights: FloatArray, catalogue: Catalogue) -> list[tuple[tuple[str, float], ...]]:
    """For each target the catalogue tracks with the largest weights, descending, then by track id."""
    owner = np.repeat(np.arange(selected.sizes.size), selected.sizes)
    # Weights are at least 0, where floats and their bits are in one order: owner and weight make one number to sort by.
    bits = np.maximum(weights, np.float32(0.0)).view(np.int32).astype(np.int64)
    order = np.lexsort((catalogue.id_ranks[selected.rows], (owner << 32) - bits))
    place = np.arange(owner.size) - np.repeat(selected.indptr[:-1], selected.sizes)
    top = order[place < LEANED_ON]
    ids = catalogue.tracks.track_ids[selected.rows[top]]
    named = list(zip(ids.tolist(), weights[top].tolist(), strict=True))
    ends = [0, *np.cumsum(np.minimum(selected.sizes, LEANED_ON)).tolist()]
    return [tuple(named[begin:end]) for begin, end in pairwise(ends)]

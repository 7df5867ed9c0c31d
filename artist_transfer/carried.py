"""A transfer that was fitted in one training, at work in the next one: there and back through their alignment."""

from __future__ import annotations

from dataclasses import replace
from weakref import WeakKeyDictionary

import numpy as np
import numpy.typing as npt

from artist_transfer.alignment import Alignment
from artist_transfer.catalogue import Catalogue, CatalogueRows
from artist_transfer.confidence import ConfidenceTable
from artist_transfer.errors import TransferInputError
from artist_transfer.model import FittedModel, ModelFacts, Placement, TransferModel
from artist_transfer.types import ColdTracks, FloatArray

CARRIED = "carried"
"""The method of a carried model."""

_ROTATION, _FIGURES = "alignment.rotation", "alignment.figures"
BASE = "base."
"""What stands before the names of the base model's weights."""


class CarriedModel(FittedModel):
    """Places tracks in a newer training by a model of an older one, its base.

    The catalogue's vectors are brought back to where the base's training would have had them, the base places the
    tracks there, and where it puts them is carried over. What the alignment does not preserve is lost on the way; so
    confidence is the base's, times the cosine that the alignment keeps.

    Parameters
    ----------
    facts : ModelFacts
        What the model says about itself; method "carried", and the base's options.
    base : FittedModel
        Fitted on the older training; never itself a carried one.
    alignment : Alignment
        From the base's space into this one's.
    """

    def __init__(self, facts: ModelFacts, base: FittedModel, alignment: Alignment) -> None:
        super().__init__(facts, base.audio_only)
        self.base = base
        self.alignment = alignment
        self._brought_back: WeakKeyDictionary[Catalogue, Catalogue] = WeakKeyDictionary()

    @classmethod
    def from_tensors(
        cls, facts: ModelFacts, base: FittedModel, tensors: dict[str, npt.NDArray[np.generic]]
    ) -> CarriedModel:
        """Rebuild the model; raises KeyError or ValueError where `tensors` do not fit."""
        rotation = np.array(tensors[_ROTATION], dtype=np.float64)
        if rotation.shape != (base.dim, facts.dim):
            raise ValueError(f"{_ROTATION} has shape {rotation.shape} where {(base.dim, facts.dim)} is due")
        found = np.array(tensors[_FIGURES], dtype=np.float64)
        if found.shape != (5,):
            raise ValueError(f"{_FIGURES} has shape {found.shape} where (5,) is due")
        scale, residual, cosine, fitted, held_out = found.tolist()
        if not scale > 0.0 or not 0.0 <= cosine <= 1.0:
            raise ValueError(f"a scale above 0 and a cosine from 0 to 1, not {scale} and {cosine}")
        return cls(facts, base, Alignment(rotation, scale, residual, cosine, int(fitted), int(held_out)))

    def tensors(self) -> dict[str, npt.NDArray[np.generic]]:
        """All weights by name, as they are saved: the alignment's, and the base's behind `BASE`."""
        one = self.alignment
        figures = [one.scale, one.residual, one.cosine, one.fitted, one.held_out]
        return {
            **{BASE + name: value for name, value in self.base.tensors().items()},
            _ROTATION: one.rotation,
            _FIGURES: np.asarray(figures, dtype=np.float64),
        }

    def read_catalogues(
        self, targets: ColdTracks, selected: CatalogueRows, catalogue: Catalogue, batch_size: int
    ) -> tuple[FloatArray, FloatArray]:
        """See `FittedModel.read_catalogues`."""
        vectors, weights = self.base.read_catalogues(targets, selected, self._in_base(catalogue), batch_size)
        return self.alignment.carry(vectors), weights

    def place(self, targets: ColdTracks, selected: CatalogueRows, catalogue: Catalogue, batch_size: int) -> Placement:
        """See `FittedModel.place`."""
        placed = self.base.place(targets, selected, self._in_base(catalogue), batch_size)
        kept = np.float32(self.alignment.cosine)
        return Placement(
            self.alignment.carry(placed.vectors), placed.weights, placed.confidence * kept, placed.popularity
        )

    def _in_base(self, catalogue: Catalogue) -> Catalogue:
        # A catalogue never changes: brought back once, it serves every batch for as long as somebody keeps it.
        known = self._brought_back.get(catalogue)
        if known is None:
            tracks = replace(
                catalogue.tracks,
                space_id=self.base.space_id,
                collaborative=self.alignment.back(catalogue.tracks.collaborative),
            )
            known = self._brought_back[catalogue] = Catalogue(tracks)
        return known


def carry_model(model: TransferModel, alignment: Alignment, space_id: str) -> TransferModel:
    """Put a fitted transfer to work in a newer training.

    Parameters
    ----------
    model : TransferModel
        Fitted on the older training, or itself carried there: then its base is carried on, by both alignments.
    alignment : Alignment
        From the model's space into the newer one.
    space_id : str
        The newer training's.

    Returns
    -------
    TransferModel
        With method "carried", the new space and its dimension, and the older model's encoder.

    Raises
    ------
    NotEnoughTracksError
        ``NOTHING_IN_COMMON`` where the alignment's scale is 0.
    TransferInputError
        ``SHAPE_MISMATCH`` where the alignment does not begin in the model's dimension, or the model is not one of this
        room's.
    """
    if not isinstance(model, FittedModel) or model.dim != len(alignment.rotation):
        raise TransferInputError(
            f"The model {model.model_id} cannot be carried by an alignment that begins in {len(alignment.rotation)} "
            f"dimensions; give a model that fit or load_model gave, and the alignment from its space.",
            reason="SHAPE_MISMATCH",
            field="alignment",
        )
    base, whole = model, alignment
    if isinstance(model, CarriedModel):
        base, whole = model.base, model.alignment.then(alignment)
    whole.require_common_ground()
    table, kept = base.facts.confidence, whole.cosine
    facts = ModelFacts(
        method=CARRIED,
        space_id=space_id,
        encoder_id=base.encoder_id,
        content_dim=base.content_dim,
        dim=alignment.rotation.shape[1],
        why=(
            f"The transfer {base.model_id} of space {base.space_id} serves, carried into {space_id}, until `anacrusis "
            f"train` fits one there; carrying keeps a cosine of {kept:.3f}."
        ),
        options=base.facts.options,
        confidence=ConfidenceTable(tuple(kept * one for one in table.artist_transfer), kept * table.audio_only),
        metrics={"alignment_cosine": kept, "alignment_residual": whole.residual, "aligned_tracks": float(whole.fitted)},
    )
    return CarriedModel(facts, base, whole)

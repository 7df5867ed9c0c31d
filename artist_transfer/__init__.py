"""artist_transfer: from a track's content and its artists' catalogue to the collaborative space.

A track that nobody has played has audio and credits. `fit` learns, on the tracks that do have collaborative vectors,
where such a track belongs; the model then projects cold tracks in batches and says for each which tier it
is on, how far it may be trusted and which catalogue tracks it leaned on. Importing this package does not
import torch.
"""

from artist_transfer.alignment import JUDGED_FROM, Alignment
from artist_transfer.carried import CARRIED, carry_model
from artist_transfer.catalogue import CATALOGUE_LIMIT, Catalogue, CatalogueBatch, CatalogueRows
from artist_transfer.confidence import ConfidenceTable
from artist_transfer.credits import Credits, Role
from artist_transfer.errors import ModelFileError, NotEnoughTracksError, TransferError, TransferInputError
from artist_transfer.fitting import fit
from artist_transfer.interactions import Interactions
from artist_transfer.model import TransferModel
from artist_transfer.options import EpochReport, FitOptions, RankingOptions
from artist_transfer.storage import load_model, save_model
from artist_transfer.types import NO_DATE, ColdTracks, Projection, Tier, WarmTracks, release_days
from artist_transfer.warming import Background, Listens, Warmed, WarmingOptions, evidence, graduates, warm_up

__all__ = [
    "CARRIED",
    "CATALOGUE_LIMIT",
    "JUDGED_FROM",
    "NO_DATE",
    "Alignment",
    "Background",
    "Catalogue",
    "CatalogueBatch",
    "CatalogueRows",
    "ColdTracks",
    "ConfidenceTable",
    "Credits",
    "EpochReport",
    "FitOptions",
    "Interactions",
    "Listens",
    "ModelFileError",
    "NotEnoughTracksError",
    "Projection",
    "RankingOptions",
    "Role",
    "Tier",
    "TransferError",
    "TransferInputError",
    "TransferModel",
    "WarmTracks",
    "Warmed",
    "WarmingOptions",
    "carry_model",
    "evidence",
    "fit",
    "graduates",
    "load_model",
    "release_days",
    "save_model",
    "warm_up",
]

"""The work, without transport: ingest, train, refresh, spaces, queries. Composes the three ground-floor rooms."""

from jobs.answers import EmbeddingAnswer, EngineStatus
from jobs.engine import Engine
from jobs.errors import (
    CollaborativeTrackError,
    FactorsError,
    FeedbackError,
    FeedbackFileError,
    JobError,
    ManifestError,
    NothingToServeError,
    ReleaseError,
    UnknownArtistError,
    UnknownUserError,
)
from jobs.feedback import FeedbackOutcome, FeedbackReport, FeedbackState, WarmedTrack
from jobs.outcome import IngestOutcome, IngestState
from jobs.progress import Progress
from jobs.projecting import RefreshStoppedError
from jobs.query import Answer, Query, VectorQueries
from jobs.refresh import RefreshReport
from jobs.refresh_plan import RefreshPlan
from jobs.release import Release, parse_release_date
from jobs.threads import Threads, keep_products_to_one_thread

__all__ = [
    "Answer",
    "CollaborativeTrackError",
    "EmbeddingAnswer",
    "Engine",
    "EngineStatus",
    "FactorsError",
    "FeedbackError",
    "FeedbackFileError",
    "FeedbackOutcome",
    "FeedbackReport",
    "FeedbackState",
    "IngestOutcome",
    "IngestState",
    "JobError",
    "ManifestError",
    "NothingToServeError",
    "Progress",
    "Query",
    "RefreshPlan",
    "RefreshReport",
    "RefreshStoppedError",
    "Release",
    "ReleaseError",
    "Threads",
    "UnknownArtistError",
    "UnknownUserError",
    "VectorQueries",
    "WarmedTrack",
    "keep_products_to_one_thread",
    "parse_release_date",
]

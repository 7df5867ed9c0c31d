"""The work, without transport: ingest, train, refresh, spaces, queries. Composes the three ground-floor rooms."""

from jobs.answers import EmbeddingAnswer, EngineStatus
from jobs.engine import Engine
from jobs.errors import (
    FactorsError,
    JobError,
    ManifestError,
    NothingToServeError,
    ReleaseError,
    UnknownArtistError,
    UnknownUserError,
)
from jobs.outcome import IngestOutcome, IngestState
from jobs.progress import Progress
from jobs.query import Answer, Query
from jobs.refresh import RefreshReport, RefreshStoppedError
from jobs.release import Release, parse_release_date

__all__ = [
    "Answer",
    "EmbeddingAnswer",
    "Engine",
    "EngineStatus",
    "FactorsError",
    "IngestOutcome",
    "IngestState",
    "JobError",
    "ManifestError",
    "NothingToServeError",
    "Progress",
    "Query",
    "RefreshReport",
    "RefreshStoppedError",
    "Release",
    "ReleaseError",
    "UnknownArtistError",
    "UnknownUserError",
    "parse_release_date",
]

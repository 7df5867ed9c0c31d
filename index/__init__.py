"""The store and the search: Lance tables, snapshots, a FAISS index over them, and everything fresh to it."""

from index.asked import Filters, SearcherStatus, SearchResult
from index.backfill import ContentBackfill
from index.checkup import Checkup
from index.devices import gpu_count
from index.errors import (
    DamagedHomeError,
    DeviceUnavailableError,
    HomeFullError,
    HomeUnreachableError,
    InvalidIdError,
    InvalidInputError,
    InvalidQueryError,
    InvalidTrackError,
    InvalidVectorError,
    LeaseHeldError,
    LeaseLostError,
    NoRollbackError,
    NoSnapshotError,
    PublishedMeanwhileError,
    ReadOnlyError,
    SpaceExistsError,
    SpaceMismatchError,
    StoreClosedError,
    StoreError,
    UnknownSnapshotError,
    UnknownSpaceError,
    UnknownTrackError,
    WithdrawnTrackError,
)
from index.feedback import (
    FOLDED,
    FeedbackAction,
    FeedbackEvent,
    Standing,
    basis_with,
    check_event,
    record_basis,
    record_basis_column,
)
from index.findings import Finding, Level
from index.fragments import ContentTarget, HeardPart
from index.hits import Hits, packed_together
from index.kinds import AUTO, KINDS, check_kind
from index.layout import Home
from index.lease import Lease
from index.memory import give_back
from index.near import tuning_of
from index.object_store import is_object_store
from index.registry import Registry
from index.retention import Retention, RetentionPlan
from index.retuning import tune_snapshot
from index.schemas import ServedRows, as_popularity, vector_column
from index.searcher import Searcher
from index.snapshots import BuildProgress, build_snapshot
from index.store import Store
from index.table_figures import TableFigures
from index.threads import set_search_threads, usable_threads
from index.tuning import Tried, Tuning
from index.types import (
    MAX_K,
    NO_DATE,
    CommitReceipt,
    Metric,
    Popularity,
    PublishKind,
    PublishRecord,
    ServedVector,
    SnapshotRecord,
    SpaceRecord,
    Tier,
    TrackRecord,
    WriteBatch,
)
from index.upkeep import Tidied, Upkeep, alerts
from index.view import SearchView

__all__ = [
    "AUTO",
    "FOLDED",
    "KINDS",
    "MAX_K",
    "NO_DATE",
    "BuildProgress",
    "Checkup",
    "CommitReceipt",
    "ContentBackfill",
    "ContentTarget",
    "DamagedHomeError",
    "DeviceUnavailableError",
    "FeedbackAction",
    "FeedbackEvent",
    "Filters",
    "Finding",
    "HeardPart",
    "Hits",
    "Home",
    "HomeFullError",
    "HomeUnreachableError",
    "InvalidIdError",
    "InvalidInputError",
    "InvalidQueryError",
    "InvalidTrackError",
    "InvalidVectorError",
    "Lease",
    "LeaseHeldError",
    "LeaseLostError",
    "Level",
    "Metric",
    "NoRollbackError",
    "NoSnapshotError",
    "Popularity",
    "PublishKind",
    "PublishRecord",
    "PublishedMeanwhileError",
    "ReadOnlyError",
    "Registry",
    "Retention",
    "RetentionPlan",
    "SearchResult",
    "SearchView",
    "Searcher",
    "SearcherStatus",
    "ServedRows",
    "ServedVector",
    "SnapshotRecord",
    "SpaceExistsError",
    "SpaceMismatchError",
    "SpaceRecord",
    "Standing",
    "Store",
    "StoreClosedError",
    "StoreError",
    "TableFigures",
    "Tidied",
    "Tier",
    "TrackRecord",
    "Tried",
    "Tuning",
    "UnknownSnapshotError",
    "UnknownSpaceError",
    "UnknownTrackError",
    "Upkeep",
    "WithdrawnTrackError",
    "WriteBatch",
    "alerts",
    "as_popularity",
    "basis_with",
    "build_snapshot",
    "check_event",
    "check_kind",
    "give_back",
    "gpu_count",
    "is_object_store",
    "packed_together",
    "record_basis",
    "record_basis_column",
    "set_search_threads",
    "tune_snapshot",
    "tuning_of",
    "usable_threads",
    "vector_column",
]

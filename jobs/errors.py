"""What can go wrong in the jobs through a caller's doing.

::

    JobError
    ├── ReleaseError            a release's own fields are wrong        RELEASE_INVALID
    ├── ManifestError           a manifest cannot be read at all        MANIFEST_INVALID
    ├── FactorsError            a factor file cannot be taken           FACTORS_INVALID
    ├── UnknownUserError        no stored vector for a user             USER_NOT_FOUND
    ├── UnknownArtistError      a refresh names an artist nobody knows  ARTIST_NOT_FOUND
    ├── FeedbackError           an event's own fields are wrong         FEEDBACK_INVALID
    ├── FeedbackFileError       a file of events cannot be read at all  FEEDBACK_FILE_INVALID
    ├── CollaborativeTrackError feedback on a track that needs none     TRACK_COLLABORATIVE
    ├── InteractionsError       listens for a training cannot be taken  INTERACTIONS_INVALID
    ├── NothingToServeError     a space without a single usable track   NOTHING_TO_SERVE
    ├── SpaceComparisonError    spaces that cannot be compared          COMPARISON_INVALID
    ├── PublishRefusedError     a space below the limits it was given   PUBLISH_REFUSED
    ├── BridgeError             spaces that cannot be bridged           BRIDGE_INVALID
    ├── BenchmarkError          a benchmark folder cannot be taken      BENCHMARK_INVALID
    ├── EvaluationError         an evaluation that cannot be run        EVALUATION_INVALID
    ├── RayError                Ray cannot run a job, or lost a worker  RAY_FAILED
    └── ExtraMissingError       packages of an extra are not installed  EXTRA_MISSING

The ground-floor rooms have trees of their own (`encoders.errors`, `artist_transfer.errors`,
`index.errors`) of the same shape: a `reason`, a sentence that names the thing and the remedy, and,
where one argument is to blame, its `field`.
"""

from __future__ import annotations


class JobError(Exception):
    """Base of every error of the jobs.

    Parameters
    ----------
    message : str
        One sentence that names the thing and the remedy.
    field : str, optional
        The argument or column that is to blame.

    Attributes
    ----------
    reason : str
        Stable UPPER_SNAKE code of the class.
    field : str
        As given; empty where no single argument is to blame.
    """

    reason = "JOB_FAILED"

    def __init__(self, message: str, *, field: str = "") -> None:
        super().__init__(message)
        self.field = field


class ReleaseError(JobError):
    """A release's id, credits, dates or codes are not what they should be."""

    reason = "RELEASE_INVALID"


class ManifestError(JobError):
    """A manifest is missing, unreadable, or lacks a required column."""

    reason = "MANIFEST_INVALID"


class FactorsError(JobError):
    """A factor file is missing, unreadable, or holds vectors that no space can take."""

    reason = "FACTORS_INVALID"


class UnknownUserError(JobError):
    """The space was imported without a vector for this user."""

    reason = "USER_NOT_FOUND"


class UnknownArtistError(JobError):
    """No track in the home is credited to this artist."""

    reason = "ARTIST_NOT_FOUND"


class FeedbackError(JobError):
    """A listener's event lacks a field or holds what it cannot."""

    reason = "FEEDBACK_INVALID"


class FeedbackFileError(JobError):
    """A file of events is missing, unreadable, or lacks a required column."""

    reason = "FEEDBACK_FILE_INVALID"


class CollaborativeTrackError(JobError):
    """The track has its own collaborative vector: the next training takes its listens into account."""

    reason = "TRACK_COLLABORATIVE"


class InteractionsError(JobError):
    """A file of listens is missing, unreadable, or holds nothing that a fit can learn from."""

    reason = "INTERACTIONS_INVALID"


class NothingToServeError(JobError):
    """A space cannot be published because no track would be in it."""

    reason = "NOTHING_TO_SERVE"


class SpaceComparisonError(JobError):
    """A space is compared with itself, or held to a limit that is no share."""

    reason = "COMPARISON_INVALID"


class PublishRefusedError(JobError):
    """A space lies farther from the served one than the limits of this publish allow; nothing was switched."""

    reason = "PUBLISH_REFUSED"


class BridgeError(JobError):
    """Nothing can be carried from one space into another; neither has changed."""

    reason = "BRIDGE_INVALID"


class BenchmarkError(JobError):
    """A benchmark folder lacks a file, a column or an id, or contradicts itself."""

    reason = "BENCHMARK_INVALID"


class EvaluationError(JobError):
    """An evaluation names a split or a method that is not there."""

    reason = "EVALUATION_INVALID"


class RayError(JobError):
    """Ray cannot be started or reached, has not what was asked for, or lost a worker for good."""

    reason = "RAY_FAILED"


class ExtraMissingError(JobError):
    """The packages of an optional extra are not installed."""

    reason = "EXTRA_MISSING"

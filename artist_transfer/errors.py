"""What can go wrong in this room.

::

    TransferError                  anything below; catch this to catch all
    |-- TransferInputError         the caller's arrays, ids, credits or options do not fit (also a ValueError)
    |   `-- NotEnoughTracksError   the warm tracks cannot carry the fit that was asked for
    `-- ModelFileError             a saved model is missing, damaged or of another kind

Each carries ``reason``, a stable UPPER_SNAKE word to switch on, and ``field``, the argument at fault
(empty where there is none). ``str(error)`` is one sentence that names the thing and the remedy.
"""


class TransferError(Exception):
    """Base of every error of this room.

    Parameters
    ----------
    message : str
        One sentence that names the thing and the remedy.
    reason : str
        Stable UPPER_SNAKE word.
    field : str, optional
        The argument at fault, as the caller spells it.

    Attributes
    ----------
    reason, field : str
        As given.
    """

    def __init__(self, message: str, *, reason: str, field: str = "") -> None:
        super().__init__(message)
        self.reason = reason
        self.field = field


class TransferInputError(TransferError, ValueError):
    """An argument does not fit.

    Reasons: ``SHAPE_MISMATCH``, ``NOT_FINITE``, ``NOT_NUMERIC``, ``TRACK_ID_EMPTY``, ``TRACK_ID_REPEATED``,
    ``ARTIST_ID_EMPTY``, ``CREDITS_INVALID``, ``ROLE_UNKNOWN``, ``SPACE_MISMATCH``, ``ENCODER_MISMATCH``,
    ``OPTION_OUT_OF_RANGE``, ``DEVICE_UNAVAILABLE``.
    """


class NotEnoughTracksError(TransferInputError):
    """The tracks do not carry what is asked for.

    Reasons: ``NOT_ENOUGH_TRACKS``, no warm track at all, or too few for a method that the caller insists on or for an
    alignment; ``NOTHING_IN_COMMON``, tracks that two trainings share but do not agree on at all.
    """


class ModelFileError(TransferError):
    """A model folder cannot be loaded or written.

    Reasons: ``MODEL_MISSING``, ``MODEL_DAMAGED``, ``MODEL_VERSION``, ``MODEL_NOT_WRITTEN``. The sentence names what
    was expected and what was found.
    """

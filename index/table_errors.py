"""What Lance raises about a table, in one sentence."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from index.errors import DamagedHomeError
from index.full_disk import no_room
from index.object_store import unreachable
from index.panics import panics_as_errors


@contextmanager
def reading(name: str, address: str) -> Iterator[None]:
    """Turn what Lance raises at a read of a table into one sentence.

    Raises
    ------
    DamagedHomeError, HomeUnreachableError
    """
    try:
        with panics_as_errors():
            yield
    # Lance reports damage as any of these; pyarrow's ArrowInvalid is a ValueError.
    except (OSError, ValueError, RuntimeError) as error:
        raise unreachable(address, error) or DamagedHomeError(
            f"table {name} of the home cannot be read: restore it from a backup, "
            "or build the home anew from the manifest and the factors"
        ) from error


@contextmanager
def writing(name: str, address: str) -> Iterator[None]:
    """Turn what Lance raises at a write of a table into one sentence.

    Raises
    ------
    DamagedHomeError, HomeFullError, HomeUnreachableError
    """
    try:
        with panics_as_errors():
            yield
    except (OSError, ValueError, RuntimeError) as error:
        raise (
            unreachable(address, error)
            or no_room(f"table {name}", error)
            or DamagedHomeError(
                f"table {name} of the home cannot be written: check the disk and "
                "the folder's rights, and that no other process writes without pause"
            )
        ) from error

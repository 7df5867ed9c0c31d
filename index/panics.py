"""Lance's panics: Rust's word for a mistake of its own, which Python gets as a `BaseException` and no `Exception`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


class LancePanicError(RuntimeError):
    """Lance met a mistake of its own; what it was at may have been done, or not. Never leaves this room."""


@contextmanager
def panics_as_errors() -> Iterator[None]:
    """Turn a panic into an exception: whoever catches exceptions would else end by it, with all that wait for them.

    Raises
    ------
    LancePanicError
    """
    try:
        yield
    except BaseException as error:
        # The class is made at run time by the library that binds the two languages, once in each that uses it.
        if type(error).__module__ != "pyo3_runtime":
            raise
        raise LancePanicError(f"Lance panicked: {error}") from error

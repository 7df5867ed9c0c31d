"""The kinds of index, and which of them `auto` means."""

from __future__ import annotations

from typing import Literal

from index.errors import InvalidInputError

AUTO = "auto"
"""Whichever kind suits the number of rows and the device."""

FLAT_FP16 = "flat_fp16"
"""Scalar-quantised float16, searched exhaustively: exact."""

IVF_FP16 = "ivf_fp16"
"""The same codes in lists, one for each of some centres; approximate."""

KINDS = (AUTO, FLAT_FP16, IVF_FP16)

LISTS_FROM_ROWS = {"cpu": 50_000, "gpu": 10_000_001}
"""Rows from which on `auto` builds lists; fewer are scanned exhaustively."""


def check_kind(kind: str) -> str:
    """Refuse what is no kind.

    Raises
    ------
    InvalidInputError
    """
    if kind not in KINDS:
        raise InvalidInputError(f"index kind {kind!r} is unknown: use one of {', '.join(KINDS)}", field="index_kind")
    return kind


def choose_kind(kind: str, rows: int, device: Literal["cpu", "gpu"]) -> str:
    """Say which kind is built.

    Parameters
    ----------
    kind : str
        One of `KINDS`.
    rows : int
        Of the index.
    device : {"cpu", "gpu"}
        Where it will be searched.

    Returns
    -------
    str
        `FLAT_FP16` or `IVF_FP16`; of no rows there is only a flat index.
    """
    if rows == 0:
        return FLAT_FP16
    if kind != AUTO:
        return kind
    return IVF_FP16 if rows >= LISTS_FROM_ROWS[device] else FLAT_FP16

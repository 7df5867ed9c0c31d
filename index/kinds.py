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

LISTS_FROM_ROWS = {"cpu": 10_000, "gpu": 10_000_001}
"""Rows from which on `auto` builds lists; fewer are scanned exhaustively."""

SLOW_FROM_ROWS = 50_000
"""Rows whose exhaustive scan takes so long that `auto` prefers lists that cost any less."""

# Below, being exact is given up only for a multiple: lists that reach their recall at this share of a scan's cost.
_MOST_COST = 0.25


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


def most_cost(rows: int) -> float:
    """Say at which share of the cost of looking at all of so many rows `auto` takes lists instead."""
    return 1.0 if rows >= SLOW_FROM_ROWS else _MOST_COST


def stays_flat(before: int, rows: int) -> bool:
    """Say whether a flat index of `before` rows is not worth trying lists for again when it has `rows`.

    Trying takes a second or two, at each refresh.
    """
    return before >= LISTS_FROM_ROWS["cpu"] and rows < SLOW_FROM_ROWS

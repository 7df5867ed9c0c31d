"""What a bench promises, and whether it holds: the `checks` of every result."""

from __future__ import annotations

from typing import Any


def at_least(name: str, measured: float, bound: float) -> dict[str, Any]:
    """Check that a figure is as large as promised.

    Returns
    -------
    dict
        Keys ``name``, ``measured``, ``bound`` and ``holds``.
    """
    return {"name": name, "measured": float(measured), "bound": float(bound), "holds": bool(measured >= bound)}


def at_most(name: str, measured: float, bound: float) -> dict[str, Any]:
    """Check that a figure is no larger than promised; otherwise as `at_least`."""
    return {"name": name, "measured": float(measured), "bound": float(bound), "holds": bool(measured <= bound)}

"""Plots mark the project's own transfer, and nothing where it was not evaluated."""

from __future__ import annotations

from pathlib import Path

import pytest

from jobs.evaluation import plots
from jobs.evaluation.context import Context
from jobs.evaluation.run import summary


def marks(context: Context, folder: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names whose bars stand out, one for each axis."""
    marked = []
    real = plots.bars

    def watched(axis, names, found, **options):
        marked.extend(name for name in names if name == options["marked"])
        real(axis, names, found, **options)

    monkeypatch.setattr(plots, "bars", watched)
    result = summary(context)
    for draw in (plots.plot_methods, plots.plot_differences):
        assert draw(result, folder).read_bytes().startswith(b"\x89PNG")
    return marked


def test_ours_stands_out(fitted: Context, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    assert marks(fitted, tmp_path, monkeypatch) == ["anacrusis"] * 2 * len(plots.PLOTTED_SLICES)


def test_where_ours_is_not_there_nothing_stands_out(simple: Context, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    assert marks(simple, tmp_path, monkeypatch) == []

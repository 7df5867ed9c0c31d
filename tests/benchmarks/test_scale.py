"""The arithmetic behind docs/scale.md, on the unit costs that were measured, and the page itself."""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks.scale import __main__ as the_page
from benchmarks.scale.arithmetic import totals
from benchmarks.scale.assumptions import Assumptions
from benchmarks.scale.measured import NEEDED, Measured, MissingResultError
from benchmarks.scale.page import page
from benchmarks.scale.quantities import Quantity, UnitError, shown

ASSUMED = Assumptions()
RESULTS = the_page.RESULTS
MEASURED = Measured.read(RESULTS)


def times(wanted: dict[str, float], before: dict[str, Quantity], after: dict[str, Quantity]) -> None:
    for name, factor in wanted.items():
        assert after[name].value == pytest.approx(factor * before[name].value), name


def with_cost(name: str, **changes: Any) -> Measured:
    costs = MEASURED.results["unit-costs"]
    changed = {**costs, "costs": {**costs["costs"], name: {**costs["costs"][name], **changes}}}
    return Measured({**MEASURED.results, "unit-costs": changed})


def test_units_multiply_cancel_and_refuse_what_does_not_fit():
    rate, rows = Quantity.of(3e-6, "core s/row"), Quantity.of(2e6, "row")
    assert (rate * rows).to("core s") == pytest.approx(6)
    assert (rate * rows / Quantity.of(3, "s")).to("core") == pytest.approx(2)
    assert (1 / rate * rate).to("") == pytest.approx(1)
    for wrong in (lambda: rate + rows, lambda: rate - rows, lambda: rate.to("s/row"), lambda: (rate * rows).to("s")):
        with pytest.raises(UnitError):
            wrong()


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (7 * 86400, "s", "7 days"),
        (5400, "core s", "1.5 core hours"),
        (1.31e-3, "s/event", "1.3 ms an event"),
        (25.6e9, "bytes", "26 GB"),
        (11574.07, "query/s", "12,000 queries a second"),
        (5e9, "stream/day", "5 billion streams a day"),
        (1e-10, "core s/(query row dimension)", "100 core ps a query, row and dimension"),
        (1, "core", "1 core"),
    ],
)
def test_quantities_are_written_for_people(value: float, unit: str, text: str):
    assert shown(Quantity.of(value, unit)) == text


def test_totals_are_unit_costs_times_assumptions():
    found = totals(ASSUMED, MEASURED)
    costs = {name: one["value"] for name, one in MEASURED.results["unit-costs"]["costs"].items()}
    assert found["index.file"].to("bytes") == pytest.approx(costs["bytes.index"] * 1e8)
    assert found["queries"].to("query/s") == pytest.approx(5e9 * 0.1 / 86400 * 2)
    cores = costs["scan.256.cpu"] * 1e8 * 128 * (5e9 * 0.1 / 86400 * 2) / 0.5
    assert found["query.scan_cores"].to("core") == pytest.approx(cores)
    assert found["query.limit"].to("row") == pytest.approx(0.02 / (costs["scan.1.cpu"] * 128))
    assert found["gpu.pass"].to("s") == pytest.approx(1e8 * 128 * 2 / 3.35e12)
    assert found["feedback.committer_peak"].to("") == pytest.approx(costs["feedback.cpu"] * 5e9 * 0.01 / 86400 * 2)


def test_what_is_in_proportion_to_the_tracks_and_what_is_not():
    before, after = totals(ASSUMED, MEASURED), totals(replace(ASSUMED, tracks=2 * ASSUMED.tracks), MEASURED)
    double = (
        "backfill.work",
        "index.file",
        "index.open",
        "query.scan",
        "query.scan_cores",
        "disk.content",
        "bridge.time",
        "fit.memory",
    )
    times(dict.fromkeys(double, 2), before, after)
    times({"refresh.rows": 2, "refresh.passes": 4, "refresh.lookups": 4, "backfill.look_ups": 4}, before, after)
    same = ("query.limit", "index.limit", "refresh.limit", "fit.time", "feedback.disk", "releases.work", "queries")
    times(dict.fromkeys(same, 1), before, after)


def test_twice_the_cost_is_half_the_limit():
    before = totals(ASSUMED, MEASURED)
    value = MEASURED.results["unit-costs"]["costs"]["scan.1.cpu"]["value"]
    times({"query.scan": 2, "query.limit": 0.5}, before, totals(ASSUMED, with_cost("scan.1.cpu", value=2 * value)))


def test_a_limit_is_where_the_cost_reaches_it():
    found = totals(ASSUMED, MEASURED)
    at_limit = totals(replace(ASSUMED, tracks=found["query.limit"].to("row")), MEASURED)
    assert at_limit["query.scan"].to("s") == pytest.approx(ASSUMED.budget)
    at_limit = totals(replace(ASSUMED, tracks=found["refresh.limit"].to("row")), MEASURED)
    passes = at_limit["refresh.passes"] + at_limit["refresh.lookups"]
    assert passes.to("s") == pytest.approx(at_limit["refresh.rows"].to("s"))
    at_limit = totals(replace(ASSUMED, cold_streams=found["feedback.limit_share"].to("")), MEASURED)
    assert at_limit["feedback.committer_peak"].to("") == pytest.approx(1)


def used() -> list[str]:
    """Costs that totals are made of; the others stand on the page for themselves."""
    asked: set[str] = set()

    class Noting(Measured):
        def cost(self, name: str) -> Quantity:
            asked.add(name)
            return super().cost(name)

    totals(ASSUMED, Noting(MEASURED.results))
    return sorted(asked)


@pytest.mark.parametrize("name", used())
def test_a_cost_in_a_wrong_unit_makes_no_page(name: str):
    with pytest.raises(UnitError):
        totals(ASSUMED, with_cost(name, unit="bytes/(track s)"))


def test_the_page_names_every_assumption_and_every_source():
    text = page(ASSUMED, MEASURED)
    for one in fields(ASSUMED):
        assert f"| `{one.name}` | " in text
        assert one.metadata["reason"] in text
    for name, command in NEEDED.items():
        assert f"`benchmarks/results/{name}.json`" in text
        assert f"`{command}`" in text
    assert "bound, not measured" in text


def test_a_page_is_up_to_date_until_a_figure_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    results = Path(shutil.copytree(RESULTS, tmp_path / "results"))
    monkeypatch.setattr(the_page, "RESULTS", results)
    monkeypatch.setattr(the_page, "PAGE", tmp_path / "scale.md")

    def run(*arguments: str) -> int:
        monkeypatch.setattr(sys, "argv", ["scale", *arguments])
        return the_page.main()

    assert run("--check") == 1
    assert run() == 0
    assert run("--check") == 0
    costs = json.loads((results / "unit-costs.json").read_text(encoding="utf-8"))
    costs["costs"]["bytes.index"]["value"] *= 2
    (results / "unit-costs.json").write_text(json.dumps(costs), encoding="utf-8")
    assert run("--check") == 1


def test_a_missing_result_is_named_with_its_command(tmp_path: Path):
    with pytest.raises(MissingResultError, match=r"unit-costs\.json is missing; measure it with: python -m benchmarks"):
        Measured.read(tmp_path)

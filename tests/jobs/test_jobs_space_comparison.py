"""A new training beside the served one: what is the same, what is not, and what a limit refuses."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from made_catalogue import SPACE_ID, warm_factors

from index import NoSnapshotError, UnknownSpaceError
from jobs import Engine, space_comparison
from jobs.errors import PublishRefusedError, SpaceComparisonError
from jobs.factors import Factors
from jobs.space_comparison import SpaceComparison, SpaceFigures, compare_spaces, require_likeness
from jobs.space_plots import plot_comparison
from jobs.spaces import import_space

TRACKS, DIM = 240, 6
IDS = np.array([f"t{place:03d}" for place in range(TRACKS)])


@pytest.fixture
def empty(tmp_path: Path) -> Iterator[Engine]:
    """A home without a single stored track or space."""
    with Engine.open(tmp_path / "empty", create=True) as opened:
        yield opened


def vectors_of(seed: int, tracks: int = TRACKS, dim: int = DIM) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return (rng.normal(size=(tracks, dim)) * rng.uniform(0.5, 2.0, size=(tracks, 1))).astype(np.float32)


def bring(engine: Engine, space_id: str, vectors: np.ndarray, ids: np.ndarray = IDS, metric: str = "inner_product"):
    import_space(engine, space_id, Factors(ids, vectors), metric=metric)


def overlap(found: SpaceComparison, k: int = 10) -> space_comparison.NeighborOverlap:
    one = found.overlap(k)
    assert one is not None
    return one


@pytest.mark.parametrize("metric", ["inner_product", "cosine"])
def test_the_same_training_again_is_the_same(empty: Engine, metric: str) -> None:
    bring(empty, "old", vectors_of(0), metric=metric)
    bring(empty, "new", vectors_of(0), metric=metric)
    found = compare_spaces(empty, "new", "old")
    assert [overlap(found, k).mean for k in (10, 100)] == [1.0, 1.0]
    assert overlap(found).standard_error == 0.0
    assert (found.shared, found.coverage, found.missing) == (TRACKS, 1.0, 0.0)
    assert found.alignment is not None
    assert found.alignment.residual == pytest.approx(0.0, abs=1e-6)
    assert found.alignment.scale == pytest.approx(1.0)
    assert (found.alignment.fitted, found.alignment.held_out) == (216, 24)


def test_a_turned_and_longer_copy_finds_the_same_neighbours(empty: Engine) -> None:
    turn = np.linalg.qr(np.random.default_rng(1).normal(size=(9, 9)))[0][:DIM]
    bring(empty, "old", vectors_of(0))
    bring(empty, "new", (3 * vectors_of(0) @ turn).astype(np.float32))
    found = compare_spaces(empty, "new", "old")
    assert overlap(found).mean > 0.999
    assert found.alignment is not None
    assert (found.alignment.residual, found.alignment.scale) == (pytest.approx(0, abs=1e-5), pytest.approx(3))
    assert (found.space.dim, found.with_space.dim) == (9, DIM)
    before, after = found.with_space.quantiles(), found.space.quantiles()
    assert list(before) == ["q05", "q50", "q95"]
    assert after == pytest.approx({name: 3 * value for name, value in before.items() if value is not None}, rel=1e-5)


def test_where_directions_count_lengths_do_not(empty: Engine) -> None:
    lengths = np.random.default_rng(1).uniform(0.1, 10, size=(TRACKS, 1)).astype(np.float32)
    bring(empty, "old", vectors_of(0), metric="cosine")
    bring(empty, "new", vectors_of(0) * lengths, metric="cosine")
    bring(empty, "long", vectors_of(0) * lengths)
    found = compare_spaces(empty, "new", "old")
    assert overlap(found).mean > 0.999
    assert found.alignment is not None
    assert found.alignment.residual == pytest.approx(0, abs=1e-5)
    assert found.space.quantiles() != found.with_space.quantiles()  # as they were imported
    assert overlap(compare_spaces(empty, "long", "old")).mean < 0.9


def test_trainings_with_nothing_in_common_agree_by_chance(empty: Engine) -> None:
    bring(empty, "old", vectors_of(0))
    bring(empty, "new", vectors_of(1))
    found = compare_spaces(empty, "new", "old")
    for k in (10, 100):
        one = overlap(found, k)
        assert one.chance == pytest.approx(k / (TRACKS - 1))
        assert one.mean == pytest.approx(one.chance, abs=0.05)
    assert found.alignment is not None
    assert found.alignment.residual == pytest.approx(1.0, abs=0.1)


@pytest.mark.parametrize("cells", [1, 1000, 2**24])
def test_neighbours_are_exact_whatever_the_block(empty: Engine, monkeypatch: pytest.MonkeyPatch, cells: int) -> None:
    """Against plain sorting; small whole numbers bring ties, which go by the track's id."""
    monkeypatch.setattr(space_comparison, "_CELLS", cells)
    rng = np.random.default_rng(0)
    old, new = rng.integers(1, 4, size=(2, 60, 3)).astype(np.float32)
    order = rng.permutation(60)
    bring(empty, "old", old, IDS[:60])
    bring(empty, "new", new[order], IDS[:60][order])  # in whatever order a file has them
    shares = []
    for row in range(60):
        lists = []
        for vectors in (new, old):
            others = sorted(set(range(60)) - {row}, key=lambda one: (-float(vectors[one] @ vectors[row]), one))
            lists.append(set(others[:10]))
        shares.append(len(lists[0] & lists[1]) / 10)
    one = overlap(compare_spaces(empty, "new", "old"))
    np.testing.assert_allclose(one.each, shares)
    assert one.mean == pytest.approx(np.mean(shares))
    assert one.standard_error == pytest.approx(np.std(shares, ddof=1) / np.sqrt(60))


def test_a_sample_of_the_tracks_stands_for_all(empty: Engine) -> None:
    bring(empty, "old", vectors_of(0))
    noise = np.random.default_rng(2).normal(scale=0.5, size=(TRACKS, DIM)).astype(np.float32)
    bring(empty, "new", vectors_of(0) + noise)
    all_of_them = overlap(compare_spaces(empty, "new", "old"))
    steps = []
    some = overlap(compare_spaces(empty, "new", "old", max_queries=80, on_progress=steps.append))
    assert (len(all_of_them.each), len(some.each)) == (TRACKS, 80)
    assert 0.05 < all_of_them.mean < 0.95
    assert abs(some.mean - all_of_them.mean) < 4 * some.standard_error
    assert (steps[-1].stage, steps[-1].done, steps[-1].total) == ("compare", 80, 80)


def test_tracks_that_come_and_go_are_counted(engine: Engine) -> None:
    """Twelve stored tracks are warm in the served space; another training has nine of them and three unknown ones."""
    factors = warm_factors()
    ids = np.array([*factors.ids[:9].tolist(), "x", "y", "z"])
    bring(engine, "other", factors.vectors, ids)
    found = compare_spaces(engine, "other")
    assert (found.with_space.space_id, found.with_space.tracks, found.space.tracks) == (SPACE_ID, 12, 12)
    assert (found.shared, found.coverage, found.missing) == (9, 0.75, 0.25)
    assert (found.newly_warm, found.newly_cold) == (0, 3)
    back = compare_spaces(engine, SPACE_ID, "other")
    assert (back.newly_warm, back.newly_cold) == (3, 0)
    engine.withdraw([str(factors.ids[0]), str(factors.ids[11]), "x"])
    found = compare_spaces(engine, "other")
    assert (found.with_space.tracks, found.space.tracks, found.shared) == (10, 10, 8)
    assert (found.newly_warm, found.newly_cold) == (0, 2)


def test_projected_tracks_are_no_part_of_a_training(engine: Engine) -> None:
    """Publishing the smaller training places the others by the transfer; the training is what it was."""
    factors = warm_factors()
    bring(engine, "other", factors.vectors[:9], factors.ids[:9])
    engine.refresh(space_id="other")
    assert engine.status().tracks == 12
    found = compare_spaces(engine, SPACE_ID)
    assert (found.with_space.space_id, found.with_space.tracks, found.newly_warm) == ("other", 9, 3)


def test_what_cannot_be_measured_is_left_out(empty: Engine) -> None:
    bring(empty, "old", vectors_of(0))
    bring(empty, "new", vectors_of(0, 11), IDS[:11])  # ten others: every list of ten is the same
    bring(empty, "far", vectors_of(0, 5), np.array(list("abcde")))
    found = compare_spaces(empty, "new", "old")
    assert (found.overlaps, found.shared) == ((), 11)
    assert found.alignment is not None
    assert found.alignment.held_out == 0
    nothing = compare_spaces(empty, "far", "old").as_dict()
    assert (nothing["shared"], nothing["coverage"], nothing["missing"]) == (0, 0.0, 1.0)
    assert (nothing["overlap@10"], nothing["overlap@100"], nothing["alignment"]) == (None, None, None)
    empty.withdraw(list("abcde"))
    gone = compare_spaces(empty, "new", "far")
    assert (gone.coverage, gone.with_space.quantiles()["q50"]) == (1.0, None)
    json.dumps([found.as_dict(), nothing, gone.as_dict()], allow_nan=False)


def test_plots_are_drawn_of_whatever_was_found(tmp_path: Path) -> None:
    """Also of lengths that rounding alone tells apart, and of no track at all."""
    unit = SpaceFigures("unit", 3, "cosine", np.array([1.0, 1.0 + 2**-52, 1.0 - 2**-53]))
    nothing = SpaceFigures("nothing", 3, "cosine", np.zeros(0))
    written = plot_comparison(SpaceComparison(unit, nothing, 0, 0, 0, (), None), tmp_path)
    assert [path.read_bytes()[:4] for path in written] == [b"\x89PNG"] * 2


def test_what_there_is_nothing_to_compare_with_is_refused(empty: Engine, engine: Engine) -> None:
    bring(empty, "only", vectors_of(0))
    with pytest.raises(NoSnapshotError, match="--with"):
        compare_spaces(empty, "only")
    with pytest.raises(SpaceComparisonError, match="itself"):
        compare_spaces(empty, "only", "only")
    with pytest.raises(SpaceComparisonError, match="itself"):
        compare_spaces(engine, SPACE_ID)
    for pair in (("only", "nowhere"), ("nowhere", "only")):
        with pytest.raises(UnknownSpaceError, match="nowhere"):
            compare_spaces(empty, *pair)


@pytest.fixture
def two(empty: Engine) -> Engine:
    """`old` is served; `new` shares three quarters of its tracks and nothing else, `few` ten of them."""
    bring(empty, "old", vectors_of(0))
    empty.refresh(space_id="old")
    bring(empty, "new", vectors_of(1, 180), IDS[:180])
    bring(empty, "few", vectors_of(0, 10), IDS[:10])
    return empty


@pytest.mark.parametrize(
    ("space_id", "limits", "sentences"),
    [
        ("new", {"min_overlap": 0.5}, ["its overlap@10 is 0.0", "where 0.5 is the least"]),
        ("new", {"min_coverage": 0.76}, ["it has 0.7500 of 'old''s tracks where 0.76 is the least"]),
        ("new", {"min_overlap": 0.5, "min_coverage": 1.0}, ["overlap@10", ", and it has 0.7500"]),
        ("few", {"min_overlap": 0.0}, ["cannot be measured on 10 shared tracks"]),
    ],
)
def test_a_space_below_a_limit_is_refused(two: Engine, space_id: str, limits: dict, sentences: list[str]) -> None:
    with pytest.raises(PublishRefusedError) as caught:
        require_likeness(two, space_id, **limits)
    for sentence in (*sentences, f"'{space_id}' is not published and 'old' is served on", "anacrusis space compare"):
        assert sentence in str(caught.value)


def test_a_space_at_its_limits_passes(two: Engine) -> None:
    found = require_likeness(two, "new", min_overlap=0.0, min_coverage=0.75)
    assert found is not None
    assert found.coverage == 0.75
    passed = require_likeness(two, "few", min_coverage=0.01)
    assert passed is not None


def test_nothing_is_compared_where_nothing_is_asked_or_served(two: Engine, tmp_path: Path) -> None:
    assert require_likeness(two, "new") is None
    assert require_likeness(two, "old", min_overlap=1.0, min_coverage=1.0) is None
    with Engine.open(tmp_path / "second", create=True) as other:
        bring(other, "old", vectors_of(0))
        assert require_likeness(other, "old", min_overlap=1.0) is None


@pytest.mark.parametrize("limit", [-0.1, 1.1, float("nan")])
@pytest.mark.parametrize("name", ["min_overlap", "min_coverage"])
def test_a_limit_is_a_share(two: Engine, name: str, limit: float) -> None:
    with pytest.raises(SpaceComparisonError, match=f"{name} is .*0 to 1") as caught:
        require_likeness(two, "new", **{name: limit})
    assert caught.value.field == name

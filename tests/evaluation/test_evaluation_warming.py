"""Early listeners leave the test, all three lines are judged alike, and the section says what it measured."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.evaluation.benchmark_folder import Benchmark
from jobs.evaluation.early_listeners import EarlyListeners
from jobs.evaluation.protocol import make_slice, per_user
from jobs.evaluation.registry import methods_named
from jobs.evaluation.run import fit_and_judge
from jobs.evaluation.warming import COUNTS, MARGIN, MIXED, WarmingUp, lead


@st.composite
def splits(draw: st.DrawFn) -> tuple[np.ndarray, int, int]:
    """Entries of a few users and tracks, sorted; some tracks without any."""
    users, tracks = draw(st.integers(2, 12)), draw(st.integers(2, 9))
    pairs = draw(st.sets(st.tuples(st.integers(0, users - 1), st.integers(0, tracks - 1)), min_size=1))
    return np.array(sorted(pairs), dtype=np.int64), users, tracks


@given(split=splits(), wanted=st.integers(0, 6), seed=st.integers(0, 3))
def test_so_many_listeners_of_each_track_are_early_and_one_is_left(split, wanted, seed):
    entries, _, tracks = split
    drawn = EarlyListeners.draw(entries, wanted, seed)
    both = np.concatenate([drawn.early, drawn.test])
    assert sorted(map(tuple, both.tolist())) == sorted(map(tuple, entries.tolist()))
    counts = np.bincount(entries[:, 1], minlength=tracks)
    early = np.bincount(drawn.early[:, 1], minlength=tracks)
    np.testing.assert_array_equal(early, np.minimum(wanted, np.maximum(counts - 1, 0)))
    assert drawn.users.tolist() == sorted(set(drawn.test[:, 0].tolist()))
    more = EarlyListeners.draw(entries, wanted + 1, seed)
    assert set(map(tuple, drawn.early.tolist())) <= set(map(tuple, more.early.tolist()))


@given(split=splits(), wanted=st.integers(0, 4), levels=st.integers(1, 4), seed=st.integers(0, 3))
def test_the_judge_is_the_protocol_without_early_listeners_and_a_slow_one_with_them(split, wanted, levels, seed):
    entries, users, tracks = split
    rng = np.random.default_rng(seed)
    people = rng.integers(-levels, levels + 1, size=(users, 2)).astype(np.float32)  # whole numbers: many ties
    vectors = rng.integers(-levels, levels + 1, size=(tracks, 2)).astype(np.float32)
    drawn = EarlyListeners.draw(entries, wanted, seed)
    found = drawn.ndcg(vectors, people)
    if wanted == 0:
        overall = make_slice("overall", np.ones(tracks, dtype=np.bool_), entries)
        expected = per_user(vectors, people, [overall])["overall"].ndcg
        np.testing.assert_allclose(found, expected)
    np.testing.assert_allclose(found, [_slow(user, drawn, vectors, people) for user in drawn.users.tolist()])


def _slow(user: int, drawn: EarlyListeners, vectors: np.ndarray, people: np.ndarray) -> float:
    known = {track for one, track in drawn.early.tolist() if one == user}
    asked = {track for one, track in drawn.test.tolist() if one == user}
    score = {track: float(people[user] @ vectors[track]) for track in range(len(vectors)) if track not in known}
    gain = 0.0
    for track in asked:
        better = sum(other > score[track] for other in score.values())
        equal = sum(other == score[track] for other in score.values())
        ranks = range(better, better + equal)
        gain += sum(1 / np.log2(rank + 2) for rank in ranks if rank < 20) / equal
    return gain / sum(1 / np.log2(rank + 2) for rank in range(min(20, len(asked))))


def test_the_section_measures_writes_draws_and_promises(benchmark: Benchmark, tmp_path: Path) -> None:
    context = fit_and_judge(benchmark, benchmark.splits["cold_test"], methods_named(["artist_mean"]), [0])
    section = WarmingUp()
    result = section.measure(context)
    assert json.loads(json.dumps(result)) == result
    assert (result["method"], list(result["points"])) == ("artist_mean", [*map(str, COUNTS), MIXED])
    first, last = result["points"]["0"], result["points"]["20"]
    assert first["ndcg@20"]["both"] == first["ndcg@20"]["prior"]
    assert first["ndcg@20"]["prior"]["mean"] == pytest.approx(
        context.per_user["overall"]["artist_mean"].ndcg.mean(), abs=1e-9
    )
    # Listeners say which cluster a track belongs to, also where its artist is new.
    assert last["ndcg@20"]["both"]["mean"] > last["ndcg@20"]["prior"]["mean"]
    checks = section.checks(result)
    assert not any(check.name.startswith("warming up, 0 ") for check in checks)  # both is the prior there
    assert len(checks) == len(COUNTS)
    page = section.markdown(result)
    (plot,) = section.plots(result, tmp_path)
    assert plot.name in page
    assert plot.read_bytes().startswith(b"\x89PNG")
    assert all(f"| {count} |" in page for count in (*COUNTS, MIXED))


def test_the_lead_is_the_worst_one_and_over_nothing_enough() -> None:
    assert lead(np.array([0.11, 0.19]), np.array([0.1, 0.2])) == pytest.approx((-0.05, 0.15))
    assert lead(np.array([0.2, 0.2]), np.array([0.1, 0.1])) == pytest.approx((MARGIN, 0.2))
    assert lead(np.array([0.0, 0.19]), np.array([0.0, 0.2])) == pytest.approx((-0.05, 0.095))
    assert lead(np.zeros(2), np.zeros(2)) == (MARGIN, 0.0)


def test_without_a_method_that_places_tracks_there_is_nothing_to_warm_up(benchmark: Benchmark) -> None:
    context = fit_and_judge(benchmark, benchmark.splits["cold_test"], methods_named(["popularity"]), [0])
    assert WarmingUp().measure(context) == {}

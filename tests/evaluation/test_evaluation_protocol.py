"""The protocol against a slow reading of the same words, and its slices against the data they are cut from."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_benchmark import tables

from jobs.evaluation import protocol
from jobs.evaluation.protocol import MAIN_SLICES, entry_ranks, make_slice, per_user, slices


def one_ranking(order: list[int], wanted: set[int]) -> tuple[float, float]:
    """Recall@20 and NDCG@20 of one user's ranking, word by word."""
    hits = [rank for rank, track in enumerate(order[:20], start=1) if track in wanted]
    ideal = sum(1 / math.log2(rank + 1) for rank in range(1, min(20, len(wanted)) + 1))
    return len(hits) / len(wanted), sum(1 / math.log2(rank + 1) for rank in hits) / ideal


@given(data=st.data())
def test_ties_count_as_the_mean_over_their_orders(data):
    tracks = data.draw(st.integers(1, 6))
    projected = np.array(
        data.draw(st.lists(st.lists(st.integers(-1, 1), min_size=2, max_size=2), min_size=tracks, max_size=tracks)),
        dtype=np.float32,
    )
    users = np.array([[1, 2], [0, 0], [-3, 1]], dtype=np.float32)
    pairs = data.draw(st.sets(st.tuples(st.integers(0, 2), st.integers(0, tracks - 1)), min_size=1))
    candidates = np.array(data.draw(st.lists(st.booleans(), min_size=tracks, max_size=tracks)))
    entries = np.array(sorted(pair for pair in pairs if candidates[pair[1]]), dtype=np.int64).reshape(-1, 2)
    with pytest.MonkeyPatch.context() as patched:  # a list of 3 of at most 6, so that ties straddle its end
        patched.setattr(protocol, "LIST_LENGTH", 3)
        patched.setattr(protocol, "ENTRY_BLOCK", 2)
        found = per_user(projected, users, [make_slice("some", candidates, entries)])["some"]
        asked = sorted({user for user, _ in entries.tolist()})
        places = np.flatnonzero(candidates).tolist()
        for at, user in enumerate(asked):
            wanted = {places.index(track) for owner, track in entries.tolist() if owner == user}
            scores = [float(users[user] @ projected[track]) for track in places]
            recall, ndcg = _at_three(scores, wanted)
            assert found.recall[at] == pytest.approx(recall)
            assert found.ndcg[at] == pytest.approx(ndcg)
    assert len(found.recall) == len(asked)


def _at_three(scores: list[float], wanted: set[int]) -> tuple[float, float]:
    """Recall@3 and NDCG@3, the mean over every order of the candidates that the scores allow."""
    orders = [
        order
        for order in itertools.permutations(range(len(scores)))
        if all(scores[left] >= scores[right] for left, right in itertools.pairwise(order))
    ]
    recall = np.mean([len(wanted & set(order[:3])) / len(wanted) for order in orders])
    ideal = sum(1 / math.log2(rank + 2) for rank in range(min(3, len(wanted))))
    gains = [
        sum(1 / math.log2(rank + 2) for rank, track in enumerate(order[:3]) if track in wanted) for order in orders
    ]
    return float(recall), float(np.mean(gains) / ideal)


def test_a_split_without_ties_is_ranked_as_one_would(benchmark):
    rng = np.random.default_rng(1)
    split = benchmark.splits["cold_test"]
    projected = rng.normal(size=(len(split.tracks), benchmark.warm.dim)).astype(np.float32)
    cut = slices(benchmark, split)
    found = per_user(projected, benchmark.users, list(cut.values()))
    assert list(found) == list(cut)
    for name in cut:
        candidates = np.flatnonzero(cut[name].candidates)
        for at, user in enumerate(cut[name].users.tolist()):
            wanted = {track for owner, track in cut[name].entries.tolist() if owner == user}
            scores = projected[candidates].astype(np.float64) @ benchmark.users[user]
            order = candidates[np.argsort(-scores)].tolist()
            recall, ndcg = one_ranking(order, wanted)
            assert found[name].recall[at] == pytest.approx(recall)
            assert found[name].ndcg[at] == pytest.approx(ndcg)


def test_scores_rank_alike_for_all_users(benchmark):
    split = benchmark.splits["cold_val"]
    cut = slices(benchmark, split)
    scores = np.arange(len(split.tracks), dtype=np.float32) // 3
    constant = np.zeros((len(split.tracks), benchmark.warm.dim), dtype=np.float32)
    constant[:, 0] = scores
    users = np.zeros_like(benchmark.users)
    users[:, 0] = 1.0
    as_scores = per_user(scores, users, list(cut.values()))
    as_vectors = per_user(constant, users, list(cut.values()))
    for name in cut:
        np.testing.assert_allclose(as_scores[name].ndcg, as_vectors[name].ndcg)
        np.testing.assert_allclose(as_scores[name].recall, as_vectors[name].recall)


def test_the_order_of_the_rows_gives_nothing_away(benchmark):
    """A method that cannot tell tracks apart gets what a random order would get, wherever the popular ones stand."""
    split = benchmark.splits["cold_test"]
    same = np.zeros((len(split.tracks), benchmark.warm.dim), dtype=np.float32)
    overall = slices(benchmark, split)["overall"]
    found = per_user(same, benchmark.users, [overall])["overall"]
    np.testing.assert_allclose(found.recall, protocol.LIST_LENGTH / len(split.tracks))


def test_equal_vectors_tie_whatever_the_matrix_product_rounds():
    rng = np.random.default_rng(0)
    vectors = np.repeat(rng.normal(size=(13, 129)), 7, axis=0).astype(np.float32)
    users = rng.normal(size=(5, 129)).astype(np.float32)
    entries = np.array([(user, row) for user in range(5) for row in range(len(vectors))])
    better, equal = entry_ranks(vectors, users, entries)
    assert (equal == 7).all()
    assert sorted(set(better.tolist())) == list(range(0, 91, 7))


def test_the_slices_are_what_they_are_called(benchmark):
    columns = tables()
    artists = dict(zip(columns["tracks"]["track_id"], columns["tracks"]["artist_ids"], strict=True))
    content = dict(zip(columns["tracks"]["track_id"], columns["tracks"]["content"], strict=True))
    warm_artists = {artists[str(one)][0] for one in benchmark.warm.track_ids}
    split = benchmark.splits["cold_test"]
    names = [str(one) for one in split.tracks.track_ids]
    heard: dict[int, set[str]] = {}
    for user, track in benchmark.warm_entries.tolist():
        heard.setdefault(user, set()).add(artists[str(benchmark.warm.track_ids[track])][0])
    cut = slices(benchmark, split)
    assert set(MAIN_SLICES) < set(cut)
    known = {(u, t) for u, t in split.entries.tolist() if artists[names[t]][0] in heard.get(u, set())}
    entries = {name: {tuple(pair) for pair in one.entries.tolist()} for name, one in cut.items()}
    assert entries["overall"] == {tuple(pair) for pair in split.entries.tolist()}
    assert entries["exploit"] == known
    assert entries["discovery"] == entries["overall"] - known
    for name in ("overall", "discovery", "exploit"):
        assert cut[name].candidates.all()
    kinds = {
        "with_catalogue": lambda name: artists[name][0] in warm_artists,
        "without_catalogue": lambda name: artists[name][0] not in warm_artists,
        "content_known": lambda name: content[name] is not None,
        "content_unknown": lambda name: content[name] is None,
    }
    for kind, holds in kinds.items():
        assert cut[kind].candidates.tolist() == [holds(name) for name in names]
        assert entries[kind] == {(u, t) for u, t in entries["overall"] if holds(names[t])}
    both = cut["without_catalogue"].candidates & cut["content_known"].candidates
    assert cut["without_catalogue_content"].candidates.tolist() == both.tolist()
    among_all = cut["without_catalogue_content_among_all"]
    assert among_all.candidates.all()
    assert among_all.entries.tolist() == cut["without_catalogue_content"].entries.tolist()
    for one in cut.values():
        assert one.users.tolist() == sorted({user for user, _ in one.entries.tolist()})

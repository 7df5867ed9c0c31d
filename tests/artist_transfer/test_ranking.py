import numpy as np
import pytest

from artist_transfer import Interactions
from artist_transfer.ranking import ListenerJudge, NeighbourJudge, list_length, nearest, row_cosine


def test_nearest_agrees_with_sorting_everything():
    rng = np.random.default_rng(0)
    queries, reference = rng.normal(size=(7, 5)), rng.normal(size=(40, 5))
    expected = np.argsort(-queries @ reference.T, axis=1)[:, :6]
    np.testing.assert_array_equal(nearest(queries.astype(np.float32), reference.astype(np.float32), 6), expected)


def test_row_cosine_of_zero_is_zero():
    left = np.array([[1, 0], [0, 0], [3, 4], [1, 1]], dtype=np.float32)
    right = np.array([[2, 0], [1, 1], [-3, -4], [1, -1]], dtype=np.float32)
    np.testing.assert_allclose(row_cosine(left, right), [1, 0, -1, 0], atol=1e-6)


@pytest.mark.parametrize(("tracks", "k"), [(1, 1), (9, 1), (10, 2), (31, 6), (100, 20), (10_000, 20)])
def test_the_list_is_a_fifth_of_a_small_space(tracks, k):
    assert list_length(tracks) == k


def test_the_true_vector_scores_1_and_its_opposite_0():
    rng = np.random.default_rng(0)
    true, reference = rng.normal(size=(5, 4)).astype(np.float32), rng.normal(size=(200, 4)).astype(np.float32)
    judge = NeighbourJudge(true, reference)
    np.testing.assert_allclose(judge.ndcg(true), 1.0)
    np.testing.assert_allclose(judge.ndcg(3 * true), 1.0)
    np.testing.assert_allclose(judge.ndcg(-true), 0.0)


def test_ndcg_by_hand():
    """Ten tracks on a half circle: lists of two. One of two is found, at the first rank, then at the second."""
    angle = np.linspace(0, np.pi, 10)
    reference = np.stack([np.cos(angle), np.sin(angle)], axis=1).astype(np.float32)
    between = [(angle[0] * 2 + angle[1]) / 3, (angle[1] * 2 + angle[2]) / 3, (angle[1] + angle[2] * 2) / 3]
    at = np.stack([np.cos(between), np.sin(between)], axis=1).astype(np.float32)
    judge = NeighbourJudge(at[[0, 0]], reference)  # relevant: tracks 0 and 1
    whole = 1 + 1 / np.log2(3)
    np.testing.assert_allclose(judge.ndcg(at[[1, 2]]), [1 / whole, (1 / np.log2(3)) / whole], rtol=1e-6)


def test_listeners_against_a_plain_loop():
    rng = np.random.default_rng(0)
    users, vectors = rng.normal(size=(30, 4)).astype(np.float32), rng.normal(size=(40, 4)).astype(np.float32)
    entries = np.argwhere(rng.random((30, 40)) < 0.1)
    entries = entries[(entries[:, 0] % 5 != 0)]  # every fifth listened to nothing
    judge = ListenerJudge(Interactions(users, entries), 40)
    assert judge.k == 8
    expected = []
    for user in range(30):
        mine = set(entries[entries[:, 0] == user, 1].tolist())
        if not mine:
            continue
        ranked = np.argsort(-(vectors @ users[user]))[:8].tolist()
        found = sum(1 / np.log2(rank + 2) for rank, track in enumerate(ranked) if track in mine)
        expected.append(found / sum(1 / np.log2(rank + 2) for rank in range(min(len(mine), 8))))
    np.testing.assert_allclose(judge.ndcg(vectors), expected, rtol=1e-6)


def test_nobody_listened():
    judge = ListenerJudge(Interactions(np.ones((3, 2)), np.empty((0, 2), dtype=np.int64)), 5)
    assert judge.ndcg(np.ones((5, 2), dtype=np.float32)).shape == (0,)

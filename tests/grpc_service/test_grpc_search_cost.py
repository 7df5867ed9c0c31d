"""The expected wait rests on what searches cost."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from grpc_service.search_cost import SearchCost

OWN_S, EACH_S = 0.0004, 0.0001


def _cost(sizes: list[int]) -> SearchCost:
    cost = SearchCost()
    for size in sizes:
        cost.learn(size, OWN_S + EACH_S * size)
    return cost


def test_what_a_search_costs_by_itself_is_told_from_its_queries() -> None:
    cost = _cost(np.random.default_rng(1).integers(1, 12, 200).tolist())
    for queries in (1, 5, 50, 1000):
        assert cost.expected_s(queries) == pytest.approx(OWN_S + EACH_S * queries, rel=1e-3)


def test_from_searches_of_one_size_every_query_takes_its_share() -> None:
    assert _cost([4] * 100).expected_s(8) == pytest.approx(2 * (OWN_S + 4 * EACH_S))


def test_it_follows_what_became_slower_and_forgives_one_pause() -> None:
    cost = _cost([1, 2, 4] * 50)
    before = cost.expected_s(4)
    cost.learn(4, 5.0)
    assert cost.expected_s(4) < 1.2 * before
    for _ in range(200):
        cost.learn(4, 10 * before)
    assert cost.expected_s(4) == pytest.approx(10 * before, rel=0.05)


@given(st.lists(st.tuples(st.integers(1, 1024), st.floats(1e-6, 10.0)), max_size=50), st.integers(0, 10_000))
def test_it_is_never_below_nothing_and_grows_with_the_queries(seen: list[tuple[int, float]], queries: int) -> None:
    cost = SearchCost()
    for size, seconds in seen:
        cost.learn(size, seconds)
    assert 0.0 <= cost.expected_s(queries) <= cost.expected_s(queries + 1) + 1e-12

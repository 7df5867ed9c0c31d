"""Comparing what a refresh left with what another one did."""

from __future__ import annotations

import numpy as np
import pytest
from made_home import SPACE_ID

from index import ServedVector, Tier
from jobs import Engine


def rows_of(engine: Engine, space_id: str = SPACE_ID) -> dict[str, ServedVector]:
    """Cold rows as a snapshot that is built now would hold them."""
    rows = engine.store.served_rows(space_id).records()
    withdrawn = engine.store.withdrawn()
    return {row.track_id: row for row in rows if row.tier is not Tier.COLLABORATIVE and row.track_id not in withdrawn}


def assert_same(found: dict[str, ServedVector], wanted: dict[str, ServedVector]) -> None:
    """The same vectors, within rounding, made from the same things."""
    assert found.keys() == wanted.keys()
    for track_id, row in found.items():
        other = wanted[track_id]
        np.testing.assert_allclose(row.vector, other.vector, atol=1e-5)
        assert row.confidence == pytest.approx(other.confidence, abs=1e-5)
        for name in ("tier", "model_id", "catalogue_size", "basis", "catalogue_basis"):
            assert getattr(row, name) == getattr(other, name), (track_id, name)
        assert [one for one, _ in row.leaned_on] == [one for one, _ in other.leaned_on]

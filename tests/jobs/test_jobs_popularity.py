"""Popularity on its way: from the file of a training, through a projection, to an answer; and damped in it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from made_catalogue import release, warm_factors

from index import InvalidQueryError, Popularity
from jobs import Engine, FactorsError, Query
from jobs.factors import read_factors
from jobs.projector import build_projector, warm_tracks
from jobs.spaces import import_space

VECTORS = np.arange(6, dtype=np.float32).reshape(3, 2)
IDS = ["a", "b", "c"]
COUNTS = [12, None, 0.5]


def write(folder: Path, layout: str, counts: list[object], column: str = "popularity") -> Path:
    path = folder / f"items.{layout}"
    if layout == "npy":
        np.save(path, VECTORS)
        path.with_suffix(".ids").write_text("\n".join(IDS))
        np.save(folder / "items.popularity.npy", np.array(counts, dtype=np.float64))
    elif layout == "jsonl":
        rows = zip(IDS, VECTORS.tolist(), counts, strict=True)
        path.write_text("\n".join(json.dumps({"track_id": i, "vector": v, column: n}) for i, v, n in rows))
    else:
        pq.write_table(pa.table({"track_id": IDS, "vector": VECTORS.tolist(), column: counts}), path)
    return path


@pytest.mark.parametrize("layout", ["parquet", "npy", "jsonl"])
def test_listens_of_every_layout_read_the_same(tmp_path: Path, layout: str) -> None:
    factors = read_factors(write(tmp_path, layout, COUNTS), id_column="track_id")
    assert factors.popularity is not None
    assert factors.popularity.dtype == np.float32
    np.testing.assert_array_equal(factors.popularity, [12, np.nan, 0.5])
    np.testing.assert_array_equal(factors.vectors, VECTORS)


@pytest.mark.parametrize("layout", ["parquet", "jsonl"])
def test_a_column_of_another_name_has_to_be_named_and_to_be_there(tmp_path: Path, layout: str) -> None:
    path = write(tmp_path, layout, COUNTS, "plays")
    assert read_factors(path, id_column="track_id").popularity is None
    found = read_factors(path, id_column="track_id", popularity_column="plays").popularity
    np.testing.assert_array_equal(found, [12, np.nan, 0.5])
    with pytest.raises(FactorsError, match="listens"):
        read_factors(path, id_column="track_id", popularity_column="listens")


def test_a_matrix_has_no_column_to_name(tmp_path: Path) -> None:
    with pytest.raises(FactorsError, match=r"put the counts into .*items\.popularity\.npy"):
        read_factors(write(tmp_path, "npy", [1, 2, 3]), id_column="track_id", popularity_column="plays")


def test_users_have_no_popularity(tmp_path: Path) -> None:
    path = tmp_path / "users.parquet"
    pq.write_table(pa.table({"user_id": IDS, "vector": VECTORS.tolist(), "popularity": ["x", "y", "z"]}), path)
    assert read_factors(path, id_column="user_id").popularity is None
    (tmp_path / "users.jsonl").write_text('{"user_id": "a", "vector": [1], "": 3, "popularity": "x"}')
    assert read_factors(tmp_path / "users.jsonl", id_column="user_id").popularity is None


@pytest.mark.parametrize("layout", ["parquet", "npy", "jsonl"])
@pytest.mark.parametrize("bad", [-1, float("inf"), 1e300])
def test_a_count_that_is_none_is_named(tmp_path: Path, layout: str, bad: float) -> None:
    with pytest.raises(FactorsError, match=r"'b'|line 2"):
        read_factors(write(tmp_path, layout, [1.0, bad, 2.0]), id_column="track_id")


@pytest.mark.parametrize(
    ("layout", "counts", "sentence"),
    [
        ("parquet", [1.0, float("nan"), 2.0], "1 NaN; leave unknown counts empty"),
        ("parquet", ["1", "2", "3"], "holds string; numbers are needed"),
        ("parquet", [True, False, True], "holds bool; numbers are needed"),
        ("jsonl", [1.0, float("nan"), 2.0], "line 2: the popularity is 'nan'"),
        ("jsonl", [1, "2", 3], "line 2: the popularity is '2'"),
        ("jsonl", [1, True, 3], "line 2: the popularity is 'True'"),
        ("jsonl", [1, 10**400, 3], "line 2"),
        ("npy", [1, 2], r"shape \(2,\) for 3 vectors"),
    ],
)
def test_counts_that_are_no_numbers_are_refused(
    tmp_path: Path, layout: str, counts: list[object], sentence: str
) -> None:
    with pytest.raises(FactorsError, match=sentence):
        read_factors(write(tmp_path, layout, counts), id_column="track_id")


def test_a_column_without_any_count_is_all_unknown(tmp_path: Path) -> None:
    factors = read_factors(write(tmp_path, "parquet", [None] * 3), id_column="track_id")
    assert factors.popularity is not None
    assert np.isnan(factors.popularity).all()


@pytest.fixture
def counted(engine: Engine) -> Engine:
    """The engine, serving a space whose import counts the listens of all tracks but the first."""
    factors = warm_factors()
    listens = np.arange(len(factors.ids), dtype=np.float32) * 10
    listens[0] = np.nan
    done = import_space(engine, "counted", replace(factors, popularity=listens))
    assert done.popularity_share == pytest.approx(11 / 12)
    engine.refresh(space_id="counted")
    return engine


def test_the_transfer_learns_from_what_was_counted(counted: Engine) -> None:
    encoder_id = counted.encoder.encoder_id
    warm = warm_tracks(counted.store, "counted", encoder_id)
    assert warm is not None
    places = {track_id: place for place, track_id in enumerate(warm_factors().ids.tolist())}
    expected = [np.nan if not places[i] else 10.0 * places[i] for i in warm.track_ids.tolist()]
    np.testing.assert_array_equal(warm.popularity, np.array(expected, dtype=np.float32))
    uncounted = warm_tracks(counted.store, "space-1", encoder_id)
    assert uncounted is not None
    assert np.isnan(uncounted.popularity).all()


def test_a_projection_brings_its_popularity_along(counted: Engine) -> None:
    class Predicting:
        """The projector's own model, as if it knew how often its tracks will be listened to."""

        def __init__(self, model: object) -> None:
            self._model = model

        def __getattr__(self, name: str) -> object:
            return getattr(self._model, name)

        def project(self, targets, catalogue):  # type: ignore[no-untyped-def]
            done = self._model.project(targets, catalogue)  # type: ignore[attr-defined]
            middle = np.array([np.nan, 40.0], dtype=np.float32)
            return replace(done, popularity=middle, popularity_low=middle / 5, popularity_high=middle * 5)

    encoder_id = counted.encoder.encoder_id
    projector = build_projector(counted.store, counted.home, "counted", encoder_id, device="cpu")
    assert projector is not None
    ids, content = counted.store.content(encoder_id, ["ada-0", "ada-1"])
    records = {record.track_id: record for record in counted.store.tracks(ids)}
    rows = replace(projector, model=Predicting(projector.model)).project([records[i] for i in ids], content)  # type: ignore[arg-type]
    assert [row.popularity for row in rows] == [None, Popularity(40.0, 8.0, 200.0)]


def test_answers_embeddings_and_ingests_say_it(counted: Engine) -> None:
    hits = counted.ask(Query(track_id="ada-0", k=11)).hits[0]
    listens = dict(zip(hits.track_ids, hits.popularity[:, 0].tolist(), strict=True))
    assert listens == {track_id: 10.0 * place for place, track_id in enumerate(warm_factors().ids.tolist()) if place}
    (found,) = counted.embeddings(["ada-1"]).embeddings
    assert found.popularity == Popularity(10.0, 10.0, 10.0)  # type: ignore[union-attr]
    (outcome,) = counted.ingest([release("new")])
    (placed,) = counted.embeddings(["new"]).embeddings
    assert outcome.popularity == placed.popularity  # type: ignore[union-attr]


def test_queries_of_one_batch_keep_their_own_damping(counted: Engine) -> None:
    dampings = [0.0, 1.0, 0.5, 0.0, 7.0, 1.0]
    answers = counted.search([Query(track_id="ben-1", k=11, popularity_damping=damping) for damping in dampings])
    vectors = warm_factors().vectors
    query = vectors[warm_factors().ids.tolist().index("ben-1")]
    lengths = np.linalg.norm(vectors, axis=1)
    for damping, found in zip(dampings, answers, strict=True):
        if damping > 1:
            assert isinstance(found, InvalidQueryError)
            continue
        assert not isinstance(found, Exception)
        scores = dict(zip(found.hits[0].track_ids, found.hits[0].scores.tolist(), strict=True))
        for place, track_id in enumerate(warm_factors().ids.tolist()):
            if track_id != "ben-1":
                weight = 1 - damping + damping * lengths.mean() / lengths[place]
                assert scores[track_id] == pytest.approx(vectors[place] @ query * weight, abs=0.01)

"""Files of events: three formats, wrong rows told apart, wrong files refused."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from made_catalogue import release

from jobs import Engine, FeedbackFileError, FeedbackState
from jobs.feedback_file import FeedbackFileReport, record_feedback_file

ROWS = [
    {"user_id": "listener", "track_id": "new", "action": "play", "position": 2, "timestamp": "2024-05-01T12:30:00Z"},
    {"user_id": "stranger", "track_id": "new", "action": "Skip", "position": None, "timestamp": None},
]


@pytest.fixture
def cold(engine: Engine) -> Engine:
    engine.ingest([release()])
    return engine


def written(folder: Path, kind: str, rows: list[dict[str, object]]) -> Path:
    path = folder / f"events.{kind}"
    if kind == "parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    elif kind == "csv":
        cells = [",".join("" if value is None else str(value) for value in row.values()) for row in rows]
        path.write_text("\n".join([",".join(rows[0]), *cells]) + "\n")
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def outcome(report: FeedbackFileReport) -> tuple[int, ...]:
    return tuple(report.states.get(state, 0) for state in FeedbackState)


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_every_format_says_the_same(cold: Engine, tmp_path: Path, kind: str) -> None:
    report = record_feedback_file(cold, written(tmp_path, kind, ROWS))
    assert (report.rows, outcome(report), report.refused) == (2, (1, 1, 0, 0), [])
    assert report.tracks["new"].standing.listeners == pytest.approx(0.63093)  # one play at the second place
    played, skipped = sorted(cold.store.feedback(["new"]), key=lambda event: event.action)
    assert (played.user_id, played.session_position) == ("listener", 2)
    assert played.at == dt.datetime(2024, 5, 1, 12, 30, tzinfo=dt.UTC)
    assert (skipped.user_id, skipped.session_position, skipped.at) == ("stranger", None, None)
    # The ids are made from what the rows say, so that the same rows in another format are the same events.
    for other in ("csv", "jsonl", "parquet"):
        assert outcome(record_feedback_file(cold, written(tmp_path, other, ROWS))) == (0, 0, 2, 0)


def test_timestamps_of_parquet_and_without_a_zone_are_utc(cold: Engine, tmp_path: Path) -> None:
    when = dt.datetime(2024, 5, 1, 12, 30, tzinfo=dt.UTC)
    rows = [{**ROWS[0], "timestamp": when.replace(tzinfo=None)}]
    table = pa.Table.from_pylist(rows).cast(
        pa.schema(
            [
                ("user_id", pa.string()),
                ("track_id", pa.string()),
                ("action", pa.string()),
                ("position", pa.int64()),
                ("timestamp", pa.timestamp("ns")),
            ]
        )
    )
    pq.write_table(table, tmp_path / "events.parquet")
    record_feedback_file(cold, tmp_path / "events.parquet")
    assert [event.at for event in cold.store.feedback(["new"])] == [when]


def test_wrong_rows_are_listed_and_the_others_recorded(cold: Engine, tmp_path: Path) -> None:
    good = ROWS[0]
    rows: list[object] = [
        {**good, "action": "like"},
        {**good, "position": 0},
        {**good, "position": "third"},
        {**good, "timestamp": "yesterday"},
        {**good, "track_id": ["new"]},
        {**good, "user_id": ""},
        {**good, "track_id": "ada-0"},
        ["no", "object"],
        {**good, "position": 1.0},
    ]
    path = tmp_path / "events.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows) + "no json\n")
    report = record_feedback_file(cold, path)
    assert outcome(report) == (1, 0, 0, 9)
    assert [(one.row, one.reason) for one in report.refused] == [
        (1, "FEEDBACK_INVALID"),
        (2, "FEEDBACK_INVALID"),
        (3, "FEEDBACK_INVALID"),
        (4, "FEEDBACK_INVALID"),
        (5, "FEEDBACK_INVALID"),
        (6, "ID_INVALID"),
        (7, "TRACK_COLLABORATIVE"),
        (8, "FEEDBACK_INVALID"),
        (10, "FEEDBACK_INVALID"),
    ]
    assert (report.refused[0].track_id, report.refused[0].user_id) == ("new", "listener")


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("events.csv", None, "is not there"),
        ("events.csv", b"", "is empty"),
        ("events.txt", b"x", "has to end in"),
        ("events.csv", b"user_id,track_id\na,b\n", "lacks the column action"),
        ("events.csv", b"user_id,track_id,action\n", "has no rows"),
        ("events.csv", b'user_id,track_id,action\n"a', "no well-formed CSV"),
        ("events.csv", b"user_id,track_id,action\n\xff,b,play\n", "not UTF-8"),
        ("events.parquet", b"PAR1 not", "no readable Parquet"),
    ],
)
def test_a_file_that_cannot_be_taken_says_why(
    engine: Engine, tmp_path: Path, name: str, content: bytes | None, said: str
) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(FeedbackFileError, match=said):
        record_feedback_file(engine, path)
    assert not engine.store.feedback_counts()

"""A retrain that no query notices; and that the check which says so would notice."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks.reply_checks import Reply, Timeline, Truth, Withdrawal, fault_of
from benchmarks.retrain_under_load import SHORT, run
from index import Metric, Searcher, ServedVector, SpaceRecord, Store, Tier, WriteBatch, build_snapshot

DIM, COUNT, K = 8, 40, 5
IDS = [f"t{number:02d}" for number in range(COUNT)]
SPACES = ("old", "new")


def test_no_query_fails_and_no_answer_mixes_spaces_while_a_training_comes_and_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # of the server and of the commands: all share two cores
    result = run(tmp_path, SHORT)
    assert result["failures"] == {}, result["first_faults"]
    assert [check for check in result["checks"] if not check["holds"]] == [], result["first_faults"]
    assert set(result["answers_by_space"]) == {"training-0", "training-1"}
    assert min(result["refused_rightly"], result["ingested"], result["withdrawn"]) > 0
    assert all(step["queries"] for step in result["steps"])


@pytest.fixture
def truth(tmp_path: Path) -> Iterator[tuple[Truth, dict[str, Reply]]]:
    """Two trainings, one the other's rotation and scale with noise; and what each answers about one track."""
    rng = np.random.default_rng(0)
    old = rng.normal(size=(COUNT, DIM)).astype(np.float32)
    rotation = np.linalg.qr(rng.normal(size=(DIM, DIM)))[0]
    new = (1.3 * (old + 0.1 * rng.normal(size=old.shape)) @ rotation).astype(np.float32)
    answers = {}
    with Store.open(tmp_path / "home") as store:
        for space_id, vectors in zip(SPACES, (old, new), strict=True):
            store.create_space(SpaceRecord(space_id, DIM, Metric.INNER_PRODUCT), IDS, vectors, ["u"], vectors[:1])
            store.publish(build_snapshot(store, space_id).snapshot_id)
            fresh = ServedVector("fresh", vectors[0] * 2, Tier.ARTIST_TRANSFER, 0.5, "m")
            store.commit(WriteBatch(fresh={space_id: [fresh]}))
            with Searcher.open(store, device="cpu") as searcher:
                found = searcher.search(searcher.vectors([IDS[3]])[1], K)
                hits = found[0]
                answers[space_id] = Reply(
                    1.0, 2.0, "track", IDS[3], K, "", space_id, found.snapshot_id,
                    hits.track_ids, hits.scores.tolist(), hits.tiers.tolist(),
                )  # fmt: skip
        yield Truth(store), answers


def fault(truth: Truth, reply: Reply, *withdrawals: Withdrawal) -> str:
    return fault_of(reply, truth, Timeline([(0.0, frozenset(SPACES))]), withdrawals)


def test_a_right_answer_has_no_fault(truth: tuple[Truth, dict[str, Reply]]) -> None:
    known, answers = truth
    assert [fault(known, reply) for reply in answers.values()] == ["", ""]
    taken_out = replace(
        answers["old"],
        track_ids=answers["old"].track_ids[1:],
        scores=answers["old"].scores[1:],
        tiers=answers["old"].tiers[1:],
    )
    assert fault(known, taken_out).startswith("short")
    assert fault(known, taken_out, Withdrawal(answers["old"].track_ids[0], 1.5, 3.0)) == ""


def test_a_mixed_answer_is_found(truth: tuple[Truth, dict[str, Reply]]) -> None:
    known, answers = truth
    old, new = answers["old"], answers["new"]
    mixed = {
        "another space's snapshot": replace(old, snapshot_id=new.snapshot_id),
        "another space's name": replace(old, space_id="new"),
        "another space's answer": replace(old, space_id="new", snapshot_id=new.snapshot_id),
        "another space's scores": replace(old, scores=new.scores),
        "one score of another space": replace(old, scores=[new.scores[0], *old.scores[1:]]),
        "one track": replace(old, track_ids=[*old.track_ids[:-1], "t39" if "t39" not in old.track_ids else "t38"]),
        "a track of no space": replace(old, track_ids=[*old.track_ids[:-1], "nobody's"]),
        "another tier": replace(old, tiers=[3, *old.tiers[1:]]),
        "another query": replace(old, subject=IDS[4]),
        "another space than asked": replace(old, asked_space_id="new"),
    }
    right = {name: reply for name, reply in mixed.items() if not fault(known, reply).startswith("mixed")}
    assert right == {}


def test_a_query_of_one_space_over_the_rows_of_another_is_found(truth: tuple[Truth, dict[str, Reply]]) -> None:
    """The mixture that a client would never see by itself: only the query's vector is of another space."""
    known, answers = truth
    old, new = answers["old"], answers["new"]
    query = known.rows(old.snapshot_id, IDS[3])[0][0]
    rows = [known.rows(new.snapshot_id, track_id)[0][0] for track_id in new.track_ids]
    scores = sorted((float(query @ row) for row in rows), reverse=True)
    assert fault(known, replace(new, scores=scores)).startswith("mixed")


def test_what_is_served_at_the_wrong_time_is_found(truth: tuple[Truth, dict[str, Reply]]) -> None:
    known, answers = truth
    timeline = Timeline()
    timeline.change(0.0, "old")
    timeline.change(1.5, "old", "new")
    timeline.change(3.0, "new")
    early, late = (
        replace(answers["new"], sent_s=1.0, received_s=1.4),
        replace(answers["old"], sent_s=3.1, received_s=4.0),
    )
    assert [fault_of(answers[space_id], known, timeline, []) for space_id in SPACES] == ["", ""]
    assert all(fault_of(reply, known, timeline, []).startswith("mixed") for reply in (early, late))


def test_a_withdrawn_track_is_found(truth: tuple[Truth, dict[str, Reply]]) -> None:
    known, answers = truth
    shown = answers["old"].track_ids[2]
    assert fault(known, answers["old"], Withdrawal(shown, 0.1, 0.9)).startswith("withdrawn")
    assert fault(known, answers["old"], Withdrawal(shown, 0.1, 1.1)) == ""

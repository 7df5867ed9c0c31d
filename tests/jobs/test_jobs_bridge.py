"""From one training into the next: what was placed stays, what was lost falls back, what was fitted serves on."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from retrains import (
    COLD,
    DIM,
    USERS,
    WARM,
    artist_of,
    bring,
    first_training,
    hear,
    open_engine,
    record,
    serve_first,
    turned,
)

from index import FeedbackAction, FeedbackEvent, NoSnapshotError, ServedVector, Tier, UnknownSpaceError, WriteBatch
from jobs import Engine, Query
from jobs.bridge import bridge_if_due, bridge_space
from jobs.carried_rows import align
from jobs.errors import BridgeError
from jobs.models import newest_model
from jobs.spaces import rollback_snapshot
from jobs.train import train_space


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("bridge") / "home"
    with open_engine(home, create=True) as engine:
        serve_first(engine)
    return home


@pytest.fixture
def engine(template: Path, tmp_path: Path) -> Iterator[Engine]:
    """A home in which 160 warm and 40 cold tracks are served, the latter by a fitted artist mean."""
    with open_engine(Path(shutil.copytree(template, tmp_path / "home"))) as opened:
        yield opened


def rows(engine: Engine, space_id: str) -> dict[str, ServedVector]:
    return {row.track_id: row for row in engine.store.served_rows(space_id).records()}


def test_cold_tracks_keep_their_place(engine: Engine) -> None:
    before = rows(engine, "old")
    bring(engine, "new", turned(first_training()))
    done = bridge_space(engine, "new")
    assert (done.from_space_id, done.shared, done.carried, done.fallen_back) == ("old", 160, 40, 0)
    assert done.residual == pytest.approx(0.0, abs=1e-4)
    assert done.cosine == pytest.approx(1.0, abs=1e-4)
    after = rows(engine, "new")
    assert after.keys() == {*WARM, *COLD}
    carried = turned(np.stack([before[one].vector for one in COLD]))
    np.testing.assert_allclose(np.stack([after[one].vector for one in COLD]), carried, atol=1e-4)
    for one in COLD:
        assert (after[one].tier, after[one].model_id) == (Tier.ARTIST_TRANSFER, done.model_id)
        assert after[one].leaned_on == before[one].leaned_on
        assert (after[one].basis, after[one].catalogue_size) == (before[one].basis, before[one].catalogue_size)
    assert engine.store.published().space_id == "old", "nothing is visible before a publish"


def test_the_publish_that_follows_touches_nothing(engine: Engine) -> None:
    bring(engine, "new", turned(first_training(), dim=10, noise=0.1))
    bridge_space(engine, "new")
    staged = rows(engine, "new")
    done = engine.refresh(space_id="new")
    assert (done.space_id, done.projected) == ("new", 0)
    assert done.method == "carried"
    served = rows(engine, "new")
    for one in COLD:
        np.testing.assert_array_equal(served[one].vector, staged[one].vector)
    answer = engine.ask(Query(track_id=COLD[0], k=5))
    assert (answer.space_id, len(answer.hits[0])) == ("new", 5)


def test_the_carried_transfer_places_releases_in_the_new_space(engine: Engine) -> None:
    """What is re-projected there lies where the old space had it, carried over."""
    before = rows(engine, "old")
    bring(engine, "new", turned(first_training()))
    bridge_space(engine, "new")
    engine.refresh(space_id="new", everything=True)
    after = rows(engine, "new")
    expected = turned(np.stack([before[one].vector for one in COLD]))
    np.testing.assert_allclose(np.stack([after[one].vector for one in COLD]), expected, atol=1e-3)


def test_an_older_space_keeps_the_transfer_that_served_it(engine: Engine) -> None:
    """Published again, it gets what it lacks and not what came back to it by way of the newer one."""
    bring(engine, "new", turned(first_training(), noise=0.2))
    bridge_space(engine, "new")
    engine.refresh(space_id="new")
    kept, before = newest_model(engine.home, "new", device="cpu"), rows(engine, "new")
    bring(engine, "newer", turned(first_training(), noise=0.2, seed=7))
    bridge_space(engine, "newer")
    engine.refresh(space_id="newer")
    hear(engine, ["a03-late"])
    hear(engine, ["a04-late"], unheard=True)
    bring(
        engine,
        "newest",
        np.concatenate([turned(first_training(), seed=9), turned(first_training()[16:17], seed=9)]),
        [*WARM, "a04-late"],
    )
    bridge_space(engine, "newest")
    engine.refresh(space_id="newest")
    report, _ = bridge_if_due(engine, "new")
    assert report is not None
    assert (report.model_id, report.known, report.carried, report.fallen_back) == ("", len(COLD), 1, 1)
    found = newest_model(engine.home, "new", device="cpu")
    assert found is not None
    assert kept is not None
    assert found.model_id == kept.model_id
    assert engine.plan_refresh(space_id="new").touched.to_pylist() == ["a03-late"], "by the transfer that is there"
    engine.refresh(space_id="new")
    after = rows(engine, "new")
    assert after.keys() == {*before, "a03-late", "a04-late"}
    for one in COLD:
        np.testing.assert_array_equal(after[one].vector, before[one].vector)
        assert after[one].confidence == before[one].confidence


def test_what_was_never_heard_goes_along_to_a_training_with_a_transfer_of_its_own(engine: Engine) -> None:
    """Nothing else could place it there; what was heard, the transfer projects."""
    hear(engine, ["a00-x"], unheard=True)
    bring(engine, "wide", np.concatenate([first_training(), first_training()[:1] + 0.1]), [*WARM, "a00-x"])
    train_space(engine, "wide", method="artist_mean")
    engine.refresh(space_id="wide")
    for space_id in ("lacking", "next"):  # the second time it is a cold row that is carried
        bring(engine, space_id, turned(first_training())[1:], WARM[1:])
        fitted = train_space(engine, space_id, method="artist_mean").model
        report, _ = bridge_if_due(engine, space_id)
        assert report is not None
        assert (report.model_id, report.carried + report.fallen_back) == ("", 1)
        assert engine.refresh(space_id=space_id).model_id == fitted.model_id
        after = rows(engine, space_id)
        assert after["a00-x"].tier is Tier.ARTIST_TRANSFER
        assert {after[one].model_id for one in ("a00-w0", *COLD)} == {fitted.model_id}
        hits = engine.ask(Query(vector=after["a00-x"].vector, k=200)).hits[0]
        assert "a00-x" in hits.track_ids


def test_a_refit_that_ends_during_a_bridge_is_the_one_that_serves(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    bring(engine, "new", turned(first_training(), noise=0.2))
    fitted = []

    def align_slowly(*given: Any, **named: Any) -> Any:
        fitted.append(train_space(engine, "new", method="artist_mean").model.model_id)
        return align(*given, **named)

    monkeypatch.setattr("jobs.bridge.align", align_slowly)
    report, _ = bridge_if_due(engine, "new")
    assert report is not None
    assert (report.model_id, report.carried) == ("", 0)
    found = newest_model(engine.home, "new", device="cpu")
    assert found is not None
    assert [found.model_id] == fitted
    assert engine.refresh(space_id="new").projected == len(COLD)


def test_confidence_is_what_the_alignment_leaves(engine: Engine) -> None:
    before = rows(engine, "old")
    bring(engine, "new", turned(first_training(), noise=1.0))
    done = bridge_space(engine, "new")
    assert 0.6 < done.cosine < 0.97
    after = rows(engine, "new")
    for one in COLD:
        assert after[one].confidence == pytest.approx(before[one].confidence * done.cosine, rel=1e-5)


def test_a_refit_replaces_everything(engine: Engine) -> None:
    bring(engine, "new", turned(first_training(), noise=0.3))
    bridge_space(engine, "new")
    engine.refresh(space_id="new")
    fitted = train_space(engine, "new", method="artist_mean").model
    done = engine.refresh()
    assert done.projected == len(COLD)
    assert {row.model_id for row in rows(engine, "new").values() if row.tier is not Tier.COLLABORATIVE} == {
        fitted.model_id
    }
    with pytest.raises(BridgeError, match="transfer of its own"):
        bridge_space(engine, "new", from_space_id="old")


def test_tracks_that_the_new_training_lacks_fall_back(engine: Engine) -> None:
    """Also where nobody has heard them, so that nothing could project them; but not tracks that are not in the home."""
    hear(engine, ["a00-x"], unheard=True)
    vectors = np.concatenate([first_training(), first_training()[:2] + 0.1])
    bring(engine, "wide", vectors, [*WARM, "a00-x", "stranger"])
    train_space(engine, "wide", method="artist_mean")
    engine.refresh(space_id="wide")
    kept = [place for place, one in enumerate(WARM) if one not in ("a00-w0", "a01-w0")]
    bring(engine, "new", turned(first_training())[kept], [WARM[place] for place in kept])
    done = bridge_space(engine, "new")
    assert (done.fallen_back, done.carried) == (3, len(COLD))
    engine.refresh(space_id="new")
    after = rows(engine, "new")
    assert "stranger" not in after
    assert done.dropped == 1, "nobody has delivered it"
    for place, one in ((0, "a00-w0"), (4, "a01-w0"), (0, "a00-x")):
        lost = after[one]
        assert (lost.tier, lost.model_id, lost.leaned_on) == (Tier.ARTIST_TRANSFER, done.model_id, ())
        assert lost.confidence == pytest.approx(done.cosine)
        expected = turned((first_training()[place] + (0.1 if one == "a00-x" else 0.0))[None])[0]
        np.testing.assert_allclose(lost.vector, expected, atol=0.02)
    train_space(engine, "new", method="artist_mean")
    engine.refresh()
    after = rows(engine, "new")
    assert after["a00-w0"].model_id.startswith("artist-mean"), "heard, and projected once a refit serves"
    assert after["a00-x"].model_id == done.model_id, "not heard, and still there"


def test_what_the_new_training_places_itself_graduates(engine: Engine) -> None:
    bring(engine, "new", np.concatenate([turned(first_training()), np.ones((1, DIM))]), [*WARM, COLD[0]])
    done = bridge_space(engine, "new")
    assert (done.graduated, done.carried) == (1, len(COLD) - 1)
    engine.refresh(space_id="new")
    (one,) = engine.embeddings([COLD[0]]).embeddings
    assert isinstance(one, ServedVector)
    assert (one.tier, one.confidence) == (Tier.COLLABORATIVE, 1.0)
    np.testing.assert_array_equal(one.vector, np.ones(DIM))


def test_a_changed_catalogue_touches_its_artists_tracks_alone(engine: Engine) -> None:
    """One artist's catalogue has grown, another's has shrunk, a third one's track was re-credited since."""
    kept = [place for place, one in enumerate(WARM) if one != "a01-w0"]
    hear(engine, ["a02-new"])
    bring(
        engine,
        "new",
        np.concatenate([turned(first_training())[kept], np.ones((1, DIM))]),
        [*(WARM[place] for place in kept), "a02-new"],
    )
    engine.store.commit(WriteBatch(tracks=[record(COLD[3], artist_ids=("a03", "a05"))]))
    bridge_space(engine, "new")
    plan = engine.plan_refresh(space_id="new")
    assert set(plan.touched.to_pylist()) == {"a01-c0", "a02-c0", "a03-c0"}


def test_only_the_tracks_of_artists_that_moved_are_touched(engine: Engine) -> None:
    after = turned(first_training(), noise=0.05)
    moved = [WARM.index("a05-w1"), WARM.index("a06-w0")]
    after[moved] *= -1.0
    bring(engine, "new", after)
    done = bridge_space(engine, "new")
    assert done.moved["beyond"] == 2
    found = engine.store.moved("new")
    assert found.num_rows == len(WARM)
    assert set(found.filter(pa.compute.equal(found["stamp"], "old"))["track_id"].to_pylist()) == {"a05-w1", "a06-w0"}
    plan = engine.plan_refresh(space_id="new")
    assert set(plan.touched.to_pylist()) == {"a05-c0", "a06-c0"}
    assert engine.refresh(space_id="new").projected == 2
    assert len(engine.plan_refresh(space_id="new").touched) == 0, "once"
    bring(engine, "other", after)
    assert bridge_space(engine, "other", from_space_id="old", tolerance=10.0).moved["beyond"] == 0


def test_the_next_bridge_begins_where_this_one_ended(engine: Engine) -> None:
    """Retrained every night: tracks that moved once are touched once."""
    after = turned(first_training(), noise=0.05)
    after[WARM.index("a05-w1")] *= -1.0
    bring(engine, "second", after)
    bridge_space(engine, "second")
    engine.refresh(space_id="second")
    bring(engine, "third", turned(after, dim=9, seed=5))
    done = bridge_space(engine, "third")
    assert done.from_space_id == "second"
    assert engine.refresh(space_id="third").projected == 0
    model = newest_model(engine.home, "third", device="cpu")
    assert model is not None
    assert model.base.space_id == "old"  # type: ignore[attr-defined]


def test_a_row_that_was_behind_is_left_for_the_refresh(engine: Engine) -> None:
    """It was projected from a track that has been withdrawn since; the others were not."""
    engine.withdraw(["a03-w0"])
    bring(engine, "new", turned(first_training()))
    bridge_space(engine, "new")
    assert engine.plan_refresh(space_id="new").touched.to_pylist() == ["a03-c0"]


def test_withdrawn_tracks_stay_behind(engine: Engine) -> None:
    engine.withdraw([COLD[0], WARM[0], WARM[1]])
    bring(engine, "new", turned(first_training())[1:], WARM[1:])
    done = bridge_space(engine, "new")
    assert done.shared == len(WARM) - 2
    assert (done.carried, done.fallen_back) == (len(COLD) - 1, 0)
    assert not {COLD[0], WARM[0]} & rows(engine, "new").keys()


def test_listened_tracks_count_their_listeners_anew(engine: Engine) -> None:
    """Their feedback goes along, and acts by the users of the new training from the publish on."""
    engine.record_feedback([FeedbackEvent(COLD[0], user, FeedbackAction.PLAY) for user in USERS])
    bring(engine, "new", turned(first_training()), seed=9)
    bridge_space(engine, "new")
    staged = rows(engine, "new")[COLD[0]]
    before = engine.store.served_vectors("old", [COLD[0]])[COLD[0]]
    assert (staged.basis, staged.model_id.endswith("+feedback")) == (before.basis, True)
    np.testing.assert_allclose(staged.vector, turned(before.vector[None])[0], atol=1e-4)
    plan = engine.plan_refresh(space_id="new")
    assert plan.touched.to_pylist() == [COLD[0]]
    engine.refresh(space_id="new")
    after = rows(engine, "new")[COLD[0]]
    assert after.basis == before.basis
    assert not np.allclose(after.vector, staged.vector, atol=0.05)


def test_what_was_ingested_since_goes_along(engine: Engine) -> None:
    """Fresh rows, which no snapshot holds, are carried as well as served ones."""
    hear(engine, ["a07-late"])
    engine._catch_up.serve_missing()
    assert "a07-late" not in rows(engine, "old")
    assert engine.store.fresh_rows("old").track_ids == ["a07-late"]
    bring(engine, "new", turned(first_training()))
    assert bridge_space(engine, "new").carried == len(COLD) + 1
    assert "a07-late" in rows(engine, "new")


def test_a_second_bridge_changes_nothing(engine: Engine) -> None:
    bring(engine, "new", turned(first_training(), noise=0.2))
    first = bridge_space(engine, "new")
    before = rows(engine, "new")
    second = bridge_space(engine, "new")
    assert (second.model_id, second.carried, second.known) == (first.model_id, 0, len(COLD))
    after = rows(engine, "new")
    assert after.keys() == before.keys()
    for one in COLD:
        np.testing.assert_array_equal(after[one].vector, before[one].vector)


@pytest.mark.parametrize("step", ["keep_model_after", "note_moved", "stage_served"])
def test_cut_off_anywhere_and_run_again(engine: Engine, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    """Each of its three writes is done whole or not at all, so that it may end before each of them."""
    bring(engine, "new", turned(first_training(), noise=0.2))
    bring(engine, "undisturbed", turned(first_training(), noise=0.2))

    def end(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        if step == "keep_model_after":
            patched.setattr("jobs.bridge.keep_model_after", end)
        else:
            patched.setattr(engine.store, step, end)
        with pytest.raises(KeyboardInterrupt):
            bridge_space(engine, "new")
    assert engine.store.published().space_id == "old"
    assert rows(engine, "new").keys() == set(WARM), "cold rows come last, and all at once"
    bridge_space(engine, "new")
    bridge_space(engine, "undisturbed")
    for one in ("new", "undisturbed"):
        engine.refresh(space_id=one)
    found, expected = rows(engine, "new"), rows(engine, "undisturbed")
    assert found.keys() == expected.keys()
    for one in COLD:
        np.testing.assert_array_equal(found[one].vector, expected[one].vector)
        assert found[one].basis == expected[one].basis


def test_back_and_forth(engine: Engine) -> None:
    bring(engine, "new", turned(first_training(), noise=0.2))
    bridge_space(engine, "new")
    engine.refresh(space_id="new")
    rollback_snapshot(engine)
    assert engine.ask(Query(track_id=COLD[0], k=3)).space_id == "old"
    engine.withdraw([COLD[1]])
    report, _ = bridge_if_due(engine, "new")
    assert report is not None
    assert (report.carried, report.known) == (0, len(COLD) - 1)
    assert engine.refresh(space_id="new").space_id == "new"


def test_without_a_fitted_transfer_places_go_along_and_the_artist_mean_takes_over(tmp_path: Path) -> None:
    with open_engine(tmp_path / "home", create=True) as engine:
        serve_first(engine, method="")
        bring(engine, "new", turned(first_training())[1:], WARM[1:])
        done = bridge_space(engine, "new")
        assert (done.model_id, done.carried, done.fallen_back) == ("", len(COLD), 1)
        assert {row.model_id for row in rows(engine, "new").values()} >= {"", "carried"}
        assert engine.refresh(space_id="new").projected == len(COLD) + 1


@pytest.mark.parametrize("dim", [6, 8, 12])
def test_where_directions_count(tmp_path: Path, dim: int) -> None:
    """By cosine, lengths of the new training say nothing of what is carried."""
    with open_engine(tmp_path / "home", create=True) as engine:
        serve_first(engine, metric="cosine")
        lengths = np.random.default_rng(3).lognormal(0.0, 1.0, size=(len(WARM), 1))
        bring(engine, "new", turned(first_training(), dim=dim) * lengths, metric="cosine")
        done = bridge_space(engine, "new")
        assert done.cosine > (0.999 if dim >= DIM else 0.7)
        assert engine.refresh(space_id="new").projected == 0
        hits = engine.ask(Query(track_id="a09-c0", k=3)).hits[0]
        assert dim < DIM or {artist_of(one) for one in hits.track_ids} == {"a09"}


def test_from_lengths_to_directions_and_not_back(engine: Engine) -> None:
    bring(engine, "by-cosine", turned(first_training()), metric="cosine")
    assert bridge_space(engine, "by-cosine").carried == len(COLD)
    engine.refresh(space_id="by-cosine")
    bring(engine, "new", turned(first_training()))
    with pytest.raises(BridgeError, match="compares directions alone"):
        bridge_space(engine, "new")


def test_what_cannot_be_bridged_is_refused_and_nothing_changes(engine: Engine, tmp_path: Path) -> None:
    bring(engine, "few", turned(first_training())[:15], WARM[:15])
    bring(engine, "other", np.random.default_rng(7).normal(size=(len(WARM), DIM)).astype(np.float32))
    bring(engine, "strangers", turned(first_training()), [f"s{place}" for place in range(len(WARM))])
    for space_id, words in (("few", "share 15 tracks"), ("other", "cosine of 0."), ("strangers", "share 0 tracks")):
        with pytest.raises(BridgeError, match=words):
            bridge_space(engine, space_id)
        report, why = bridge_if_due(engine, space_id)
        assert report is None
        assert words in why
        assert not set(COLD) & rows(engine, space_id).keys()
        assert newest_model(engine.home, space_id, device="cpu") is None
    with pytest.raises(BridgeError, match="to itself"):
        bridge_space(engine, "old")
    with pytest.raises(BridgeError, match="above 0"):
        bridge_space(engine, "few", tolerance=0.0)
    with pytest.raises(UnknownSpaceError):
        bridge_space(engine, "nowhere")
    assert bridge_if_due(engine, "old") == (None, "")
    with open_engine(tmp_path / "empty", create=True) as empty:
        bring(empty, "first", first_training())
        with pytest.raises(NoSnapshotError):
            bridge_space(empty, "first")
        assert bridge_if_due(empty, "first") == (None, "")

"""A refresh projects what something has touched, and gives what projecting everything would give."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import made_home
import numpy as np
import pytest
from made_home import ENCODER, SPACE_ID, USERS, hear, import_training, open_engine, record, train
from refreshed_rows import assert_same, rows_of

from index import (
    FeedbackAction,
    FeedbackEvent,
    LeaseHeldError,
    PublishedMeanwhileError,
    Tier,
    WriteBatch,
)
from jobs import Engine, RefreshStoppedError, UnknownArtistError
from jobs.refresh_plan import RefreshPlan
from jobs.spaces import rollback_snapshot


@pytest.fixture(autouse=True)
def _made_encoder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("encoders.load_encoder", lambda *_, **__: ENCODER)


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("refresh") / "home"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("encoders.load_encoder", lambda *_, **__: ENCODER)
        made_home.fill_home(home)
    return home


@pytest.fixture
def made(template: Path, tmp_path: Path) -> Iterator[Engine]:
    """A home whose artists have three heard warm tracks and two cold ones each; the artist mean was fitted."""
    with open_engine(Path(shutil.copytree(template, tmp_path / "made"))) as engine:
        train(engine)
        engine.refresh()
        yield engine


def touched(plan: RefreshPlan) -> dict[str, int]:
    return {reason: count for reason, count in plan.reasons.items() if count}


def add_feedback(engine: Engine) -> None:
    engine.store.commit(WriteBatch(feedback=[FeedbackEvent("cold-ada-0", USERS[0], FeedbackAction.PLAY)]))


CHANGES: dict[str, tuple[Callable[[Engine], object], dict[str, int]]] = {
    "nothing": (lambda engine: None, {}),
    "a cold track is stored": (lambda engine: hear(engine, record("late", "ada")), {"new": 1}),
    "a cold track waits for its audio": (
        lambda engine: engine.store.commit(WriteBatch(tracks=[record("silent", "ada")])),
        {},
    ),
    "a cold track changes hands": (lambda engine: hear(engine, record("cold-ada-0", "ben")), {"changed": 1}),
    "a cold track has other audio": (
        lambda engine: hear(engine, record("cold-ada-0", "ada", audio="remastered")),
        {"changed": 1},
    ),
    "only a title changes": (
        lambda engine: engine.store.commit(
            WriteBatch(tracks=[made_home.TrackRecord("cold-ada-0", "New", ("ada",), audio_sha256="cold-ada-0")])
        ),
        {},
    ),
    "a catalogue grows": (lambda engine: hear(engine, record("warm-ada-3", "ada")), {"catalogue": 2}),
    "a catalogue shrinks": (lambda engine: engine.withdraw(["warm-ada-0"]), {"catalogue": 2}),
    "a warm track changes hands": (lambda engine: hear(engine, record("warm-ada-0", "ben")), {"catalogue": 4}),
    "a warm track gets a guest": (lambda engine: hear(engine, record("warm-ada-0", "ada", "ben")), {"catalogue": 4}),
    "a cold track is withdrawn": (lambda engine: engine.withdraw(["cold-ada-0"]), {}),
    "listeners are heard of": (add_feedback, {"feedback": 1}),
    "another transfer is fitted": (
        lambda engine: (hear(engine, record("warm-ada-3", "ada")), train(engine)),
        {"model": 8},
    ),
}


@pytest.mark.parametrize("name", CHANGES)
def test_what_a_change_touches(made: Engine, name: str) -> None:
    change, reasons = CHANGES[name]
    change(made)
    assert touched(made.plan_refresh()) == reasons
    done = made.refresh()
    assert (done.projected, done.reasons) == (sum(reasons.values()), made.plan_refresh().reasons | reasons)
    assert done.published == bool(reasons)
    assert touched(made.plan_refresh()) == {}
    incremental = rows_of(made)
    assert made.refresh(everything=True).projected == len(incremental)
    assert_same(incremental, rows_of(made))


def test_where_nothing_has_changed_nothing_is_written(made: Engine) -> None:
    snapshots = made.store.snapshots()
    done = made.refresh()
    assert (done.published, done.projected, done.snapshot_id) == (False, 0, snapshots[-1].snapshot_id)
    assert done.method == "artist_mean"
    assert made.store.snapshots() == snapshots
    hear(made, record("late", "ada"))
    with open_engine(Path(made.store.home)):  # projects it: a fresh row to fold
        pass
    done = made.refresh()
    assert (done.published, done.projected) == (True, 0)


def test_the_stand_in_for_a_transfer_depends_on_every_warm_track(template: Path, tmp_path: Path) -> None:
    with open_engine(Path(shutil.copytree(template, tmp_path / "home"))) as engine:
        assert touched(engine.plan_refresh()) == {}
        hear(engine, record("cold-ada-0", "ben"))
        assert touched(engine.plan_refresh()) == {"changed": 1}
        hear(engine, record("warm-cleo-3", "cleo"))
        plan = engine.plan_refresh()
        assert touched(plan) == {"changed": 1, "model": 7}
        assert "anacrusis train" in plan.why
        incremental = engine.refresh()
        assert "anacrusis train" in incremental.why
        rows = rows_of(engine)
        engine.refresh(everything=True)
        assert_same(rows, rows_of(engine))


def test_rows_that_were_projected_beside_a_refresh_are_not_projected_again(made: Engine) -> None:
    hear(made, record("late", "ada", "ben"))
    with open_engine(Path(made.store.home)):  # projects what was stored only
        pass
    made.record_feedback([FeedbackEvent("cold-ben-0", USERS[0], FeedbackAction.PLAY)])
    assert touched(made.plan_refresh()) == {}
    # A row that the server wrote before it heard of a new warm track is judged by what it had read.
    made.store.commit(
        WriteBatch(
            tracks=[record("warm-ada-3", "ada")],
            content={ENCODER.encoder_id: [("warm-ada-3", np.ones(made_home.CONTENT_DIM, np.float32))]},
        )
    )
    assert touched(made.plan_refresh()) == {"catalogue": 3}


def test_only_named_artists(made: Engine) -> None:
    hear(made, record("warm-ada-3", "ada"), record("warm-ben-3", "ben"))
    assert made.plan_refresh(["ada"]).cold == 2
    assert made.refresh(["ada"]).projected == 2
    assert touched(made.plan_refresh()) == {"catalogue": 2}
    assert made.refresh(["cleo"], everything=True).reasons["unchanged"] == 2
    with pytest.raises(UnknownArtistError, match="'nobody'"):
        made.refresh(["ada", "nobody"])


def test_an_artist_without_a_catalogue_is_placed_by_audio(made: Engine) -> None:
    hear(made, record("debut", "newcomer"))
    made.refresh()
    assert rows_of(made)["debut"].tier is Tier.AUDIO_ONLY
    assert touched(made.plan_refresh()) == {}


def test_a_plan_writes_nothing_and_needs_no_lease(made: Engine) -> None:
    hear(made, record("late", "ada"))
    before = sorted(str(path) for path in Path(made.store.home).rglob("*"))
    with made.store.lease("refresh"):
        held = sorted(str(path) for path in Path(made.store.home).rglob("*"))
        plan = made.plan_refresh()
        assert sorted(str(path) for path in Path(made.store.home).rglob("*")) == held
    assert (plan.as_dict()["touched"], plan.touched.to_pylist()) == (1, ["late"])
    assert set(before) <= set(held)


def test_never_two_at_once(made: Engine) -> None:
    hear(made, record("late", "ada"))
    with open_engine(Path(made.store.home)) as other, other.store.lease("refresh"), pytest.raises(LeaseHeldError):
        made.refresh()
    assert made.refresh().projected <= 1


def test_a_rollback_during_a_refresh_stands(made: Engine) -> None:
    hear(made, record("warm-ada-3", "ada"))
    rolled_back = made.store.rollback_target().snapshot_id

    def meanwhile(step: object) -> None:
        if getattr(step, "stage", "") == "publish":
            rollback_snapshot(made)

    with pytest.raises(PublishedMeanwhileError, match="rolled back"):
        made.refresh(on_progress=meanwhile)
    assert made.serving()[1] == rolled_back
    again = made.refresh()
    # What was projected is staged, and the snapshot is built, which nobody has gone back from: it was never served.
    assert (again.projected, again.published) == (0, True)
    rollback_snapshot(made)
    assert made.refresh().held_back == again.snapshot_id


def test_a_rollback_within_a_space_stands_until_something_changes(made: Engine) -> None:
    good = made.refresh().snapshot_id
    hear(made, record("warm-ada-3", "ada"))
    train(made)
    bad = made.refresh().snapshot_id
    assert rollback_snapshot(made).snapshot_id == good
    for _ in range(2):  # night after night
        done = made.refresh()
        assert (done.published, done.projected) == (False, 0)
        assert (done.snapshot_id, done.held_back) == (good, bad)
        assert made.refresh(space_id=SPACE_ID).held_back == bad
        assert made.serving()[1] == good
    assert made.refresh(again=True).snapshot_id == made.serving()[1] == bad
    rollback_snapshot(made)
    hear(made, record("late", "ada"))
    news = made.refresh()
    assert (news.published, news.held_back) == (True, "")
    assert made.serving()[1] == news.snapshot_id not in (good, bad)


def test_what_a_rollback_projects_is_no_news(made: Engine) -> None:
    good = made.serving()[1]
    hear(made, record("late", "ada"))  # stored, as by a backfill: the refresh projects it
    train(made)
    bad = made.refresh().snapshot_id
    rollback_snapshot(made)
    assert "late" in made.store.fresh_rows(SPACE_ID).track_ids  # into what is served now
    assert made.refresh().held_back == bad
    assert made.serving()[1] == good


def test_a_rollback_to_another_space_early_in_a_refresh_stands(made: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """The space to refresh, and what the publish must follow, come from one row of the log."""
    first = made.serving()
    import_training(made, "space-2", "second")
    made.refresh(space_id="space-2")
    after = made.store.publish_sequence()
    lease = made.store.lease

    def go_back_first(name: str) -> object:
        rollback_snapshot(made)
        return lease(name)

    with monkeypatch.context() as patch:
        patch.setattr(made.store, "lease", go_back_first)
        done = made.refresh()
    assert made.serving() == (done.space_id, done.snapshot_id) == first
    # Whoever had decided by what was served before is refused, before anything is projected.
    with pytest.raises(PublishedMeanwhileError):
        made.refresh(space_id="space-2", after=after)
    assert made.serving() == first


def test_a_refresh_without_news_does_not_report_what_was_rolled_back_meanwhile(made: Engine) -> None:
    def meanwhile(step: object) -> None:
        if getattr(step, "stage", "") == "plan":
            rollback_snapshot(made)

    with pytest.raises(PublishedMeanwhileError, match="rolled back"):
        made.refresh(on_progress=meanwhile)


def test_a_refresh_that_was_stopped_goes_on_where_it_ended(made: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jobs.projecting.BATCH_TRACKS", 2)
    monkeypatch.setattr("jobs.projecting.STAGE_TRACKS", 2)
    hear(made, record("warm-ada-3", "ada"))
    train(made)
    serving = made.serving()
    answers = iter([False, False, True, True])
    with pytest.raises(RefreshStoppedError):
        made.refresh(should_stop=lambda: next(answers))
    assert made.serving() == serving
    left = len(made.plan_refresh().touched)
    assert 0 < left < 8
    assert made.refresh().projected == left


def test_a_new_training_is_projected_and_published(made: Engine) -> None:
    import_training(made, "space-2", "second")
    assert touched(made.plan_refresh(space_id="space-2")) == {"new": 8}
    assert made.refresh(space_id="space-2").projected == 8
    assert made.serving()[0] == "space-2"


def test_a_partial_catalogue_gives_a_network_the_same_answers(made: Engine) -> None:
    from artist_transfer import FitOptions, RankingOptions, fit
    from jobs.models import keep_model
    from jobs.projector import warm_tracks

    warm = warm_tracks(made.store, SPACE_ID, ENCODER.encoder_id)
    assert warm is not None
    ranking = RankingOptions(steps=3, members=2, candidates=12, listeners=8, hidden=8, heads=2)
    model = fit(warm, FitOptions(method="ranking", ranking=ranking, device="cpu"))
    keep_model(made.home, model)
    assert made.refresh().reasons["model"] == 8
    hear(made, record("warm-ada-3", "ada"), record("debut", "newcomer"))
    done = made.refresh()
    assert (done.method, done.reasons["catalogue"], done.reasons["new"]) == ("ranking", 2, 1)
    incremental = rows_of(made)
    made.refresh(everything=True)
    assert_same(incremental, rows_of(made))


def test_the_same_warm_tracks_give_the_same_artist_mean(made: Engine) -> None:
    from artist_transfer import FitOptions, fit
    from jobs.projector import warm_tracks

    fitted = []
    for _ in range(2):
        warm = warm_tracks(made.store, SPACE_ID, ENCODER.encoder_id)
        assert warm is not None
        fitted.append(fit(warm, FitOptions(method="artist_mean", device="cpu")).model_id)
    assert fitted[0] == fitted[1]

"""Feedback moves cold tracks at once, survives whatever happens, and never moves a track twice for one event."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from made_catalogue import DIM, SPACE_ID, release, warm_factors

from index import FeedbackAction, FeedbackEvent, NoSnapshotError, SpaceMismatchError, Tier, WriteBatch
from jobs import Engine, FeedbackState, IngestState, Query
from jobs.factors import Factors
from jobs.feedback import FeedbackReport
from jobs.spaces import import_space, rollback_snapshot

PLAY, SKIP = FeedbackAction.PLAY, FeedbackAction.SKIP


def play(track_id: str = "new", user_id: str = "listener", **fields: object) -> FeedbackEvent:
    if "user_vector" in fields:
        fields.setdefault("space_id", SPACE_ID)
    return FeedbackEvent(track_id, user_id, fields.pop("action", PLAY), **fields)  # type: ignore[arg-type]


def crowd(listeners: int, towards: str = "dana-0", track_id: str = "new", **fields: object) -> list[FeedbackEvent]:
    """Listeners who bring their vectors, all of them close to a warm track."""
    factors = warm_factors()
    vector = factors.vectors[factors.ids.tolist().index(towards)]
    rng = np.random.default_rng(0)
    return [
        play(track_id, f"fan-{number}", user_vector=vector + 0.05 * rng.normal(size=DIM).astype(np.float32), **fields)
        for number in range(listeners)
    ]


def vector_of(engine: Engine, track_id: str = "new") -> np.ndarray:
    (found,) = engine.embeddings([track_id]).embeddings
    return found.vector  # type: ignore[union-attr]


def states(report: FeedbackReport) -> list[FeedbackState]:
    return [outcome.state for outcome in report.outcomes]


def nearest(engine: Engine, track_id: str = "new", k: int = 3) -> set[str]:
    return set(engine.ask(Query(track_id=track_id, k=k)).hits[0].track_ids)


@pytest.fixture
def cold(engine: Engine) -> Engine:
    engine.ingest([release()])
    return engine


def test_the_next_query_finds_the_track_where_its_listeners_are(cold: Engine) -> None:
    assert nearest(cold) == {"ada-0", "ada-1", "ada-2"}
    report = cold.record_feedback(crowd(20))
    assert set(states(report)) == {FeedbackState.COUNTED}
    (track,) = report.tracks
    assert (track.served, track.tier) == (True, Tier.ARTIST_TRANSFER)
    assert track.standing.listeners == pytest.approx(20.0)
    assert track.standing.graduated
    assert "dana-0" in nearest(cold)
    assert not nearest(cold) & {"ada-0", "ada-1", "ada-2"}
    (found,) = cold.embeddings(["new"]).embeddings
    assert found.model_id.endswith("+feedback")  # type: ignore[union-attr]


def test_a_user_of_the_space_counts_and_an_unknown_one_waits(cold: Engine) -> None:
    before = vector_of(cold)
    report = cold.record_feedback([play(user_id="stranger")])
    assert states(report) == [FeedbackState.WAITING]
    assert vector_of(cold).tobytes() == before.tobytes()
    assert states(cold.record_feedback([play()])) == [FeedbackState.COUNTED]
    assert vector_of(cold).tobytes() != before.tobytes()


def test_sending_twice_changes_nothing(cold: Engine) -> None:
    events = [play(), *crowd(3), play(action=SKIP, session_position=4)]
    cold.record_feedback(events)
    before, version = vector_of(cold), cold.store.versions(SPACE_ID)
    report = cold.record_feedback(events)
    assert set(states(report)) == {FeedbackState.UNCHANGED}
    assert vector_of(cold).tobytes() == before.tobytes()
    assert cold.store.versions(SPACE_ID) == version
    twice_in_one = cold.record_feedback([play("new", "other", event_id="x"), play("new", "listener", event_id="x")])
    assert states(twice_in_one) == [FeedbackState.WAITING, FeedbackState.UNCHANGED]


def test_it_does_not_matter_in_how_many_calls_the_events_came(home: Path, tmp_path: Path) -> None:
    events = [play(), *crowd(4), play(action=SKIP, session_position=7)]
    with Engine.open(home) as engine:
        engine.ingest([release("one"), release("many")])
        engine.record_feedback([_of(event, "one") for event in events])
        for event in reversed(events):
            engine.record_feedback([_of(event, "many")])
        assert vector_of(engine, "one").tobytes() == vector_of(engine, "many").tobytes()


def _of(event: FeedbackEvent, track_id: str) -> FeedbackEvent:
    return FeedbackEvent(
        track_id, event.user_id, event.action, event.session_position, event.at, event.user_vector, event.space_id
    )


def test_many_at_once_lose_nothing(cold: Engine) -> None:
    cold.ingest([release("quiet")])
    events = crowd(16)
    with ThreadPoolExecutor(8) as pool:
        reports = list(pool.map(lambda event: cold.record_feedback([event, play(user_id="listener")]), events))
    assert sum(states(report).count(FeedbackState.COUNTED) for report in reports) == len(events) + 1
    assert cold.store.standings(["new"])["new"].listeners == pytest.approx(17.0)
    cold.record_feedback([_of(event, "quiet") for event in [*events, play()]])
    assert vector_of(cold).tobytes() == vector_of(cold, "quiet").tobytes()


def test_an_event_without_an_id_is_known_by_what_it_says() -> None:
    at = dt.datetime(2024, 5, 1, tzinfo=dt.UTC)
    assert play(at=at).event_id == play(at=at).event_id
    others = [play(), play(action=SKIP), play(user_id="b"), play("b"), play(session_position=1), play(at=at)]
    assert len({event.event_id for event in others}) == len(others)


def test_each_event_that_cannot_be_taken_says_why(cold: Engine) -> None:
    cold.ingest([release("gone")])
    cold.withdraw(["gone"])
    report = cold.record_feedback(
        [
            play("ada-0"),
            play("gone"),
            play("nobody"),
            play(""),
            play(user_vector=np.zeros(3, np.float32)),
            play(user_vector=np.full(DIM, np.nan, np.float32)),
            play(session_position=0),
            play(user_vector=np.ones(DIM, np.float32), space_id="another"),
            play(user_vector=np.ones(DIM, np.float32), space_id=""),
            play(at=dt.datetime(2024, 5, 1)),
            play(),
        ]
    )
    assert [outcome.error.reason if outcome.error else "" for outcome in report.outcomes] == [
        "TRACK_COLLABORATIVE",
        "TRACK_WITHDRAWN",
        "TRACK_NOT_FOUND",
        "ID_INVALID",
        "VECTOR_INVALID",
        "VECTOR_INVALID",
        "INPUT_INVALID",
        "SPACE_MISMATCH",
        "VECTOR_INVALID",
        "INPUT_INVALID",
        "",
    ]
    assert states(report)[-1] is FeedbackState.COUNTED
    assert [track.standing.track_id for track in report.tracks] == ["new"]
    assert set(cold.store.feedback_counts()) == {"new"}


def test_another_space_is_refused_and_so_is_no_space(cold: Engine, tmp_path: Path) -> None:
    with pytest.raises(SpaceMismatchError):
        cold.record_feedback([play()], space_id="another")
    with Engine.open(tmp_path / "empty", create=True) as engine, pytest.raises(NoSnapshotError):
        engine.record_feedback([play()])


def test_what_was_acknowledged_is_there_in_the_next_process(home: Path) -> None:
    with Engine.open(home) as engine:
        engine.ingest([release()])
        engine.record_feedback(crowd(5))
        before = vector_of(engine)
    with Engine.open(home) as engine:
        assert vector_of(engine).tobytes() == before.tobytes()
        assert engine.store.standings(["new"])["new"].listeners == pytest.approx(5.0)


@pytest.mark.parametrize("mended_by", ["opening", "sync", "the same call again"])
def test_events_whose_vector_was_never_written_are_made_up_for(home: Path, mended_by: str) -> None:
    """The process ended between the commit of the events and that of the vector."""
    events = crowd(5)
    with Engine.open(home) as engine, Engine.open(home) as other:
        engine.ingest([release("new"), release("whole")])
        engine.record_feedback([_of(event, "whole") for event in events])
        other.sync()
        broken_off = [_of(event, "new") for event in engine.store.feedback(["whole"])]
        engine.store.commit(WriteBatch(feedback=broken_off))
        expected = vector_of(engine, "whole")
        assert vector_of(engine).tobytes() != expected.tobytes()
        if mended_by == "opening":
            with Engine.open(home) as next_one:
                assert vector_of(next_one).tobytes() == expected.tobytes()
        elif mended_by == "sync":
            other.sync()
            assert vector_of(other).tobytes() == expected.tobytes()
            assert other.store.standings(["new"])["new"].listeners == pytest.approx(5.0)
        else:
            report = engine.record_feedback(broken_off)
            assert set(states(report)) == {FeedbackState.UNCHANGED}
            assert vector_of(engine).tobytes() == expected.tobytes()


def test_a_refresh_folds_the_feedback_into_the_new_projection_once(cold: Engine) -> None:
    cold.record_feedback(crowd(5))
    before = vector_of(cold)
    for _ in range(2):
        cold.refresh()
        np.testing.assert_array_equal(vector_of(cold), before)
    assert cold.status().model_id == cold.embeddings(["new"]).embeddings[0].model_id.removesuffix("+feedback")  # type: ignore[union-attr]


def test_a_corrected_credit_keeps_its_feedback_and_an_unchanged_release_writes_nothing(cold: Engine) -> None:
    cold.record_feedback(crowd(2))
    version = cold.store.versions(SPACE_ID)
    assert cold.ingest([release()])[0].state is IngestState.UNCHANGED
    assert cold.store.versions(SPACE_ID) == version
    cold.ingest([release(artist_ids=("ben",))])
    moved = vector_of(cold)
    cold.ingest([release("other", artist_ids=("ben",))])
    assert vector_of(cold, "other").tobytes() != moved.tobytes()
    assert cold.store.standings(["new"])["new"].listeners == pytest.approx(2.0)


def test_withdrawn_tracks_stay_out(cold: Engine) -> None:
    cold.record_feedback(crowd(3))
    cold.withdraw(["new"])
    assert states(cold.record_feedback([play()])) == [FeedbackState.REFUSED]
    assert "new" not in cold.ask(Query(track_id="ada-0", k=50)).hits[0].track_ids


def _publish(engine: Engine, space_id: str, users: Sequence[str]) -> None:
    factors = warm_factors(seed=1)
    listeners = Factors(np.array(users), np.tile(factors.vectors[:1], (len(users), 1)))
    import_space(engine, space_id, factors, listeners)
    engine.refresh(space_id=space_id)


def test_graduation_lasts_through_a_training_that_knows_fewer_of_the_listeners(cold: Engine) -> None:
    """Ten make it graduate; with five it stays; below, it goes back; and with five it does not graduate again."""
    fans = [f"fan-{number}" for number in range(12)]
    cold.record_feedback([play(user_id=fan) for fan in fans])
    assert not cold.store.standings()["new"].graduated
    graduated = []
    for number, known in enumerate((12, 5, 4, 6)):
        _publish(cold, f"space-{number + 2}", fans[:known])
        standing = cold.store.standings()["new"]
        assert (standing.space_id, standing.listeners) == (f"space-{number + 2}", pytest.approx(known))
        graduated.append(standing.graduated)
    assert graduated == [True, True, False, False]


def test_listeners_who_were_unknown_count_in_the_training_that_knows_them(cold: Engine) -> None:
    cold.record_feedback([play(user_id="later")])
    _publish(cold, "space-2", ["later"])
    with_feedback = vector_of(cold)
    cold.ingest([release("twin")])
    assert vector_of(cold, "twin").tobytes() != with_feedback.tobytes()
    rollback_snapshot(cold)
    cold.ingest([release("triplet")])
    np.testing.assert_allclose(vector_of(cold), vector_of(cold, "triplet"), rtol=1e-6)


def test_a_track_that_became_warm_has_graduated_and_takes_no_more(cold: Engine) -> None:
    cold.record_feedback([play()])
    factors = warm_factors(seed=2)
    with_new = Factors(np.append(factors.ids, "new"), np.append(factors.vectors, factors.vectors[:1], axis=0))
    import_space(cold, "space-2", with_new)
    cold.refresh(space_id="space-2")
    np.testing.assert_array_equal(vector_of(cold), with_new.vectors[-1])
    assert cold.store.standings()["new"].graduated
    (outcome,) = cold.record_feedback([play(user_id="another")]).outcomes
    assert outcome.error is not None
    assert outcome.error.reason == "TRACK_COLLABORATIVE"


def test_a_cosine_space_without_users_takes_the_listeners_own_vectors(tmp_path: Path, home: Path) -> None:
    with Engine.open(home) as engine:
        import_space(engine, "cosine", warm_factors(seed=3), metric="cosine")
        engine.refresh(space_id="cosine")
        engine.ingest([release()])
        factors = warm_factors(seed=3)
        fans = [
            play(user_id=f"fan-{number}", user_vector=100.0 * factors.vectors[-1], space_id="cosine")
            for number in range(20)
        ]
        engine.record_feedback(fans)
        assert nearest(engine) == {"dana-0", "dana-1", "dana-2"}


def test_a_tracks_vector_follows_from_its_own_feedback_alone(home: Path) -> None:
    """One listener brings a vector with a play of one track and none with that of another."""
    vector = crowd(1)[0].user_vector
    with Engine.open(home) as engine:
        engine.ingest([release("with"), release("without"), release("untouched")])
        together = [play("with", "stranger", user_vector=vector), play("without", "stranger")]
        report = engine.record_feedback(together)
        assert states(report) == [FeedbackState.COUNTED, FeedbackState.WAITING]
        assert [track.standing.listeners for track in report.tracks] == pytest.approx([1.0, 0.0])
        before = vector_of(engine, "without")
        np.testing.assert_allclose(before, vector_of(engine, "untouched"), rtol=1e-6)
        (alone,) = engine.record_feedback([play("without", "nobody knows")]).tracks  # projects it by itself
        assert alone.standing.listeners == 0.0
        np.testing.assert_allclose(vector_of(engine, "without"), before, rtol=1e-6)


def test_what_is_stored_on_the_track_says_whether_an_event_counts(cold: Engine) -> None:
    (fan,) = crowd(1)
    cold.record_feedback([fan])
    assert states(cold.record_feedback([play(user_id="fan-0", session_position=3)])) == [FeedbackState.COUNTED]
    other = play("new", "someone", event_id="one", user_vector=np.ones(DIM, np.float32))
    report = cold.record_feedback([play("new", "stranger", event_id="one"), other])  # of one id, the first stands
    assert states(report) == [FeedbackState.WAITING, FeedbackState.UNCHANGED]
    assert report.tracks[0].standing.listeners == pytest.approx(1.0)


def test_an_event_that_waits_is_completed_by_its_listeners_vector(home: Path) -> None:
    with Engine.open(home) as engine:
        engine.ingest([release("new"), release("at once")])
        (fan,) = crowd(1, event_id="one")
        late = play("new", fan.user_id, event_id="one")
        assert states(engine.record_feedback([late])) == [FeedbackState.WAITING]
        assert states(engine.record_feedback([fan, fan])) == [FeedbackState.COUNTED, FeedbackState.UNCHANGED]
        assert states(engine.record_feedback([fan, late])) == [FeedbackState.UNCHANGED] * 2
        assert engine.store.standings(["new"])["new"].listeners == pytest.approx(1.0)
        engine.record_feedback(crowd(1, track_id="at once"))
        np.testing.assert_allclose(vector_of(engine), vector_of(engine, "at once"), rtol=1e-6)
        both = [play("new", "late", event_id="two"), play("new", "late", event_id="two", user_vector=fan.user_vector)]
        assert states(engine.record_feedback(both)) == [FeedbackState.COUNTED] * 2
        assert engine.store.standings(["new"])["new"].listeners == pytest.approx(2.0)


def test_a_vector_is_of_the_space_that_is_named_and_of_no_other(cold: Engine) -> None:
    """One that was made by the last training does not become the next one's by coming late."""
    nameless = play(user_id="fan", user_vector=np.ones(DIM, np.float32), space_id="", event_id="one")
    (outcome,) = cold.record_feedback([nameless]).outcomes
    assert outcome.error is not None
    assert "space_id" in str(outcome.error)
    assert not cold.store.feedback_counts()
    assert states(cold.record_feedback([nameless], space_id=SPACE_ID)) == [FeedbackState.COUNTED]

"""What is stored is served, whoever stored it, under whatever space, and whatever else is broken."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from made_catalogue import DIM, SPACE_ID, audio_bytes, release, warm_factors, warm_releases

from index import FeedbackAction, FeedbackEvent, ServedVector, Store, Tier, TrackRecord, WriteBatch
from jobs import Engine, IngestState, Query, catch_up, missing
from jobs.factors import Factors
from jobs.ingest_manifest import ingest_manifest
from jobs.manifest import Manifest
from jobs.projector import Projector, build_projector
from jobs.spaces import import_space, rollback_snapshot


def hits(engine: Engine, track_id: str = "ada-0") -> list[str]:
    return list(engine.ask(Query(track_id=track_id, k=100)).hits[0].track_ids)


def leaned_on(engine: Engine, track_id: str) -> set[str]:
    (embedding,) = engine.embeddings([track_id]).embeddings
    return {one for one, _ in embedding.leaned_on}  # type: ignore[union-attr]


def publish_second_space(engine: Engine) -> None:
    import_space(engine, "space-2", warm_factors(seed=1))
    engine.refresh(space_id="space-2")


def test_a_track_that_another_process_took_in_under_the_old_space_is_found_in_the_new_one(home: Path) -> None:
    with Engine.open(home) as one, Engine.open(home) as other:
        publish_second_space(other)
        (outcome,) = one.ingest([release()])  # has not yet heard of the publish
        assert outcome.space_id == SPACE_ID
        other.sync()
        assert "new" in hits(other)


def test_a_track_that_was_changed_under_another_space_is_as_new_after_a_rollback(engine: Engine) -> None:
    engine.ingest([release()])
    publish_second_space(engine)
    engine.ingest([release(artist_ids=("ben",))])
    rollback_snapshot(engine)
    assert leaned_on(engine, "new") == {"ben-0", "ben-1", "ben-2"}
    assert engine.ingest([release(artist_ids=("ben",))])[0].state is IngestState.UNCHANGED


def test_a_catalogue_that_another_process_made_is_read(tmp_path: Path) -> None:
    with Engine.open(tmp_path / "home", create=True) as server:
        import_space(server, SPACE_ID, warm_factors())
        server.refresh()
        (early,) = server.ingest([release("early")])
        assert not early.served  # nothing relates audio to the space yet
        with Engine.open(tmp_path / "home") as backfill:
            ingest_manifest(backfill, Manifest(warm_releases(), list(range(12)), []))
        server.sync()
        assert "early" in hits(server)
        (late,) = server.ingest([release("late")])
        assert late.catalogue_size == 3


def test_a_warm_track_that_changes_hands_changes_the_catalogue(engine: Engine) -> None:
    engine.ingest([release("before")])
    ada = next(one for one in warm_releases() if one.track_id == "ada-0")
    engine.ingest([release("ada-0", artist_ids=("ben",), audio=ada.audio)])
    (outcome,) = engine.ingest([release("after")])
    assert {track_id for track_id, _ in outcome.leaned_on} == {"ada-1", "ada-2"}


def test_an_artist_whose_tracks_cancel_each_other_out_is_placed_by_audio(tmp_path: Path) -> None:
    vectors = np.zeros((4, DIM), np.float32)
    vectors[0, 0], vectors[1, 0], vectors[2, 1], vectors[3, 2] = 1.0, -1.0, 1.0, 1.0
    ids = ["ada-0", "ada-1", "ben-0", "cleo-0"]
    with Engine.open(tmp_path / "home", create=True) as engine:
        engine.ingest([one for one in warm_releases() if one.track_id in ids])
        import_space(engine, "cosine", Factors(np.array(ids), vectors), metric="cosine")
        engine.refresh()
        (outcome, other) = engine.ingest([release(), release("other", artist_ids=("ben",))])
        assert (outcome.state, outcome.served, outcome.tier) == (IngestState.CREATED, True, Tier.AUDIO_ONLY)
        assert other.tier is Tier.ARTIST_TRANSFER
        engine.refresh()
    with Engine.open(tmp_path / "home") as engine:
        assert {"new", "other"} <= set(hits(engine))


def test_a_damaged_model_keeps_nobody_from_serving(home: Path, caplog: pytest.LogCaptureFixture) -> None:
    from jobs.train import train_space

    with Engine.open(home) as engine:
        folder = train_space(engine, method="artist_mean").folder
    for file in Path(folder).iterdir():
        file.write_bytes(b"damaged")
    with Engine.open(home) as engine:
        (outcome,) = engine.ingest([release()])
        assert outcome.served
        report = engine.refresh()
        assert "cannot be loaded" in report.why
        train_space(engine, method="artist_mean")  # the remedy works
        assert "told to use it" in engine.refresh().why
    assert "cannot be loaded" in caplog.text


def test_one_release_that_cannot_be_taken_spoils_no_other(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    from encoders import InvalidWaveformError

    encode = engine.encoder.encode
    bad = audio_bytes(700.0, seconds=5.0)

    def picky(waveforms: list[np.ndarray]) -> np.ndarray:
        if any(len(waveform) > 70_000 for waveform in waveforms):
            raise InvalidWaveformError("one of them cannot be heard")
        return encode(waveforms)

    monkeypatch.setattr(engine.encoder, "encode", picky)
    good, refused = engine.ingest([release(), release("bad", audio=bad)])
    assert (good.state, refused.state) == (IngestState.CREATED, IngestState.REFUSED)
    assert "new" in hits(engine)
    assert engine.describe(["bad"]) == [None]


def test_the_same_id_twice_in_one_call_is_taken_once(engine: Engine) -> None:
    first, second = engine.ingest([release(), release(audio=audio_bytes(880.0))])
    assert (first.state, second.state) == (IngestState.CREATED, IngestState.REFUSED)
    assert "twice" in str(second.error)


def test_a_publish_under_way_is_never_adopted_without_its_missing_tracks(home: Path) -> None:
    with Engine.open(home) as one, Engine.open(home) as other:
        one.ingest([release()])
        publish_second_space(other)
        one.searcher.catch_up()
        assert one.serving()[0] == SPACE_ID  # catching up follows rows, never a publish
        one.ingest([release("late")])
        one.sync()
        assert one.serving()[0] == "space-2"
        assert {"new", "late"} <= set(hits(one))


def test_a_catch_up_that_failed_is_tried_again(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from index import DamagedHomeError

    with Engine.open(home) as one, Engine.open(home) as other:
        one.ingest([release()])
        publish_second_space(other)
        one.ingest([release("late")])  # stored under the old space, after the other's publish
        content = other.store.content
        broken = [True]

        def unreliable(*arguments: object) -> object:
            if broken[0]:
                raise DamagedHomeError("the disk is away for a moment")
            return content(*arguments)  # type: ignore[arg-type]

        monkeypatch.setattr(other.store, "content", unreliable)
        other.sync()
        assert "late" not in hits(other)
        broken[0] = False
        other.sync()  # nobody has written anything since
        assert "late" in hits(other)


def test_many_unknown_tracks_and_users_are_looked_up_at_once(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    reads: list[int] = []
    tracks = engine.store.tracks
    monkeypatch.setattr(engine.store, "tracks", lambda ids=None: (reads.append(1), tracks(ids))[1])
    answers = engine.search([Query(track_id=f"unknown-{number}") for number in range(50)])
    assert {getattr(answer, "reason", "") for answer in answers} == {"TRACK_NOT_FOUND"}
    assert len(reads) == 1


def _cold(count: int) -> list[str]:
    return [f"cold-{number}" for number in range(count)]


def _store_unprojected(engine: Engine, track_ids: Sequence[str]) -> None:
    """Tracks as a backfill takes them in: heard and not projected."""
    encoder_id = engine.encoder.encoder_id
    _, content = engine.store.content(encoder_id, ["ada-0"])
    records = [TrackRecord(one, artist_ids=("ada",), roles=("primary",), audio_sha256="0" * 64) for one in track_ids]
    engine.store.commit(WriteBatch(content={encoder_id: [(one, content[0]) for one in track_ids]}, tracks=records))


def test_what_is_missing_is_projected_some_at_each_sync(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catch_up, "TRACKS_A_SYNC", 2)
    cold = _cold(5)
    with Engine.open(home) as one, Engine.open(home) as other:
        _store_unprojected(one, cold)
        served = []
        for _ in range(4):
            other.sync()
            served.append(len(set(cold) & set(hits(other))))
        assert served == [2, 4, 5, 5]


def test_a_takedown_and_a_rollback_are_seen_while_much_is_missing(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catch_up, "TRACKS_AT_ONCE", 1)
    monkeypatch.setattr(catch_up, "TRACKS_A_SYNC", 3)
    with Engine.open(home) as one, Engine.open(home) as other:
        publish_second_space(one)
        other.sync()
        _store_unprojected(one, _cold(5))
        project, found = Projector.project, []

        def watched(self: Projector, *arguments: object) -> object:
            found.append("ada-1" in hits(other))
            if len(found) == 1:
                one.withdraw(["ada-1"])
                rollback_snapshot(one)
            return project(self, *arguments)  # type: ignore[arg-type]

        with monkeypatch.context() as patched:
            patched.setattr(Projector, "project", watched)
            other.sync()
        assert found[:1] + found[-2:] == [True, False, False]
        assert other.serving()[0] == "space-2"
        other.sync()
        assert other.serving()[0] == SPACE_ID
        assert set(_cold(5)) <= set(hits(other))


def test_a_catalogue_that_was_brought_in_at_once_is_left_to_a_refresh(
    home: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(missing, "LEFT_TO_REFRESH", 4)
    with Engine.open(home) as one, Engine.open(home) as other:
        _store_unprojected(one, _cold(5))
        other.sync()
        one.ingest([release()])
        other.sync()
        assert caplog.text.count("5 stored tracks have no vector") == 1
        assert "`anacrusis refresh`" in caplog.text
        assert "new" in hits(other)
        assert other.status().fresh_rows == 1
        with Engine.open(home) as opened:
            assert opened.status().fresh_rows == 1
            assert opened.refresh().projected == 5
        other.sync()
        assert {*_cold(5), "new"} <= set(hits(other))


def test_a_switch_takes_along_what_was_acknowledged_however_much_is_missing(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(missing, "LEFT_TO_REFRESH", 4)
    with Engine.open(home) as one, Engine.open(home) as other:
        publish_second_space(one)
        other.sync()
        _store_unprojected(one, _cold(5))
        assert one.ingest([release()])[0].space_id == "space-2"
        other.sync()
        rollback_snapshot(one)
        other.sync()
        for engine in (one, other):
            assert engine.serving()[0] == SPACE_ID
            assert "new" in hits(engine)
            assert engine.status().fresh_rows == 1


@pytest.mark.parametrize("meanwhile", ["a server follows", "the command was killed"])
def test_a_rollback_to_another_space_loses_nothing_that_refreshes_have_folded(
    home: Path, monkeypatch: pytest.MonkeyPatch, meanwhile: str
) -> None:
    monkeypatch.setattr(missing, "LEFT_TO_REFRESH", 2)
    cold, waiting = _cold(4), ["waits-0", "waits-1", "waits-2"]
    with Engine.open(home) as engine:
        publish_second_space(engine)
        engine.ingest([release(one) for one in cold])
        engine.refresh()
        assert engine.status().fresh_rows == 0
        _store_unprojected(engine, waiting)
        with Store.open(home) as store:
            store.rollback(store.snapshots(SPACE_ID)[0].snapshot_id)
        if meanwhile == "a server follows":
            engine.sync()
            assert (engine.serving()[0], set(hits(engine)) & {*cold, *waiting}) == (SPACE_ID, set(cold))
    with Engine.open(home) as engine:
        assert set(hits(engine)) & {*cold, *waiting} == set(cold)


def test_a_rollback_within_a_space_takes_the_rows_of_the_newer_snapshot(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(missing, "LEFT_TO_REFRESH", 2)
    cold = _cold(4)
    with Engine.open(home) as engine, Engine.open(home) as other:
        _store_unprojected(engine, cold)
        unheard = TrackRecord("unheard", artist_ids=("ada",))
        engine.store.commit(WriteBatch(tracks=[unheard]))
        row = ServedVector("unheard", warm_factors().vectors[0], Tier.ARTIST_TRANSFER, 0.5, basis=unheard.basis)
        engine.store.replace_served(SPACE_ID, [row], as_of=0)  # as a bridge carries one
        newest = engine.refresh().snapshot_id
        before = {one: engine.store.served_vectors(SPACE_ID, [one])[one] for one in (*cold, "unheard")}
        other.sync()
        monkeypatch.delattr(Projector, "project")
        rollback_snapshot(engine)
        other.sync()
        for one in (engine, other):
            assert before.keys() <= set(hits(one))
        rows = engine.embeddings(list(before)).embeddings
        for found in rows:
            assert isinstance(found, ServedVector)
            np.testing.assert_array_equal(found.vector, before[found.track_id].vector)
        assert engine.refresh().held_back == newest  # what was brought back is no news


def test_rollbacks_in_a_row_lose_nothing(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(missing, "LEFT_TO_REFRESH", 2)
    with Engine.open(home) as engine:
        publish_second_space(engine)
        engine.ingest([release(one) for one in _cold(2)])
        engine.refresh()
        engine.ingest([release(one) for one in ("last-0", "last-1")])
        engine.refresh()
        for _ in range(3):
            with Store.open(home) as store:  # each a command that ends before it projects
                store.rollback()
    with Engine.open(home) as engine:
        assert engine.serving()[0] == SPACE_ID
        assert {*_cold(2), "last-0", "last-1"} <= set(hits(engine))


def _after_the_first_projection(monkeypatch: pytest.MonkeyPatch, happens: Callable[[], None]) -> None:
    project, left = Projector.project, [happens]

    def interrupted(self: Projector, *arguments: object) -> object:
        rows = project(self, *arguments)  # type: ignore[arg-type]
        if left:
            left.pop()()
        return rows

    monkeypatch.setattr(Projector, "project", interrupted)


def _play(user_id: str) -> FeedbackEvent:
    return FeedbackEvent("new", user_id, FeedbackAction.PLAY, user_vector=warm_factors().vectors[-1], space_id=SPACE_ID)


def _vector(engine: Engine) -> bytes:
    (found,) = engine.embeddings(["new"]).embeddings
    return found.vector.tobytes()  # type: ignore[union-attr]


@pytest.mark.parametrize("what", ["feedback", "credit"])
def test_what_another_process_acknowledges_meanwhile_is_not_written_over(
    home: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    with Engine.open(home) as one, Engine.open(home) as other:
        one.ingest([release()])
        other.sync()
        one.store.commit(WriteBatch(feedback=[_play("first")]))  # and ended before the vector was written
        acknowledged: list[bytes] = []

        def happens() -> None:
            if what == "feedback":
                one.record_feedback([_play("second")])
            else:
                one.ingest([release(artist_ids=("ben",))])
            acknowledged.append(_vector(one))

        _after_the_first_projection(monkeypatch, happens)
        other.sync()
        assert acknowledged == [_vector(other)]
        one.sync()
        assert acknowledged == [_vector(one)]
        assert one.store.standings()["new"].listeners == pytest.approx(2.0 if what == "feedback" else 1.0)


def test_feedback_of_the_same_process_waits_for_the_catch_up(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Engine.open(home) as one, Engine.open(home) as other:
        one.ingest([release()])
        other.sync()
        one.store.commit(WriteBatch(feedback=[_play("first")]))
        seen: list[bytes] = []

        def listen() -> None:
            other.record_feedback([_play("second")])
            seen.append(_vector(other))

        thread = threading.Thread(target=listen)

        def happens() -> None:
            thread.start()
            thread.join(0.3)
            assert not seen

        _after_the_first_projection(monkeypatch, happens)
        other.sync()
        thread.join()
        assert seen == [_vector(other)]
        assert other.store.standings()["new"].listeners == pytest.approx(2.0)
        assert not other.store.stale_ids(other.searcher.view().snapshot)


def test_feedback_of_another_process_does_not_have_the_catalogue_read_again(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    built: list[str] = []

    def counted(store: Store, folder: Path, space_id: str, *arguments: object, **fields: object) -> object:
        built.append(space_id)
        return build_projector(store, folder, space_id, *arguments, **fields)  # type: ignore[arg-type]

    with Engine.open(home) as one, Engine.open(home) as other:
        one.ingest([release()])
        other.sync()
        other.warm_up()
        monkeypatch.setattr("jobs.projectors.build_projector", counted)
        one.record_feedback([_play("first")])
        one.store.commit(WriteBatch(feedback=[_play("second")]))  # and ended before the vector was written
        other.sync()
        assert other.store.standings()["new"].listeners == pytest.approx(2.0)
        assert not built
        one.ingest([release("ada-0", artist_ids=("ben",))])  # a warm track
        one.record_feedback([_play("third")])
        built.clear()
        other.sync()
        other.record_feedback([_play("fourth")])
        assert built

"""The way of a release through the jobs: durable, findable, idempotent, and harmless where it is wrong."""

from __future__ import annotations

import threading
from datetime import date
from pathlib import Path

import numpy as np
import pytest
from made_catalogue import SPACE_ID, audio_bytes, release, warm_factors, warm_releases

from encoders import AudioEmptyError, AudioLimits, AudioTooLongError
from index import Filters, Tier, WithdrawnTrackError, WriteBatch
from jobs import Engine, FactorsError, IngestState, Query, Release, ReleaseError
from jobs.factors import Factors
from jobs.ingest import StageClock
from jobs.ingest_manifest import ingest_manifest
from jobs.manifest import Manifest, read_manifest
from jobs.spaces import import_space, rollback_snapshot


def hits(engine: Engine, track_id: str = "ada-0", **options: object) -> list[str]:
    """Ids of everything that is found from a track."""
    return list(engine.ask(Query(track_id=track_id, k=100, **options)).hits[0].track_ids)  # type: ignore[arg-type]


def stored(engine: Engine) -> list[object]:
    """Everything that a release can change, for comparison."""
    records = sorted(engine.store.tracks(), key=lambda record: record.track_id)
    return [records, engine.store.versions(SPACE_ID), engine.status().tracks, engine.serving()]


def test_a_release_is_found_by_the_next_query_and_says_what_it_leaned_on(engine: Engine) -> None:
    (outcome,) = engine.ingest([release()])
    assert (outcome.state, outcome.served, outcome.space_id) == (IngestState.CREATED, True, SPACE_ID)
    assert outcome.tier is Tier.ARTIST_TRANSFER
    assert outcome.catalogue_size == 3
    assert {track_id for track_id, _ in outcome.leaned_on} == {"ada-0", "ada-1", "ada-2"}
    assert sum(weight for _, weight in outcome.leaned_on) == pytest.approx(1.0, abs=1e-5)
    assert outcome.confidence is not None
    assert 0.0 <= outcome.confidence <= 1.0
    assert "new" in hits(engine)
    assert "new" not in hits(engine, "new")
    assert "new" in hits(engine, "new", include_self=True)


def test_the_same_release_again_changes_nothing_and_says_so(engine: Engine) -> None:
    engine.ingest([release()])
    before = stored(engine)
    (again,) = engine.ingest([release()])
    assert (again.state, again.served, again.tier) == (IngestState.UNCHANGED, True, Tier.ARTIST_TRANSFER)
    assert stored(engine) == before


def test_the_same_release_from_many_threads_is_created_once(engine: Engine) -> None:
    states: list[IngestState] = []
    threads = [threading.Thread(target=lambda: states.append(engine.ingest([release()])[0].state)) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(state.value for state in states) == ["created"] + ["unchanged"] * 5


def test_new_credits_move_a_track_without_hearing_it_again(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    (first,) = engine.ingest([release()])
    monkeypatch.setattr(engine.encoder, "encode", lambda waveforms: pytest.fail("heard again"))
    (second,) = engine.ingest([release(artist_ids=("ben",))])
    assert second.state is IngestState.UPDATED
    assert {track_id for track_id, _ in second.leaned_on} == {"ben-0", "ben-1", "ben-2"}
    assert first.vector is not None
    assert second.vector is not None
    assert not np.allclose(first.vector, second.vector)
    assert "new" in hits(engine, filters=Filters(artists_in=frozenset({"ben"})))
    assert "new" not in hits(engine, filters=Filters(artists_in=frozenset({"ada"})))


def test_new_audio_moves_a_track(engine: Engine) -> None:
    (first,) = engine.ingest([release(artist_ids=("nobody",))])
    (second,) = engine.ingest([release(artist_ids=("nobody",), audio=audio_bytes(880.0))])
    assert (first.tier, second.state) == (Tier.AUDIO_ONLY, IngestState.UPDATED)
    assert first.vector is not None
    assert second.vector is not None
    assert not np.allclose(first.vector, second.vector)


def test_the_catalogues_of_all_credited_artists_are_read(engine: Engine) -> None:
    (outcome,) = engine.ingest([release(artist_ids=("ada", "ben"), roles=("primary", "featured"))])
    assert outcome.catalogue_size == 6


def test_a_warm_track_keeps_the_place_its_listeners_gave_it(engine: Engine) -> None:
    (outcome,) = engine.ingest([release("ada-0", title="Renamed", release_date=date(2020, 1, 1))])
    assert (outcome.state, outcome.tier) == (IngestState.UPDATED, Tier.COLLABORATIVE)
    np.testing.assert_array_equal(outcome.vector, warm_factors().vectors[0])
    assert hits(engine, "ben-0", filters=Filters(released_to=date(2020, 1, 1))) == ["ada-0"]


def test_a_wrong_release_is_refused_alone_and_leaves_nothing_behind(home: Path) -> None:
    with Engine.open(home, limits=AudioLimits(max_duration_s=10.0)) as engine:
        before = stored(engine)
        wrong = [
            release("empty", audio=b""),
            release("long", audio=audio_bytes(seconds=11.0)),
            release("missing", audio=home / "no-such-file.wav"),
        ]
        outcomes = engine.ingest(wrong)
        assert [outcome.state for outcome in outcomes] == [IngestState.REFUSED] * 3
        assert [type(outcome.error) for outcome in outcomes[:2]] == [AudioEmptyError, AudioTooLongError]
        assert getattr(outcomes[2].error, "reason", "") == "AUDIO_FILE_MISSING"
        assert stored(engine) == before
        good, bad = engine.ingest([release(), release("empty", audio=b"")])
        assert (good.state, bad.state) == (IngestState.CREATED, IngestState.REFUSED)


def test_a_withdrawn_track_is_in_no_answer_and_is_not_taken_in_again(engine: Engine) -> None:
    engine.ingest([release()])
    assert engine.withdraw(["new", "ada-1"]) == ["new", "ada-1"]
    assert engine.withdraw(["new"]) == []
    assert not {"new", "ada-1"} & set(hits(engine))
    (outcome,) = engine.ingest([release()])
    assert isinstance(outcome.error, WithdrawnTrackError)
    (other,) = engine.ingest([release("other")])
    assert {track_id for track_id, _ in other.leaned_on} == {"ada-0", "ada-2"}
    engine.refresh()
    assert not {"new", "ada-1"} & set(hits(engine))


def test_a_withdrawn_track_is_not_even_in_an_explanation(engine: Engine) -> None:
    engine.ingest([release()])
    engine.withdraw(["ada-1"])
    (embedding,) = engine.embeddings(["new"]).embeddings
    assert {track_id for track_id, _ in embedding.leaned_on} == {"ada-0", "ada-2"}  # type: ignore[union-attr]


def test_tracks_ingested_before_any_space_are_served_once_one_is_published(tmp_path: Path) -> None:
    with Engine.open(tmp_path / "home", create=True) as engine:
        (outcome,) = engine.ingest([release()])
        assert (outcome.state, outcome.served) == (IngestState.CREATED, False)
        engine.ingest(warm_releases())
        import_space(engine, SPACE_ID, warm_factors())
        engine.refresh()
        assert "new" in hits(engine)


def test_tracks_cross_over_to_another_space_and_back(engine: Engine) -> None:
    engine.ingest([release("before")])
    import_space(engine, "space-2", warm_factors(seed=1))
    engine.refresh(space_id="space-2")
    assert engine.serving()[0] == "space-2"
    engine.ingest([release("after")])
    assert {"before", "after"} <= set(hits(engine))
    snapshot = rollback_snapshot(engine)
    assert (snapshot.space_id, engine.serving()[0]) == (SPACE_ID, SPACE_ID)
    assert {"before", "after"} <= set(hits(engine))


def test_an_ingest_that_was_cut_off_before_its_projection_is_finished_at_the_next_start(home: Path) -> None:
    with Engine.open(home) as engine:
        # What a process leaves behind that ends between the two commits of an ingest.
        prepared = engine.ingester.prepare(release(), engine.ingester.look_up(["new"]), StageClock())
        assert prepared.waveform is not None
        assert prepared.record is not None
        content = engine.encoder.encode([prepared.waveform.samples])[0]
        heard = {engine.encoder.encoder_id: [("new", content)]}
        engine.store.commit(WriteBatch(tracks=[prepared.record], content=heard))
        assert "new" not in hits(engine)
    with Engine.open(home) as engine:
        assert "new" in hits(engine)


def test_two_engines_on_one_home_see_each_others_work(home: Path) -> None:
    with Engine.open(home) as one, Engine.open(home) as other:
        one.ingest([release()])
        assert other.sync()
        assert "new" in hits(other)
        other.withdraw(["new"])
        one.sync()
        assert "new" not in hits(one)
        import_space(other, "space-2", warm_factors(seed=1))
        other.refresh(space_id="space-2")
        assert one.serving()[0] == SPACE_ID
        one.sync()
        assert one.serving() == other.serving()
        assert not one.sync()


def test_refresh_of_one_artist_projects_only_their_tracks(engine: Engine) -> None:
    engine.ingest([release("by-ada"), release("by-ben", artist_ids=("ben",))])
    assert engine.refresh(["ben"], everything=True).projected == 1
    assert engine.refresh(everything=True).projected == 2
    assert {"by-ada", "by-ben"} <= set(hits(engine))
    assert engine.status().fresh_rows == 0


def test_a_manifest_goes_in_as_far_as_it_is_good(engine: Engine, tmp_path: Path) -> None:
    (tmp_path / "good.wav").write_bytes(audio_bytes(440.0))
    (tmp_path / "bad.wav").write_bytes(b"RIFF but no more")
    manifest = tmp_path / "manifest.csv"
    manifest.write_text(
        "track_id,title,artist_ids,release_date,audio\n"
        "good,Good,ada;ben,2024,good.wav\n"
        "bad,Bad,ada,,bad.wav\n"
        "good,Twice,ada,,good.wav\n"
        "gone,Gone,ada,,gone.wav\n"
        "dated,Dated,ada,someday,good.wav\n"
    )
    report = ingest_manifest(engine, read_manifest(manifest))
    assert [outcome.track_id for outcome in report.outcomes] == ["good"]
    assert [(one.row, one.track_id) for one in report.refused] == [(2, "bad"), (3, "good"), (4, "gone"), (5, "dated")]
    assert "good" in hits(engine)
    assert report.stage_s["encode"] > 0.0
    assert report.audio_s == pytest.approx(3.2)


def test_a_manifest_says_when_nothing_can_be_served_yet(tmp_path: Path) -> None:
    with Engine.open(tmp_path / "home", create=True) as engine:
        report = ingest_manifest(engine, Manifest([release()], [1], []))
        assert "space publish" in report.note
        assert len(report.outcomes) == 1


def test_user_vectors_are_asked_by_id(engine: Engine) -> None:
    answer = engine.ask(Query(user_id="listener", k=3))
    assert set(answer.hits[0].track_ids) == {"ada-0", "ada-1", "ada-2"}
    errors = engine.search([Query(user_id="nobody"), Query(), Query(track_id="ada-0", k=0)])
    assert [getattr(error, "reason", "") for error in errors] == ["USER_NOT_FOUND", "QUERY_INVALID", "K_OUT_OF_RANGE"]


def test_one_wrong_query_spoils_no_other(engine: Engine) -> None:
    nan = np.full(8, np.nan, np.float32)
    queries = [Query(vector=nan), Query(track_id="ada-0"), Query(vector=np.ones(3, np.float32)), Query(track_id="x")]
    answers = engine.search([*queries, Query(track_id="ada-0", space_id="other")])
    reasons = [getattr(answer, "reason", "answered") for answer in answers]
    assert reasons == ["VECTOR_INVALID", "answered", "VECTOR_INVALID", "TRACK_NOT_FOUND", "SPACE_MISMATCH"]


def test_a_space_without_heard_tracks_says_so(tmp_path: Path) -> None:
    with Engine.open(tmp_path / "home", create=True) as engine:
        import_space(engine, SPACE_ID, warm_factors())
        report = engine.refresh()
        assert (report.projected, report.model_id) == (0, "")
        assert "heard" in report.why
        (outcome,) = engine.ingest([release()])
        assert (outcome.state, outcome.served) == (IngestState.CREATED, False)


def test_factors_of_users_and_items_must_agree(engine: Engine) -> None:
    users = Factors(np.array(["u"]), np.ones((1, 3), np.float32))
    with pytest.raises(FactorsError, match="same training"):
        import_space(engine, "space-3", warm_factors(), users)
    assert [space.space_id for space in engine.store.spaces()] == [SPACE_ID]


def test_releases_check_themselves() -> None:
    with pytest.raises(ReleaseError, match="credits no artist"):
        Release(track_id="x", artist_ids=(), audio=b"")

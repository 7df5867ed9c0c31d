"""The demo keeps what it promises: the whole way, on the bundled music."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import pytest
from command_line import CommandLine

from artist_transfer import FitOptions
from jobs import Engine, Query


def test_the_demo_places_the_cold_tracks_measures_itself_and_survives_a_retrain(
    anacrusis: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The comparison fits a network for each of the 34 tracks; how well those do is not at issue here.
    monkeypatch.setattr("artist_transfer.FitOptions", partial(FitOptions, max_epochs=1))
    home, report = tmp_path / "home", tmp_path / "demo.json"
    command = ("demo", "--keep", home, "--json", report)
    assert anacrusis(*command) == 0, anacrusis.err
    result = json.loads(report.read_text())
    assert result["tracks_heard"] == 34
    assert {one["track_id"] for one in result["releases"]} == {"frantic-old", "return_to_wesnoth"}
    for one in result["releases"]:
        assert (one["state"], one["tier"], len(one["neighbors"])) == ("created", "artist_transfer", 10)
        assert sum(one["leaned_on"].values()) == pytest.approx(1.0, abs=1e-5)
        assert one["title"] in anacrusis.out
    figures = result["overlap_at_10"]
    assert list(figures) == ["acarec", "artist_mean", "audio_only", "chance"]
    assert all(figure["tracks"] == 34 for figure in figures.values())
    assert figures["chance"]["mean"] == pytest.approx(10 / 33)
    assert figures["audio_only"]["mean"] > figures["chance"]["mean"]
    retrained = result["retrain"]
    assert retrained["failures"] == []
    assert retrained["back_to_the_old_space"] == 0
    assert set(retrained["answers"]) == {"wesnoth-playlists", "wesnoth-playlists-2"}
    assert min(retrained["answers"].values()) >= 100
    assert retrained["bridge"]["carried"] == 2
    assert retrained["bridge"]["cosine"] > 0.8
    assert retrained["same_neighbors"]["bridged"] > 0.5
    with Engine.open(home) as engine:
        assert engine.serving()[0] == "wesnoth-playlists-2"
        hits = engine.ask(Query(track_id="sad", k=100)).hits[0]
        assert {"frantic-old", "return_to_wesnoth"} <= set(hits.track_ids)
    assert anacrusis(*command) == 2
    assert "not empty" in anacrusis.err

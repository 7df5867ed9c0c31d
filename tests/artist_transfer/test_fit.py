import dataclasses

import numpy as np
import pytest
import torch

from artist_transfer import (
    Catalogue,
    ColdTracks,
    Credits,
    FitOptions,
    NotEnoughTracksError,
    Tier,
    TransferInputError,
    fit,
)
from artist_transfer import training as training_module
from artist_transfer.ranking import row_cosine
from artist_transfer.training import split_held_out
from tests.artist_transfer.worlds import QUICK_RANKING, TINY_RANKING, clusters, undated, warm

QUICK = FitOptions(device="cpu", learning_rate=5e-3, max_epochs=60, patience=60, ranking=QUICK_RANKING)
PAPER = dataclasses.replace(QUICK, method="acarec")


@pytest.fixture(scope="module")
def world():
    return clusters(artists=60, tracks_each=8)


@pytest.fixture(scope="module")
def halves(world):
    """One track of each artist is cold."""
    cold = np.arange(0, len(world), 8)
    return world.without(cold), world.take(cold)


@pytest.fixture(scope="module", params=["auto", "acarec"])
def fitted(request, halves):
    """A fit by default rules and one of the paper's network, with what it said on the way."""
    reports = []
    return fit(halves[0], dataclasses.replace(QUICK, method=request.param), on_epoch=reports.append), reports


def test_it_learns_what_neither_artist_nor_content_knows_alone(fitted, halves):
    """The artist says around where, the content which way from there: the network knows both."""
    known, hidden = halves
    model, _ = fitted
    catalogue = Catalogue(known)
    assert model.method in ("ranking", "acarec")
    mean = fit(known, FitOptions(method="artist_mean"))
    ours = row_cosine(model.project(hidden.as_cold(), catalogue).vectors, hidden.collaborative).mean()
    artist = row_cosine(mean.project(hidden.as_cold(), catalogue).vectors, hidden.collaborative).mean()
    nobody = dataclasses.replace(hidden.as_cold(), credits=Credits.from_lists([[]] * len(hidden)))
    audio = row_cosine(mean.project(nobody, catalogue).vectors, hidden.collaborative).mean()
    assert ours > 0.85
    assert ours > max(artist, audio) + 0.1


def test_it_says_why_and_measures(fitted):
    model, _ = fitted
    assert {"ranking": "it was the better", "acarec": "told to use it"}[model.method] in model.why
    assert model.metrics[f"ndcg_{model.method}"] > model.metrics["ndcg_artist_mean"]
    assert model.metrics[f"cosine_{model.method}"] > model.metrics["cosine_artist_mean"]
    # The ranking transfer hides whole artists besides.
    hidden = 420 - model.metrics["train_tracks"]
    assert model.metrics["held_out_tracks"] <= hidden <= 1.5 * model.metrics["held_out_tracks"]


def test_confidence_is_the_cosine_to_expect(fitted, halves):
    known, hidden = halves
    model, _ = fitted
    made = model.project(hidden.as_cold(), Catalogue(known))
    measured = row_cosine(made.vectors, hidden.collaborative).mean()
    assert float(made.confidence.mean()) == pytest.approx(measured, abs=0.05)


def test_reports_come_each_epoch_and_the_best_weights_stay(halves):
    reports = []
    model = fit(halves[0], dataclasses.replace(PAPER, max_epochs=20), on_epoch=reports.append)
    assert [report.epoch for report in reports] == list(range(1, len(reports) + 1))
    best = max(reports, key=lambda report: report.ndcg)
    assert [report for report in reports if report.best][-1] == best
    assert model.metrics["best_epoch"] == best.epoch
    assert model.metrics["epochs"] == len(reports)
    assert model.metrics["ndcg_acarec"] == pytest.approx(best.ndcg)
    assert reports[-1].loss < reports[0].loss


def test_training_stops_when_patience_is_out(world):
    reports = []
    options = dataclasses.replace(PAPER, patience=2, learning_rate=1.0)
    fit(world, options, on_epoch=reports.append)
    best = max(report.epoch for report in reports if report.best)
    assert len(reports) == best + 2 < 60


@pytest.mark.parametrize("method", ["ranking", "acarec"])
def test_the_seed_fixes_every_bit(world, method):
    options = dataclasses.replace(QUICK, max_epochs=3, method=method, ranking=TINY_RANKING)
    before = torch.random.get_rng_state()
    first, again = fit(world, options), fit(world, options)
    other = fit(world, dataclasses.replace(options, seed=1))
    assert first.model_id == again.model_id != other.model_id
    catalogue = Catalogue(world)
    np.testing.assert_array_equal(
        first.project(world.as_cold(), catalogue).vectors, again.project(world.as_cold(), catalogue).vectors
    )
    assert first.metrics == again.metrics
    assert torch.equal(before, torch.random.get_rng_state())


def test_held_out_tracks_are_neither_targets_nor_catalogue(world, monkeypatch):
    """Whatever stands at the held-out tracks' place in the space, the weights come out the same."""
    rows = np.arange(len(world))
    held_out = split_held_out(rows, QUICK)
    moved = world.collaborative.copy()
    moved[held_out] *= -3
    options = dataclasses.replace(QUICK, max_epochs=2, patience=60)
    # Every epoch counts as better, so that judging does not choose other weights.
    rising = iter(range(1000))
    monkeypatch.setattr(
        training_module.NeighbourJudge, "ndcg", lambda self, vectors: np.full(len(vectors), float(next(rising)))
    )
    one = training_module.train(world, held_out, options)
    two = training_module.train(dataclasses.replace(world, collaborative=moved), held_out, options)
    for left, right in zip(one.network.parameters(), two.network.parameters(), strict=True):
        assert torch.equal(left, right)


@pytest.mark.parametrize(("trainable", "held_out"), [(2, 1), (16, 4), (33, 8), (50, 8), (400, 40), (20_000, 1024)])
def test_how_many_are_held_out(trainable, held_out):
    rows = np.arange(trainable) * 2
    chosen = split_held_out(rows, FitOptions())
    assert chosen.size == held_out == np.unique(chosen).size
    assert np.isin(chosen, rows).all()
    np.testing.assert_array_equal(chosen, split_held_out(rows, FitOptions()))


def test_a_tiny_space_takes_the_artist_mean_and_says_so():
    tracks = warm([["a"], ["a"], ["a"], ["b"], ["c"]])
    reports = []
    model = fit(tracks, on_epoch=reports.append)
    assert (model.method, reports) == ("artist_mean", [])
    assert "only 3 warm tracks" in model.why
    made = model.project(tracks.as_cold(), Catalogue(tracks))
    np.testing.assert_allclose(made.vectors[0], tracks.collaborative[1:3].mean(axis=0), rtol=1e-5)
    assert made.leaned_on[0] == (("t1", 0.5), ("t2", 0.5))
    assert made.tiers.tolist() == [2, 2, 2, 3, 3]


def test_two_tracks_leave_none_to_judge_by():
    model = fit(warm([["a"], ["a"]]), FitOptions(min_train_tracks=2, device="cpu"))
    assert model.method == "artist_mean"
    assert "leave none to judge" in model.why


def test_one_track_is_a_space_too():
    model = fit(warm([["a"]]))
    made = model.project(
        ColdTracks(["x"], np.zeros((1, 3)), Credits.from_lists([["a"]]), undated(1)), Catalogue(warm([["a"]]))
    )
    np.testing.assert_array_equal(made.vectors, warm([["a"]]).collaborative)
    assert made.confidence.tolist() == [0.0]


def test_a_network_that_learned_nothing_does_not_serve():
    """Nothing here can be learned from content or catalogue but the artist's place."""
    tracks = clusters(artists=40, tracks_each=6, offset=0.0, noise=0.5)
    model = fit(tracks, QUICK)
    assert model.method == "artist_mean"
    assert "not clearly better" in model.why
    assert {"ndcg_ranking", "ndcg_artist_mean", "ndcg_gain_standard_error"} <= set(model.metrics)


@pytest.mark.parametrize("method", ["ranking", "acarec", "artist_mean"])
def test_a_method_can_be_insisted_on(method):
    tracks = clusters(artists=3, tracks_each=3)
    model = fit(tracks, FitOptions(method=method, max_epochs=2, device="cpu", ranking=TINY_RANKING))
    assert model.method == method
    assert "told to" in model.why


def test_a_brand_new_artist_is_placed_by_audio_alone(fitted, halves):
    known, hidden = halves
    model, _ = fitted
    strangers = dataclasses.replace(hidden.as_cold(), credits=Credits.from_lists([["new"]] * len(hidden)))
    made = model.project(strangers, Catalogue(known))
    assert set(made.tiers.tolist()) == {Tier.AUDIO_ONLY}
    assert set(made.catalogue_size.tolist()) == {0}
    assert set(made.leaned_on) == {()}
    measured = row_cosine(made.vectors, hidden.collaborative).mean()
    assert measured > 0.3
    assert float(made.confidence[0]) == pytest.approx(measured, abs=0.1)


def test_confidence_is_higher_where_artists_are_predictable():
    tight, loose = (
        fit(clusters(artists=20, tracks_each=6, offset=0.0, noise=noise), FitOptions(method="artist_mean"))
        for noise in (0.05, 2.0)
    )
    tracks = clusters(artists=20, tracks_each=6)
    sure, unsure = (m.project(tracks.as_cold(), Catalogue(tracks)).confidence.mean() for m in (tight, loose))
    assert sure > 0.95
    assert unsure < 0.6


def test_no_warm_track_is_an_error():
    with pytest.raises(NotEnoughTracksError) as caught:
        fit(warm([["a"]]).take([]))
    assert (caught.value.reason, caught.value.field) == ("NOT_ENOUGH_TRACKS", "warm")


@pytest.mark.parametrize("method", ["ranking", "acarec"])
@pytest.mark.parametrize("credits", [[["a"], ["b"]], [["a"], ["a"]], [["a"], ["a"], ["b"]]])
def test_insisting_on_training_where_nothing_can_be_learned_is_an_error(credits, method):
    with pytest.raises(NotEnoughTracksError):
        fit(warm(credits), FitOptions(method=method, device="cpu"))


TRACKS = {
    "zeros": {"credits": [["a"]] * 20, "vectors": np.zeros((20, 4))},
    "some zeros": {"credits": [["a"], ["b"]] * 10, "vectors": np.eye(20, 4)},
    "all the same": {"credits": [["a"], ["b"]] * 10, "vectors": np.ones((20, 4))},
    "one dimension": {"credits": [["a"], ["b"]] * 10, "vectors": np.arange(20.0)[:, None] - 9.0},
    "three tracks": {"credits": [["a"]] * 3},
    "one artist": {"credits": [["a"]] * 20},
    "constant content": {"credits": [["a"], ["b"]] * 10, "content": np.full((20, 3), 0.1)},
    "huge content": {"credits": [["a"], ["b"]] * 10, "content": np.eye(20, 3) * 3e38},
    "tiny vectors": {"credits": [["a"], ["b"]] * 10, "vectors": np.eye(20, 4) * 1e-30},
}


@pytest.mark.parametrize("method", ["ranking", "acarec"])
@pytest.mark.parametrize("name", TRACKS)
def test_odd_spaces_stay_finite(name, method):
    tracks = warm(**TRACKS[name])
    model = fit(tracks, FitOptions(method=method, max_epochs=2, device="cpu", ranking=TINY_RANKING))
    made = model.project(tracks.as_cold(), Catalogue(tracks))
    assert np.isfinite(made.vectors).all()
    assert ((made.confidence >= 0) & (made.confidence <= 1)).all()
    assert all(np.isfinite(value) for value in model.metrics.values())


@pytest.mark.parametrize(
    "option",
    [
        {"max_epochs": 0},
        {"patience": 0},
        {"batch_size": 0},
        {"catalogue_sample": 0},
        {"catalogue_limit": 0},
        {"min_train_tracks": 0},
        {"seed": -1},
        {"learning_rate": 0.0},
        {"learning_rate": float("nan")},
        {"validation_share": 0.0},
        {"validation_share": 0.6},
        {"method": "magic"},
    ],
    ids=lambda option: str(option),
)
def test_options_out_of_range_are_refused_by_name(option):
    with pytest.raises(TransferInputError) as caught:
        FitOptions(**option)
    assert caught.value.reason == "OPTION_OUT_OF_RANGE"
    assert caught.value.field == next(iter(option))


@pytest.mark.parametrize("method", ["ranking", "acarec"])
@pytest.mark.parametrize("device", ["tpu", "cuda:99", "meta"])
def test_a_device_that_is_not_here_is_refused(device, method):
    with pytest.raises(TransferInputError) as caught:
        fit(clusters(artists=5, tracks_each=5), FitOptions(device=device, method=method))
    assert caught.value.reason == "DEVICE_UNAVAILABLE"


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("method", ["ranking", "acarec"])
def test_a_gpu_gives_what_the_cpu_gives(world, tmp_path, method):
    from artist_transfer import load_model, save_model

    model = fit(world, dataclasses.replace(QUICK, max_epochs=3, method=method, device="cuda"))
    save_model(model, tmp_path / "m")
    on_cpu = load_model(tmp_path / "m", device="cpu")
    assert on_cpu.model_id == model.model_id
    ours, theirs = (m.project(world.as_cold(), Catalogue(world)).vectors for m in (model, on_cpu))
    np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-3)

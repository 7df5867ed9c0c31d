import numpy as np
import pytest

from artist_transfer import audio_only
from artist_transfer.audio_only import AudioOnly, fit_audio_only
from artist_transfer.ranking import row_cosine
from tests.artist_transfer.worlds import clusters, warm


def content_world(n=120, artists=40, noise=0.1, seed=0):
    """What a track sounds like says where it belongs; artists say nothing."""
    rng = np.random.default_rng(seed)
    content = rng.normal(size=(n, 5)) * [1, 10, 0.1, 1, 1] + [0, 50, 0, 0, 0]
    standard = (content - content.mean(axis=0)) / content.std(axis=0)
    vectors = standard @ rng.normal(size=(5, 6)) + 2.0 + noise * rng.normal(size=(n, 6))
    return warm([[f"a{row % artists}"] for row in range(n)], content=content, vectors=vectors)


def test_content_that_decides_is_found():
    tracks = content_world()
    model, agreement = fit_audio_only(tracks.take(np.arange(90)))
    unseen = tracks.take(np.arange(90, 120))
    assert model.kind == "ridge"
    assert row_cosine(model.predict(unseen.content), unseen.collaborative).mean() > 0.99
    assert agreement.mean() > 0.99


def test_content_that_says_nothing_gives_the_mean_of_the_space():
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(200, 4)) + 3.0
    tracks = warm([[f"a{row}"] for row in range(200)], content=rng.normal(size=(200, 5)), vectors=vectors)
    model, _ = fit_audio_only(tracks)
    predicted = model.predict(rng.normal(size=(50, 5)).astype(np.float32))
    np.testing.assert_allclose(predicted, np.broadcast_to(vectors.mean(axis=0), (50, 4)), atol=0.3)


@pytest.mark.parametrize("content_dim", [4, 60], ids=["tall", "wide"])
def test_the_closed_form_is_a_fit_without_the_artist(content_dim):
    """The agreement is what solving again without each artist's tracks, at the same penalty, gives."""
    tracks = clusters(artists=10, tracks_each=4, content_dim=content_dim, noise=0.3, seed=2)
    model, agreement = fit_audio_only(tracks)
    standard = (tracks.content - model.content_mean) / model.content_spread
    # The penalty from the weights: (X'X + p) W = X'Y for the centred X and Y.
    centred = tracks.collaborative - tracks.collaborative.mean(axis=0)
    gap = standard.T @ centred - standard.T @ standard @ model.left
    penalty = float((gap * model.left).sum() / (model.left**2).sum())
    artist = tracks.credits.primary_artists()
    expected = np.empty_like(tracks.collaborative)
    for code in range(10):
        rest, out = artist != code, artist == code
        x_mean, y_mean = standard[rest].mean(axis=0), tracks.collaborative[rest].mean(axis=0)
        x, y = standard[rest] - x_mean, tracks.collaborative[rest] - y_mean
        weight = np.linalg.solve(x.T @ x + penalty * np.eye(content_dim), x.T @ y)
        expected[out] = (standard[out] - x_mean) @ weight + y_mean
    np.testing.assert_allclose(agreement, row_cosine(expected, tracks.collaborative), atol=2e-3)


def test_an_artist_who_holds_most_of_the_space_is_left_out_track_by_track():
    tracks = content_world(n=40, artists=1)
    _, agreement = fit_audio_only(tracks)
    assert agreement.size == 40
    assert agreement.mean() > 0.95


def test_a_large_space_is_judged_by_a_share_of_whole_artists(monkeypatch):
    tracks = content_world(n=120, artists=40)
    everything, agreement = fit_audio_only(tracks)
    monkeypatch.setattr(audio_only, "_JUDGED", 50)
    sampled, fewer = fit_audio_only(tracks)
    assert 0 < fewer.size <= 50 < agreement.size
    assert fewer.size % 3 == 0
    assert fewer.mean() == pytest.approx(agreement.mean(), abs=0.01)
    np.testing.assert_allclose(sampled.left, everything.left, rtol=0.05, atol=0.02)


def test_few_tracks_take_the_mean_of_the_nearest():
    content = np.array([[0.0, 1.0], [0.1, 1.0], [5.0, -1.0], [5.1, -1.0]])
    vectors = np.array([[1.0, 0.0], [1.0, 0.1], [0.0, 1.0], [0.1, 1.0]])
    tracks = warm([["a"], ["b"], ["c"], ["d"]], content=content, vectors=vectors)
    model, agreement = fit_audio_only(tracks)
    assert model.kind == "neighbours"
    predicted = model.predict(np.array([[0.05, 1.0], [5.05, -1.0]], dtype=np.float32))
    assert predicted[0, 0] > 0.9 > 0.2 > predicted[0, 1]
    assert predicted[1, 1] > 0.9 > 0.2 > predicted[1, 0]
    assert agreement.shape == (4,)
    assert agreement.mean() > 0.9


def test_a_single_track_is_the_answer_to_everything_and_trusted_with_nothing():
    tracks = warm([["a"]])
    model, agreement = fit_audio_only(tracks)
    np.testing.assert_allclose(model.predict(np.ones((2, 3), dtype=np.float32)), tracks.collaborative[[0, 0]])
    assert agreement.size == 0


@pytest.mark.parametrize("n", [2, 30])
def test_constant_content_stays_finite(n):
    tracks = warm([[f"a{row}"] for row in range(n)], content=np.ones((n, 3)))
    model, agreement = fit_audio_only(tracks)
    assert np.isfinite(model.predict(np.zeros((4, 3), dtype=np.float32))).all()
    assert np.isfinite(agreement).all()


def test_tensors_that_do_not_fit_are_refused():
    tensors = fit_audio_only(content_world())[0].tensors()
    assert AudioOnly.from_tensors(tensors, 5, 6).kind == "ridge"
    with pytest.raises(ValueError, match="shape"):
        AudioOnly.from_tensors(tensors, 5, 7)

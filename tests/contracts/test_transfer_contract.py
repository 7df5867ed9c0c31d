"""What every transfer model promises, whatever the method."""

import dataclasses

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from artist_transfer import (
    NO_DATE,
    Catalogue,
    ColdTracks,
    Credits,
    FitOptions,
    Tier,
    TransferInputError,
    TransferModel,
    load_model,
    save_model,
)
from tests.artist_transfer.worlds import TINY_RANKING, clusters, fitted


@pytest.fixture(scope="module")
def world():
    tracks = clusters(artists=12, tracks_each=6, dim=8, content_dim=5, days=np.arange(72, dtype=np.int32))
    # One artist with a long catalogue, and tracks of two artists.
    lists = [[f"artist-{row // 6}"] for row in range(72)]
    lists = [[*names, "artist-long"] if row % 2 else names for row, names in enumerate(lists)]
    roles = [["primary", "featured" if row % 4 == 1 else "remixer"][: len(names)] for row, names in enumerate(lists)]
    # Of every fifth track nobody knows how it sounds.
    content = tracks.content.copy()
    content[::5] = np.nan
    return dataclasses.replace(tracks, credits=Credits.from_lists(lists, roles), content=content)


@pytest.fixture(scope="module")
def catalogue(world):
    return Catalogue(world)


def options(method):
    return FitOptions(method=method, max_epochs=3, device="cpu", catalogue_limit=20, ranking=TINY_RANKING)


@pytest.fixture(scope="module", params=["ranking", "acarec", "artist_mean", "carried ranking", "carried artist_mean"])
def method(request):
    return request.param


@pytest.fixture(scope="module")
def model(method, world):
    return made_by(method, world)


def made_by(method, tracks):
    return fitted(tracks, options(method.removeprefix("carried ")), carried=method.startswith("carried"))


@pytest.fixture(scope="module")
def targets(world):
    """Warm tracks, a duet, one with 36 catalogue tracks, one too early for any, an unknown artist, no artist.

    The first, the fifth and the last have no content.
    """
    rng = np.random.default_rng(5)
    lists = [["artist-1", "artist-2"], ["artist-long"], ["artist-3"], ["nobody"], []]
    new = Credits.from_lists([[f"artist-{row // 6}"] for row in range(4)] + lists)
    return ColdTracks(
        [f"t{row:04d}" for row in range(4)] + [f"new-{row}" for row in range(5)],
        np.concatenate([world.content[:4], np.full((1, 5), np.nan), rng.normal(size=(3, 5)), np.full((1, 5), np.nan)]),
        new,
        np.array([NO_DATE] * 6 + [-1, NO_DATE, NO_DATE], dtype=np.int32),
    )


def test_it_is_a_transfer_model(model, method, world):
    assert isinstance(model, TransferModel)
    assert model.method == method.split()[0]
    assert (model.space_id, model.encoder_id) == (world.space_id, world.encoder_id)
    assert (model.content_dim, model.dim) == (5, 8)
    assert model.why.endswith(".")
    assert all(np.isfinite(value) for value in model.metrics.values())


def test_shapes_types_and_ranges(model, catalogue, targets):
    made = model.project(targets, catalogue)
    assert len(made) == len(targets)
    assert made.vectors.shape == (9, 8)
    assert (made.vectors.dtype, made.tiers.dtype) == (np.float32, np.int8)
    assert (made.confidence.dtype, made.catalogue_size.dtype) == (np.float32, np.int32)
    assert np.isfinite(made.vectors).all()
    assert ((made.confidence >= 0) & (made.confidence <= 1)).all()
    for part in (made.popularity, made.popularity_low, made.popularity_high):
        assert part.shape == (9,)
        assert np.isnan(part).all(), "nobody counted the listens of this space"


def test_tiers_follow_the_catalogue(model, catalogue, targets):
    made = model.project(targets, catalogue)
    assert made.tiers.tolist() == [Tier.ARTIST_TRANSFER] * 6 + [Tier.AUDIO_ONLY] * 3
    assert ((made.catalogue_size > 0) == (made.tiers == Tier.ARTIST_TRANSFER)).all()
    assert made.catalogue_size[5] == 20


def test_leaned_on_names_the_heaviest_catalogue_tracks(model, catalogue, targets, world):
    made = model.project(targets, catalogue)
    batch = catalogue.gather(targets, 20)
    for row, named in enumerate(made.leaned_on):
        size = int(made.catalogue_size[row])
        assert len(named) == min(size, 8)
        if not named:
            continue
        weights = [weight for _, weight in named]
        ids = [track_id for track_id, _ in named]
        assert weights == sorted(weights, reverse=True)
        assert min(weights) >= 0
        assert sum(weights) == pytest.approx(1.0, abs=1e-5) if size <= 8 else sum(weights) < 1.0
        assert set(ids) <= set(world.track_ids[batch.rows[row][batch.mask[row]]].tolist())
        assert targets.track_ids[row] not in ids


def same(made, other):
    np.testing.assert_allclose(made.vectors, other.vectors, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(made.tiers, other.tiers)
    np.testing.assert_allclose(made.confidence, other.confidence, atol=1e-4)
    np.testing.assert_array_equal(made.catalogue_size, other.catalogue_size)


def test_the_same_question_has_the_same_answer(model, catalogue, targets):
    first, second = model.project(targets, catalogue), model.project(targets, catalogue)
    np.testing.assert_array_equal(first.vectors, second.vectors)
    assert first.leaned_on == second.leaned_on


@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(st.integers(0, 8), min_size=1, max_size=12), batch_size=st.integers(1, 12))
def test_a_target_does_not_depend_on_its_company(model, catalogue, targets, rows, batch_size):
    whole = model.project(targets, catalogue)
    part = model.project(targets.take(rows), catalogue, batch_size=batch_size)
    np.testing.assert_allclose(part.vectors, whole.vectors[rows], rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(part.tiers, whole.tiers[rows])
    for place, row in enumerate(rows):
        ours, theirs = dict(part.leaned_on[place]), dict(whole.leaned_on[row])
        for track_id in ours.keys() & theirs.keys():
            assert ours[track_id] == pytest.approx(theirs[track_id], abs=1e-5)


@settings(deadline=None, max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 10_000))
def test_the_order_of_the_catalogue_changes_nothing(model, catalogue, targets, world, seed):
    shuffled = Catalogue(world.take(np.random.default_rng(seed).permutation(len(world))))
    same(model.project(targets, catalogue), model.project(targets, shuffled))


def test_strangers_tracks_change_nothing(model, catalogue, targets, world):
    """Only the credited artists' tracks are read."""
    rows = catalogue.gather(targets, 250).rows
    read = np.unique(rows[rows >= 0])
    same(model.project(targets, catalogue), model.project(targets, Catalogue(world.take(read))))


def test_what_is_loaded_is_what_was_saved(model, catalogue, targets, tmp_path):
    save_model(model, tmp_path / "model")
    loaded = load_model(tmp_path / "model", device="cpu")
    assert (loaded.model_id, loaded.why) == (model.model_id, model.why)
    first, second = model.project(targets, catalogue), loaded.project(targets, catalogue)
    np.testing.assert_array_equal(first.vectors, second.vectors)
    np.testing.assert_array_equal(first.confidence, second.confidence)
    assert first.leaned_on == second.leaned_on


def test_a_space_that_nobody_has_heard(method, world, targets):
    """No content at all: whose track it is still says where it belongs."""
    deaf = dataclasses.replace(world, content=np.full_like(world.content, np.nan))
    model = made_by(method, deaf)
    silent = dataclasses.replace(targets, content=np.full_like(targets.content, np.nan))
    for asked in (silent, targets):
        made = model.project(asked, Catalogue(deaf))
        assert np.isfinite(made.vectors).all()
        assert made.tiers.tolist() == [Tier.ARTIST_TRANSFER] * 6 + [Tier.AUDIO_ONLY] * 3


def test_estimates_of_popularity_are_ordered(method, world, targets):
    """Where listens were counted, a model estimates them with an interval, or says that it cannot."""
    counts = np.exp(np.random.default_rng(0).normal(3.0, 1.0, len(world)))
    counts[::7] = np.nan
    counted = dataclasses.replace(world, popularity=counts)
    made = made_by(method, counted).project(targets, Catalogue(counted))
    low, median, high = made.popularity_low, made.popularity, made.popularity_high
    if not method.endswith("ranking"):
        assert np.isnan([low, median, high]).all()
        return
    assert np.isfinite([low, median, high]).all()
    assert (low >= 0).all()
    assert (low <= median).all()
    assert (median <= high).all()


def test_no_targets(model, catalogue, targets):
    made = model.project(targets.take([]), catalogue)
    assert made.vectors.shape == (0, 8)
    assert made.leaned_on == ()


def test_an_empty_catalogue_is_audio_alone(model, targets, world):
    made = model.project(targets, Catalogue(world.take([])))
    assert set(made.tiers.tolist()) == {Tier.AUDIO_ONLY}
    assert np.isfinite(made.vectors).all()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"space_id": "space-2"}, "SPACE_MISMATCH"),
        ({"encoder_id": "encoder-2"}, "ENCODER_MISMATCH"),
        ({"collaborative": np.zeros((72, 9))}, "SHAPE_MISMATCH"),
        ({"content": np.zeros((72, 6))}, "SHAPE_MISMATCH"),
    ],
)
def test_a_foreign_catalogue_is_refused(model, targets, world, change, reason):
    with pytest.raises(TransferInputError) as caught:
        model.project(targets, Catalogue(dataclasses.replace(world, **change)))
    assert caught.value.reason == reason


def test_foreign_content_is_refused(model, catalogue, targets):
    with pytest.raises(TransferInputError) as caught:
        model.project(dataclasses.replace(targets, encoder_id="encoder-2"), catalogue)
    assert caught.value.reason == "ENCODER_MISMATCH"
    with pytest.raises(TransferInputError) as caught:
        model.project(dataclasses.replace(targets, content=np.zeros((9, 4))), catalogue)
    assert caught.value.reason == "SHAPE_MISMATCH"


def test_a_batch_size_below_one_is_refused(model, catalogue, targets):
    with pytest.raises(TransferInputError) as caught:
        model.project(targets, catalogue, batch_size=0)
    assert caught.value.field == "batch_size"

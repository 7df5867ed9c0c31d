"""A transfer at work in a newer training: where the trainings agree, as if it were at home there."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from artist_transfer import (
    Alignment,
    Catalogue,
    FitOptions,
    NotEnoughTracksError,
    TransferInputError,
    carry_model,
    fit,
    load_model,
    save_model,
)
from tests.artist_transfer.worlds import TINY_RANKING, clusters, older_training


def options(method: str = "ranking") -> FitOptions:
    return FitOptions(method=method, max_epochs=2, device="cpu", ranking=TINY_RANKING)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def world():
    """The newer training."""
    return clusters(artists=30, tracks_each=5)


@pytest.mark.parametrize("method", ["ranking", "acarec", "artist_mean"])
@pytest.mark.parametrize("more", [0, 4])
def test_a_turned_copy_is_placed_where_the_old_training_placed_it(world, method, more):
    before = older_training(world, more=more)
    alignment = Alignment.fit(before.collaborative, world.collaborative)
    base = fit(before, options(method))
    carried = carry_model(base, alignment, world.space_id)
    assert (carried.space_id, carried.dim, carried.encoder_id) == ("space-1", 8, world.encoder_id)
    old, new = base.project(world.as_cold(), Catalogue(before)), carried.project(world.as_cold(), Catalogue(world))
    np.testing.assert_allclose(new.vectors, alignment.carry(old.vectors), rtol=1e-2, atol=2e-3)
    np.testing.assert_allclose(new.confidence, old.confidence, atol=2e-3)
    np.testing.assert_array_equal(new.catalogue_size, old.catalogue_size)
    assert [dict(one).keys() for one in new.leaned_on] == [dict(one).keys() for one in old.leaned_on]


def test_more_dimensions_than_before(world):
    """What lies in the dimensions that the old training did not have cannot be said, and is left at zero."""
    narrow = dataclasses.replace(world, space_id="space-0", collaborative=world.collaborative[:, :5] * 2.0)
    alignment = Alignment.fit(narrow.collaborative, world.collaborative)
    carried = carry_model(fit(narrow, options("artist_mean")), alignment, world.space_id)
    found = carried.project(world.as_cold(), Catalogue(world)).vectors
    assert found.shape == (len(world), 8)
    assert np.linalg.matrix_rank(found, tol=1e-3) == 5


def test_confidence_is_what_the_alignment_leaves_of_it(world):
    before = older_training(world, noise=0.3)
    alignment = Alignment.fit(before.collaborative, world.collaborative)
    assert 0.3 < alignment.cosine < 0.95
    base = fit(before, options("artist_mean"))
    carried = carry_model(base, alignment, world.space_id)
    cold = world.as_cold()
    expected = base.project(cold, Catalogue(before)).confidence * np.float32(alignment.cosine)
    np.testing.assert_allclose(carried.project(cold, Catalogue(world)).confidence, expected, rtol=1e-5)
    assert carried.metrics["alignment_cosine"] == alignment.cosine
    assert base.model_id in carried.why
    assert before.space_id in carried.why


def test_a_carried_model_is_carried_on_by_its_base(world, tmp_path):
    """Retrained every night, and never refitted: the model does not grow, and acts as the maps one after the other."""
    first, second = older_training(world, more=3, noise=0.1), older_training(world, more=1, noise=0.1, space_id="mid")
    there = Alignment.fit(first.collaborative, second.collaborative)
    on = Alignment.fit(second.collaborative, world.collaborative)
    base = fit(first, options())
    once = carry_model(base, there, "mid")
    twice = carry_model(once, on, world.space_id)
    assert twice.base is base  # type: ignore[attr-defined]
    brought_back = dataclasses.replace(second, collaborative=on.back(world.collaborative))
    expected = on.carry(once.project(world.as_cold(), Catalogue(brought_back)).vectors)
    found = twice.project(world.as_cold(), Catalogue(world))
    np.testing.assert_allclose(found.vectors, expected, rtol=1e-2, atol=1e-3)
    assert twice.metrics["alignment_cosine"] == pytest.approx(there.cosine * on.cosine)
    save_model(twice, tmp_path / "m")
    np.testing.assert_array_equal(
        load_model(tmp_path / "m", device="cpu").project(world.as_cold(), Catalogue(world)).vectors, found.vectors
    )


def test_a_new_catalogue_is_read(world):
    """It is the new training's catalogue that a release leans on, with the tracks that have come in since."""
    before = older_training(world)
    known = before.take(np.arange(0, len(world), 5))  # one track of each artist
    alignment = Alignment.fit(known.collaborative, world.take(np.arange(0, len(world), 5)).collaborative)
    carried = carry_model(fit(known, options("artist_mean")), alignment, world.space_id)
    assert set(carried.project(world.as_cold(), Catalogue(world)).catalogue_size.tolist()) == {4}


def test_what_cannot_be_carried_is_refused(world):
    base = fit(older_training(world), options("artist_mean"))
    with pytest.raises(TransferInputError) as caught:
        carry_model(base, Alignment.fit(world.collaborative, world.collaborative), "space-2")
    assert caught.value.reason == "SHAPE_MISMATCH"
    nothing = dataclasses.replace(Alignment.fit(np.eye(10), np.eye(10)), scale=0.0)
    with pytest.raises(NotEnoughTracksError) as caught:
        carry_model(base, nothing, "space-2")
    assert caught.value.reason == "NOTHING_IN_COMMON"

"""Deleting what counted most is told from deleting what counted least, and the section says what it measured."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from artist_transfer import Catalogue, CatalogueRows
from jobs.evaluation.acarec import Acarec
from jobs.evaluation.benchmark_folder import Benchmark
from jobs.evaluation.deletion import DELETED, MIN_SIZE, Deletion, movements
from jobs.evaluation.registry import methods_named
from jobs.evaluation.run import Run, fit_and_judge
from tests.artist_transfer.worlds import warm


class WeightedMean:
    """Answers with the weighted mean of the catalogue; the weights are as good as told."""

    def __init__(self, weight_of: np.ndarray, told: np.ndarray) -> None:
        self.weight_of, self.told = weight_of, told

    def read_catalogues(self, targets, selected, catalogue, batch_size):
        owner = np.repeat(np.arange(len(targets)), selected.sizes)
        vectors = np.zeros((len(targets), catalogue.tracks.dim), dtype=np.float32)
        weight = self.weight_of[selected.rows]
        np.add.at(vectors, owner, weight[:, None] * catalogue.tracks.collaborative[selected.rows])
        total = np.bincount(owner, weight, len(targets))
        return vectors / total[:, None].astype(np.float32), self.told[selected.rows].astype(np.float32)


@pytest.fixture
def four_axes():
    """Five tracks of one artist, each its own axis; the last one is the target."""
    tracks = warm([["a"]] * 5, vectors=np.eye(5))
    catalogue = Catalogue(tracks.take(range(4)))
    targets = tracks.as_cold([4])
    return targets, catalogue.select(targets), catalogue


def test_movements_are_what_the_geometry_says(four_axes):
    targets, selected, catalogue = four_axes
    weight = np.array([1.0, 2.0, 3.0, 4.0])
    found = movements(WeightedMean(weight, weight), targets, selected, catalogue, 0)
    norm = np.linalg.norm(weight)
    for one, deleted in (("most", 3), ("least", 0)):
        rest = weight.copy()
        rest[deleted] = 0.0
        assert found[one][0] == pytest.approx(1.0 - np.linalg.norm(rest) / norm, rel=1e-5)
    every = [1.0 - np.sqrt(norm**2 - one**2) / norm for one in weight]
    assert np.isclose(found["random"][0], every).sum() == 1


def test_weights_that_say_the_opposite_are_found_out(four_axes):
    targets, selected, catalogue = four_axes
    weight = np.array([1.0, 2.0, 3.0, 4.0])
    found = movements(WeightedMean(weight, -weight), targets, selected, catalogue, 0)
    assert found["most"][0] < found["least"][0]


def test_which_one_is_deleted_does_not_depend_on_the_order_of_the_catalogue(four_axes):
    targets, selected, catalogue = four_axes
    turned = CatalogueRows(selected.indptr, selected.rows[::-1], selected.roles[::-1])
    weight = np.array([1.0, 2.0, 3.0, 4.0])
    one, other = (movements(WeightedMean(weight, weight), targets, rows, catalogue, 0) for rows in (selected, turned))
    np.testing.assert_allclose([one["most"], one["least"]], [other["most"], other["least"]])


@pytest.fixture(scope="module")
def context(benchmark: Benchmark):
    quick = Acarec()
    options = type(quick.options)(max_epochs=12, learning_rate=5e-3, device="cpu")
    return fit_and_judge(benchmark, benchmark.splits["cold_test"], [Acarec(options=options)], [0, 1])


def test_the_section_measures_writes_draws_and_promises(context, tmp_path: Path):
    section = Deletion()
    result = section.measure(context)
    assert json.loads(json.dumps(result)) == result
    assert (result["method"], list(result["sizes"])) == ("acarec", ["3-5", "6-10", "11-25", "26+"])
    sizes = context.runs["acarec"][0].fitted.select(context.split.tracks).sizes
    by_any_credit = Catalogue(context.benchmark.warm).select(context.split.tracks).sizes
    assert (sizes < by_any_credit).any()  # the paper's network reads the primary artist's tracks alone
    assert result["overall"]["tracks"] == int((sizes >= MIN_SIZE).sum())
    assert result["overall"]["tracks"] == sum(found["tracks"] for found in result["sizes"].values())
    assert result["sizes"]["26+"]["movement"]["most"]["mean"] is None
    assert len(section.checks(result)) == 2
    page = section.markdown(result)
    (plot,) = section.plots(result, tmp_path)
    assert plot.name in page
    assert plot.read_bytes().startswith(b"\x89PNG")
    assert "| 26+ | 0 | - |" in page


class Unmoved:
    """Answers the same, whatever is deleted."""

    def read_catalogues(self, targets, selected, catalogue, batch_size):
        vectors = np.ones((len(targets), catalogue.tracks.dim), dtype=np.float32)
        return vectors, np.arange(selected.rows.size, dtype=np.float32)


def told(context, model):
    """The same evaluation with another model."""
    (one, *_) = context.runs["acarec"]
    fitted = SimpleNamespace(model=model, catalogue=one.fitted.catalogue, select=one.fitted.select)
    run = Run(one.method, one.seed, fitted, one.placed, one.fit_s, one.project_s)
    return replace(context, runs={"acarec": (run,)})


def test_explanations_that_say_nothing_break_the_promises(context):
    even = np.ones(len(context.benchmark.warm))
    result = Deletion().measure(told(context, WeightedMean(even, even)))
    assert set(result["overall"]["movement"]) == set(DELETED)
    assert not all(check.holds for check in Deletion().checks(result))


def test_a_vector_that_nothing_moves_breaks_every_promise(context):
    result = Deletion().measure(told(context, Unmoved()))
    assert result["overall"]["movement"]["most"]["mean"] == 0.0
    assert [check.holds for check in Deletion().checks(result)] == [False, False]


def test_without_a_method_that_explains_itself_there_is_nothing_to_measure(benchmark: Benchmark):
    context = fit_and_judge(benchmark, benchmark.splits["cold_test"], methods_named(["artist_mean"]), [0])
    assert Deletion().measure(context) == {}

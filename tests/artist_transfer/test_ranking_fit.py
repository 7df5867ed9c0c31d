"""The ranking transfer: what it learns from listeners, and what it says of itself."""

import dataclasses
import gc
import weakref
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from artist_transfer import Catalogue, Credits, FitOptions, RankingOptions, TransferInputError, fit, ranking_fit
from artist_transfer.interactions import Interactions
from artist_transfer.ranking import ListenerJudge, row_cosine
from artist_transfer.ranking_fit import _widening
from artist_transfer.ranking_training import train_ranking
from artist_transfer.training import split_held_out
from tests.artist_transfer.worlds import QUICK_RANKING, TINY_RANKING, clusters, listeners, warm

QUICK = FitOptions(device="cpu", method="ranking", ranking=QUICK_RANKING)
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def world():
    tracks = clusters(artists=60, tracks_each=8)
    # Some artists are known to many, others to few.
    rng = np.random.default_rng(7)
    level = np.repeat(rng.normal(5.0, 1.5, size=60), 8) + rng.normal(scale=0.4, size=480)
    return dataclasses.replace(tracks, popularity=np.round(np.exp(level)))


@pytest.fixture(scope="module")
def cold(world):
    """One track of each artist."""
    return np.arange(0, len(world), 8)


@pytest.fixture(scope="module")
def known(world, cold):
    return world.without(cold)


@pytest.fixture(scope="module")
def audience(world):
    return listeners(world)


@pytest.fixture(scope="module")
def fitted(world, cold, known, audience):
    kept = np.delete(np.arange(len(world)), cold)
    return fit(known, QUICK, interactions=audience.of_tracks(kept, len(world)))


def new_artists(targets):
    return dataclasses.replace(targets, credits=Credits.from_lists([[]] * len(targets)))


def test_a_model_does_not_keep_a_catalogue_that_nobody_else_keeps(fitted, world, cold, known):
    catalogue = Catalogue(known)
    fitted.project(world.as_cold(cold), catalogue)
    gone = weakref.ref(catalogue)
    del catalogue
    gc.collect()
    assert gone() is None


def test_listeners_find_what_they_will_listen_to(fitted, world, cold, known, audience):
    """Better than the artist mean, and better than content alone where the artist is new."""
    hidden, catalogue = world.take(cold), Catalogue(known)
    judge = ListenerJudge(audience.of_tracks(cold, len(world)), cold.size)
    mean = fit(known, FitOptions(method="artist_mean"))

    def found(model, targets):
        return judge.ndcg(model.project(targets, catalogue).vectors).mean()

    assert found(fitted, hidden.as_cold()) > found(mean, hidden.as_cold()) + 0.2
    chance = judge.ndcg(np.random.default_rng(9).normal(size=(cold.size, world.dim)).astype(np.float32)).mean()
    assert found(fitted, new_artists(hidden.as_cold())) > chance + 0.2
    assert fitted.metrics["ndcg_ranking"] > fitted.metrics["ndcg_artist_mean"]


def test_without_a_catalogue_content_says_where_and_the_confidence_is_lower(fitted, world, cold, known):
    hidden = world.take(cold)
    made = fitted.project(hidden.as_cold(), Catalogue(known))
    alone = fitted.project(new_artists(hidden.as_cold()), Catalogue(known))
    measured = row_cosine(alone.vectors, hidden.collaborative).mean()
    assert measured > 0.4
    assert alone.confidence.mean() == pytest.approx(measured, abs=0.1)
    assert alone.confidence.mean() < made.confidence.mean() - 0.1
    assert made.confidence.mean() == pytest.approx(row_cosine(made.vectors, hidden.collaborative).mean(), abs=0.08)


def test_popularity_is_estimated_with_an_interval(fitted, world, cold, known):
    hidden = world.take(cold)
    made = fitted.project(hidden.as_cold(), Catalogue(known))
    inside = (made.popularity_low <= hidden.popularity) & (hidden.popularity <= made.popularity_high)
    assert inside.mean() > 0.75
    assert (made.popularity_high < 10 * world.popularity.max()).all()
    ranks = [np.argsort(np.argsort(values)) for values in (made.popularity, hidden.popularity)]
    assert np.corrcoef(*ranks)[0, 1] > 0.6


def test_the_widening_covers_nine_of_ten_of_what_comes():
    """Quantiles that are far too narrow, made right on tracks that were held out."""
    rng = np.random.default_rng(0)
    quantiles = rng.normal(size=(3000, 1)) + np.array([-0.1, 0.0, 0.1])
    listens = quantiles[:, 1] + rng.normal(size=3000)
    widening = _widening(quantiles[:1000].astype(np.float32), listens[:1000].astype(np.float32))
    low, high = quantiles[1000:, 0] - widening, quantiles[1000:, 2] + widening
    covered = ((low <= listens[1000:]) & (listens[1000:] <= high)).mean()
    assert covered == pytest.approx(0.9, abs=0.03)
    assert np.isnan(_widening(np.empty((0, 3), np.float32), np.empty(0, np.float32)))


def test_the_seed_fixes_every_bit_with_listeners_too(known, world, cold, audience):
    heard = audience.of_tracks(np.delete(np.arange(len(world)), cold), len(world))
    options = dataclasses.replace(QUICK, ranking=TINY_RANKING)
    before = torch.random.get_rng_state()
    first, again = (fit(known, options, interactions=heard) for _ in range(2))
    assert torch.equal(before, torch.random.get_rng_state())
    other = fit(known, dataclasses.replace(options, seed=1), interactions=heard)
    without = fit(known, options)
    assert first.model_id == again.model_id
    assert len({first.model_id, other.model_id, without.model_id}) == 3


def test_held_out_tracks_are_neither_candidates_nor_catalogue(world, audience, monkeypatch):
    """Wherever the held-out tracks lie and whoever heard them, the weights come out the same."""
    from artist_transfer import ranking_fit

    held_out = split_held_out(np.arange(len(world)), QUICK)
    moved = world.collaborative.copy()
    moved[held_out] *= -3
    unheard = Interactions(audience.users, audience.entries[~np.isin(audience.entries[:, 1], held_out)])
    options = dataclasses.replace(QUICK, ranking=dataclasses.replace(TINY_RANKING, members=1))
    trained = []

    def spy(*arguments):
        trained.append(train_ranking(*arguments))
        return trained[-1]

    monkeypatch.setattr(ranking_fit, "train_ranking", spy)
    ranking_fit.fit_ranking(world, audience, held_out, options)
    ranking_fit.fit_ranking(dataclasses.replace(world, collaborative=moved), unheard, held_out, options)
    (one, _), (two, _) = trained
    for left, right in zip(one.parameters(), two.parameters(), strict=True):
        assert torch.equal(left, right)


def test_newcomers_with_a_known_guest_say_how_far_a_guest_is_to_be_trusted(world, monkeypatch):
    artists = [[world.credits.artist_ids[code]] for code in world.credits.primary_artists()]
    star = artists[0][0]
    guests = [[*one, star] if row % 2 and one != [star] else one for row, one in enumerate(artists)]
    roles = [["primary", "featured"][: len(one)] for one in guests]
    calibrated = []

    def spy(signs, cosine):
        calibrated.append(signs)
        return learn(signs, cosine)

    learn = ranking_fit.Calibration.fit
    monkeypatch.setattr(ranking_fit.Calibration, "fit", spy)
    fit(
        dataclasses.replace(world, credits=Credits.from_lists(guests, roles)),
        dataclasses.replace(QUICK, ranking=TINY_RANKING),
    )
    _, has, primary = calibrated[0][:, :3].T
    assert {tuple(one) for one in zip(has, primary, strict=True)} == {(0.0, 0.0), (1.0, 0.0), (1.0, 1.0)}


def test_members_that_train_side_by_side_come_out_as_one_by_one(world, monkeypatch):
    options = dataclasses.replace(QUICK, ranking=dataclasses.replace(TINY_RANKING, members=3))
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        beside = fit(world, options)
        assert torch.get_num_threads() == 3
        monkeypatch.setattr(ranking_fit, "ThreadPoolExecutor", lambda workers: ThreadPoolExecutor(1))
        assert fit(world, options).model_id == beside.model_id
    finally:
        torch.set_num_threads(before)


def test_reports_come_every_tenth_step_and_at_the_end(world):
    reports = []
    fit(
        world,
        dataclasses.replace(QUICK, ranking=RankingOptions(steps=14, members=2, hidden=8)),
        on_epoch=reports.append,
    )
    assert [report.epoch for report in reports] == [10, 20, 28]
    assert {report.epochs for report in reports} == {28}
    assert all(np.isfinite(report.loss) and report.ndcg is None for report in reports)


@pytest.mark.parametrize("part", ["gain", "residual", "query", "role_bias"])
def test_frozen_parts_stay_at_their_start(world, part):
    def last(network):
        weights = [weight for name, weight in network.named_parameters() if name.startswith(part)]
        return weights[-1] if part != "role_bias" else weights[0]

    steps = dataclasses.replace(TINY_RANKING, dropout=0.0)
    learned, _ = train_ranking(world, None, steps, 0, CPU)
    frozen, _ = train_ranking(world, None, dataclasses.replace(steps, frozen=(part,)), 0, CPU)
    assert not last(frozen).any()
    # Every track here has one artist in one role: a bias of all scores together changes nothing.
    assert last(learned).abs().max() > 1e-6 or part in ("role_bias", "query")


def test_an_untrained_network_is_the_artist_mean(world):
    """Gain, residual and attention start at nothing: training can only leave the artist mean where that pays."""
    options = dataclasses.replace(TINY_RANKING, steps=1, learning_rate=1e-12)
    model = fit(world, dataclasses.replace(QUICK, ranking=options))
    made = model.project(world.as_cold(), Catalogue(world))
    mean = fit(world, FitOptions(method="artist_mean")).project(world.as_cold(), Catalogue(world))
    np.testing.assert_allclose(row_cosine(made.vectors, mean.vectors), 1.0, atol=1e-5)


def test_the_squared_error_is_there_to_compare_with(world, known, cold):
    squared = dataclasses.replace(QUICK, ranking=dataclasses.replace(QUICK_RANKING, loss="squared"))
    made = fit(known, squared).project(world.take(cold).as_cold(), Catalogue(known))
    assert row_cosine(made.vectors, world.collaborative[cold]).mean() > 0.85


def test_tracks_without_any_artist_are_learned_from_too():
    tracks = warm([["a"], ["a"], ["a"], [], []] * 6)
    heard = Interactions(np.random.default_rng(0).normal(size=(9, 4)), [[user, user * 3] for user in range(9)])
    model = fit(tracks, dataclasses.replace(QUICK, ranking=TINY_RANKING), interactions=heard)
    assert np.isfinite(model.project(tracks.as_cold(), Catalogue(tracks)).vectors).all()


@pytest.mark.parametrize(
    "option",
    [
        *({name: 0} for name in ("steps", "members", "candidates", "listeners", "catalogue_sample", "catalogue_limit")),
        {"hidden": 0},
        {"heads": 0},
        {"artist_dropout": 1.0},
        {"artist_dropout": -0.1},
        {"dropout": 1.0},
        {"discovery_weight": -1.0},
        {"soft_share": 1.1},
        {"squared_weight": -1.0},
        {"content_noise": -0.1},
        {"length_power": 0.0},
        {"weight_decay": float("nan")},
        {"learning_rate": 0.0},
        {"soft_temperature": 0.0},
        {"loss": "hinge"},
        {"frozen": ("key",)},
    ],
    ids=str,
)
def test_options_out_of_range_are_refused_by_name(option):
    with pytest.raises(TransferInputError) as caught:
        RankingOptions(**option)
    assert (caught.value.reason, caught.value.field) == ("OPTION_OUT_OF_RANGE", next(iter(option)))


def test_intervals_of_popularity_hold_with_a_catalogue_and_for_new_artists_alike():
    """One widening for both was too wide for the ones and too narrow for the others."""
    rng = np.random.default_rng(3)
    tracks = clusters(artists=160, tracks_each=8)
    level = np.repeat(rng.normal(5.0, 1.5, size=160), 8) + rng.normal(scale=0.3, size=len(tracks))
    tracks = dataclasses.replace(tracks, popularity=np.round(np.exp(level)))
    artist = tracks.credits.primary_artists()
    new = artist < 40
    later = ~new & (np.arange(len(tracks)) % 8 == 0)
    known = tracks.without(new | later)
    model, catalogue = fit(known, QUICK), Catalogue(known)
    for rows in (new, later):
        hidden = tracks.take(rows)
        made = model.project(hidden.as_cold(), catalogue)
        inside = (made.popularity_low <= hidden.popularity) & (hidden.popularity <= made.popularity_high)
        assert 0.8 <= inside.mean() <= 0.99


def test_artists_of_whom_nothing_is_seen_are_hidden_whole(world):
    held_out = split_held_out(np.arange(len(world)), QUICK)
    rows = ranking_fit.whole_artists(world, held_out, 0)
    artist = world.credits.primary_artists()
    assert 0 < rows.size <= held_out.size // 2
    assert not np.isin(rows, held_out).any()
    others = np.setdiff1d(np.arange(len(world)), np.concatenate([rows, held_out]))
    assert not np.isin(artist[rows], artist[others]).any()
    alone = clusters(artists=1, tracks_each=30)
    assert ranking_fit.whole_artists(alone, np.arange(3), 0).size == 0


def test_interactions_that_say_nothing_of_hidden_tracks_do_not_switch_the_transfer_off(world, audience):
    held_out = split_held_out(np.arange(len(world)), QUICK)
    silent = Interactions(audience.users, audience.entries[~np.isin(audience.entries[:, 1], held_out)])
    model = fit(world, dataclasses.replace(QUICK, method="auto"), interactions=silent)
    assert model.method == "ranking"
    assert model.metrics["ndcg_ranking"] > model.metrics["ndcg_artist_mean"] > 0.0


def test_a_fit_that_is_interrupted_ends_at_once(world):
    steps = []

    def interrupt(report):
        steps.append(report.epoch)
        raise KeyboardInterrupt

    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with pytest.raises(KeyboardInterrupt):
            fit(
                world,
                dataclasses.replace(QUICK, ranking=dataclasses.replace(TINY_RANKING, steps=10**6)),
                on_epoch=interrupt,
            )
    finally:
        torch.set_num_threads(before)
    assert steps == [10]


def test_a_crowd_of_guests_does_not_lengthen_a_vector(fitted, known):
    def length(guests):
        names = ["artist-5", *(f"stranger-{guest}" for guest in range(guests))]
        target = dataclasses.replace(known.as_cold([0]), credits=Credits.from_lists([names]))
        return np.linalg.norm(fitted.project(target, Catalogue(known)).vectors)

    assert length(1000) == pytest.approx(length(4))

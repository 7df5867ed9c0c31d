import dataclasses

import pytest
import torch

from artist_transfer.ranking_network import KEY_DIM, NetworkShape, RankingNetwork

SHAPE = NetworkShape(descriptors=5, dim=3, hidden=8, heads=2, dropout=0.0)


def network(shape=SHAPE):
    """With every weight drawn: as it starts, nothing but the mean would be seen."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        made = RankingNetwork(shape).eval()
        for weight in made.parameters():
            torch.nn.init.normal_(weight, std=0.3)
    return made


def draw(batch=3, width=4, seed=0):
    made = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(*shape, generator=made)

    mask = torch.arange(width)[None] < torch.tensor([width, 2, 0])[:batch, None]
    described = normal(batch, width, 5)
    collaborative, listens = normal(batch, width, 3), normal(batch, width)
    roles = torch.randint(0, 3, (batch, width), generator=made)
    return normal(batch, 5), torch.tensor([0.0, 1.0, 2.0])[:batch], described, collaborative, listens, roles, mask


@torch.no_grad()
def run(made, target, credited, described, collaborative, listens, roles, mask):
    flat = [part.flatten(0, 1) for part in (described, collaborative, listens)]
    keys = made.keys(*flat).view(*mask.shape, -1)
    assert keys.shape[-1] == made.shape.heads * KEY_DIM
    return made(target, credited, keys, collaborative, listens, roles, mask)


def test_shapes_and_weights():
    projected, weights, popularity = run(network(), *draw())
    assert (projected.shape, weights.shape, popularity.shape) == ((3, 3), (3, 4), (3, 3))
    torch.testing.assert_close(weights.sum(dim=1), torch.tensor([1.0, 1.0, 0.0]))
    assert (weights >= 0).all()
    assert torch.isfinite(projected).all()


def test_a_size_beyond_training_is_taken_for_the_largest_of_training():
    """The same track many times over says nothing new, unless the size itself speaks."""

    def answer(sample, copies):
        target, credited, *catalogue, _ = draw(batch=1, width=1)
        repeated = [part.expand(-1, copies, *part.shape[2:]) for part in catalogue]
        made = network(dataclasses.replace(SHAPE, catalogue_sample=sample))
        return run(made, target, credited, *repeated, torch.ones(1, copies, dtype=torch.bool))[0]

    torch.testing.assert_close(answer(4, 9), answer(4, 4))
    assert not torch.allclose(answer(9, 9), answer(4, 9))


def test_the_order_of_the_catalogue_and_what_pads_it_change_nothing():
    made = network()
    target, credited, *catalogue, mask = draw()
    expected = run(made, target, credited, *catalogue, mask)
    order = torch.tensor([3, 1, 0, 2])
    shuffled = run(made, target, credited, *(part[:, order] for part in catalogue), mask[:, order])
    torch.testing.assert_close(shuffled[0], expected[0])
    torch.testing.assert_close(shuffled[1], expected[1][:, order])
    filled = [part.clone() for part in catalogue]
    for part in filled[:3]:
        part[~mask] = 1e3
    noisy = run(made, target, credited, *filled, mask)
    torch.testing.assert_close(noisy[0], expected[0])
    torch.testing.assert_close(noisy[1], expected[1])


@pytest.mark.parametrize("part", ["target", "credited", "described", "collaborative", "listens", "roles"])
def test_everything_that_is_read_counts(part):
    made, given = network(), list(draw(batch=1))
    before = run(made, *given)[0]
    place = ["target", "credited", "described", "collaborative", "listens", "roles"].index(part)
    given[place] = (given[place] + 1) % 3 if part == "roles" else given[place] * 1.5 + 0.5
    assert not torch.allclose(run(made, *given)[0], before, atol=1e-4)


def test_it_starts_from_the_mean():
    target, credited, *catalogue, mask = draw()
    projected, weights, _ = run(RankingNetwork(SHAPE).eval(), target, credited, *catalogue, mask)
    torch.testing.assert_close(projected[0], catalogue[1][0].mean(dim=0))
    torch.testing.assert_close(projected[1], catalogue[1][1, :2].mean(dim=0))
    torch.testing.assert_close(projected[2], torch.zeros(3))
    torch.testing.assert_close(weights[0], torch.full((4,), 0.25))


def test_the_smallest_network_is_one():
    target, credited, *catalogue, mask = draw()
    made = RankingNetwork(dataclasses.replace(SHAPE, hidden=1, heads=1)).eval()
    assert torch.isfinite(run(made, target, credited, *catalogue, mask)[0]).all()

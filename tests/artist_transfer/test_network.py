import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from artist_transfer.network import ACARec, head_count


@pytest.fixture(params=[(5, 16), (3, 7), (4, 12)], ids=lambda sizes: f"content{sizes[0]}-dim{sizes[1]}")
def network(request):
    torch.manual_seed(0)
    made = ACARec(*request.param).eval()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return made


def draw(network, sizes, width, seed=0):
    """Targets with catalogues of these sizes; what is padded is loud."""
    generator = torch.Generator().manual_seed(seed)
    content = torch.randn(len(sizes), network.content_dim, generator=generator)
    catalogue_content = torch.randn(len(sizes), width, network.content_dim, generator=generator)
    collaborative = torch.rand(len(sizes), width, network.dim, generator=generator) * 2 - 1
    mask = torch.arange(width)[None, :] < torch.tensor(sizes)[:, None]
    catalogue_content[~mask] = 1e3
    collaborative[~mask] = -1e3
    return content, catalogue_content, collaborative, mask


@torch.no_grad()
def run(network, content, catalogue_content, collaborative, mask):
    return network(
        content, network.describe(torch.cat([catalogue_content, collaborative], dim=-1)), collaborative, mask
    )


@torch.no_grad()
def by_the_equations(network, content, catalogue_content, collaborative):
    """One target, nothing padded, every linear step where the paper has it."""

    def multi_head(layer, query, key, value):
        dim = network.dim
        (wq, wk, wv), (bq, bk, bv) = layer.project.weight.chunk(3), layer.project.bias.chunk(3)
        q, k, v = query @ wq.T + bq, key @ wk.T + bk, value @ wv.T + bv
        size = dim // layer.heads
        heads, weights = [], []
        for h in range(layer.heads):
            part = slice(h * size, (h + 1) * size)
            weight = (q[:, part] @ k[:, part].T / size**0.5).softmax(dim=-1)
            heads.append(weight @ v[:, part])
            weights.append(weight)
        return layer.out(torch.cat(heads, dim=1)), torch.stack(weights).mean(dim=0)

    keys = network.key(torch.cat([catalogue_content, collaborative], dim=1))
    keys, _ = multi_head(network.self_attention, keys, keys, keys)
    query, values = network.query(content[None]), network.value(collaborative)
    attended, weights = multi_head(network.cross_attention, query, keys, values)
    hidden = collaborative.mean(dim=0, keepdim=True)
    fused = network.fusion(torch.cat([network.out(attended), content[None]], dim=1), hidden)
    return fused[0], weights[0]


@pytest.mark.parametrize("width", [5, 24])
def test_the_equations_hold(network, width):
    """Narrow and wide catalogues take different kernels; both do what the paper says."""
    content, catalogue_content, collaborative, mask = draw(network, [width, 1, 3], width)
    vectors, weights = run(network, content, catalogue_content, collaborative, mask)
    for row, size in enumerate([width, 1, 3]):
        expected, attention = by_the_equations(
            network, content[row], catalogue_content[row, :size], collaborative[row, :size]
        )
        torch.testing.assert_close(vectors[row], expected, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(weights[row, :size], attention, rtol=1e-4, atol=1e-5)
        assert (weights[row, size:] == 0).all()


@settings(deadline=None, max_examples=40)
@given(
    sizes=st.lists(st.integers(1, 9), min_size=1, max_size=5),
    extra=st.integers(0, 14),
    seed=st.integers(0, 1000),
)
def test_padding_order_and_company_change_nothing(sizes, extra, seed):
    torch.manual_seed(1)
    network = ACARec(3, 8).eval()
    width = max(sizes)
    content, catalogue_content, collaborative, mask = draw(network, sizes, width + extra, seed)
    vectors, weights = run(network, content, catalogue_content, collaborative, mask)
    order = torch.from_numpy(np.random.default_rng(seed).permutation(width + extra))
    mixed, mixed_weights = run(network, content, catalogue_content[:, order], collaborative[:, order], mask[:, order])
    torch.testing.assert_close(mixed, vectors, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(mixed_weights, weights[:, order], rtol=1e-4, atol=1e-5)
    for row, size in enumerate(sizes):
        one = slice(row, row + 1)
        alone, _ = run(
            network, content[one], catalogue_content[one, :size], collaborative[one, :size], mask[one, :size]
        )
        torch.testing.assert_close(alone[0], vectors[row], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(weights.sum(dim=1), torch.ones(len(sizes)))


def test_every_weight_that_can_matter_learns():
    torch.manual_seed(0)
    network = ACARec(3, 8)
    content, catalogue_content, collaborative, mask = draw(network, [4, 2], 4)
    collaborative = collaborative.masked_fill(~mask[..., None], 0.0)
    vectors, _ = network(
        content, network.describe(torch.cat([catalogue_content, collaborative], dim=-1)), collaborative, mask
    )
    functional.mse_loss(vectors, torch.zeros_like(vectors)).backward()
    # A constant added to every key's score leaves a softmax as it is, so those biases have no gradient to have.
    silent = {"self_attention.out.bias"}
    for name, parameter in network.named_parameters():
        assert name in silent or parameter.grad.abs().sum() > 0, name


@pytest.mark.parametrize(("dim", "heads"), [(128, 8), (512, 8), (16, 8), (12, 6), (7, 7), (13, 1), (1, 1), (10, 5)])
def test_head_count_divides_the_width(dim, heads):
    assert head_count(dim) == heads

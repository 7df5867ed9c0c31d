import numpy as np
import pytest
import torch

from artist_transfer import Catalogue, FitOptions
from artist_transfer.epochs import MIN_SHARE, Epochs
from artist_transfer.network import ACARec
from artist_transfer.scaling import Scaling
from tests.artist_transfer.worlds import clusters


def trained(tracks, threads, batch_size, epochs=2):
    torch.manual_seed(0)
    network = ACARec(tracks.content_dim, tracks.dim)
    options = FitOptions(batch_size=batch_size, learning_rate=5e-3, device="cpu")
    scaling = Scaling.of(tracks.content, tracks.collaborative)
    made = Epochs(Catalogue(tracks), np.arange(len(tracks)), scaling, network, options)
    torch.set_num_threads(threads)
    losses = [made.run() for _ in range(epochs)]
    assert torch.get_num_threads() == threads
    return losses, torch.cat([one.detach().flatten() for one in network.parameters()])


@pytest.fixture(scope="module")
def tracks():
    """Catalogues of one to six other tracks, so that some are padded."""
    made = clusters(artists=160, tracks_each=7)
    return made.without(np.flatnonzero(np.arange(len(made)) % 7 > np.arange(len(made)) // 7 % 6 + 1))


def test_a_batch_learned_in_shares_is_learned_all_the_same(tracks):
    """The last batch is smaller than the others, and so are its shares."""
    size = 2 * MIN_SHARE
    assert len(tracks) > size
    assert len(tracks) % size
    losses, weights = trained(tracks, 1, size)
    shared_losses, shared_weights = trained(tracks, 2, size)
    np.testing.assert_allclose(shared_losses, losses, rtol=1e-4)
    torch.testing.assert_close(shared_weights, weights, rtol=1e-3, atol=1e-4)


def test_shares_add_up_to_the_same_bits_each_time(tracks):
    first, again = (trained(tracks, 2, 2 * MIN_SHARE)[1] for _ in range(2))
    assert torch.equal(first, again)


def test_what_is_not_known_of_the_content_spoils_nothing(tracks):
    content = tracks.content.copy()
    content[::3] = np.nan
    deaf = tracks.take(np.arange(len(tracks)))
    object.__setattr__(deaf, "content", content)
    losses, weights = trained(deaf, 1, 256, epochs=4)
    assert losses[-1] < losses[0]
    assert torch.isfinite(weights).all()

"""Training the ranking transfer: place warm tracks as if cold, so that their listeners find them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from artist_transfer.catalogue import Catalogue
from artist_transfer.credits import IntArray
from artist_transfer.descriptors import CONTENT_END, Descriptors
from artist_transfer.interactions import Interactions
from artist_transfer.options import RankingOptions
from artist_transfer.ranking_network import CatalogueTensors, NetworkShape, RankingNetwork
from artist_transfer.sampling import sample_places
from artist_transfer.types import FloatArray, WarmTracks

_QUANTILES = (0.05, 0.5, 0.95)

# Entropy of the generators, so that no two draws of one seed are the same.
_STEPS, _WEIGHTS = 20, 21

# Layers draw their first weights from torch's own generator, which all threads share.
_WEIGHTS_LOCK = threading.Lock()


@dataclass(frozen=True, eq=False)
class TrackTensors:
    """The n warm tracks as the network reads them, all on one device; a last row of zeros is what padding (-1) reads.

    Attributes
    ----------
    descriptors : Tensor, shape (n + 1, width)
    collaborative : Tensor, shape (n + 1, dim)
        In units of the mean length.
    listens : Tensor, shape (n + 1,)
        Standardised log listens.
    """

    descriptors: Tensor
    collaborative: Tensor
    listens: Tensor

    @classmethod
    def of(cls, warm: WarmTracks, descriptors: Descriptors, device: torch.device) -> TrackTensors:
        """Bring `warm` to the network's units."""

        def with_padding(values: FloatArray) -> Tensor:
            return torch.from_numpy(np.concatenate([values, np.zeros_like(values, shape=(1, *values.shape[1:]))])).to(
                device
            )

        return cls(
            with_padding(descriptors.describe(warm.content, warm.release_day)),
            with_padding(warm.collaborative / descriptors.length),
            with_padding(descriptors.standard_listens(warm.popularity)),
        )


def read(
    networks: Sequence[RankingNetwork],
    tracks: TrackTensors,
    descriptors: Tensor,
    credited: Tensor,
    rows: Tensor,
    roles: Tensor,
) -> list[tuple[Tensor, Tensor, Tensor]]:
    """Let targets read their catalogues; each catalogue track is described once, however many lean on it.

    Parameters
    ----------
    networks : sequence of RankingNetwork
        What does not depend on their weights is done once for all of them.
    tracks : TrackTensors
        The catalogue's tracks.
    descriptors : Tensor, shape (batch, width)
        Of the targets.
    credited : Tensor, shape (batch,)
    rows : Tensor, shape (batch, columns), int64
        Rows of `tracks`, -1 where there is none.
    roles : Tensor, shape (batch, columns), int64

    Returns
    -------
    list of tuple
        Of each network projected, weights and popularity, as `RankingNetwork.forward`.
    """
    used, place = torch.unique(rows, return_inverse=True)
    collaborative, listens = tracks.collaborative[used], tracks.listens[used]
    described = tracks.descriptors[used]
    # What padding reads is zeros already.
    catalogues = CatalogueTensors.of(collaborative, listens, place, roles, rows >= 0)
    return [
        network.place(descriptors, credited, network.keys(described, collaborative, listens), catalogues)
        for network in networks
    ]


def train_ranking(
    warm: WarmTracks,
    interactions: Interactions | None,
    options: RankingOptions,
    seed: int,
    device: torch.device,
    on_step: Callable[[int, float], None] | None = None,
) -> tuple[RankingNetwork, Descriptors]:
    r"""Train one network.

    In each step B warm tracks are the candidates. Their catalogues, which never hold the track itself, are sampled
    anew; those of a share of the artists are taken away, so that the network learns what to say without one.
    Listeners u are drawn, and the loss is the cross-entropy between what they listened to, :math:`C_u`, and the softmax
    over their scores of all candidates,

    .. math:: \ell_u = - \frac{1}{|C_u|} \sum_{t \in C_u} \log \mathrm{softmax}_t (u \cdot \hat e_t),

    plus `discovery_weight` times the same over discoveries alone: tracks whose primary artist's catalogue holds nothing
    else that u listened to (then the familiar ones leave the softmax). That is what a recommender does with the
    projected vectors, where the squared error to the true vector gives every direction the same weight. What single
    users chose is sparse, and a network can learn it by heart; so a share of what is wanted is the softmax over the
    scores of the true vectors, and the squared error is added with a small weight.

    Without interactions the warm tracks stand for listeners, and what they listened to is the softmax over their scores
    of the candidates' true vectors.

    Parameters
    ----------
    warm : WarmTracks
        All that may be seen, at least 2 tracks.
    interactions : Interactions, optional
        Of these warm tracks.
    options : RankingOptions
    seed : int
        Fixes everything drawn by chance.
    device : torch.device
    on_step : callable, optional
        Called after each step with its number, from 1, and its loss.

    Returns
    -------
    network : RankingNetwork
        In evaluation mode.
    descriptors : Descriptors
    """
    descriptors = Descriptors.of(warm)
    tracks = TrackTensors.of(warm, descriptors, device)
    shape = network_shape(descriptors.width, warm.dim, options)
    chance = np.random.default_rng([seed, _WEIGHTS]).integers(2**31, size=2)
    with _WEIGHTS_LOCK, torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(int(chance[0]))
        network = RankingNetwork(shape).to(device).train()
    network.chance = torch.Generator(device).manual_seed(int(chance[1]))
    for part in options.frozen:
        getattr(network, part).requires_grad_(False)
    learned = [weight for weight in network.parameters() if weight.requires_grad]
    optimiser = torch.optim.AdamW(learned, lr=options.learning_rate, weight_decay=options.weight_decay, fused=True)
    rng = np.random.default_rng([seed, _STEPS])
    batches = _Batches(warm, interactions, options, rng, device)
    warm_up = max(1, options.steps // 20)
    known = torch.from_numpy(~np.isnan(warm.popularity)).to(device)
    for step in range(1, options.steps + 1):
        # Linear warm-up, then a cosine down to zero.
        rate = min(1.0, step / warm_up) * 0.5 * (1.0 + np.cos(np.pi * (step - 1) / options.steps))
        for group in optimiser.param_groups:
            group["lr"] = options.learning_rate * rate
        rows, catalogue, roles = batches.candidates()
        # The network may be coarse on a GPU; the scores may not: rounded, they tell too few of the candidates apart.
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=device.type == "cuda"):
            [answers] = read(
                [network],
                tracks,
                _noisy(tracks.descriptors[rows], options.content_noise, network.chance),
                batches.credited[rows],
                catalogue,
                roles,
            )
        projected, _, popularity = (answer.float() for answer in answers)
        true = tracks.collaborative[rows]
        loss = functional.mse_loss(projected, true) * warm.dim
        if options.loss == "ranking":
            loss = options.squared_weight * loss + batches.ranking_loss(rows, catalogue, projected, true)
        if bool(known[rows].any()):
            loss = loss + _pinball(popularity[known[rows]], tracks.listens[rows][known[rows]])
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        if on_step is not None:
            on_step(step, float(loss.detach()))
    return network.eval(), descriptors


class _Batches:
    """Draws what a step works on.

    Parameters
    ----------
    warm, interactions, options, device
        As in `train_ranking`.
    rng : numpy.random.Generator
        Everything is drawn from it, on the CPU, the same for every device.
    """

    def __init__(
        self,
        warm: WarmTracks,
        interactions: Interactions | None,
        options: RankingOptions,
        rng: np.random.Generator,
        device: torch.device,
    ) -> None:
        self._options, self._rng, self._device = options, rng, device
        self._catalogues = Catalogue(warm).select(warm.as_cold(), options.catalogue_limit)
        self._artists = warm.credits.primary_artists()
        self._n = len(warm)
        self.credited = credited_besides(warm.credits.indptr, device)
        length = float(np.linalg.norm(warm.collaborative, axis=1).mean()) or 1.0
        if interactions is None:
            # The softmax's temperature: scores between tracks in units of their spread.
            vectors = warm.collaborative / length
            spread = float((vectors @ vectors[:: max(1, self._n // 256)].T).std()) or 1.0
            self._listeners = torch.from_numpy(vectors / np.float32(spread * options.soft_temperature)).to(device)
            self._indptr, self._listened = None, None
        else:
            # In units of the tracks' mean length: scores stay what they are in the space.
            self._listeners = torch.from_numpy(interactions.users * np.float32(length)).to(device)
            self._indptr, self._listened = interactions.by_user()

    def candidates(self) -> tuple[Tensor, Tensor, Tensor]:
        """Draw tracks and their catalogues: rows (b,), catalogue (b, width) with -1 for none, roles (b, width)."""
        count = min(self._options.candidates, self._n)
        rows = np.sort(self._rng.choice(self._n, size=count, replace=False))
        kept = self._catalogues.take(rows)
        # A primary artist's catalogue goes for all its candidates of the step: a whole artist is new.
        unknown = self._rng.random(int(self._artists.max(initial=0)) + 1) < self._options.artist_dropout
        alone = unknown[self._artists[rows]] & (self._artists[rows] >= 0)
        kept = kept.emptied(alone)
        places = sample_places(kept, self._options.catalogue_sample, self._rng)
        # As wide as the longest one drawn.
        places = places[:, : max(1, int((places >= 0).sum(axis=1).max()))]
        there = places >= 0
        drawn = np.full(places.shape, -1, dtype=np.int64)
        roles = np.zeros(places.shape, dtype=np.int64)
        drawn[there], roles[there] = kept.rows[places[there]], kept.roles[places[there]]
        to = self._device
        return (
            torch.from_numpy(rows).to(to),
            torch.from_numpy(drawn).to(to),
            torch.from_numpy(roles).to(to),
        )

    def ranking_loss(self, rows: Tensor, catalogue: Tensor, projected: Tensor, true: Tensor) -> Tensor:
        """Cross-entropy of the listeners' choices among the candidates; see `train_ranking`."""
        count = min(self._options.listeners, self._listeners.shape[0])
        drawn = self._rng.choice(self._listeners.shape[0], size=count, replace=False)
        listeners = self._listeners[torch.from_numpy(drawn).to(self._device)]
        scores = listeners @ projected.T
        if self._indptr is None:
            itself = torch.from_numpy(drawn).to(self._device)[:, None] == rows[None, :]
            wanted = torch.softmax((listeners @ true.T).masked_fill(itself, -torch.inf), dim=1)
            log = torch.log_softmax(scores.masked_fill(itself, torch.finfo(scores.dtype).min / 2), dim=1)
            return -(wanted * log).sum(dim=1).mean()
        chosen, discovered = self._choices(drawn, rows, catalogue)
        loss = _cross_entropy(scores, chosen)
        share = self._options.soft_share
        if share > 0.0:
            wanted = torch.softmax(listeners @ true.T, dim=1)
            loss = (1.0 - share) * loss - share * (wanted * torch.log_softmax(scores, dim=1)).sum(dim=1).mean()
        if self._options.discovery_weight > 0.0:
            familiar = chosen & ~discovered
            hidden = scores.masked_fill(familiar, torch.finfo(scores.dtype).min / 2)
            loss = loss + self._options.discovery_weight * _cross_entropy(hidden, discovered)
        return loss

    def _choices(self, users: IntArray, rows: Tensor, catalogue: Tensor) -> tuple[Tensor, Tensor]:
        """Which candidates each user listened to, and which of these are discoveries; (users, b) each, bool."""
        assert self._indptr is not None
        assert self._listened is not None
        at = rows.cpu().numpy()
        column = np.full(self._n, -1, dtype=np.int64)
        column[at] = np.arange(at.size)
        counts = np.diff(self._indptr)[users]
        place = np.arange(counts.sum()) + np.repeat(self._indptr[users] - (np.cumsum(counts) - counts), counts)
        tracks, owner = self._listened[place], np.repeat(np.arange(users.size), counts)
        artists = self._artists[tracks]
        # How often a user listened to the primary artist; once is the candidate itself.
        width = int(self._artists.max(initial=0)) + 2  # -1, no artist at all, is one of them
        _, inverse, times = np.unique(owner * np.int64(width) + artists + 1, return_inverse=True, return_counts=True)
        among = column[tracks] >= 0
        owner, hit, familiar = owner[among], column[tracks[among]], times[inverse][among] > 1
        without = (catalogue < 0).all(dim=1).cpu().numpy()
        familiar &= ~without[hit]
        shape = (users.size, at.size)
        chosen = torch.zeros(shape, dtype=torch.bool)
        discovered = torch.zeros(shape, dtype=torch.bool)
        chosen[torch.from_numpy(owner), torch.from_numpy(hit)] = True
        discovered[torch.from_numpy(owner[~familiar]), torch.from_numpy(hit[~familiar])] = True
        return chosen.to(self._device), discovered.to(self._device)


def network_shape(descriptors: int, dim: int, options: RankingOptions) -> NetworkShape:
    """Size a network for descriptors and vectors of such lengths."""
    return NetworkShape(descriptors, dim, options.hidden, options.heads, options.dropout, options.catalogue_sample)


def credited_besides(indptr: IntArray, device: torch.device) -> Tensor:
    """Count each track's credits besides the first, 0 to 4; shape (n,), float32.

    Hardly a track has more, and what was never seen in training is not to lengthen a vector without bound.
    """
    return torch.from_numpy(np.clip(np.diff(indptr) - 1, 0, 4).astype(np.float32)).to(device)


def _noisy(descriptors: Tensor, spread: float, chance: torch.Generator) -> Tensor:
    """Add noise to the content where it is known, so that a track cannot be told by it alone."""
    if spread == 0.0:
        return descriptors
    noise = torch.zeros_like(descriptors)
    content = noise[:, :CONTENT_END]
    content[:] = spread * torch.randn(content.shape, generator=chance, device=noise.device)
    return descriptors + noise * descriptors[:, CONTENT_END, None]


def _cross_entropy(scores: Tensor, chosen: Tensor) -> Tensor:
    """Mean over users of the mean over what they chose of -log softmax; 0 where nobody chose anything."""
    count = chosen.sum(dim=1)
    some = count > 0
    log = torch.log_softmax(scores[some], dim=1)
    wanted = chosen[some]
    return -((log * wanted).sum(dim=1) / count[some]).sum() / max(1, int(some.sum()))


def _pinball(estimate: Tensor, listens: Tensor) -> Tensor:
    """Quantile loss of Koenker and Bassett (1978), summed over the three quantiles, mean over tracks."""
    quantiles = torch.tensor(_QUANTILES, device=estimate.device)
    above = listens[:, None] - estimate
    return torch.maximum(quantiles * above, (quantiles - 1.0) * above).sum(dim=1).mean()

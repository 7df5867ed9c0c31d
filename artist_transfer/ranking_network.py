"""The network of the ranking transfer: one model for a catalogue of any size, none included."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from artist_transfer.credits import Role

KEY_DIM = 32
"""Length of an attention key of one head."""

_GATHERED = 2**11  # keys of catalogue tracks: 1 MiB with 4 heads


@dataclass(frozen=True)
class NetworkShape:
    """What rules the size of a `RankingNetwork`.

    Attributes
    ----------
    descriptors : int
        Length of a track's descriptors, see `artist_transfer.descriptors`.
    dim : int
        Length of a collaborative vector.
    hidden : int
        Width of the hidden layers.
    heads : int
        Ways of reading the catalogue.
    dropout : float
        Share of the summary that is left out in training.
    catalogue_sample : int
        Catalogue tracks that a target has in training at most.
    """

    descriptors: int
    dim: int
    hidden: int = 256
    heads: int = 4
    dropout: float = 0.1
    catalogue_sample: int = 16


@dataclass(frozen=True, eq=False)
class CatalogueTensors:
    """The catalogues of a batch of targets, as every network of a transfer reads them.

    Attributes
    ----------
    collaborative : Tensor, shape (n, dim)
        Of all tracks that any target leans on, in units of the mean norm.
    place : Tensor, shape (batch, width), int64
        Where each target's catalogue tracks stand among them; where there is no track, a row of zeros.
    roles : Tensor, shape (batch, width), int64
        Values of `Role`: of the shared artist on the target.
    mask : Tensor, shape (batch, width), bool
        True where there is a catalogue track; a row without any is a target without a catalogue.
    size : Tensor, shape (batch, 1)
    mean : Tensor, shape (batch, dim)
    mean_listens : Tensor, shape (batch, 1)
    """

    collaborative: Tensor
    place: Tensor
    roles: Tensor
    mask: Tensor
    size: Tensor
    mean: Tensor
    mean_listens: Tensor

    @classmethod
    def of(cls, collaborative: Tensor, listens: Tensor, place: Tensor, roles: Tensor, mask: Tensor) -> CatalogueTensors:
        """Sum catalogues up; `listens`, shape (n,), is 0 as well where there is no track."""
        size = mask.sum(dim=1, keepdim=True, dtype=collaborative.dtype)
        counted = size.clamp(min=1.0)
        mean = functional.embedding_bag(place, collaborative, mode="sum") / counted
        return cls(collaborative, place, roles, mask, size, mean, listens[place].sum(dim=1, keepdim=True) / counted)

    def pool(self, attention: Tensor) -> Tensor:
        """Sum each catalogue's vectors, weighed by `attention` (batch, heads, width); shape (batch, heads, dim)."""
        batch, heads, width = attention.shape
        rows = self.place.repeat_interleave(heads, dim=0)
        # Nothing is gathered: many times as fast as a matrix product of what was.
        pooled = functional.embedding_bag(
            rows, self.collaborative, mode="sum", per_sample_weights=attention.reshape(batch * heads, width)
        )
        return pooled.view(batch, heads, -1)


class RankingNetwork(nn.Module):
    r"""A cold track's place from its descriptors and its artists' catalogue.

    With descriptors :math:`d_t` of the target, and :math:`d_i`, log listens :math:`l_i` and collaborative vectors
    :math:`e_i` (in units of the mean norm) of its catalogue, :math:`\bar e` and :math:`\bar l` their means:

    .. math::

        k_i &= \mathrm{MLP}_k [d_i ; e_i ; l_i ; |e_i|], \quad
        q = \mathrm{MLP}_q [d_t ; \bar e ; \log(1 + n) ; \bar l ; c_t] \\
        a_{hi} &= \mathrm{softmax}_i (q_h \cdot k_{hi} / \sqrt{32} + b_{h, role(i)}), \quad p_h = \sum_i a_{hi} e_i \\
        s &= [d_t ; \bar e ; p_1 ; \dots ; p_H ; \log(1 + n) ; \bar l ; [n > 0] ; |\bar e| ;
              \mathrm{mean}_h |p_h| ; c_t] \\
        \hat e_t &= \tfrac1H \sum_h \exp(g_h(s)) \, p_h + \mathrm{MLP}(s)

    The values are the catalogue's own vectors, so that the answer starts as a weighted artist mean. The gains g set the
    length apart from the direction (a vector's length acts as popularity in an inner product); the residual says what
    no catalogue track says, and all there is to say without a catalogue. c_t counts the target's further credits; n is
    the size of the catalogue, or that of training's samples where it is larger: the network cannot know what a size
    means that it never saw. There is no positional encoding: the order of the catalogue changes nothing.

    Parameters
    ----------
    shape : NetworkShape

    Attributes
    ----------
    chance : torch.Generator or None
        What dropout draws from in training; torch's own where None.
    """

    def __init__(self, shape: NetworkShape) -> None:
        super().__init__()
        self.shape = shape
        hidden, heads, dim = shape.hidden, shape.heads, shape.dim
        narrow = max(1, hidden // 4)
        self.key = _mlp(shape.descriptors + dim + 2, hidden, KEY_DIM * heads)
        self.query = _mlp(shape.descriptors + dim + 3, hidden, KEY_DIM * heads)
        self.role_bias = nn.Embedding(max(Role) + 1, heads)
        summary = shape.descriptors + dim * (1 + heads) + 6
        self.gain = _mlp(summary, narrow, heads)
        self.residual = nn.Sequential(
            nn.Linear(summary, 2 * hidden),
            nn.ReLU(),
            nn.Linear(2 * hidden, 2 * hidden),
            nn.ReLU(),
            nn.Linear(2 * hidden, dim),
        )
        self.popularity = _mlp(summary, narrow, 3)
        self.chance: torch.Generator | None = None
        # Training starts from the artist mean: no track or role preferred, no gain, no residual.
        for part in (self.query, self.gain, self.residual, self.popularity):
            for weight in part[-1].parameters():
                nn.init.zeros_(weight)
        nn.init.zeros_(self.role_bias.weight)

    def keys(self, descriptors: Tensor, collaborative: Tensor, listens: Tensor) -> Tensor:
        """Describe catalogue tracks to the attention.

        Parameters
        ----------
        descriptors : Tensor, shape (n, descriptors)
        collaborative : Tensor, shape (n, dim)
            In units of the mean norm.
        listens : Tensor, shape (n,)
            Standardised log listens, 0 where not known.

        Returns
        -------
        Tensor, shape (n, heads * KEY_DIM)
        """
        length = collaborative.norm(dim=1, keepdim=True)
        keys: Tensor = self.key(torch.cat([descriptors, collaborative, listens[:, None], length], dim=1))
        return keys

    def forward(
        self,
        descriptors: Tensor,
        credited: Tensor,
        keys: Tensor,
        collaborative: Tensor,
        listens: Tensor,
        roles: Tensor,
        mask: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Place targets.

        Parameters
        ----------
        descriptors : Tensor, shape (batch, descriptors)
            Of the targets.
        credited : Tensor, shape (batch,)
            How many artists each target credits besides the first.
        keys : Tensor, shape (batch, width, heads * KEY_DIM)
            From `keys`, of the catalogue tracks; anything where `mask` is False, as in all that follow.
        collaborative : Tensor, shape (batch, width, dim)
        listens : Tensor, shape (batch, width)
        roles : Tensor, shape (batch, width), int64
            Values of `Role`: of the shared artist on the target.
        mask : Tensor, shape (batch, width), bool
            True where there is a catalogue track; a row without any is a target without a catalogue.

        Returns
        -------
        projected : Tensor, shape (batch, dim)
            In units of the mean norm.
        weights : Tensor, shape (batch, width)
            How much each catalogue track counted, sum 1 where there is one.
        popularity : Tensor, shape (batch, 3)
            Quantiles .05, .5 and .95 of the standardised log listens.
        """
        there = mask.to(collaborative.dtype)
        catalogues = CatalogueTensors.of(
            (collaborative * there[..., None]).flatten(0, 1),
            (listens * there).flatten(),
            torch.arange(mask.numel(), device=mask.device).view(mask.shape),
            roles,
            mask,
        )
        return self.place(descriptors, credited, keys.flatten(0, 1), catalogues)

    def place(
        self, descriptors: Tensor, credited: Tensor, keys: Tensor, catalogues: CatalogueTensors
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Place targets as `forward` does; `keys`, shape (n, heads * KEY_DIM), are of all tracks of `catalogues`."""
        size, mean, mean_listens = catalogues.size, catalogues.mean, catalogues.mean_listens
        counted = torch.log1p(size.clamp(max=self.shape.catalogue_sample))
        query = self.query(torch.cat([descriptors, mean, counted, mean_listens, credited[:, None]], dim=1))
        attention = self._attention(query, keys, catalogues)
        pooled = catalogues.pool(attention)
        summary = self._thinned(
            torch.cat(
                [
                    descriptors,
                    mean,
                    pooled.flatten(1),
                    counted,
                    mean_listens,
                    (size > 0.0).to(mean.dtype),
                    mean.norm(dim=1, keepdim=True),
                    pooled.norm(dim=2).mean(dim=1, keepdim=True),
                    credited[:, None],
                ],
                dim=1,
            )
        )
        gain = torch.exp(self.gain(summary))
        projected = (gain[..., None] * pooled).mean(dim=1) + self.residual(summary)
        weights = (gain[..., None] * attention).sum(dim=1) / gain.sum(dim=1, keepdim=True)
        # The estimate of popularity reads the summary and does not shape it.
        return projected, weights, self.popularity(summary.detach())

    def _attention(self, query: Tensor, keys: Tensor, catalogues: CatalogueTensors) -> Tensor:
        """Return how much each head counts each catalogue track, shape (batch, heads, width)."""
        heads, mask = self.shape.heads, catalogues.mask[:, None]
        # Each head's query at its place in a whole key, zeros elsewhere: the keys are then read as they lie.
        apart = torch.eye(heads, dtype=query.dtype, device=query.device)[..., None]
        whole = (query.view(-1, 1, heads, KEY_DIM) * apart).view(-1, heads, heads * KEY_DIM)
        # On a CPU a few targets at once: what is gathered for them stays in the cache.
        at_once = len(whole) if whole.is_cuda else _GATHERED // max(1, mask.shape[2])
        parts = zip(torch.split(whole, max(1, at_once)), torch.split(catalogues.place, max(1, at_once)), strict=True)
        scores = torch.cat([torch.bmm(some, functional.embedding(at, keys).transpose(1, 2)) for some, at in parts])
        scores = scores / KEY_DIM**0.5
        scores = scores + self.role_bias(catalogues.roles).transpose(1, 2)
        # A finite floor keeps a row without a catalogue free of NaN; its attention is set to zero below.
        scores = scores.masked_fill(~mask, torch.finfo(scores.dtype).min / 2)
        return torch.softmax(scores, dim=2) * mask

    def _thinned(self, summary: Tensor) -> Tensor:
        """Leave some of the summary out in training, by a generator of one's own: members train side by side."""
        share = self.shape.dropout
        if not self.training or share == 0.0:
            return summary
        kept = torch.rand(summary.shape, generator=self.chance, device=summary.device) >= share
        return summary * kept / (1.0 - share)


def _mlp(inputs: int, hidden: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(inputs, hidden), nn.ReLU(), nn.Linear(hidden, outputs))

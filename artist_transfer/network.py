"""The ACARec network: a cold track's content asks its artist's catalogue where the track belongs."""

import torch
from torch import Tensor, nn
from torch.nn import functional

MAX_HEADS = 8


def head_count(dim: int) -> int:
    """The largest number of attention heads, at most 8, that divides `dim`."""
    return max(heads for heads in range(1, MAX_HEADS + 1) if dim % heads == 0)


class _Attention(nn.Module):
    """Multi-head scaled dot-product attention, split in two so that callers can reorder linear steps.

    Per head h of width d_h: softmax(q_h k_h^T / sqrt(d_h)) v_h, the heads side by side through a linear out.
    """

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(dim, dim)
        self.key = nn.Linear(dim, dim)
        self.value = nn.Linear(dim, dim)
        self.out = nn.Linear(dim, dim)
        # As in torch.nn.MultiheadAttention, which draws the three input maps as one matrix of shape (3 dim, dim).
        for layer in (self.query, self.key, self.value):
            nn.init.xavier_uniform_(layer.weight, gain=2.0**-0.5)
        for layer in (self.query, self.key, self.value, self.out):
            nn.init.zeros_(layer.bias)

    def split(self, states: Tensor) -> Tensor:
        """(batch, width, dim) -> (batch, heads, width, dim / heads)."""
        batch, width, dim = states.shape
        return states.view(batch, width, self.heads, dim // self.heads).transpose(1, 2)

    def merge(self, states: Tensor) -> Tensor:
        """(batch, heads, width, dim / heads) -> (batch, width, dim)."""
        batch, heads, width, head_dim = states.shape
        return states.transpose(1, 2).reshape(batch, width, heads * head_dim)


class ACARec(nn.Module):
    r"""Artist-catalogue-aware projection of a track's content into the collaborative space.

    For a target with content :math:`c_t` and a catalogue of tracks i with content :math:`c_i` and frozen
    collaborative vectors :math:`e_i` (all standardised and scaled as `artist_transfer.scaling` does):

    .. math::

        k_i &= W_k [c_i ; e_i] + b_k, \quad v_i = W_v e_i + b_v, \quad q = W_q c_t + b_q \\
        k'  &= \mathrm{MultiHead}(k, k, k) \\
        u   &= W_u \, \mathrm{MultiHead}(q, k', v) + b_u \\
        h   &= \mathrm{mean}_i \, e_i \\
        \hat e_t &= \mathrm{GRUCell}(\text{input} = [u ; c_t], \text{hidden} = h)

    Self-attention transforms the keys alone. There is no positional encoding, normalisation, feed-forward block,
    dropout or residual, so that the order of the catalogue changes nothing. The GRU cell answers with a convex mix, per
    coordinate, of the catalogue's mean and a tanh candidate, which is why the space is scaled into [-1, 1].

    An empty catalogue has no mean and nothing to attend to: it is the caller's to keep away (its tier is audio only).

    Parameters
    ----------
    content_dim : int
        Length of a content vector.
    dim : int
        Length of a collaborative vector, and the hidden width.

    References
    ----------
    Tamm et al., "Leveraging Artist Catalogs for Cold-Start Music Recommendation", UMAP 2026, arXiv 2604.07090.
    """

    def __init__(self, content_dim: int, dim: int) -> None:
        super().__init__()
        heads = head_count(dim)
        self.content_dim = content_dim
        self.dim = dim
        self.key = nn.Linear(content_dim + dim, dim)
        self.value = nn.Linear(dim, dim)
        self.query = nn.Linear(content_dim, dim)
        self.self_attention = _Attention(dim, heads)
        self.cross_attention = _Attention(dim, heads)
        self.out = nn.Linear(dim, dim)
        self.fusion = nn.GRUCell(dim + content_dim, dim)

    def keys(self, content: Tensor, collaborative: Tensor) -> Tensor:
        """Keys of catalogue tracks, before self-attention.

        Parameters
        ----------
        content : Tensor, shape (n, content_dim)
            Standardised content vectors.
        collaborative : Tensor, shape (n, dim)
            Scaled collaborative vectors.

        Returns
        -------
        Tensor, shape (n, dim)
        """
        keys: Tensor = self.key(torch.cat([content, collaborative], dim=-1))
        return keys

    def forward(
        self, content: Tensor, keys: Tensor, collaborative: Tensor, mask: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Project targets.

        Parameters
        ----------
        content : Tensor, shape (batch, content_dim)
            Standardised content of the targets.
        keys : Tensor, shape (batch, width, dim)
            `keys` of each target's catalogue; what stands where `mask` is False changes nothing, if finite.
        collaborative : Tensor, shape (batch, width, dim)
            Scaled collaborative vectors of each target's catalogue.
        mask : Tensor, shape (batch, width), bool
            True where there is a catalogue track; at least one in each row.

        Returns
        -------
        vectors : Tensor, shape (batch, dim)
            Projected vectors in the scaled space.
        weights : Tensor, shape (batch, width)
            Cross-attention weights, mean over heads; 0 where padded, each row sums to 1.
        """
        attended = self._self_attend(keys, mask)
        weights, context = self._cross_attend(self.query(content), attended, collaborative, mask)
        update = self.out(context)
        present = mask.to(collaborative.dtype)
        hidden = torch.einsum("bl,bld->bd", present, collaborative) / present.sum(dim=1, keepdim=True)
        vectors: Tensor = self.fusion(torch.cat([update, content], dim=-1), hidden)
        return vectors, weights.mean(dim=1)

    def _self_attend(self, keys: Tensor, mask: Tensor) -> Tensor:
        """Self-attention over the keys up to, and without, its linear out; (batch, width, dim)."""
        layer = self.self_attention
        mixed = functional.scaled_dot_product_attention(
            layer.split(layer.query(keys)),
            layer.split(layer.key(keys)),
            layer.split(layer.value(keys)),
            attn_mask=mask[:, None, None, :],
        )
        return layer.merge(mixed)

    def _cross_attend(
        self, query: Tensor, attended: Tensor, collaborative: Tensor, mask: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Cross-attention of one query for each target.

        With a single query it costs less to bring the query to the keys than every key to the query. With
        k'_i = W_o y_i + b_o the score of head h is q_h . (W_h k'_i + b_h) = (W_o^T W_h^T q_h) . y_i + a constant that
        the softmax takes out; and sum_i a_i V_h (W_v e_i + b_v) = V_h (W_v (sum_i a_i e_i) + b_v), as the a_i sum to 1.

        Returns
        -------
        weights : Tensor, shape (batch, heads, width)
        context : Tensor, shape (batch, dim)
        """
        layer = self.cross_attention
        batch, dim = query.shape
        heads, head_dim = layer.heads, dim // layer.heads
        by_head = layer.query(query).view(batch, heads, head_dim)
        # (heads, head_dim, dim) @ (dim, dim): the key projection after self-attention's linear out, as one matrix.
        key_weight = layer.key.weight.view(heads, head_dim, dim) @ self.self_attention.out.weight
        probe = torch.einsum("bhk,hkd->bhd", by_head, key_weight)
        scores = probe @ attended.transpose(1, 2) * head_dim**-0.5
        scores = scores.masked_fill(~mask[:, None, :], -torch.inf)
        weights = scores.softmax(dim=-1)
        mixed = self.value(weights @ collaborative)  # (batch, heads, dim)
        value_weight = layer.value.weight.view(heads, head_dim, dim)
        context = torch.einsum("bhd,hkd->bhk", mixed, value_weight).reshape(batch, dim) + layer.value.bias
        projected: Tensor = layer.out(context)
        return weights, projected

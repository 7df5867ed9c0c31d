"""The ACARec network: a cold track's content asks its artist's catalogue where the track belongs."""

import torch
from torch import Tensor, nn
from torch.nn import functional

MAX_HEADS = 8

Described = tuple[Tensor, Tensor, Tensor]
"""Query, key and value of catalogue tracks in the self-attention."""

# Up to this many catalogue tracks the fused attention kernel costs more than plain matrix products.
_NARROW = 16


def head_count(dim: int) -> int:
    """Find the largest number of attention heads, at most 8, that divides `dim`."""
    return max(heads for heads in range(1, MAX_HEADS + 1) if dim % heads == 0)


def _softmax(scores: Tensor, head_dim: int, mask: Tensor) -> Tensor:
    """Softmax of scores / sqrt(head_dim) over the last axis, where `mask` (broadcast) is True; 0 elsewhere."""
    masked = (scores * head_dim**-0.5).masked_fill(~mask, -torch.inf)
    if scores.shape[-1] > _NARROW:
        return functional.softmax(masked, dim=-1)
    # Rows of a few numbers do not fill a vector register; side by side, with the narrow axis in front, they do, and on
    # a CPU that is over ten times as fast.
    return functional.softmax(masked.movedim(-1, 0).contiguous(), dim=0).movedim(0, -1)


class _Attention(nn.Module):
    """Weights of multi-head attention: softmax(q_h k_h^T / sqrt(d_h)) v_h, the heads through a linear out.

    The linear steps are left to the caller, who can order them so that they cost less.
    """

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        # Query, key and value below each other, as in torch.nn.MultiheadAttention, and drawn as there.
        self.project = nn.Linear(dim, 3 * dim)
        self.out = nn.Linear(dim, dim)
        nn.init.xavier_uniform_(self.project.weight)
        nn.init.zeros_(self.project.bias)
        nn.init.zeros_(self.out.bias)


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

    def describe(self, tracks: Tensor) -> Described:
        """Bring catalogue tracks into the self-attention, each for itself.

        Parameters
        ----------
        tracks : Tensor, shape (..., content_dim + dim)
            Standardised content and scaled collaborative vector of each track, one behind the other.

        Returns
        -------
        tuple of three Tensor, shape (..., dim)
            Query, key and value of each track's key; nothing of it depends on target or neighbours.
        """
        # Two linear steps with nothing between them are one, and cost less so.
        project = self.self_attention.project
        weights = (project.weight @ self.key.weight).chunk(3)
        biases = functional.linear(self.key.bias, project.weight, project.bias).chunk(3)
        query, key, value = (functional.linear(tracks, *one) for one in zip(weights, biases, strict=True))
        return query, key, value

    def forward(
        self, content: Tensor, described: Described, collaborative: Tensor, mask: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Project targets.

        Parameters
        ----------
        content : Tensor, shape (batch, content_dim)
            Standardised content of the targets.
        described : tuple of three Tensor, shape (batch, width, dim)
            `describe` of each target's catalogue; what stands where `mask` is False changes nothing, if finite.
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
        attended = self._self_attend(described, mask)
        weights, context = self._cross_attend(content, attended, collaborative, mask)
        update = self.out(context)
        present = mask.to(collaborative.dtype)
        total = torch.bmm(present[:, None, :], collaborative).squeeze(1)
        hidden = total / present.sum(dim=1, keepdim=True)
        vectors: Tensor = self.fusion(torch.cat([update, content], dim=-1), hidden)
        return vectors, weights.mean(dim=1)

    def _self_attend(self, described: Described, mask: Tensor) -> Tensor:
        """Self-attention over the keys up to, and without, its linear out; (batch, width, dim)."""
        batch, width, _ = described[0].shape
        heads = self.self_attention.heads
        query, key, value = (one.view(batch, width, heads, -1).transpose(1, 2) for one in described)
        if width <= _NARROW:
            mixed = _softmax(query @ key.transpose(2, 3), self.dim // heads, mask[:, None, None, :]) @ value
        else:
            mixed = functional.scaled_dot_product_attention(query, key, value, attn_mask=mask[:, None, None, :])
        attended: Tensor = mixed.transpose(1, 2).reshape(batch, width, self.dim)
        return attended

    def _cross_attend(
        self, content: Tensor, attended: Tensor, collaborative: Tensor, mask: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Cross-attention of one query for each target, which its content asks.

        With a single query it costs less to bring the query to the keys than every key to the query. With
        k'_i = W_o y_i + b_o the score of head h is q_h . (W_h k'_i + b_h) = (W_o^T W_h^T q_h) . y_i + a
        constant that the softmax takes out; and sum_i a_i V_h (W_v e_i + b_v) = V_h (W_v (sum_i a_i e_i) +
        b_v), as the a_i sum to 1.

        Returns
        -------
        weights : Tensor, shape (batch, heads, width)
        context : Tensor, shape (batch, dim)
        """
        layer = self.cross_attention
        batch, dim = content.shape[0], self.dim
        heads, head_dim = layer.heads, dim // layer.heads
        query_weight, key_weight, value_weight = layer.project.weight.chunk(3)
        query_bias, _, value_bias = layer.project.bias.chunk(3)
        by_head = functional.linear(
            content,
            query_weight @ self.query.weight,
            functional.linear(self.query.bias, query_weight, query_bias),
        ).view(batch, heads, head_dim)
        # (heads, head_dim, dim) @ (dim, dim): the key map after self-attention's linear out, as one.
        key_map = key_weight.view(heads, head_dim, dim) @ self.self_attention.out.weight
        probe = torch.einsum("bhk,hkd->bhd", by_head, key_map)
        weights = _softmax(probe @ attended.transpose(1, 2), head_dim, mask[:, None, :])
        value_map = value_weight.view(heads, head_dim, dim) @ self.value.weight
        value_shift = functional.linear(self.value.bias, value_weight, value_bias)
        mixed = torch.einsum("bhd,hkd->bhk", weights @ collaborative, value_map)
        context: Tensor = layer.out(mixed.reshape(batch, dim) + value_shift)
        return weights, context

"""Multi-head attention and the two residual blocks that the later parts of the network are made of."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from model.layers.dropout import Dropout
from model.layers.linear import Linear, linear


class MultiHeadAttention(nn.Module):
    """Multi-head attention, batch first, with the parameters and the initialisation of ``nn.MultiheadAttention``.

    It computes the same as that module around the same ``scaled_dot_product_attention``, without its transposed copies
    of the queries, keys and values, which would be the largest tensors of a training step.
    """

    def __init__(self, dim: int, num_heads: int, dropout: float) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.dropout = Dropout(dropout)
        self.in_proj_weight = nn.Parameter(torch.empty(3 * dim, dim))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * dim))
        self.out_proj = Linear(dim, dim)
        nn.init.xavier_uniform_(self.in_proj_weight)
        nn.init.zeros_(self.out_proj.bias)

    def forward(self, query: Tensor, memory: Tensor | None = None) -> Tensor:
        """Attend from ``query`` (n, s, dim) to ``memory`` (n, m, dim), or to itself; returns (n, s, dim)."""
        if memory is None:
            q, k, v = self._heads(linear(query, self.in_proj_weight, self.in_proj_bias), 3)
        else:
            dim = query.shape[-1]
            query_weight, memory_weight = self.in_proj_weight.split([dim, 2 * dim])
            query_bias, memory_bias = self.in_proj_bias.split([dim, 2 * dim])
            (q,) = self._heads(linear(query, query_weight, query_bias), 1)
            k, v = self._heads(linear(memory, memory_weight, memory_bias), 2)
        return self.out_proj(self._attend(q, k, v))

    def residual(self, standard: Tensor, norm: nn.LayerNorm) -> Tensor:
        """x + MHA(x) with x = ``norm.weight`` * ``standard`` + ``norm.bias``, (n, s, dim) to (n, s, dim).

        Scale and shift are multiplied into the projections, so that no gradient with respect to x is computed where
        ``standard`` needs none. For the regions of a picture, that is a ninth of the arithmetic of a training step.
        """
        weight = self.in_proj_weight * norm.weight
        bias = torch.addmv(self.in_proj_bias, self.in_proj_weight, norm.bias)
        attended = self._attend(*self._heads(linear(standard, weight, bias), 3))
        attended = linear(attended, self.out_proj.weight, self.out_proj.bias + norm.bias)
        return torch.addcmul(attended, standard, norm.weight)

    def _attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Queries, keys and values (n, heads, s or m, dim / heads) to the results of all heads (n, s, dim)."""
        dropout = self.dropout.p if self.training else 0.0
        if dropout and q.device.type == "cpu":
            # With dropout, scaled_dot_product_attention has no kernel for a CPU: it takes these steps, and more time.
            weights = torch.softmax(q * q.shape[-1] ** -0.5 @ k.transpose(2, 3), dim=-1)  # (n, heads, s, m)
            attended = self.dropout(weights) @ v
        else:
            attended = F.scaled_dot_product_attention(q, k, v, dropout_p=dropout)  # (n, heads, s, dim / heads)
        return attended.transpose(1, 2).flatten(2)

    def _heads(self, projected: Tensor, parts: int) -> tuple[Tensor, ...]:
        """Split (n, s, parts * dim) into ``parts`` views (n, heads, s, dim / heads)."""
        split = projected.unflatten(-1, (parts, self.num_heads, -1))  # (n, s, parts, heads, dim / heads)
        return tuple(part.transpose(1, 2) for part in split.unbind(2))


class ResidualAttention(nn.Module):
    """LN(x + Dropout(MHA(x, memory, memory))), (n, s, dim) to (n, s, dim)."""

    def __init__(self, dim: int, num_heads: int, attention_dropout: float, dropout: float) -> None:
        super().__init__()
        self.attention = MultiHeadAttention(dim, num_heads, attention_dropout)
        self.dropout = Dropout(dropout)
        self.norm = nn.LayerNorm(dim)

    def forward(self, x: Tensor, memory: Tensor | None = None) -> Tensor:
        return self.norm(x + self.dropout(self.attention(x, memory)))


class ResidualFeedForward(nn.Module):
    """LN(x + Dropout(Linear(Dropout(ReLU(Linear x))))), (n, s, dim) to (n, s, dim)."""

    def __init__(self, dim: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.expand = Linear(dim, hidden)
        self.contract = Linear(hidden, dim)
        self.hidden_dropout = Dropout(dropout)
        self.dropout = Dropout(dropout)
        self.norm = nn.LayerNorm(dim)

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.hidden_dropout(F.relu(self.expand(x)))
        return self.norm(x + self.dropout(self.contract(hidden)))

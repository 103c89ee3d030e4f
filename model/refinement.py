"""Self-attention refinement of one modality's features."""

from torch import Tensor, nn
from torch.nn import functional as F

from model.attention import MultiHeadAttention
from model.dropout import Dropout


class Refinement(nn.Module):
    """Dropout(ReLU(Linear(LN(x' + MHA(x'))))) with x' = LN(x): the same LN twice, no residual around the last step."""

    def __init__(self, dim: int, num_heads: int, attention_dropout: float, dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.attention = MultiHeadAttention(dim, num_heads, attention_dropout)
        self.linear = nn.Linear(dim, dim)
        self.dropout = Dropout(dropout)

    def forward(self, x: Tensor, scope: str) -> Tensor:
        """Refine (n, s, dim): n segments of s regions, or n videos of s segments.

        Scope ``video`` attends over s, so that every segment (or video) stands for itself. Scope ``batch`` attends over
        n, as the published code does by feeding batch-first tensors to a sequence-first attention.
        """
        x = self.norm(x)
        if scope == "video":
            attended = self.attention(x)
        else:
            attended = self.attention(x.transpose(0, 1)).transpose(0, 1)
        return self.dropout(F.relu(self.linear(self.norm(x + attended))))

"""Self-attention refinement of one modality's features."""

from torch import Tensor, nn
from torch.nn import functional as F

from model.config import MAGANConfig
from model.layers.attention import MultiHeadAttention
from model.layers.dropout import Dropout
from model.layers.linear import Linear


class Refinement(nn.Module):
    """Dropout(ReLU(Linear(LN(x' + MHA(x'))))) with x' = LN(x): the same LN twice, no residual around the last step."""

    def __init__(self, config: MAGANConfig, dim: int) -> None:
        super().__init__()
        self.scope = config.scope
        self.norm = nn.LayerNorm(dim)
        self.attention = MultiHeadAttention(dim, config.num_heads, config.refine_attention_dropout)
        self.linear = Linear(dim, dim)
        self.dropout = Dropout(config.refine_dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Refine (n, s, dim): n segments of s regions, or n videos of s segments.

        Scope ``video`` attends over s, so that each segment (or video) is refined independently. Scope ``batch``
        attends over n, as the published code does by feeding batch-first tensors to a sequence-first attention.
        """
        x = F.layer_norm(x, x.shape[-1:], eps=self.norm.eps)  # x' before its scale and shift
        if self.scope == "video":
            x = self.attention.residual(x, self.norm)  # x' + MHA(x')
        else:
            x = self.attention.residual(x.transpose(0, 1), self.norm).transpose(0, 1)
        return self.dropout(F.relu(self.linear(self.norm(x))))

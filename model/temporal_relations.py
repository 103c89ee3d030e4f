"""Temporal relations: each modality is read along time, then attends to the other modality."""

import copy
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn

from model.config import MAGANConfig
from model.layers.attention import ResidualAttention, ResidualFeedForward
from model.layers.linear import Linear
from model.layers.streams import side_by_side


def read_along_time(lstm: nn.LSTM, x: Tensor) -> Tensor:
    """The output X of a bidirectional LSTM, (b, t, 512) to (b, t, 2 * d_model).

    Under autocast to bfloat16 it stays in float32, with the same numbers on every device: cuDNN's LSTM computes in
    float16 under any autocast dtype, whose range is too small for gradients without loss scaling, and oneDNN's fails
    on CPUs without AVX-512.
    """
    has_autocast = torch.amp.is_autocast_available(x.device.type)  # shapes alone, on "meta", have none
    with torch.autocast(x.device.type if has_autocast else "cpu", enabled=False):
        return lstm(x.to(lstm.weight_ih_l0.dtype))[0].contiguous()


class Relations(NamedTuple):
    """Relations between the segments of each video; all (b, t, d_model)."""

    visual_encoded: Tensor  # E_v
    audio_encoded: Tensor  # E_a
    visual_query: Tensor  # visual_q, the visual segments having attended to the audio ones
    audio_query: Tensor  # audio_q, the audio segments having attended to the visual ones


class Encoder(nn.Module):
    """Linear, then two post-norm transformer encoder layers, (b, t, 2 * d_model) to (b, t, d_model)."""

    def __init__(self, config: MAGANConfig) -> None:
        super().__init__()
        d_model, dropout = config.d_model, config.temporal_dropout
        self.linear = Linear(2 * d_model, d_model)
        layer = nn.Sequential(
            ResidualAttention(d_model, config.num_heads, dropout, dropout),
            ResidualFeedForward(d_model, config.encoder_hidden, dropout),
        )
        self.layers = nn.Sequential(layer, copy.deepcopy(layer))  # both start as the same layer, as published

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(self.linear(x))


class Decoder(nn.Module):
    """Linear, then attention to the other modality's encoding and to itself, (b, t, 2 * d_model) to (b, t, d_model)."""

    def __init__(self, config: MAGANConfig) -> None:
        super().__init__()
        d_model, dropout = config.d_model, config.temporal_dropout
        self.linear = Linear(2 * d_model, d_model)
        self.attention = ResidualAttention(d_model, config.num_heads, dropout, dropout)
        self.feed_forward = ResidualFeedForward(d_model, config.decoder_hidden, dropout)

    def forward(self, x: Tensor, other_encoded: Tensor) -> Tensor:
        u = self.linear(x)
        memory = torch.cat([other_encoded, u], dim=1)  # (b, 2t, d_model)
        return self.feed_forward(self.attention(u, memory))


class TemporalRelations(nn.Module):
    """A bidirectional LSTM, an encoder and a cross-modal decoder per modality."""

    def __init__(self, config: MAGANConfig) -> None:
        super().__init__()
        self.visual_lstm = nn.LSTM(config.visual_dim, config.d_model, batch_first=True, bidirectional=True)
        self.audio_lstm = nn.LSTM(config.visual_dim, config.d_model, batch_first=True, bidirectional=True)
        self.visual_encoder = Encoder(config)
        self.audio_encoder = Encoder(config)
        self.visual_decoder = config.choose(Decoder(config), {"no-cross-modal-decoder": None})
        self.audio_decoder = config.choose(Decoder(config), {"no-cross-modal-decoder": None})

    def forward(self, visual: Tensor, audio: Tensor) -> Relations:
        """Co-attended features ``visual`` and ``audio``, (b, t, 512) each."""
        visual, audio = side_by_side(  # X_v and X_a: (b, t, 2 * d_model) each
            partial(read_along_time, self.visual_lstm), [visual], partial(read_along_time, self.audio_lstm), [audio]
        )
        visual_encoded, audio_encoded = side_by_side(self.visual_encoder, [visual], self.audio_encoder, [audio])
        if self.visual_decoder is None:  # each modality's query is its own encoding
            return Relations(visual_encoded, audio_encoded, visual_encoded, audio_encoded)
        visual_query, audio_query = side_by_side(
            self.visual_decoder, [visual, audio_encoded], self.audio_decoder, [audio, visual_encoded]
        )
        return Relations(visual_encoded, audio_encoded, visual_query, audio_query)

"""Temporal relations within each modality alone."""

from torch import Tensor, nn

from model.temporal_relations import Relations, TemporalRelations, read_along_time


class EncodingsAsQueries(nn.Module):
    """A bidirectional LSTM and an encoder per modality; audio_q = E_a(X_a), visual_q = E_v(X_v)."""

    def __init__(self, whole: TemporalRelations) -> None:
        super().__init__()
        self.visual_lstm, self.audio_lstm = whole.visual_lstm, whole.audio_lstm
        self.visual_encoder, self.audio_encoder = whole.visual_encoder, whole.audio_encoder

    def forward(self, visual: Tensor, audio: Tensor) -> Relations:
        """Co-attended features ``visual`` and ``audio``, (b, t, 512) each."""
        visual_encoded = self.visual_encoder(read_along_time(self.visual_lstm, visual))
        audio_encoded = self.audio_encoder(read_along_time(self.audio_lstm, audio))
        return Relations(visual_encoded, audio_encoded, visual_query=visual_encoded, audio_query=audio_encoded)

"""The network and its variants as plain equations, in evaluation mode and scope ``video``, from a state dict.

Nothing here is shared with the network but the names of its parameters. A variant is a few methods that differ.
"""

import math

import torch
from torch import Tensor, nn

from model import MAGANConfig


class Equations:
    """The whole network. b videos, t segments, r regions."""

    visual_rows = ("a2v", "v2a", "spatial")  # of co_attention.visual_projection, in their order
    audio_rows = ("a2v", "v2a", "spatial")

    def __init__(self, config: MAGANConfig, weights: dict[str, Tensor], setting: str) -> None:
        self.config, self.weights, self.setting = config, weights, setting

    # ------------------------------------------------------------------------------------------------ layers

    def linear(self, name: str, x: Tensor, rows: slice = slice(None)) -> Tensor:
        return x @ self.weights[f"{name}.weight"][rows].T + self.weights[f"{name}.bias"][rows]

    def norm(self, name: str, x: Tensor) -> Tensor:
        x = x - x.mean(-1, keepdim=True)
        x = x / (x.pow(2).mean(-1, keepdim=True) + 1e-5).sqrt()
        return x * self.weights[f"{name}.weight"] + self.weights[f"{name}.bias"]

    def attend(self, name: str, x: Tensor, memory: Tensor) -> Tensor:
        dim, width = x.shape[-1], x.shape[-1] // self.config.num_heads
        projections = zip(
            self.weights[f"{name}.in_proj_weight"].split(dim), self.weights[f"{name}.in_proj_bias"].split(dim), strict=1
        )
        q, k, v = (each @ w.T + bias for each, (w, bias) in zip((x, memory, memory), projections, strict=True))
        heads = [slice(start, start + width) for start in range(0, dim, width)]
        attended = [
            torch.softmax(q[..., h] @ k[..., h].transpose(-1, -2) / math.sqrt(width), -1) @ v[..., h] for h in heads
        ]
        return self.linear(f"{name}.out_proj", torch.cat(attended, -1))

    def residual(self, name: str, x: Tensor, memory: Tensor) -> Tensor:
        return self.norm(f"{name}.norm", x + self.attend(f"{name}.attention", x, memory))

    def feed_forward(self, name: str, x: Tensor) -> Tensor:
        hidden = self.linear(f"{name}.expand", x).relu()
        return self.norm(f"{name}.norm", x + self.linear(f"{name}.contract", hidden))

    def lstm(self, name: str, x: Tensor) -> Tensor:
        lstm = nn.LSTM(x.shape[-1], self.config.d_model, batch_first=True, bidirectional=True).double()
        lstm.load_state_dict({key: self.weights[f"{name}.{key}"] for key in lstm.state_dict()})
        return lstm(x)[0]

    # ------------------------------------------------------------------------------------------------ the figure

    def run(self, visual: Tensor, audio: Tensor) -> dict[str, Tensor]:
        v, a = self.modalities(visual.flatten(2, 3), audio)
        v, a = self.refine_visual(v), self.refine_audio(a)
        v, a = self.a2v(v, a), self.v2a(v, a)
        x_v, x_a = (self.lstm(f"temporal_relations.{name}_lstm", x) for name, x in (("visual", v), ("audio", a)))
        e_v, e_a = self.encoder("visual", x_v), self.encoder("audio", x_a)
        visual_q, audio_q = self.decoder("visual", x_v, e_v, e_a), self.decoder("audio", x_a, e_a, e_v)
        visual, audio = self.interact(visual_q, audio_q)
        um_gate, um_logits = self.unimodal(e_v, e_a, visual_q, audio_q, visual, audio)
        fused, mm_gate = self.fuse(visual, audio)
        mm_logits = self.multimodal_logits(fused)
        is_event, event = self.localize(fused)
        um_score, mm_score = (None if x is None else torch.softmax(x, -1) for x in (um_logits, mm_logits))
        if self.setting == "supervised":
            values = {"um_gate": um_gate, "um_score": um_score, "mm_gate": mm_gate, "mm_score": mm_score}
            logits = {"um_logits": um_logits, "mm_logits": mm_logits}
            return {"is_event": is_event, "event": event, **values, **logits}
        gates, scores = ([x for x in pair if x is not None] for pair in ((um_gate, mm_gate), (um_score, mm_score)))
        outputs = {
            "event": torch.softmax(event, -1),
            "gate": math.prod(gates) if gates else None,
            "gate_score": math.prod(scores) if scores else None,
            "event_logits": event,
            "gate_logits": sum(x for x in (um_logits, mm_logits) if x is not None),
        }
        return {"is_event": self.event_logit(outputs, fused, is_event), **outputs}

    def event_logit(self, outputs: dict[str, Tensor], fused: Tensor, is_event: Tensor) -> Tensor:
        return is_event

    def modalities(self, v: Tensor, a: Tensor) -> tuple[Tensor, Tensor]:
        return v, a

    def refine_visual(self, v: Tensor) -> Tensor:
        return self.refine("refine_visual", v)

    def refine_audio(self, a: Tensor) -> Tensor:
        return self.refine("refine_audio", a)

    def refine(self, name: str, x: Tensor) -> Tensor:
        x = self.norm(f"{name}.norm", x)
        y = self.norm(f"{name}.norm", x + self.attend(f"{name}.attention", x, x))
        return self.linear(f"{name}.linear", y).relu()

    # ------------------------------------------------------------------------------------------------ CMGCA

    def projected(self, modality: str, part: str, x: Tensor) -> Tensor:
        """ReLU(Linear x) of one part of a projection."""
        start = 0
        for present in getattr(self, f"{modality}_rows"):
            width = self.config.d_model if present == "spatial" else self.config.visual_dim
            if present == part:
                return self.linear(f"co_attention.{modality}_projection", x, slice(start, start + width)).relu()
            start += width
        raise KeyError(part)

    def beta(self, branch: str) -> Tensor:
        return self.weights[f"co_attention.{branch}.beta"]

    def c(self, branch: str, part: str, v: Tensor, a: Tensor) -> Tensor:
        """(b, t, 512)."""
        z = self.projected("visual", part, v) * self.projected("audio", part, a).unsqueeze(2)
        s = torch.cat([z.mean(2), z.amax(2)], -1)
        name = f"co_attention.{branch}.channel_attention"
        return self.linear(f"{name}.expand", self.linear(f"{name}.squeeze", s).relu()).sigmoid()

    def m1(self, v: Tensor, weighted: Tensor, a: Tensor) -> Tensor:
        name = "co_attention.audio_to_visual"
        g = self.linear(f"{name}.pooled_guide", torch.cat([weighted.mean(2), weighted.amax(2)], -1)).relu()
        h = self.projected("visual", "spatial", v)
        return self.linear(f"{name}.visual_attention.score", h * g.unsqueeze(2)).tanh().softmax(2)

    def m2(self, v: Tensor, weighted: Tensor, a: Tensor) -> Tensor:
        name = "co_attention.audio_to_visual"
        h = self.linear(f"{name}.attended_regions", weighted).relu()
        g = self.projected("audio", "spatial", a)
        return self.linear(f"{name}.audio_guided_attention.score", h * g.unsqueeze(2)).tanh().softmax(2)

    def a2v(self, v: Tensor, a: Tensor) -> Tensor:
        weighted = v * (1 + self.c("audio_to_visual", "a2v", v, a)).unsqueeze(2)
        f1, f2 = ((m(v, weighted, a) * weighted).sum(2) for m in (self.m1, self.m2))
        beta = self.beta("audio_to_visual")
        return f1 + beta[0] * f2.sigmoid() * f1 + f2 + beta[1] * f1.sigmoid() * f2

    def v2a(self, v: Tensor, a: Tensor) -> Tensor:
        weighted = self.projected("audio", "v2a", a) * (1 + self.c("visual_to_audio", "v2a", v, a))
        return weighted * (2 + self.beta("visual_to_audio").sum() * weighted.sigmoid())

    # ------------------------------------------------------------------------------------------------ time

    def encoder(self, modality: str, x: Tensor) -> Tensor:
        name = f"temporal_relations.{modality}_encoder"
        x = self.linear(f"{name}.linear", x)
        for layer in (0, 1):
            x = self.residual(f"{name}.layers.{layer}.0", x, x)
            x = self.feed_forward(f"{name}.layers.{layer}.1", x)
        return x

    def decoder(self, modality: str, x: Tensor, own: Tensor, other: Tensor) -> Tensor:
        name = f"temporal_relations.{modality}_decoder"
        u = self.linear(f"{name}.linear", x)
        return self.feed_forward(
            f"{name}.feed_forward", self.residual(f"{name}.attention", u, torch.cat([other, u], 1))
        )

    # ------------------------------------------------------------------------------------------------ CMGCI

    def interact(self, visual_q: Tensor, audio_q: Tensor) -> tuple[Tensor, Tensor]:
        def i(modality: str, x: Tensor, y: Tensor) -> Tensor:
            return self.residual(f"co_interaction.{modality}_interaction.attention", x * y, torch.cat([y, x], 1))

        visual = i("visual", visual_q, audio_q)
        return visual, i("audio", audio_q, visual)

    def top_mean(self, name: str, x: Tensor) -> Tensor:
        scores = self.linear(f"co_interaction.{name}", x).sort(dim=1, descending=True).values
        return scores[:, : self.config.top_segments].mean(1)

    def gated(self, visual: Tensor, audio: Tensor, u_a: Tensor, u_v: Tensor) -> tuple[Tensor, Tensor]:
        alpha = self.config.alpha
        visual_u = (1 - alpha) * visual + alpha * u_a * visual
        audio_u = (1 - alpha) * audio + alpha * u_v * audio
        return (
            self.top_mean("unimodal_gates.visual_events", visual_u),
            self.top_mean("unimodal_gates.audio_events", audio_u),
        )

    def gate(self, name: str, x: Tensor) -> Tensor:
        return self.linear(f"co_interaction.unimodal_gates.{name}_gate", x).sigmoid()

    def unimodal(self, e_v, e_a, visual_q, audio_q, visual, audio):
        if self.setting == "supervised":
            u_a, u_v = self.gate("audio", e_a), self.gate("visual", e_v)
            return (u_a + u_v).squeeze(-1), sum(self.gated(visual, audio, u_a, u_v))
        u_a, u_v = self.gate("audio", visual_q), self.gate("visual", audio_q)
        return (u_a * u_v).sigmoid().squeeze(-1), math.prod(self.gated(visual_q, audio_q, u_a, u_v))

    def fuse(self, visual: Tensor, audio: Tensor) -> tuple[Tensor, Tensor | None]:
        name = "co_interaction.multimodal_gate"
        hidden = self.linear(f"{name}.squeeze", torch.cat([visual, audio], -1)).relu()
        m = self.linear(f"{name}.gate", hidden).sigmoid()
        return m * visual + (1 - m) * audio, m.squeeze(-1)

    def multimodal_logits(self, fused: Tensor) -> Tensor | None:
        return self.top_mean("multimodal_events", fused)

    def localize(self, fused: Tensor) -> tuple[Tensor, Tensor]:
        is_event = self.linear("localization.is_event", fused).squeeze(-1)
        raw = self.linear("localization.event", fused.amax(1))
        if self.setting == "supervised":
            return is_event, raw
        return is_event, (is_event.sigmoid().unsqueeze(-1) * raw.unsqueeze(1)).amax(1)


# ---------------------------------------------------------------------------------------------------- the variants


class NoRefineVisual(Equations):
    def refine_visual(self, v):
        return v


class NoRefineAudio(Equations):
    def refine_audio(self, a):
        return a


class NoA2V(Equations):
    visual_rows, audio_rows = ("v2a",), ("v2a",)

    def a2v(self, v, a):
        return v.mean(2)


class NoV2A(Equations):
    visual_rows = ("a2v", "spatial")

    def v2a(self, v, a):
        return self.projected("audio", "v2a", a)


class NoChannelAttention(Equations):
    visual_rows, audio_rows = ("spatial",), ("v2a", "spatial")

    def c(self, branch, part, v, a):
        return torch.zeros(*a.shape[:2], self.config.visual_dim).double()


class NoSpatialAttention(Equations):
    visual_rows, audio_rows = ("a2v", "v2a"), ("a2v", "v2a")

    def a2v(self, v, a):
        f = (v * (1 + self.c("audio_to_visual", "a2v", v, a)).unsqueeze(2)).mean(2)
        return 2 * f + self.beta("audio_to_visual").sum() * f.sigmoid() * f


class NoAudioGuidance(Equations):
    audio_rows = ("a2v", "v2a")

    def a2v(self, v, a):
        weighted = v * (1 + self.c("audio_to_visual", "a2v", v, a)).unsqueeze(2)
        return (self.m1(v, weighted, a) * weighted).sum(2)


class NoAttentionGate(Equations):
    def beta(self, branch):
        return torch.zeros(2).double()


class NoCrossModalDecoder(Equations):
    def decoder(self, modality, x, own, other):
        return own


class NoInteraction(Equations):
    def interact(self, visual_q, audio_q):
        return visual_q, audio_q


class NoUnimodalGates(Equations):
    def unimodal(self, *_):
        return None, None


class NoMultimodalGate(Equations):
    def fuse(self, visual, audio):
        return (visual + audio) / 2, None

    def multimodal_logits(self, fused):
        return None


class NoGateLoss(NoUnimodalGates):
    def multimodal_logits(self, fused):
        return None


class VisualOnly(Equations):
    def modalities(self, v, a):
        return v, 0 * a


class AudioOnly(Equations):
    def modalities(self, v, a):
        return 0 * v, a


class MendPooling(Equations):
    def localize(self, fused):
        is_event = self.linear("localization.is_event", fused).squeeze(-1)
        raw = self.linear("localization.event", fused)  # (b, t, K)
        weight = is_event.sigmoid().unsqueeze(-1)
        return is_event, (weight * raw).sum(1) / weight.sum(1)


class MendDecision(Equations):
    def event_logit(self, outputs, fused, is_event):
        score = outputs["event"] + (0 if outputs["gate_score"] is None else outputs["gate_score"])
        raw = self.linear("localization.event", fused)  # (b, t, K)
        best = score[:, :-1].argmax(-1)
        return torch.stack([each[:, k] - each[:, -1] for each, k in zip(raw, best, strict=True)])


class MendGates(Equations):
    def unimodal(self, e_v, e_a, visual_q, audio_q, visual, audio):
        u_a, u_v = self.gate("audio", e_a), self.gate("visual", e_v)
        return (u_a * u_v).sigmoid().squeeze(-1), math.prod(self.gated(visual, audio, u_a, u_v))


EQUATIONS = {
    "no-refine-visual": NoRefineVisual,
    "no-refine-audio": NoRefineAudio,
    "no-a2v": NoA2V,
    "no-v2a": NoV2A,
    "no-channel-attention": NoChannelAttention,
    "no-spatial-attention": NoSpatialAttention,
    "no-audio-guidance": NoAudioGuidance,
    "no-attention-gate": NoAttentionGate,
    "no-cross-modal-decoder": NoCrossModalDecoder,
    "no-interaction": NoInteraction,
    "no-unimodal-gates": NoUnimodalGates,
    "no-multimodal-gate": NoMultimodalGate,
    "no-gate-loss": NoGateLoss,
    "visual-only": VisualOnly,
    "audio-only": AudioOnly,
    "mend-gate-terms": Equations,
    "mend-score-terms": Equations,
    "mend-loss": Equations,
    "mend-pooling": MendPooling,
    "mend-decision": MendDecision,
    "mend-gates": MendGates,
}

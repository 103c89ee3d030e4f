"""The training losses of both settings.

Both take the outputs as published, and as published some of them pass twice through a squashing function: gates that
are sigmoid outputs go into a loss on logits, and scores that are softmax outputs into one that applies softmax.
"""

from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional as F

if TYPE_CHECKING:  # the settings import their loss from here
    from model.supervised import SupervisedOutputs
    from model.weakly import WeaklySupervisedOutputs

LossTerms = dict[str, Tensor]


def supervised_loss(outputs: "SupervisedOutputs", labels: Tensor) -> LossTerms:
    """Localization loss and event-aware gate loss, for segment labels (b, t, K + 1), one-hot, background last.

    Returns the terms by name, each a scalar, ``loss`` first: BCE(is_event) + CE(event)
    + 1/2 [BCE(um_gate) + BCE(mm_gate)] + 1/2 [CE(um_score) + CE(mm_score)].
    """
    events = labels[..., :-1]
    segment_has_event = events.amax(dim=-1)  # y: (b, t)
    # k: the largest event index over the segments; 0 where no segment has an event, as published.
    index = torch.arange(events.shape[-1], device=labels.device)
    video_event = (index * (events.amax(dim=1) > 0)).amax(dim=-1)  # (b,)

    terms = {
        "is_event": F.binary_cross_entropy_with_logits(outputs.is_event, segment_has_event),
        "event": F.cross_entropy(outputs.event, video_event),
        "um_gate": F.binary_cross_entropy_with_logits(outputs.um_gate, segment_has_event),
        "um_score": F.cross_entropy(outputs.um_score, video_event),
        "mm_gate": F.binary_cross_entropy_with_logits(outputs.mm_gate, segment_has_event),
        "mm_score": F.cross_entropy(outputs.mm_score, video_event),
    }
    localization_loss = terms["is_event"] + terms["event"]
    gate_loss = 0.5 * (terms["um_gate"] + terms["mm_gate"]) + 0.5 * (terms["um_score"] + terms["mm_score"])
    return {"loss": localization_loss + gate_loss, **terms}


def weakly_supervised_loss(outputs: "WeaklySupervisedOutputs", labels: Tensor) -> LossTerms:
    """MultiLabelSoftMargin(event) + MultiLabelSoftMargin(gate_score), for video labels (b, K), background last.

    Returns the terms by name, each a scalar, ``loss`` first.
    """
    terms = {
        "event": F.multilabel_soft_margin_loss(outputs.event, labels),
        "gate": F.multilabel_soft_margin_loss(outputs.gate_score, labels),
    }
    return {"loss": terms["event"] + terms["gate"], **terms}

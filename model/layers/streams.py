"""Parts of the network side by side: most of their kernels are too small to fill a GPU."""

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

First, Second = TypeVar("First"), TypeVar("Second")


def side_by_side(
    first: Callable[..., First], inputs: Sequence[Any], second: Callable[..., Second], second_inputs: Sequence[Tensor]
) -> tuple[First, Second]:
    """``first(*inputs), second(*second_inputs)``, where neither needs the other's result.

    While a CUDA graph is captured, the second part has a stream of its own: replays compute both parts at the same
    time, and so does their backward pass, in which autograd keeps the streams. The results are the same to the last
    bit.
    """
    device = second_inputs[0].device
    if device.type != "cuda" or not torch.cuda.is_current_stream_capturing():
        return first(*inputs), second(*second_inputs)
    stream, other = torch.cuda.current_stream(), _second_stream(device)
    other.wait_stream(stream)
    result = first(*inputs)
    with torch.cuda.stream(other):
        second_result = second(*second_inputs)
    stream.wait_stream(other)
    # The allocator must not give memory of one stream away while the other one may still use it.
    for tensor in second_inputs:
        tensor.record_stream(other)
    for tensor in tree_leaves(second_result):
        if isinstance(tensor, Tensor):
            tensor.record_stream(stream)
    return result, second_result


@cache
def _second_stream(device: torch.device) -> torch.cuda.Stream:
    return torch.cuda.Stream(device)

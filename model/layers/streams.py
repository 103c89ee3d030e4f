"""Parts of the network side by side: most of their kernels are too small to fill a GPU."""

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves


def side_by_side(
    first: Callable[..., Any], first_inputs: Sequence[Any], second: Callable[..., Any], second_inputs: Sequence[Tensor]
) -> tuple[Any, Any]:
    """``first(*first_inputs), second(*second_inputs)``, where neither needs the other's result.

    While a CUDA graph is captured, the second part has a stream of its own: replays compute both parts at the same
    time, and so does their backward pass, in which autograd keeps the streams. The results are the same to the last
    bit.
    """
    device = second_inputs[0].device
    if device.type != "cuda" or not torch.cuda.is_current_stream_capturing():
        return first(*first_inputs), second(*second_inputs)
    stream, other = torch.cuda.current_stream(device), _second_stream(device)
    other.wait_stream(stream)
    try:
        first_result = first(*first_inputs)
        with torch.cuda.stream(other):
            second_result = second(*second_inputs)
    finally:
        stream.wait_stream(other)  # also if a part fails, or the capture ends with another error than its own
    # The allocator must not give memory of one stream away while the other one may still use it.
    for tensor in second_inputs:
        tensor.record_stream(other)
    for tensor in tree_leaves(second_result):
        if isinstance(tensor, Tensor):
            tensor.record_stream(stream)
    return first_result, second_result


@cache
def _second_stream(device: torch.device) -> torch.cuda.Stream:
    return torch.cuda.Stream(device)

"""A training step as a CUDA graph: one launch in place of more than a thousand."""

from collections.abc import Callable, Sequence
from functools import cached_property

import torch
from torch import Tensor

WARM_UP = 3  # calls before the capture, in which CUDA's libraries and the optimizer allocate what they keep


class StepGraph:
    """Calls a function of tensors, and after ``WARM_UP`` calls replays a CUDA graph of it instead.

    A replay repeats the kernels of the captured call with the same memory addresses and the same numbers. Therefore the
    function must not wait for the device, must change in place every tensor that is used after the call, and must take
    a number that changes from call to call, such as the learning rate, as a tensor.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.calls = 0
        self.inputs: list[Tensor] = []
        self.replay: Callable[[], None] | None = None

    def __call__(self, function: Callable[..., None], inputs: Sequence[Tensor]) -> None:
        """Call ``function(*inputs)``, always the same function, with inputs of the same shapes and dtypes."""
        self.calls += 1
        if self.calls <= WARM_UP:
            self.warm_up(lambda: function(*inputs))
            return
        if self.replay is None:
            self.inputs = [tensor.clone() for tensor in inputs]
            self.replay = self.capture(lambda: function(*self.inputs))
        for static, tensor in zip(self.inputs, inputs, strict=True):
            static.copy_(tensor)
        self.replay()

    @cached_property
    def stream(self) -> torch.cuda.Stream:
        return torch.cuda.Stream(self.device)

    def warm_up(self, function: Callable[[], None]) -> None:
        """Call ``function`` on the stream of captures, whose libraries it thereby initialises."""
        self.stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self.stream):
            function()
        torch.cuda.current_stream().wait_stream(self.stream)

    def capture(self, function: Callable[[], None]) -> Callable[[], None]:
        """Capture ``function`` without running it; returns what replays it."""
        graph = torch.cuda.CUDAGraph()
        # Other threads may use CUDA meanwhile: one pins batches, autograd has its own.
        with torch.cuda.graph(graph, stream=self.stream, capture_error_mode="thread_local"):
            function()
        return graph.replay

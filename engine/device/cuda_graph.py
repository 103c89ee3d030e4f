"""Calls that are replayed as CUDA graphs: one launch in place of more than a thousand."""

import logging
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_map_only

from engine.device.distributed import Ranks

log = logging.getLogger(__name__)

WARM_UP = 3  # calls before the capture, in which CUDA's libraries and the optimizer allocate what they keep


def can_capture(device: torch.device, ranks: Ranks) -> bool:
    """Whether calls can be replayed here: on CUDA. The collectives of several processes are not captured."""
    return device.type == "cuda" and ranks.world_size == 1


class CapturedCall:
    """Calls a function of tensors, and after ``WARM_UP`` calls replays a CUDA graph of it instead.

    A replay repeats the kernels of the captured call with the same memory addresses and the same numbers. Therefore the
    function must not wait for the device, must change in place every tensor that is used after the call, and must take
    a number that changes from call to call, such as the learning rate, as a tensor. If it cannot be captured, a warning
    says why, and it is called as before.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.calls = 0
        self.inputs: list[Tensor] = []
        self.results: Any = None  # of the last replay, which the next one overwrites
        self.replay: Callable[[], None] | None = None
        self.failed = False

    def __call__(self, function: Callable[..., Any], inputs: Sequence[Tensor]) -> Any:
        """``function(*inputs)``, always the same function, with inputs of the same shapes and dtypes."""
        self.calls += 1
        if self.calls <= WARM_UP:
            return self.warm_up(lambda: function(*inputs))
        if self.replay is None and not self.failed:
            self.try_to_capture(function, inputs)
        if self.failed:
            return function(*inputs)
        for static, tensor in zip(self.inputs, inputs, strict=True):
            static.copy_(tensor)
        self.replay()
        return tree_map_only(Tensor, Tensor.clone, self.results)

    def try_to_capture(self, function: Callable[..., Any], inputs: Sequence[Tensor]) -> None:
        self.inputs = [tensor.clone() for tensor in inputs]

        def call() -> None:
            self.results = function(*self.inputs)

        try:
            self.replay = self.capture(call)
        except Exception as error:  # whatever the driver, a library or an operator objects to
            self.failed, self.inputs, self.results = True, [], None
            log.warning("warning: no CUDA graph, kernels are launched one by one: %s", str(error).split("\n")[0])

    @cached_property
    def stream(self) -> torch.cuda.Stream:
        return torch.cuda.Stream(self.device)

    def warm_up(self, function: Callable[[], Any]) -> Any:
        """Call ``function`` on the stream of captures, whose libraries it thereby initialises."""
        self.stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self.stream):
            results = function()
        torch.cuda.current_stream().wait_stream(self.stream)
        return results

    def capture(self, function: Callable[[], None]) -> Callable[[], None]:
        """Capture ``function`` without running it; returns what replays it."""
        graph = torch.cuda.CUDAGraph()
        random = torch.cuda.default_generators[self.device.index]
        before = random.clone_state()
        try:
            # Other threads may use CUDA meanwhile: one pins batches, autograd has its own.
            with torch.cuda.graph(graph, stream=self.stream, capture_error_mode="thread_local"):
                function()
        except BaseException:
            random.graphsafe_set_state(before)  # the present one still belongs to the graph, and would refuse to draw
            raise
        return graph.replay


class CapturedBatches:
    """A ``CapturedCall`` for each shape of the inputs."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.by_shape: dict[tuple, CapturedCall] = {}

    def __call__(self, function: Callable[..., Any], inputs: Sequence[Tensor]) -> Any:
        """``function(*inputs)``, always the same function."""
        shapes = tuple((tensor.shape, tensor.dtype) for tensor in inputs)
        if shapes not in self.by_shape:
            self.by_shape[shapes] = self.captured_call()
        return self.by_shape[shapes](function, inputs)

    def captured_call(self) -> CapturedCall:
        return CapturedCall(self.device)

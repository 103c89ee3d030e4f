"""Gives this process and its children a device without float64, as Apple's MPS: PyTorch finds it as its accelerator.

It is called ``single``, computes by the CPU's kernels, and refuses what MPS refuses: to make a float64 tensor, to copy
to one on the CPU, and to compute with tensors of both devices, other than numbers and indices. Python imports this file
first in any process that has its folder in ``PYTHONPATH``.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, library
from torch._decomp.decompositions import lstm_impl
from torch.utils import backend_registration
from torch.utils._python_dispatch import TorchDispatchMode

DEVICE, CPU = "single", torch.device("cpu")


class Module(backend_registration._DummyBackendModule):
    """``torch.single``, with the functions of ``torch.mps``."""

    def get_rng_state(self, device: torch.device) -> Tensor:
        return torch.get_rng_state()

    def get_amp_supported_dtype(self) -> list[torch.dtype]:
        return [torch.bfloat16]

    def set_rng_state(self, state: Tensor, device: torch.device) -> None:
        torch.set_rng_state(state)


backend_registration._setup_privateuseone_for_python_backend(DEVICE, Module())


class OnDevice(Tensor):
    """A tensor of the device; its values are those of ``held``, a tensor of the CPU."""

    @staticmethod
    def __new__(cls, held: Tensor) -> "OnDevice":
        if held.dtype == torch.float64:
            raise TypeError(f"Cannot convert a tensor of {DEVICE} to float64")
        like = {name: getattr(held, name) for name in ("dtype", "layout")}
        place = {"strides": held.stride(), "storage_offset": held.storage_offset()}
        return Tensor._make_wrapper_subclass(cls, held.shape, **place, **like, device=torch.device(DEVICE, 0))

    def __init__(self, held: Tensor) -> None:
        self.held = held

    @classmethod
    def __torch_dispatch__(cls, function: Callable, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        return compute(function, args, kwargs or {})


class Anywhere(TorchDispatchMode):
    """Handles the kernels that take no tensor of the device, but may make one."""

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Or each process would import PyTorch's compiler, only to leave this class out."""
        return False

    def __torch_dispatch__(self, function: Callable, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        return compute(function, args, kwargs or {})


def changed(values: Any, change: Callable[[Tensor], Any]) -> Any:
    """What a kernel takes or gives, with its tensors changed."""
    if isinstance(values, Tensor):
        return change(values)
    if isinstance(values, dict):
        return {name: changed(value, change) for name, value in values.items()}
    if isinstance(values, list | tuple):
        return type(values)([changed(value, change) for value in values])
    return values


def compute(function: Callable, args: tuple, kwargs: dict[str, Any]) -> Any:
    """A kernel, on the device that its arguments name."""
    with Anywhere():  # in inference mode, an operator that others make up comes as it is
        if (found := function.decompose(*args, **kwargs)) is not NotImplemented:
            return found
    name = function.overloadpacket.__name__
    tensors: list[Tensor] = []
    changed((args, kwargs), tensors.append)
    on_device = [each for each in tensors if isinstance(each, OnDevice)]
    place = kwargs.get("device") or (args[0].device if name == "copy_" else on_device[0].device if on_device else CPU)
    there = torch.device(place).type == DEVICE
    if name in ("_to_copy", "copy_"):
        dtype = kwargs.get("dtype") or args[0].dtype
        if on_device and dtype == torch.float64:
            raise TypeError(f"{name}: {DEVICE} has no float64")
    elif on_device and name != "index" and any(each.ndim for each in tensors if not isinstance(each, OnDevice)):
        raise RuntimeError(f"{name}: expected all tensors to be on the same device")
    if there and "device" in kwargs:
        kwargs = {**kwargs, "device": CPU}
    is_view = on_device and any(each.alias_info and not each.alias_info.is_write for each in function._schema.returns)
    known = {id(each.held): each for each in on_device}  # what is changed in place keeps its tensor

    def result(tensor: Tensor) -> Tensor:
        if id(tensor) in known:
            return known[id(tensor)]
        # Of a tensor that was made outside of inference mode, so are its views.
        with torch.inference_mode(on_device[0].is_inference() if is_view else torch.is_inference_mode_enabled()):
            return OnDevice(tensor) if there else tensor

    args, kwargs = changed((args, kwargs), lambda tensor: getattr(tensor, "held", tensor))
    return changed(function(*args, **kwargs), result)


def make_empty(*args: Any, **kwargs: Any) -> Tensor:
    return compute(torch.ops.aten.empty_strided.default, args, kwargs)


def copy_from(source: Tensor, target: Tensor, non_blocking: bool = False) -> Tensor:
    return compute(torch.ops.aten.copy_.default, (target, source), {})


kernels = library.Library("aten", "IMPL")  # what PyTorch calls behind the dispatch to Python
kernels.impl("empty_strided", make_empty, "PrivateUse1")
kernels.impl("_copy_from", copy_from, "PrivateUse1")
for key in ("PrivateUse1", "AutogradPrivateUse1"):
    kernels.impl("lstm.input", lstm_impl, key)  # or PyTorch would take a GPU's own kernel
Anywhere().__enter__()

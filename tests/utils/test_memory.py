"""A lack of memory is told as such, with what to do about it; anything else is not taken for one."""

import pytest
import torch

from utils.errors import InputError
from utils.memory import out_of_memory_as_error

REMEDY = "give a smaller --batch_size"
PLACES = {"cuda": "the GPU's memory", "cpu": "the memory"}

# What is raised where memory is short, as of PyTorch 2: on a GPU by the allocator, cuBLAS and CUDA itself, on the CPU
# by the allocator and by Python.
SHORTAGES = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 79.1 GiB"),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    RuntimeError("CUDA error: out of memory\nCUDA kernel errors might be asynchronously reported"),
    RuntimeError("[enforce fail at alloc_cpu.cpp:117] . DefaultCPUAllocator: can't allocate memory: you tried to"),
    MemoryError(),
]


@pytest.mark.parametrize("error", SHORTAGES, ids=["allocator", "cuBLAS", "CUDA", "CPU", "Python"])
@pytest.mark.parametrize("kind", PLACES)
def test_lack_of_memory_is_one_sentence_that_ends_with_what_to_do(kind, error):
    with pytest.raises(InputError) as reported, out_of_memory_as_error(torch.device(kind), REMEDY):
        raise error
    assert str(reported.value) == f"{PLACES[kind]} is too small: {REMEDY}"
    assert reported.value.__cause__ is error


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("mat1 and mat2 shapes cannot be multiplied (2x3 and 4x5)"),
        RuntimeError("CUDA error: device-side assert triggered"),
        ValueError("out of memory"),
        InputError("a row is not finite"),
    ],
)
@pytest.mark.parametrize("kind", PLACES)
def test_other_errors_pass_through(kind, error):
    with pytest.raises(type(error)) as passed, out_of_memory_as_error(torch.device(kind), REMEDY):
        raise error
    assert passed.value is error


def test_memory_that_the_cpu_really_lacks_is_reported():
    """An exbibyte, which no machine has: PyTorch's own words for it are known."""
    said = f"^the memory is too small: {REMEDY}$"
    with pytest.raises(InputError, match=said), out_of_memory_as_error(torch.device("cpu"), REMEDY):
        torch.empty(1 << 60, dtype=torch.uint8)

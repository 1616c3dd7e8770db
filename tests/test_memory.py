"""Freed memory is kept, and arrays work as before; errors that mean that there is none."""

from __future__ import annotations

import errno

import pytest
import torch

from sdpn.memory import is_out_of_memory, keep_freed_memory


def test_memory_can_be_kept_more_than_once() -> None:
    keep_freed_memory(512)
    keep_freed_memory(128)
    assert torch.ones(1 << 22).sum() == 1 << 22


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (MemoryError(), True),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), True),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried ..."), True),
        (RuntimeError("CUDA out of memory. Tried to allocate 20.00 MiB"), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), True),
        (RuntimeError("Caught MemoryError in DataLoader worker process 0."), True),
        (RuntimeError("unable to allocate shared memory(shm) for file </torch_1_2>: No space left"), True),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
        (OSError(errno.ENOSPC, "No space left on device"), False),
        (ValueError("out of memory"), False),
    ],
)
def test_errors_that_mean_no_memory(error: BaseException, expected: bool) -> None:
    assert is_out_of_memory(error) is expected

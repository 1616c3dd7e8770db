"""Using a processor fully: one utterance for each core, rather than all cores for one utterance.

Sharing each layer out over the cores costs waiting for the last of them, layer by layer; two utterances at
once, each on one core, need none of that. What stands in the way is set here.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn


@contextmanager
def single_thread_convolutions(encoder: nn.Module) -> Iterator[None]:
    """Let 1x1 convolutions of small batches take the fast path on a single thread, for a while.

    torch hands a convolution to oneDNN unless the batch is below 16, the kernel 1 wide, the stride and the
    dilation 1, and the thread alone (``use_mkldnn`` in ATen's Convolution.cpp); what it does instead takes
    twice as long. For a kernel of one tap, dilation means nothing, and any other than 1 lifts the exception.
    Afterwards the encoder is what it was: a network that goes on training computes the same bits.
    """
    changed: list[tuple[nn.Conv1d | nn.Conv2d, Any]] = []
    for module in encoder.modules():
        if isinstance(module, nn.Conv1d | nn.Conv2d) and set(module.kernel_size) == {1}:
            changed.append((module, module.dilation))
            module.dilation = tuple(2 for _ in module.kernel_size)
    try:
        yield
    finally:
        for module, dilation in changed:
            module.dilation = dilation


def use_one_thread() -> None:
    """Make the calling thread compute by itself; others do the same beside it."""
    torch.set_num_threads(1)


def usable_threads() -> int:
    """OMP_NUM_THREADS where it is set, as torchrun does, or else the cores that this process may use."""
    return min(torch.get_num_threads(), len(os.sched_getaffinity(0)))

"""Using all cores of a CPU: one batch per core instead of all cores per batch.

Splitting each layer over the cores has synchronisation costs in every layer; independent batches, each on one
core, have none. This module sets torch up for that.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn


@contextmanager
def single_thread_convolutions(encoder: nn.Module) -> Iterator[None]:
    """Let 1x1 convolutions of small batches take the fast path on a single thread, for a while.

    torch uses oneDNN for a convolution, except with a batch below 16, a kernel width, stride and dilation of
    1, and a single thread (``use_mkldnn`` in ATen's Convolution.cpp), where its fallback takes twice as long.
    Dilation has no effect on a kernel of width 1, and any other value than 1 avoids the fallback. The encoder
    is restored afterwards, so that further training is bit for bit unchanged.
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
    """Limit torch to one thread per calling thread."""
    torch.set_num_threads(1)

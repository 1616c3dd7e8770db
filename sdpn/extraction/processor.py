"""Using a processor fully: one utterance for each core, rather than all cores for one utterance.

Sharing each layer out over the cores costs waiting for the last of them, layer by layer; two utterances at
once, each on one core, need none of that. Two things stand in the way, and both are set here.
"""

from __future__ import annotations

import ctypes
import logging
import sys

import torch
from torch import nn

_log = logging.getLogger(__name__)

# mallopt's parameters, from glibc's malloc.h
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD = -1, -2, -3
_MMAP_THRESHOLD_BYTES = 32 << 20  # glibc's own limit
_KEPT_BYTES = 512 << 20


def prepare(encoder: nn.Module) -> None:
    """Let 1x1 convolutions of small batches take the fast path on a single thread.

    torch hands a convolution to oneDNN unless the batch is below 16, the kernel 1 wide, the stride and the
    dilation 1, and the thread alone (``use_mkldnn`` in ATen's Convolution.cpp); what it does instead takes
    twice as long. For a kernel of one tap, dilation means nothing, and any other than 1 lifts the exception.
    """
    for module in encoder.modules():
        if isinstance(module, nn.Conv1d | nn.Conv2d) and set(module.kernel_size) == {1}:
            module.dilation = tuple(2 for _ in module.kernel_size)


def keep_freed_memory() -> None:
    """Let the allocator keep what is freed, instead of giving it to the system and asking for it again.

    The tensors of a layer take megabytes, which glibc returns at once: every layer of every batch then waits
    for fresh pages full of zeros, for a tenth of the time in fp32 and a fifth in bf16. Other C libraries are
    left alone.
    """
    if not sys.platform.startswith("linux"):
        return
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError) as error:
        _log.debug("no mallopt in this C library: %s", error)
        return
    mallopt(_MMAP_THRESHOLD, _MMAP_THRESHOLD_BYTES)
    mallopt(_TRIM_THRESHOLD, _KEPT_BYTES)
    mallopt(_TOP_PAD, _MMAP_THRESHOLD_BYTES)


def compute_alone() -> None:
    """Make the calling thread compute by itself; others do the same beside it."""
    torch.set_num_threads(1)

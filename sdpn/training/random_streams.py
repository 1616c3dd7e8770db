"""The random numbers that a network draws while it trains, such as which units an encoder drops."""

from __future__ import annotations

from typing import TypedDict

import torch
from torch import Tensor


class RandomStreams(TypedDict):
    """States of the generators of one process: the CPU's, and the GPU's where there is one."""

    cpu: Tensor
    cuda: Tensor | None


def random_streams() -> RandomStreams:
    """Where the generators are now."""
    return {
        "cpu": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state() if torch.cuda.is_available() else None,
    }


def set_random_streams(streams: RandomStreams) -> None:
    """Go on from there."""
    torch.set_rng_state(streams["cpu"])
    if streams["cuda"] is not None and torch.cuda.is_available():
        torch.cuda.set_rng_state(streams["cuda"])

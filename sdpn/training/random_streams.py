"""States of the random generators that a network uses during training, for example for dropout."""

from __future__ import annotations

from typing import TypedDict

import torch
from torch import Tensor


class RandomStreams(TypedDict):
    """Generator states of one process: CPU and, if available, GPU."""

    cpu: Tensor
    cuda: Tensor | None


def random_streams() -> RandomStreams:
    """The current states of the generators."""
    return {
        "cpu": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state() if torch.cuda.is_available() else None,
    }


def set_random_streams(streams: RandomStreams) -> None:
    """Restore the states of the generators."""
    torch.set_rng_state(streams["cpu"])
    if streams["cuda"] is not None and torch.cuda.is_available():
        torch.cuda.set_rng_state(streams["cuda"])

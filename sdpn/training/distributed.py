"""Distributed training: the process group, and reductions over it.

    torchrun --nproc-per-node 2 --no-python sdpn train …

Every process reads its own rows of each batch (`sdpn.data.dataset`); the objective is computed on the rows of
all (`sdpn.distill.gather`), DDP averages the gradients. Only the first process writes.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
from torch import Tensor
from torch import distributed as dist

from sdpn.errors import InputError


@dataclass(frozen=True)
class Processes:
    """This process within the process group.

    Attributes:
        rank: its number, from 0.
        world: how many there are.
        device: where it computes.
    """

    rank: int
    world: int
    device: torch.device

    @property
    def first(self) -> bool:
        """Whether this is the process that writes."""
        return self.rank == 0

    def gather(self, value: Any) -> list[Any]:
        """The values of all processes, by rank; every process must call this at the same step."""
        if self.world == 1:
            return [value]
        values: list[Any] = [None] * self.world
        dist.all_gather_object(values, value)
        return values

    def broadcast(self, tensors: Sequence[Tensor]) -> None:
        """Overwrite tensors by those of the first process; every process must ask at the same step."""
        if self.world > 1:
            for tensor in tensors:
                dist.broadcast(tensor, src=0)

    def any(self, flag: bool) -> bool:
        """Whether the flag is set in any process; every process must call this at the same step."""
        if self.world == 1:
            return flag
        flags = torch.tensor([int(flag)], device=self.device)
        dist.all_reduce(flags, op=dist.ReduceOp.MAX)
        return bool(flags.item())


def device_of(name: str) -> torch.device:
    """The device of this process.

    Args:
        name: ``cpu``, ``cuda``, or ``auto``, which takes a GPU where there is one.

    Raises:
        InputError: a GPU is asked for and there is none.
    """
    has_gpu = torch.cuda.is_available()
    if name == "cuda" and not has_gpu:
        raise InputError("training.device is cuda, but torch sees no GPU", hint="use training.device=auto")
    if name == "cpu" or not has_gpu:
        return torch.device("cpu")
    return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))


@contextmanager
def process_group(device: str, timeout_minutes: float) -> Iterator[Processes]:
    """Join the processes that torchrun started; alone where it started none.

    Args:
        device: ``cpu``, ``cuda``, or ``auto``, which takes a GPU where there is one.
        timeout_minutes: how long a process waits for the others before the run ends with an error.

    Raises:
        InputError: a GPU is requested and there is none, or the processes cannot connect.
    """
    place = device_of(device)
    world = int(os.environ.get("WORLD_SIZE", "1"))
    rank = int(os.environ.get("RANK", "0")) if world > 1 else 0
    on_gpu = place.type == "cuda"
    if on_gpu:
        torch.cuda.set_device(place)
    if world == 1:
        yield Processes(0, 1, place)
        return
    try:
        dist.init_process_group("nccl" if on_gpu else "gloo", timeout=timedelta(minutes=timeout_minutes))
    except (ValueError, RuntimeError) as error:
        raise InputError(
            f"WORLD_SIZE is {world}, but the processes cannot connect: {error}",
            hint="start them with torchrun, or unset WORLD_SIZE for a single process",
        ) from error
    try:
        yield Processes(rank, world, place)
    finally:
        dist.destroy_process_group()

"""Distributed training: the process group, and reductions over it.

    torchrun --nproc-per-node 2 --no-python sdpn train …

Each process loads its share of the batch (`sdpn.data.dataset`); the objective is computed on the whole batch
(`sdpn.distill.gather`), and DDP averages the gradients. Only rank 0 writes files.
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
        rank: rank of this process.
        world: number of processes.
        device: device of this process.
    """

    rank: int
    world: int
    device: torch.device

    @property
    def first(self) -> bool:
        """Whether this is rank 0, which writes files."""
        return self.rank == 0

    def gather(self, value: Any) -> list[Any]:
        """Gather a value from all processes, by rank; every process must call this at the same step."""
        if self.world == 1:
            return [value]
        values: list[Any] = [None] * self.world
        dist.all_gather_object(values, value)
        return values

    def broadcast(self, tensors: Sequence[Tensor]) -> None:
        """Overwrite tensors with those of rank 0; every process must call this at the same step."""
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
        name: ``cpu``, ``cuda``, or ``auto``: a GPU if available.

    Raises:
        InputError: a GPU is requested and there is none.
    """
    has_gpu = torch.cuda.is_available()
    if name == "cuda" and not has_gpu:
        raise InputError("training.device is cuda, but torch sees no GPU", hint="use training.device=auto")
    if name == "cpu" or not has_gpu:
        return torch.device("cpu")
    return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))


@contextmanager
def process_group(device: str, timeout_minutes: float) -> Iterator[Processes]:
    """Join the process group of torchrun; without torchrun, a single process. Within another, it is that one.

    Args:
        device: ``cpu``, ``cuda``, or ``auto``: a GPU if available.
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
    if dist.is_initialized():
        yield Processes(rank, world, place)
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

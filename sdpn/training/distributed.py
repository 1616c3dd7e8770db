"""Distributed training: the process group, and reductions over it.

    torchrun --nproc-per-node 2 --no-python sdpn train …

Several hosts meet at a rendezvous of torchrun (docs/scale.md). Each process loads its share of the batch
(`sdpn.data.dataset`); the objective is computed on the whole batch (`sdpn.distill.gather`), and DDP averages
the gradients. Only rank 0 writes files.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal

import torch
from torch import Tensor
from torch import distributed as dist

from sdpn.errors import InputError
from sdpn.threads import usable_cores

#: Loader processes that ``auto`` starts at most: each has a cache of its own.
_MOST_WORKERS = 8

#: What errors of gloo say when a connection breaks or a wait takes too long.
_GLOO = ("gloo/transport", "Connection closed by peer", "Timed out waiting")


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


def loader_workers(setting: int | Literal["auto"]) -> int:
    """The number of loader processes of this training process, by ``training.workers``."""
    if setting != "auto":
        return setting
    on_host = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    return max(1, min(_MOST_WORKERS, usable_cores() // on_host - 1))


@contextmanager
def process_group(
    device: str, timeout_minutes: float, rendezvous_minutes: float = 10.0
) -> Iterator[Processes]:
    """Join the process group of torchrun; without torchrun, a single process. Within another, it is that one.

    Args:
        device: ``cpu``, ``cuda``, or ``auto``: a GPU if available.
        timeout_minutes: how long a process waits for the others before the run ends with an error.
        rendezvous_minutes: how long the processes wait for each other at the start.

    Raises:
        InputError: a GPU is requested and there is none, the processes cannot connect, or inside the block
            one of them disappeared or did not answer in time.
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
        store = _meet(rank, world, timedelta(minutes=rendezvous_minutes))
        dist.init_process_group(
            "nccl" if on_gpu else "gloo",
            store=store,
            rank=rank,
            world_size=world,
            timeout=timedelta(minutes=timeout_minutes),
        )
    except (ValueError, RuntimeError) as error:
        raise InputError(
            f"WORLD_SIZE is {world}, but the processes cannot connect: {_first_line(error)}",
            hint="start them with torchrun, or unset WORLD_SIZE for a single process; if some hosts start "
            f"later, raise training.rendezvous_minutes (now {rendezvous_minutes:g})",
        ) from error
    try:
        yield Processes(rank, world, place)
    except RuntimeError as error:
        if not _is_of_a_collective(error):
            raise
        raise InputError(
            f"process {rank} of {world} lost the others: one of them ended or its host cannot be reached, or "
            f"did not answer within training.timeout_minutes={timeout_minutes:g} ({_first_line(error)})",
            hint="checkpoints are intact: the same command resumes from the last one; torchrun "
            "--max-restarts=N does so by itself",
        ) from error
    finally:
        dist.destroy_process_group()


def _meet(rank: int, world: int, patience: timedelta) -> dist.Store:
    """The store of torchrun, once all processes have come to it.

    Raises:
        ValueError: the environment names none.
        RuntimeError: it cannot be reached, or processes are missing; the message names them.
    """
    store: dist.Store = next(iter(dist.rendezvous("env://", rank=rank, world_size=world, timeout=patience)))[
        0
    ]
    # what the processes of an attempt leave behind must not be met by those that torchrun starts after it
    store = dist.PrefixStore(f"sdpn/attempt_{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}", store)
    keys = [f"joined/{other}" for other in range(world)]
    store.set(keys[rank], "1")
    try:
        store.wait(keys, patience)
    except RuntimeError as error:
        missing = [str(other) for other, key in enumerate(keys) if not store.check([key])]
        raise RuntimeError(
            f"process {', '.join(missing)} did not come within {patience.total_seconds() / 60:g} minutes"
        ) from error
    return store


def _is_of_a_collective(error: RuntimeError) -> bool:
    """Whether it says that another process cannot be reached; gloo has no error class of its own."""
    return isinstance(error, dist.DistError) or any(sign in str(error) for sign in _GLOO)


def _first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)

"""`torch.compile` for the network of a run: fewer and larger launches, for a minute at the start."""

from __future__ import annotations

import logging
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Literal

import torch
from torch import nn

from sdpn.distill.base import Objective
from sdpn.errors import InputError

_log = logging.getLogger(__name__)

#: How a network is compiled.
Compiled = Literal["none", "kernels", "cuda-graphs"]

#: ``training.compile``
CompileChoice = Literal["auto", "none", "kernels", "cuda-graphs"]

#: Passes before those that are timed (the first compiles, the next two record launches), and timed ones.
_UNTIMED, _TIMED = 3, 3


def compile_candidates(
    choice: CompileChoice, device: str, *, fixed_lengths: bool, world: int = 1
) -> tuple[Compiled, ...]:
    """What ``auto`` measures on this device, or the one that was chosen.

    Args:
        choice: ``training.compile``.
        device: type of the device.
        fixed_lengths: whether all crops are of one length; each other one would be compiled anew.
        world: number of processes. Several measure nothing: a pass needs all of them, and those of a host
            where the compiler fails would leave the others waiting.
    """
    if choice != "auto":
        return (choice,)
    if world > 1 or not fixed_lengths or (device == "cuda" and find_spec("triton") is None):
        return ("none",)
    return ("none", "kernels", "cuda-graphs") if device == "cuda" else ("none", "kernels")


def fastest_compiled(candidates: Sequence[Compiled], measure: Callable[[Compiled], float]) -> Compiled:
    """Measure the candidates; one that cannot be compiled is left out, with a warning.

    Args:
        candidates: at least one.
        measure: seconds of a pass; raises what torch's compiler raises.

    Raises:
        InputError: none of them runs.
    """
    found_s: dict[Compiled, float] = {}
    problem: InputError | None = None
    for candidate in candidates:
        try:
            with compiler_explained():
                found_s[candidate] = measure(candidate)
        except InputError as error:
            _log.warning("training.compile=%s is left out: %s", candidate, error.message)
            problem = error
    if not found_s:
        assert problem is not None
        raise problem
    chosen = min(found_s, key=lambda candidate: found_s[candidate])
    said = ", ".join(f"{name} {1000 * seconds:.0f} ms" for name, seconds in found_s.items())
    _log.info("training.compile=auto takes %s, of passes of %s", chosen, said)
    return chosen


def pass_seconds(run: Callable[[], None], device: torch.device) -> float:
    """Seconds of ``run`` once all that it compiles is compiled: the median of several."""
    taken_s = []
    for number in range(_UNTIMED + _TIMED):
        _wait(device)
        started = time.perf_counter()
        run()
        _wait(device)
        if number >= _UNTIMED:
            taken_s.append(time.perf_counter() - started)
    return statistics.median(taken_s)


def compile_network(network: Objective, choice: Compiled) -> None:
    """Compile student and teacher in place, which keep their parameters, buffers and names.

    They are compiled when they are first called. Shapes are fixed: another length of crops compiles again.
    """
    if choice == "none":
        return
    for branch in (network.student, network.teacher):
        assert isinstance(branch, nn.Module)
        branch.compile(dynamic=False, mode="reduce-overhead" if choice == "cuda-graphs" else "default")


def begin_pass(choice: Compiled) -> None:
    """Say that outputs of recorded launches may be overwritten: those of the step before.

    Otherwise the student's recorded launches, called next, could overwrite what the teacher has just made.
    """
    if choice == "cuda-graphs":
        torch.compiler.cudagraph_mark_step_begin()


@contextmanager
def compiler_explained() -> Iterator[None]:
    """Turn what the compiler raises into an `InputError` that names the setting.

    Raises:
        InputError: the network cannot be compiled here, for example without a C++ compiler.
    """
    try:
        yield
    except RuntimeError as error:
        if not isinstance(error, torch._dynamo.exc.TorchDynamoException):
            raise
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        raise InputError(
            f"torch cannot compile the network here ({lines[0] if lines else type(error).__name__})",
            hint="set training.compile=none",
        ) from error


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)

"""`torch.compile` for the network of a run: fewer and larger launches, for a minute at the start."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Literal

import torch
from torch import nn

from sdpn.distill.base import Objective
from sdpn.errors import InputError

#: ``training.compile``
CompileChoice = Literal["auto", "none", "kernels", "cuda-graphs"]


def resolve_compile(
    choice: CompileChoice, device: str, *, fixed_lengths: bool
) -> Literal["none", "kernels", "cuda-graphs"]:
    """Turn ``auto`` into ``kernels`` for a GPU with triton, if all crops are of one length; else ``none``."""
    if choice != "auto":
        return choice
    return "kernels" if device == "cuda" and fixed_lengths and find_spec("triton") is not None else "none"


def compile_network(network: Objective, choice: Literal["none", "kernels", "cuda-graphs"]) -> None:
    """Compile student and teacher in place, which keep their parameters, buffers and names.

    They are compiled when they are first called. Shapes are fixed: another length of crops compiles again.
    """
    if choice == "none":
        return
    for branch in (network.student, network.teacher):
        assert isinstance(branch, nn.Module)
        branch.compile(dynamic=False, mode="reduce-overhead" if choice == "cuda-graphs" else "default")


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

"""Validation of the state in a checkpoint: an intact file may have invalid contents.

The newly built run serves as the pattern: everything in a state must have the type and shape of its
counterpart in the run.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import Any

import torch
from torch import Tensor

#: Upper limit on plausible steps, rows or restarts.
_MOST = 10**15


def check_like(value: Any, pattern: Any, name: str, *, optional: Collection[str] = ()) -> None:
    """Reject a value that does not match a pattern.

    Args:
        value: from a checkpoint.
        pattern: the expected structure: of a tensor, shape and kind of dtype; of a dictionary, its keys
            (more are allowed) and their values; of a list, which must not be empty, its first item; of
            numbers and text, the type. None matches anything.
        name: name of the value, for the message.
        optional: names that may be missing, for checkpoints of older versions.

    Raises:
        ValueError: something differs; the message names it.
    """
    if pattern is None:
        return
    if isinstance(pattern, Tensor):
        _check_tensor(value, pattern, name)
    elif isinstance(pattern, dict):
        if not isinstance(value, dict):
            raise ValueError(f"{name}: expected a dictionary, found {_kind(value)}")
        for key, part in pattern.items():
            inner = f"{name}.{key}"
            if key in value:
                check_like(value[key], part, inner, optional=optional)
            elif inner not in optional:
                raise ValueError(f"{inner} is missing")
    elif isinstance(pattern, list):
        if not isinstance(value, list) or not value:
            raise ValueError(f"{name}: expected a non-empty list, found {_kind(value)}")
        for place, item in enumerate(value):
            check_like(item, pattern[0], f"{name}[{place}]", optional=optional)
    elif isinstance(pattern, float) and not isinstance(pattern, bool):
        if not isinstance(value, (int, float)) or isinstance(value, bool) or not math.isfinite(value):
            raise ValueError(f"{name}: expected a number, found {_kind(value)}")
    elif type(value) is not type(pattern):
        raise ValueError(f"{name}: expected {_kind(pattern)}, found {_kind(value)}")
    elif isinstance(value, int) and not 0 <= value < _MOST:
        raise ValueError(f"{name} is out of range")


def check_optimizer_state(value: Any, optimizer: torch.optim.Optimizer) -> None:
    """Reject an optimizer state of other tensors or other settings.

    Raises:
        ValueError: something differs; the message names it.
    """
    mine = optimizer.state_dict()["param_groups"]
    if not isinstance(value, dict) or not isinstance(value.get("state"), dict):
        raise ValueError("optimizer has no state")
    groups = value.get("param_groups")
    if not isinstance(groups, list) or len(groups) != len(mine):
        raise ValueError(f"optimizer does not have {len(mine)} groups")
    for theirs, ours in zip(groups, mine, strict=True):
        if not isinstance(theirs, dict) or theirs.get("params") != ours["params"]:
            raise ValueError("optimizer has other tensors")
        # the learning rate is set at every step; the others are settings
        different = [key for key in ours.keys() & theirs.keys() if key != "lr" and theirs[key] != ours[key]]
        if different:
            raise ValueError(f"optimizer has a different {sorted(different)[0]}")
    tensors = [tensor for group in optimizer.param_groups for tensor in group["params"]]
    if not value["state"].keys() <= set(range(len(tensors))):
        raise ValueError("optimizer has states of unknown tensors")
    names = (
        {"momentum_buffer"} if isinstance(optimizer, torch.optim.SGD) else {"step", "exp_avg", "exp_avg_sq"}
    )
    for index, state in value["state"].items():
        if not isinstance(state, dict) or state.keys() != names:
            raise ValueError(f"optimizer.state[{index}] lacks {', '.join(sorted(names))}")
        for name, part in state.items():
            pattern = torch.zeros(()) if name == "step" else tensors[index]
            _check_tensor(part, pattern, f"optimizer.state[{index}].{name}")


def _check_tensor(value: Any, pattern: Tensor, name: str) -> None:
    if not isinstance(value, Tensor) or value.layout != torch.strided or value.device.type != "cpu":
        raise ValueError(f"{name}: expected a tensor, found {_kind(value)}")
    if value.shape != pattern.shape:
        raise ValueError(f"{name}: expected shape {tuple(pattern.shape)}, found {tuple(value.shape)}")
    if value.is_floating_point() != pattern.is_floating_point() or value.is_complex() != pattern.is_complex():
        raise ValueError(f"{name}: expected {pattern.dtype}, found {value.dtype}")
    if value.is_floating_point() and bool(value.isnan().any()):
        raise ValueError(f"{name} contains NaN")


def _kind(value: Any) -> str:
    return "nothing" if value is None else f"of type {type(value).__name__}"

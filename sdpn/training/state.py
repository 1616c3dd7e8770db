"""What the state in a checkpoint has to be like: a file may be whole and hold rubbish.

The run itself is the pattern: everything in a state has the kind and the shape of what the run, just built,
has in its place.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import Any

import torch
from torch import Tensor

#: No run has more steps, rows or restarts than this.
_MOST = 10**15


def check_like(value: Any, pattern: Any, name: str, *, optional: Collection[str] = ()) -> None:
    """Refuse what does not look like a pattern.

    Args:
        value: from a checkpoint.
        pattern: what it should look like. Of a tensor, shape and kind of numbers count; of a dictionary, its
            keys (there may be more) and the values behind them; of a list, which must not be empty, the first
            item; of numbers and text, the kind. None stands for anything.
        name: of the value, for the message.
        optional: names of what may be missing, for older versions did not have it.

    Raises:
        ValueError: something differs; it is named.
    """
    if pattern is None:
        return
    if isinstance(pattern, Tensor):
        _check_tensor(value, pattern, name)
    elif isinstance(pattern, dict):
        if not isinstance(value, dict):
            raise ValueError(f"{name} is {_kind(value)}, a dictionary was expected")
        for key, part in pattern.items():
            inner = f"{name}.{key}"
            if key in value:
                check_like(value[key], part, inner, optional=optional)
            elif inner not in optional:
                raise ValueError(f"{inner} is missing")
    elif isinstance(pattern, list):
        if not isinstance(value, list) or not value:
            raise ValueError(f"{name} is {_kind(value)}, a list with items was expected")
        for place, item in enumerate(value):
            check_like(item, pattern[0], f"{name}[{place}]", optional=optional)
    elif isinstance(pattern, float) and not isinstance(pattern, bool):
        if not isinstance(value, (int, float)) or isinstance(value, bool) or not math.isfinite(value):
            raise ValueError(f"{name} is {_kind(value)}, a number was expected")
    elif type(value) is not type(pattern):
        raise ValueError(f"{name} is {_kind(value)}, {_kind(pattern)} was expected")
    elif isinstance(value, int) and not 0 <= value < _MOST:
        raise ValueError(f"{name} is out of range")


def check_optimizer_state(value: Any, optimizer: torch.optim.Optimizer) -> None:
    """Refuse what cannot be the state of an optimizer of these tensors with these settings.

    Raises:
        ValueError: something differs; it is named.
    """
    mine = optimizer.state_dict()["param_groups"]
    if not isinstance(value, dict) or not isinstance(value.get("state"), dict):
        raise ValueError("optimizer holds no states")
    groups = value.get("param_groups")
    if not isinstance(groups, list) or len(groups) != len(mine):
        raise ValueError(f"optimizer has other groups than {len(mine)}")
    for theirs, ours in zip(groups, mine, strict=True):
        if not isinstance(theirs, dict) or theirs.get("params") != ours["params"]:
            raise ValueError("optimizer holds other tensors")
        # the learning rate is set at every step; the others are settings
        different = [key for key in ours.keys() & theirs.keys() if key != "lr" and theirs[key] != ours[key]]
        if different:
            raise ValueError(f"optimizer has another {sorted(different)[0]}")
    tensors = [tensor for group in optimizer.param_groups for tensor in group["params"]]
    if not value["state"].keys() <= set(range(len(tensors))):
        raise ValueError("optimizer holds states of unknown tensors")
    names = (
        {"momentum_buffer"} if isinstance(optimizer, torch.optim.SGD) else {"step", "exp_avg", "exp_avg_sq"}
    )
    for index, state in value["state"].items():
        if not isinstance(state, dict) or state.keys() != names:
            raise ValueError(f"optimizer.state[{index}] does not hold {', '.join(sorted(names))}")
        for name, part in state.items():
            pattern = torch.zeros(()) if name == "step" else tensors[index]
            _check_tensor(part, pattern, f"optimizer.state[{index}].{name}")


def _check_tensor(value: Any, pattern: Tensor, name: str) -> None:
    if not isinstance(value, Tensor) or value.layout != torch.strided or value.device.type != "cpu":
        raise ValueError(f"{name} is {_kind(value)}, a tensor was expected")
    if value.shape != pattern.shape:
        raise ValueError(f"{name} has the shape {tuple(value.shape)}, {tuple(pattern.shape)} was expected")
    if value.is_floating_point() != pattern.is_floating_point() or value.is_complex() != pattern.is_complex():
        raise ValueError(f"{name} holds {value.dtype}, {pattern.dtype} was expected")
    if value.is_floating_point() and bool(value.isnan().any()):
        raise ValueError(f"{name} holds NaN")


def _kind(value: Any) -> str:
    return "nothing" if value is None else f"of type {type(value).__name__}"

"""The parts of an encoder by depth, from its input to its embedding."""

from __future__ import annotations

import torch
from torch import Tensor, nn

#: Containers, whose members are parts of their own.
_CONTAINERS = (nn.ModuleList, nn.Sequential)


@torch.no_grad()
def depths(encoder: nn.Module, features_BFT: Tensor) -> dict[str, int]:
    """The depth of every parameter of an encoder.

    Its parts are its children, and the members of lists of them, in the order in which a forward pass reaches
    them. A part without a weight matrix, such as a norm, belongs to the one before it; parameters of the
    network itself belong to its input.

    Args:
        encoder: any network; it is left as it is.
        features_BFT: an input of it.

    Returns:
        parameter name -> depth: 0 at the input, without gaps.
    """
    parts = dict(_parts(encoder, ""))
    reached: list[str] = []
    hooks = [
        part.register_forward_pre_hook(lambda _part, _inputs, name=name: reached.append(name))
        for name, part in parts.items()
    ]
    training = {module: module.training for module in encoder.modules()}
    try:
        encoder.eval()(features_BFT)
    finally:
        for hook in hooks:
            hook.remove()
        for module, before in training.items():
            module.training = before
    found: dict[str, int] = {}
    depth = -1
    for name in dict.fromkeys(reached):
        own = [f"{name}.{inner}" for inner, _ in parts[name].named_parameters()]
        if depth < 0 or any(tensor.ndim > 1 for tensor in parts[name].parameters()):
            depth += bool(own)
        found |= dict.fromkeys(own, max(depth, 0))
    return {name: found.get(name, 0) for name, _ in encoder.named_parameters()}


def _parts(module: nn.Module, prefix: str) -> list[tuple[str, nn.Module]]:
    found: list[tuple[str, nn.Module]] = []
    for name, child in module.named_children():
        if type(child) in _CONTAINERS:
            found += _parts(child, f"{prefix}{name}.")
        else:
            found.append((f"{prefix}{name}", child))
    return found

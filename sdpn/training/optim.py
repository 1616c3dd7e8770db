"""Optimizer, its parameter groups, and schedules that are functions of the step alone."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

#: Names of prototypes: of every objective, and of unlabelled speech beside labelled.
_PROTOTYPES = ("prototypes", "clusters")


@dataclass(frozen=True, kw_only=True)
class OptimizerConfig:
    """The optimizer. Published for SDPN: SGD, 0.4 · batch / 256, weight decay 5e-5.

    Attributes:
        kind: ``adamw`` (suited to runs of a few thousand steps) or ``sgd`` with momentum 0.9.
        lr: peak learning rate.
        final_lr: learning rate at the last step.
        warmup_steps: steps of linear warm-up to the peak.
        weight_decay: weight decay of weight matrices and convolutions; never applied to biases, norms or
            prototypes.
        clip_norm: maximum gradient norm.
        clip: ``global`` clips the joint gradient of all trainable tensors, which preserves its direction;
            ``per-tensor`` clips each tensor separately (published).
        clip_prototypes: false excludes the prototypes from clipping (published: they were a bare tensor
            outside the module).
    """

    kind: Literal["adamw", "sgd"] = "adamw"
    lr: float = 1e-3
    final_lr: float = 1e-6
    warmup_steps: int = 50
    weight_decay: float = 1e-4
    clip_norm: float = 3.0
    clip: Literal["global", "per-tensor"] = "global"
    clip_prototypes: bool = True

    def __post_init__(self) -> None:
        """Check ranges."""
        if self.lr <= 0 or not 0 <= self.final_lr <= self.lr:
            raise ValueError("0 <= final_lr <= lr and lr > 0 is needed")
        if self.warmup_steps < 0 or self.weight_decay < 0 or self.clip_norm <= 0:
            raise ValueError("warmup_steps and weight_decay must not be negative, clip_norm must be positive")


@dataclass(frozen=True)
class CosineSchedule:
    """A value with ``warmup`` steps of linear increase, then a half cosine from ``start`` to ``end``.

    >>> CosineSchedule(start=1.0, end=0.0, steps=10)[5]
    0.5
    """

    start: float
    end: float
    steps: int
    warmup: int = 0

    def __getitem__(self, step: int) -> float:
        """Value at ``step``, counted from 0; ``end`` from ``steps`` on."""
        if step < self.warmup:
            return self.start * (step + 1) / self.warmup
        done = min(1.0, (step - self.warmup) / max(1, self.steps - self.warmup))
        return self.end + (self.start - self.end) * 0.5 * (1 + math.cos(math.pi * done))


def make_optimizer(
    config: OptimizerConfig, module: nn.Module, factor: Callable[[str], float] = lambda _name: 1.0
) -> torch.optim.Optimizer:
    """Optimizer over every trainable tensor of ``module``, each in exactly one group.

    Weight decay applies to matrices and convolution kernels only, not to biases, norms or prototypes (which
    are normalised, so that their length has no effect).

    Args:
        config: settings.
        module: with its trainable tensors.
        factor: learning rate of a tensor, by its name, relative to that of the others; a group whose factor
            is not 1 has it as ``factor``.
    """
    trainable = {name: tensor for name, tensor in module.named_parameters() if tensor.requires_grad}
    factors = {name: factor(name) for name in trainable}
    groups: list[dict[str, Any]] = []
    for own in dict.fromkeys((1.0, *factors.values())):
        named = {name: tensor for name, tensor in trainable.items() if factors[name] == own}
        decayed = [tensor for name, tensor in named.items() if tensor.ndim > 1 and name not in _PROTOTYPES]
        kept = [tensor for name, tensor in named.items() if tensor.ndim <= 1 or name in _PROTOTYPES]
        relative = {} if own == 1.0 else {"factor": own}
        groups.append({"params": decayed, "weight_decay": config.weight_decay, **relative})
        groups.append({"params": kept, "weight_decay": 0.0, **relative})
    if config.kind == "sgd":
        return torch.optim.SGD(groups, lr=config.lr, momentum=0.9)
    return torch.optim.AdamW(groups, lr=config.lr, foreach=True)


class GradientNorms(NamedTuple):
    """Gradient norms before clipping, scalars: of all parameters, and of the prototypes."""

    total: Tensor
    prototypes: Tensor


def clip_gradients(config: OptimizerConfig, trainable: Sequence[Tensor], prototypes: Tensor) -> GradientNorms:
    """Clip the gradients of ``trainable``, prototypes included, without synchronising with the device.

    Args:
        config: clipping settings.
        trainable: all tensors of the optimizer, after ``backward``.
        prototypes: the prototype tensor among them.
    """
    gradients = [tensor.grad for tensor in trainable if tensor.grad is not None]
    assert prototypes.grad is not None
    norms = torch.stack(torch._foreach_norm(gradients))
    result = GradientNorms(torch.linalg.vector_norm(norms), prototypes.grad.norm())
    clipped = [
        (gradient, norm)
        for gradient, norm in zip(gradients, norms, strict=True)
        if config.clip_prototypes or gradient is not prototypes.grad
    ]
    chosen = [gradient for gradient, _ in clipped]
    chosen_norms = torch.stack([norm for _, norm in clipped])
    if config.clip == "global":
        chosen_norms = torch.linalg.vector_norm(chosen_norms).expand(len(chosen))
    factors = (config.clip_norm / (chosen_norms + 1e-6)).clamp(max=1.0)
    torch._foreach_mul_(chosen, list(factors))
    return result

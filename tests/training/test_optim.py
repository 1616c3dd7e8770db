"""Schedules and parameter groups."""

from __future__ import annotations

import math

import pytest
import torch

from sdpn.training.optim import CosineSchedule, OptimizerConfig, clip_gradients, make_optimizer


def test_schedule_by_hand() -> None:
    schedule = CosineSchedule(start=1.0, end=0.2, steps=14, warmup=4)
    assert [schedule[step] for step in range(4)] == [0.25, 0.5, 0.75, 1.0]
    assert schedule[4] == 1.0
    assert schedule[9] == pytest.approx(0.6)  # half way: the mean of both ends
    assert schedule[6] == pytest.approx(0.2 + 0.8 * (1 + math.cos(math.pi / 5)) / 2)
    assert schedule[14] == schedule[100] == pytest.approx(0.2)


@pytest.mark.parametrize("kind", ["adamw", "sgd"])
def test_only_matrices_and_kernels_decay(kind: str) -> None:
    module = torch.nn.Sequential(torch.nn.Conv1d(2, 3, 1), torch.nn.BatchNorm1d(3), torch.nn.Linear(3, 4))
    module[2].bias.requires_grad_(False)
    optimizer = make_optimizer(OptimizerConfig(kind=kind, weight_decay=0.3), module)  # type: ignore[arg-type]
    decay = {id(p): group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    expected = {"0.weight": 0.3, "0.bias": 0.0, "1.weight": 0.0, "1.bias": 0.0, "2.weight": 0.3}
    assert {name: decay[id(p)] for name, p in module.named_parameters() if id(p) in decay} == expected


@pytest.mark.parametrize(
    "changes", [{"lr": 0.0}, {"final_lr": 1.0}, {"clip_norm": 0.0}, {"warmup_steps": -1}]
)
def test_settings_out_of_range(changes: dict[str, float]) -> None:
    with pytest.raises(ValueError):
        OptimizerConfig(**changes)  # type: ignore[arg-type]


def _tensors() -> list[torch.nn.Parameter]:
    generator = torch.Generator().manual_seed(0)
    tensors = [torch.nn.Parameter(torch.zeros(3, 4)) for _ in range(4)]
    for size, tensor in zip((10.0, 0.1, 3.0, 8.0), tensors, strict=True):
        tensor.grad = torch.randn(3, 4, generator=generator) * size
    return tensors


def test_global_clipping_is_torchs_and_covers_the_prototypes() -> None:
    ours, theirs = _tensors(), _tensors()
    norms = clip_gradients(OptimizerConfig(clip_norm=2.0), ours, ours[3])
    expected = torch.nn.utils.clip_grad_norm_(theirs, 2.0)
    torch.testing.assert_close(norms.total, expected)
    torch.testing.assert_close(norms.prototypes, _tensors()[3].grad.norm())  # type: ignore[union-attr]
    for one, two in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one.grad, two.grad)


@pytest.mark.parametrize("clip_prototypes", [True, False])
def test_per_tensor_clipping_as_published(clip_prototypes: bool) -> None:
    ours, theirs = _tensors(), _tensors()
    config = OptimizerConfig(clip_norm=3.0, clip="per-tensor", clip_prototypes=clip_prototypes)
    clip_gradients(config, ours, ours[3])
    for tensor in theirs if clip_prototypes else theirs[:3]:
        torch.nn.utils.clip_grad_norm_([tensor], 3.0)
    for one, two in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one.grad, two.grad)

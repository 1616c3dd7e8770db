"""Guards: each fault that they are for is planted and found; healthy runs raise none."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from sdpn.config import load_config
from sdpn.distill.base import LossTerms, SelfDistillation
from sdpn.distill.labels import Labels
from sdpn.distill.targets import Targets
from sdpn.training import pretrain
from sdpn.training.build import build
from sdpn.training.config import RunConfig
from sdpn.training.guards import GuardConfig, Guards, TrainingFault, check_optimizer
from tests.conftest import TINY

_RUN = [*TINY, "training.workers=0", "training.steps=40", "guards.window=20", "training.checkpoint_every=10"]


def _train(voices: Path, out: Path, *settings: str) -> dict[str, Any]:
    config = load_config(RunConfig, None, [*_RUN, *settings])
    return pretrain.pretrain(config, [voices], out, on_progress=lambda _: None)


def _plant(monkeypatch: pytest.MonkeyPatch, fault: Callable[[SelfDistillation], Any]) -> None:
    """Let every run begin with a network that has the fault."""

    def build_broken(
        config: RunConfig, labels: Labels | None = None, targets: Targets | None = None, **settings: Any
    ) -> SelfDistillation:
        network = build(config, labels, targets, **settings)
        fault(network)
        return network

    monkeypatch.setattr(pretrain, "build", build_broken)


@pytest.mark.parametrize(
    ("batch", "prototypes", "objective"),
    [
        (8, 10, "sdpn"),
        pytest.param(8, 64, "sdpn", marks=pytest.mark.slow),
        pytest.param(32, 64, "sdpn", marks=pytest.mark.slow),
        pytest.param(96, 64, "sdpn", marks=pytest.mark.slow),
        (8, 10, "dino"),
    ],
)
def test_healthy_runs_raise_nothing(
    voices: Path, tmp_path: Path, batch: int, prototypes: int, objective: str
) -> None:
    steps = {8: 60, 32: 40, 96: 24}[batch]
    sizes = [f"training.batch_size={batch}", f"{objective}.num_prototypes={prototypes}"]
    more = [f"training.steps={steps}", "guards.window=8", f"objective={objective}"]
    assert _train(voices, tmp_path / "exp", *sizes, *more)["steps"] == steps


def test_a_tensor_that_the_optimizer_does_not_hold(tiny_run: RunConfig) -> None:
    network = build(tiny_run)
    others = [tensor for name, tensor in network.named_parameters() if name != "prototypes"]
    with pytest.raises(TrainingFault, match="'prototypes' is in no optimizer group"):
        check_optimizer(network, torch.optim.SGD(others, lr=0.1))
    twice = [{"params": list(network.parameters())}]
    optimizer = torch.optim.SGD(twice, lr=0.1)
    optimizer.param_groups.append({**optimizer.param_groups[0], "params": [network.prototypes]})
    with pytest.raises(TrainingFault, match="'prototypes' is in several"):
        check_optimizer(network, optimizer)


def test_prototypes_that_get_no_gradient(
    voices: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _plant(monkeypatch, lambda network: network.prototypes.register_hook(torch.zeros_like))
    with pytest.raises(TrainingFault, match="the prototypes have not moved in 20 steps"):
        _train(voices, tmp_path / "exp")


def _constant(layer: nn.Module, value: torch.Tensor) -> None:
    """Let a linear layer give one output for every input, for good."""
    assert isinstance(layer, nn.Linear)
    with torch.no_grad():
        layer.weight.zero_()
        layer.bias.copy_(value)
    layer.requires_grad_(False)


def test_assignments_that_collapse(voices: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fault(network: SelfDistillation) -> None:
        with torch.no_grad():
            network.prototypes.copy_(-network.prototypes[:1] + 0.01 * network.prototypes)
            network.prototypes[0].neg_()
        for branch in (network.student, network.teacher):
            _constant(branch.head.layers[-1], network.prototypes[0].detach())

    _plant(monkeypatch, fault)
    with pytest.raises(TrainingFault, match=r"the teacher uses 1\.0 of 10 prototypes over the last 20 steps"):
        _train(voices, tmp_path / "exp", "optimizer.lr=1e-6", "optimizer.final_lr=0")


def test_embeddings_that_collapse(voices: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fault(network: SelfDistillation) -> None:
        for branch in (network.student, network.teacher):
            _constant(branch.encoder.embedding, torch.ones(branch.encoder.embedding_dim))

    _plant(monkeypatch, fault)
    with pytest.raises(TrainingFault, match="all embeddings are nearly equal"):
        _train(voices, tmp_path / "exp")


def test_a_loss_parked_at_log_k(voices: Path, tmp_path: Path) -> None:
    with pytest.raises(TrainingFault, match=r"stays at log K = 2\.303"):
        _train(voices, tmp_path / "exp", "sdpn.temperature=100")


def test_a_nan_loss_stops_the_run_and_keeps_the_last_checkpoint(
    voices: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = 0

    def poison(_module: nn.Module, _inputs: Any, output: torch.Tensor) -> torch.Tensor:
        nonlocal calls
        calls += 1
        return output * math.nan if calls == 15 else output

    _plant(monkeypatch, lambda network: network.student.head.register_forward_hook(poison))
    with pytest.raises(TrainingFault, match="the loss is NaN or infinite"):
        _train(voices, tmp_path / "exp")
    folders = sorted((tmp_path / "exp/checkpoints").iterdir())
    assert [folder.name for folder in folders] == ["step-00000010"]
    state = torch.load(folders[0] / "state.pt", weights_only=True)
    assert all(torch.isfinite(value).all() for value in state["model"].values() if torch.is_tensor(value))


def _terms(usage: torch.Tensor, *, ce: float, embedding: torch.Tensor) -> LossTerms:
    return LossTerms(torch.tensor(ce), {"ce": torch.tensor(ce)}, usage, embedding, torch.empty(0))


def test_thresholds_by_hand() -> None:
    generator = torch.Generator().manual_seed(0)
    spread = torch.randn(50, 8, generator=generator)
    initial = torch.randn(4, 8, generator=generator)
    config = GuardConfig(window=5, smallest_usage=0.2, parked=0.01)

    def check_window(usage: torch.Tensor, ce: float = 0.5, warmup: int = 0) -> None:
        guards = Guards(config, initial, warmup_steps=warmup)
        for _ in range(5):
            guards.observe(_terms(usage, ce=ce, embedding=spread))
        guards.check_window(5, initial + 0.1)

    # two of four prototypes, equally: perplexity 2, (2 − 1) / (4 − 1) = 0.33
    half = torch.tensor([[0.5, 0.5, 0.0, 0.0]])
    check_window(half)
    with pytest.raises(TrainingFault, match=r"uses 1\.3 of 4"):  # perplexity 1.30: 0.10
        check_window(torch.tensor([[0.94, 0.06, 0.0, 0.0]]))
    check_window(half, ce=math.log(4) * 0.985)
    check_window(half, ce=math.log(4), warmup=1)  # the window began before the warm-up was over
    with pytest.raises(TrainingFault, match="stays at log K"):
        check_window(half, ce=math.log(4) * 1.005)


def test_what_can_be_reached_is_limited_by_the_rows() -> None:
    """Eight rows can use eight of a thousand prototypes: that is no collapse."""
    initial = torch.randn(1000, 8)
    guards = Guards(GuardConfig(window=1, smallest_usage=0.9), initial, warmup_steps=0)
    one_hot = nn.functional.one_hot(torch.arange(8), 1000).float()
    guards.observe(_terms(one_hot, ce=0.5, embedding=torch.randn(8, 8)))
    guards.check_window(1, initial + 0.1)


def test_an_open_window_survives_a_resume() -> None:
    initial = torch.randn(4, 8)
    first, second = (Guards(GuardConfig(window=4), initial, warmup_steps=0) for _ in range(2))
    collapsed = _terms(torch.tensor([[1.0, 0.0, 0.0, 0.0]]), ce=0.5, embedding=torch.randn(9, 8))
    for _ in range(3):
        first.observe(collapsed)
    second.restore(first.state())
    second.observe(collapsed)
    with pytest.raises(TrainingFault, match=r"1\.0 of 4"):
        second.check_window(4, initial + 0.1)


def test_guards_can_be_switched_off(voices: Path, tmp_path: Path) -> None:
    assert _train(voices, tmp_path / "exp", "sdpn.temperature=100", "guards.window=0")["steps"] == 40


@pytest.mark.parametrize(
    "name", ["window", "smallest_usage", "parked", "smallest_deviation", "smallest_motion"]
)
def test_settings_out_of_range(name: str) -> None:
    with pytest.raises(ValueError):
        replace(GuardConfig(), **{name: -1})

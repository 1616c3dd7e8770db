"""An update: a batch in parts is the whole batch, the loss scale of fp16 is kept, precision is resolved."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from sdpn.config import load_config
from sdpn.data.crops import CropBatch
from sdpn.distill.base import SelfDistillation
from sdpn.training.build import build
from sdpn.training.config import RunConfig
from sdpn.training.distributed import Processes
from sdpn.training.step import Update, resolve_precision
from tests.conftest import TINY

_ALONE = Processes(0, 1, torch.device("cpu"))


def _batch(utterances: int = 12) -> CropBatch:
    generator = torch.Generator().manual_seed(1)
    return CropBatch(
        torch.randn(1, utterances, 8000, generator=generator) * 0.1,
        torch.randn(2, utterances, 4000, generator=generator) * 0.1,
        torch.arange(utterances),
    )


def _updated(run: RunConfig, *, steps: int = 1, train: bool = False, **training: Any) -> SelfDistillation:
    changed = replace(run, training=replace(run.training, batch_size=12, **training))
    torch.manual_seed(0)
    network = build(changed).train(train)
    update = Update(changed, network, _ALONE)
    for _ in range(steps):
        update(_batch(), lr=1e-3, momentum=0.9)
    return network


@pytest.mark.parametrize("objective", ["sdpn", "dino"])
def test_a_batch_in_parts_gives_the_update_of_the_whole_batch(tiny_run: RunConfig, objective: str) -> None:
    """With batch norm in evaluation mode: it is the one layer for which parts differ from the whole."""
    run = replace(
        tiny_run,
        objective=objective,  # type: ignore[arg-type]
        optimizer=replace(tiny_run.optimizer, kind="sgd"),
        sdpn=replace(tiny_run.sdpn, queue_size=20, dimension_weight=0.1),
    )
    whole, parts = _updated(run, steps=3), _updated(run, steps=3, accumulate=3)
    start = build(run).state_dict()
    for name, tensor in whole.state_dict().items():
        if torch.is_tensor(tensor):
            torch.testing.assert_close(parts.state_dict()[name], tensor, rtol=1e-4, atol=1e-6, msg=name)
    assert not torch.equal(whole.prototypes, start["prototypes"])


def test_looking_at_the_parts_first_leaves_the_students_batch_norm_alone(tiny_run: RunConfig) -> None:
    """Each part moves the running averages once, not once for each pass."""
    network = _updated(tiny_run, train=True, accumulate=2)
    fresh = build(tiny_run)
    torch.manual_seed(0)
    fresh = build(tiny_run).train()
    for rows in (slice(0, 6), slice(6, 12)):
        fresh.project(_batch().rows(rows))
    name = "encoder.stem.2.running_mean"
    torch.testing.assert_close(
        dict(network.student.named_buffers())[name], dict(fresh.student.named_buffers())[name]
    )


def test_fp16_scales_the_loss_and_keeps_the_scale(tiny_run: RunConfig) -> None:
    run = replace(tiny_run, training=replace(tiny_run.training, precision="fp16"))
    network = build(run).train()
    update = Update(run, network, _ALONE)
    before = network.prototypes.detach().clone()
    for _ in range(8):  # the first ones overflow until the scale has come down
        update(_batch(), lr=1e-3, momentum=0.9)
    assert not torch.equal(network.prototypes, before)
    assert all(torch.isfinite(tensor).all() for tensor in network.parameters())
    state = update.state()["scaler"]
    assert state["scale"] > 1 and state["_growth_tracker"] >= 1
    other = Update(run, build(run), _ALONE)
    other.restore(update.state())
    assert other.state()["scaler"] == state


def test_fp16_skips_a_step_whose_gradients_overflow_and_lowers_the_scale(tiny_run: RunConfig) -> None:
    run = replace(tiny_run, training=replace(tiny_run.training, precision="fp16"))
    network = build(run).train()
    update = Update(run, network, _ALONE)
    first = network.student.head.layers[0]
    assert isinstance(first, torch.nn.Linear)
    first.weight.register_hook(lambda gradient: gradient * torch.inf)
    before, scale = network.prototypes.detach().clone(), update.scaler.get_scale()
    terms, _ = update(_batch(), lr=1e-3, momentum=0.9)
    assert torch.isfinite(terms.total) and torch.equal(network.prototypes, before)
    assert update.scaler.get_scale() == scale / 2


def test_precision_is_what_is_asked_for_or_what_the_processor_gains_from() -> None:
    assert resolve_precision("fp16") == "fp16"
    assert resolve_precision("auto") in ("fp32", "bf16")


def _conformer(**training: Any) -> RunConfig:
    """An encoder with dropout."""
    settings = [setting for setting in TINY if not setting.startswith("encoder.")]
    run = load_config(RunConfig, None, [*settings, "encoder.kind=conformer-tiny", "encoder.dropout=0.3"])
    return replace(run, training=replace(run.training, batch_size=12, **training))


def test_dropout_drops_the_same_units_in_both_passes_of_a_batch_in_parts() -> None:
    """The second pass has to see the network that the gradients were found for."""
    run = _conformer(accumulate=2)
    network = build(run).train()
    seen: list[torch.Tensor] = []
    network.student.head.register_forward_hook(lambda _module, _inputs, output: seen.append(output.detach()))
    Update(run, network, _ALONE)(_batch(), lr=0.0, momentum=1.0)
    first, second = seen[:2], seen[2:]
    assert not torch.allclose(first[0], first[1])
    for one, two in zip(first, second, strict=True):
        torch.testing.assert_close(one, two)


def test_the_teacher_never_drops_units() -> None:
    network = build(_conformer()).train()
    one, two = (network.project(_batch()) for _ in range(2))
    torch.testing.assert_close(one.teacher_GBE, two.teacher_GBE)
    assert not torch.allclose(one.student_VBE, two.student_VBE)

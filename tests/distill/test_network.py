"""SDPN as a module: its prototypes are parameters like any other, its teacher follows the student."""

from __future__ import annotations

import copy
import dataclasses

import pytest
import torch
from torch.nn.functional import normalize

from sdpn.data.crops import CropBatch
from sdpn.distill import losses
from sdpn.distill.assignment import assign
from sdpn.distill.network import SDPN, SDPNConfig
from sdpn.training.config import RunConfig
from sdpn.training.optim import make_optimizer


def _network(run: RunConfig, **changes: object) -> SDPN:
    torch.manual_seed(0)
    config = dataclasses.replace(run.sdpn, **changes)  # type: ignore[arg-type]
    return SDPN(config, encoder=run.encoder, head=run.head, features=run.features).train()


def _batch(num_global: int = 1, num_local: int = 2) -> CropBatch:
    generator = torch.Generator().manual_seed(3)
    return CropBatch(
        torch.randn(num_global, 6, 8000, generator=generator) * 0.1,
        torch.randn(num_local, 6, 4000, generator=generator) * 0.1,
    )


def test_prototypes_are_a_parameter_in_one_group_without_decay(tiny_run: RunConfig) -> None:
    network = _network(tiny_run)
    assert "prototypes" in dict(network.named_parameters())
    assert "prototypes" in network.state_dict()
    optimizer = make_optimizer(tiny_run.optimizer, network)
    groups = [
        group for group in optimizer.param_groups if any(p is network.prototypes for p in group["params"])
    ]
    assert len(groups) == 1 and groups[0]["weight_decay"] == 0
    counted = [id(tensor) for group in optimizer.param_groups for tensor in group["params"]]
    assert sorted(counted) == sorted(id(p) for p in network.parameters() if p.requires_grad)


def test_one_step_moves_prototypes_and_student_but_not_the_teacher(tiny_run: RunConfig) -> None:
    network = _network(tiny_run)
    before = copy.deepcopy(network.state_dict())
    optimizer = make_optimizer(tiny_run.optimizer, network)
    network(_batch()).total.backward()
    assert network.prototypes.grad is not None and network.prototypes.grad.norm() > 0
    assert all(p.grad is None for p in network.teacher.parameters())
    optimizer.step()
    assert not torch.equal(before["prototypes"], network.prototypes)
    changed = {name for name, tensor in network.named_parameters() if not torch.equal(before[name], tensor)}
    assert not {name for name in changed if name.startswith("teacher.")}
    assert {name for name, p in network.named_parameters() if p.requires_grad} - changed <= {
        name for name, p in network.named_parameters() if p.grad is not None and not p.grad.any()
    }


def test_prototypes_start_uniform_within_one_over_root_e(tiny_run: RunConfig) -> None:
    prototypes = _network(tiny_run, num_prototypes=512).prototypes.detach()
    bound = tiny_run.head.projection_dim**-0.5
    assert prototypes.abs().max() <= bound
    assert prototypes.std().item() == pytest.approx(bound / 3**0.5, rel=0.05)


@pytest.mark.parametrize(("num_global", "num_local"), [(1, 1), (1, 4), (2, 3)])
def test_any_number_of_views(tiny_run: RunConfig, num_global: int, num_local: int) -> None:
    network = _network(tiny_run)
    terms = network(_batch(num_global, num_local))
    assert torch.isfinite(terms.total)
    assert terms.embedding_ND.shape == (num_local * 6, tiny_run.encoder.embedding_dim)
    assert terms.usage_K.sum().item() == pytest.approx(1, abs=1e-4)


def test_objective_is_the_weighted_sum_of_its_terms(tiny_run: RunConfig) -> None:
    network = _network(tiny_run, memax_weight=0.5, koleo_weight=0.3)
    generator = torch.Generator().manual_seed(4)
    teacher, student = torch.randn(2, 5, 7, generator=generator), torch.randn(3, 5, 7, generator=generator)
    embedding = torch.randn(3, 5, 9, generator=generator)
    terms = network.objective(teacher, student, embedding)
    log_student = student.log_softmax(-1)
    ce = sum(losses.cross_entropy(log_student, assign(t, sharpening=0.25, iterations=3)) for t in teacher) / 2
    expected = ce + 0.5 * losses.mean_entropy_gap(log_student) + 0.3 * losses.koleo(embedding)
    torch.testing.assert_close(terms.total, expected)


def test_teacher_is_the_moving_average_of_the_student(tiny_run: RunConfig) -> None:
    network = _network(tiny_run)
    with torch.no_grad():
        for parameter in network.student.parameters():
            parameter.add_(1.0)
    before = [p.clone() for p in network.teacher.parameters()]
    network.update_teacher(0.75)
    pairs = zip(before, network.student.parameters(), network.teacher.parameters(), strict=True)
    for old, student, teacher in pairs:
        torch.testing.assert_close(teacher, 0.75 * old + 0.25 * student.detach())


def test_teacher_batch_norm_is_its_own_or_the_students(tiny_run: RunConfig) -> None:
    for choice in ("own", "student"):
        network = _network(tiny_run, teacher_batch_norm=choice)
        network(_batch())
        network.update_teacher(0.9)
        student, teacher = (
            dict(branch.named_buffers())["encoder.stem.2.running_mean"]
            for branch in (network.student, network.teacher)
        )
        assert teacher.any() and torch.equal(student, teacher) is (choice == "student")


def test_logits_are_cosines_over_temperature_in_float32_under_autocast(tiny_run: RunConfig) -> None:
    network = _network(tiny_run)
    projection = torch.randn(4, tiny_run.head.projection_dim)
    with torch.autocast("cpu", torch.bfloat16):
        logits = network.logits(projection.bfloat16())
    assert logits.dtype == torch.float32
    cosine = normalize(projection.bfloat16().float(), dim=1) @ normalize(network.prototypes, dim=1).T
    torch.testing.assert_close(logits, cosine / 0.1)


def test_a_bf16_step_is_finite_and_close_to_fp32(tiny_run: RunConfig) -> None:
    network = _network(tiny_run)
    batch = _batch()
    exact = copy.deepcopy(network)(batch).total
    with torch.autocast("cpu", torch.bfloat16):
        rough = network(batch).total
    rough.backward()
    assert rough.item() == pytest.approx(exact.item(), rel=0.03)
    assert all(torch.isfinite(p.grad).all() for p in network.parameters() if p.grad is not None)


@pytest.mark.parametrize(
    "changes",
    [{"num_prototypes": 1}, {"temperature": 0.0}, {"momentum": 1.1}, {"sinkhorn_iterations": -1}],
)
def test_settings_out_of_range(changes: dict[str, float]) -> None:
    with pytest.raises(ValueError):
        SDPNConfig(**changes)  # type: ignore[arg-type]

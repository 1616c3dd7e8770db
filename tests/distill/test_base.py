"""What every objective shares: prototypes are parameters like any other, the teacher follows the student."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.nn.functional import normalize

from sdpn.config import load_config
from sdpn.distill.base import Gradients, TeacherConfig, cosine_logits
from sdpn.training.build import build
from sdpn.training.config import RunConfig
from sdpn.training.optim import make_optimizer
from tests.conftest import TINY

Make = Callable[..., Any]
OBJECTIVES = ["sdpn", "dino"]


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_prototypes_are_a_parameter_in_one_group_without_decay(
    tiny_run: RunConfig, make_network: Make, objective: str
) -> None:
    network = make_network(objective)
    assert "prototypes" in dict(network.named_parameters())
    assert "prototypes" in network.state_dict()
    optimizer = make_optimizer(tiny_run.optimizer, network)
    groups = [
        group for group in optimizer.param_groups if any(p is network.prototypes for p in group["params"])
    ]
    assert len(groups) == 1 and groups[0]["weight_decay"] == 0
    counted = [id(tensor) for group in optimizer.param_groups for tensor in group["params"]]
    assert sorted(counted) == sorted(id(p) for p in network.parameters() if p.requires_grad)


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_one_step_moves_prototypes_and_student_but_not_the_teacher(
    tiny_run: RunConfig, make_network: Make, make_batch: Make, objective: str
) -> None:
    network = make_network(objective)
    before = copy.deepcopy(dict(network.named_parameters()))
    optimizer = make_optimizer(tiny_run.optimizer, network)
    network(make_batch()).total.backward()
    assert network.prototypes.grad is not None and network.prototypes.grad.norm() > 0
    assert all(p.grad is None for p in network.teacher.parameters())
    optimizer.step()
    assert not torch.equal(before["prototypes"], network.prototypes)
    changed = {name for name, tensor in network.named_parameters() if not torch.equal(before[name], tensor)}
    assert not {name for name in changed if name.startswith("teacher")}
    assert {name for name, p in network.named_parameters() if p.requires_grad} - changed <= {
        name for name, p in network.named_parameters() if p.grad is not None and not p.grad.any()
    }


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_prototypes_start_uniform_within_one_over_root_e(
    tiny_run: RunConfig, make_network: Make, objective: str
) -> None:
    prototypes = make_network(objective, **{objective: {"num_prototypes": 512}}).prototypes.detach()
    bound = tiny_run.head.projection_dim**-0.5
    assert prototypes.abs().max() <= bound
    assert prototypes.std().item() == pytest.approx(bound / 3**0.5, rel=0.05)


@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize(("num_global", "num_local"), [(1, 1), (1, 4), (2, 3)])
def test_any_number_of_views(
    tiny_run: RunConfig,
    make_network: Make,
    make_batch: Make,
    objective: str,
    num_global: int,
    num_local: int,
) -> None:
    result = make_network(objective)(make_batch(num_global, num_local))
    assert torch.isfinite(result.total)
    assert result.embedding_ND.shape == (num_local * 6, tiny_run.encoder.embedding_dim)
    assert result.teacher_NE.shape == (num_global * 6, tiny_run.head.projection_dim)
    torch.testing.assert_close(result.assignment_NK.sum(1), torch.ones(num_global * 6))


@pytest.mark.parametrize("kind", ["resnet-tiny", "campplus-tiny", "xvector-tiny", "conformer-tiny"])
def test_any_encoder_trains(make_batch: Make, kind: str) -> None:
    settings = [setting for setting in TINY if not setting.startswith("encoder.")]
    run = load_config(RunConfig, None, [*settings, f"encoder.kind={kind}", "features.kind=kaldi-fbank"])
    network = build(run).train()
    result = network(make_batch())
    result.total.backward()
    gradients = [p.grad for p in network.student.parameters() if p.grad is not None]
    assert torch.isfinite(result.total) and all(torch.isfinite(gradient).all() for gradient in gradients)
    assert any(gradient.any() for gradient in gradients)


def test_teacher_is_the_moving_average_of_the_student(make_network: Make, make_batch: Make) -> None:
    network = make_network()
    terms = network(make_batch())
    with torch.no_grad():
        for parameter in network.student.parameters():
            parameter.add_(1.0)
    before = [p.clone() for p in network.teacher.parameters()]
    network.after_step(0.75, terms)
    pairs = zip(before, network.student.parameters(), network.teacher.parameters(), strict=True)
    for old, student, teacher in pairs:
        torch.testing.assert_close(teacher, 0.75 * old + 0.25 * student.detach())


def test_teacher_batch_norm_is_its_own_or_the_students(make_network: Make, make_batch: Make) -> None:
    for choice in ("own", "student"):
        network = make_network(teacher={"batch_norm": choice})
        network.after_step(0.9, network(make_batch()))
        means = [
            tensor
            for branch in (network.student, network.teacher)
            for name, tensor in branch.named_buffers()
            if name == "encoder.stem.2.running_mean"
        ]
        assert means[1].any() and torch.equal(*means) is (choice == "student")


def test_logits_are_cosines_over_temperature_in_float32_under_autocast() -> None:
    projection, prototypes = torch.randn(4, 8), torch.randn(10, 8)
    with torch.autocast("cpu", torch.bfloat16):
        logits = cosine_logits(projection.bfloat16(), prototypes, 0.1)
    assert logits.dtype == torch.float32
    cosine = normalize(projection.bfloat16().float(), dim=1) @ normalize(prototypes, dim=1).T
    torch.testing.assert_close(logits, cosine / 0.1)


def test_given_gradients_come_out_as_if_the_objective_had_been_run(
    make_network: Make, make_batch: Make
) -> None:
    whole, apart = make_network(), make_network()
    whole(make_batch()).total.backward()
    seen = apart.project(make_batch())
    student = seen.student_VBE.detach().requires_grad_()
    embedding = seen.embedding_VBD.detach().requires_grad_()
    total = apart.objective(seen._replace(student_VBE=student, embedding_VBD=embedding)).total
    gradients = torch.autograd.grad(total, [student, embedding, apart.prototypes])
    apart(make_batch(), Gradients(*gradients)).total.backward()
    for (name, one), two in zip(whole.named_parameters(), apart.parameters(), strict=True):
        if one.requires_grad:
            torch.testing.assert_close(one.grad, two.grad, msg=name)


def test_momentum_out_of_range() -> None:
    with pytest.raises(ValueError, match="momentum"):
        TeacherConfig(momentum=1.1)
    with pytest.raises(ValueError, match="momentum"):
        TeacherConfig(momentum=0.9, final_momentum=0.5)


def test_erasing_reaches_the_student_alone(make_network: Make, make_batch: Make) -> None:
    network, batch = make_network(), make_batch()
    erasure_VB4 = torch.zeros(2, 6, 4, dtype=torch.int32)
    erasure_VB4[1, 2] = torch.tensor([100, 9, 0, 0])
    plain = network.project(batch)
    erased = network.project(batch._replace(erasure_VB4=erasure_VB4))
    nothing = network.project(batch._replace(erasure_VB4=torch.zeros_like(erasure_VB4)))
    assert torch.equal(erased.teacher_GBE, plain.teacher_GBE)
    assert torch.equal(nothing.student_VBE, plain.student_VBE)
    assert not torch.allclose(erased.embedding_VBD[1, 2], plain.embedding_VBD[1, 2])

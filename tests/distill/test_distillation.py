"""Distillation: every term against a plain computation, what is known of whom, and who gets a gradient."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from scipy.special import log_softmax, softmax
from torch import Tensor

from sdpn.data.crops import CropBatch
from sdpn.distill.base import Projections
from sdpn.distill.distillation import Distill, DistillConfig
from sdpn.distill.targets import Targets
from sdpn.training.build import build
from sdpn.training.config import RunConfig

_SPEEDS = (1.0, 0.9, 1.1)


def _targets(utterances: int = 9, dim: int = 12) -> Targets:
    generator = torch.Generator().manual_seed(7)
    return Targets(torch.randn(len(_SPEEDS), utterances, dim, generator=generator) + 0.5, _SPEEDS, "t")


def _network(run: RunConfig, targets: Targets | None = None, **settings: Any) -> Distill:
    torch.manual_seed(0)
    config = replace(run.distill, num_prototypes=7, **settings)
    network = build(
        replace(run, objective="distill", distill=config), targets=_targets() if targets is None else targets
    )
    assert isinstance(network, Distill)
    return network.train()


def _projections(network: Distill, utterances: list[int], speed: int = 0) -> Projections:
    student = torch.randn(2, len(utterances), 12, generator=torch.Generator().manual_seed(1)).requires_grad_()
    target_BE = network.targets.rows_SNE[speed, utterances]
    return Projections(target_BE.unsqueeze(0), student, student, torch.tensor(utterances))


def _unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


def test_every_term_follows_its_definition(tiny_run: RunConfig) -> None:
    weights = {"cosine_weight": 0.7, "relation_weight": 0.4, "prototype_weight": 0.2}
    network = _network(tiny_run, relation_temperature=0.3, temperature=0.2, sharpening=0.5, **weights)
    projections = _projections(network, [5, 0, 3, 8])
    found = network.objective(projections)
    teacher = _unit(projections.teacher_GBE[0].double().numpy())
    student = _unit(projections.student_VBE.detach().double().numpy())
    prototypes = _unit(network.prototypes.detach().double().numpy())
    cosine = 1 - (student * teacher).sum(-1).mean()
    relations = []
    for view in student:
        for row in range(4):
            others = [other for other in range(4) if other != row]
            theirs = softmax(teacher[row] @ teacher[others].T / 0.3)
            ours = log_softmax(view[row] @ teacher[others].T / 0.3)
            relations.append((theirs * (np.log(theirs) - ours)).sum())
    assigned = softmax(teacher @ prototypes.T / (0.2 * 0.5), axis=-1)
    predicted = log_softmax(student @ prototypes.T / 0.2, axis=-1)
    ce = -(assigned * predicted).sum(-1).mean()
    expected = {"cosine": cosine, "relation": np.mean(relations), "ce": ce}
    assert {name: pytest.approx(float(term), abs=1e-5) for name, term in found.terms.items()} == expected
    assert float(found.total.detach()) == pytest.approx(
        0.7 * cosine + 0.4 * np.mean(relations) + 0.2 * ce, abs=1e-5
    )


def test_a_student_equal_to_the_teacher_has_zero_loss(tiny_run: RunConfig) -> None:
    network = _network(tiny_run)
    projections = _projections(network, [1, 2, 4])
    student = (2 * projections.teacher_GBE).expand(2, -1, -1)
    terms = network.objective(projections._replace(student_VBE=student, embedding_VBD=student)).terms
    assert float(terms["cosine"]) == pytest.approx(0, abs=1e-6)
    assert float(terms["relation"]) == pytest.approx(0, abs=1e-6)


def test_without_their_weight_prototypes_learn_and_the_student_does_not_learn_from_them(
    tiny_run: RunConfig,
) -> None:
    network = _network(tiny_run, cosine_weight=0.0, relation_weight=1e-9, prototype_weight=0.0)
    projections = _projections(network, [1, 2, 4])
    network.objective(projections).total.backward()
    assert network.prototypes.grad is not None and network.prototypes.grad.norm() > 1e-3
    assert projections.student_VBE.grad is not None and projections.student_VBE.grad.norm() < 1e-6


def test_the_mean_of_the_utterances_as_recorded_is_taken_off(tiny_run: RunConfig) -> None:
    targets = _targets()
    targets.rows_SNE[:, 4] = 0  # the teacher could not embed it
    known = [index for index in range(9) if index != 4]
    mean = targets.rows_SNE[0, known].mean(0)
    centred = _network(tiny_run, targets).targets.rows_SNE
    torch.testing.assert_close(centred[:, known], targets.rows_SNE[:, known] - mean)
    assert not centred[:, 4].any()
    assert torch.equal(_network(tiny_run, targets, subtract_mean=False).targets.rows_SNE, targets.rows_SNE)
    assert len(targets.available()) == 3 * 8


def test_an_utterance_without_a_target_teaches_nothing(tiny_run: RunConfig) -> None:
    targets = _targets()
    targets.rows_SNE[:, 4] = 0
    network = _network(tiny_run, targets)
    student = torch.randn(2, 4, 12, generator=torch.Generator().manual_seed(1))

    def total(utterances: list[int], student_VBE: Tensor) -> Tensor:
        target_BE = network.targets.rows_SNE[0, utterances]
        rows = Projections(target_BE.unsqueeze(0), student_VBE, student_VBE, torch.tensor(utterances))
        return network.objective(rows).total

    torch.testing.assert_close(total([5, 4, 3, 8], student), total([5, 3, 8], student[:, [0, 2, 3]]))


def test_speed_perturbed_crops_are_compared_with_the_teacher_at_that_speed(tiny_run: RunConfig) -> None:
    targets = _targets()
    network = _network(tiny_run, targets, subtract_mean=False)
    speed_B = torch.tensor([float(np.float32(1.1)), 1.0, float(np.float32(0.9))])
    batch = CropBatch(
        torch.zeros(0, 3, 0), torch.randn(2, 3, 4000) * 0.1, torch.tensor([2, 7, 2]), None, speed_B
    )
    projected = network.project(batch).teacher_GBE[0]
    expected = torch.stack([targets.rows_SNE[2, 2], targets.rows_SNE[0, 7], targets.rows_SNE[1, 2]])
    assert torch.equal(projected, expected)
    unchanged = network.project(batch._replace(speed_B=None)).teacher_GBE[0]
    assert torch.equal(unchanged, targets.rows_SNE[0, [2, 7, 2]])


def test_a_teacher_of_another_size_is_met_by_a_linear_map(tiny_run: RunConfig) -> None:
    network = _network(tiny_run, _targets(dim=20))
    assert network.prototypes.shape == (7, 20)
    batch = CropBatch(torch.zeros(0, 3, 0), torch.randn(2, 3, 4000) * 0.1, torch.tensor([2, 7, 1]))
    projections = network.project(batch)
    assert projections.student_VBE.shape == (2, 3, 20) and projections.embedding_VBD.shape == (2, 3, 12)
    network.objective(projections).total.backward()
    head = network.student.head.weight
    assert isinstance(head, torch.Tensor) and head.grad is not None and head.grad.any()
    assert not any(tensor.requires_grad for tensor in network.teacher.parameters())


def test_the_average_takes_its_batch_norms_from_the_student(tiny_run: RunConfig) -> None:
    network = _network(tiny_run)
    batch = CropBatch(torch.zeros(0, 3, 0), torch.randn(2, 3, 4000) * 0.1, torch.tensor([2, 7, 1]))
    network.after_step(0.5, network(batch))
    for own, other in zip(network.teacher.buffers(), network.student.buffers(), strict=True):
        assert torch.equal(own, other)


@pytest.mark.parametrize("scale", [0.0, 1e-7, 1e4])
def test_adversarial_embeddings_give_finite_loss_and_gradients(tiny_run: RunConfig, scale: float) -> None:
    network = _network(tiny_run)
    projections = _projections(network, [1, 2, 4])
    student = (projections.student_VBE.detach() * scale).requires_grad_()
    total = network.objective(projections._replace(student_VBE=student, embedding_VBD=student)).total
    total.backward()
    assert total.isfinite() and student.grad is not None and student.grad.isfinite().all()


@pytest.mark.parametrize(
    "settings",
    [
        {"cosine_weight": -1.0},
        {"cosine_weight": 0.0, "relation_weight": 0.0, "prototype_weight": 0.0},
        {"temperature": 0.0},
        {"relation_temperature": 0.0},
        {"num_prototypes": 1},
        {"sinkhorn_iterations": -1},
    ],
)
def test_settings_out_of_range(settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        DistillConfig(**settings)

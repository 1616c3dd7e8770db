"""SDPN: golden numbers through the module, its options, adversarial input in every precision."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from sdpn.distill import losses
from sdpn.distill.assignment import assign
from sdpn.distill.base import Projections
from sdpn.distill.sdpn import SDPN, SDPNConfig

Make = Callable[..., Any]


def _projections(generator: torch.Generator, views: int = 3, batch: int = 5, dim: int = 8) -> Projections:
    return Projections(
        torch.randn(2, batch, dim, generator=generator),
        torch.randn(views, batch, dim, generator=generator),
        torch.randn(views, batch, 9, generator=generator),
        torch.arange(batch),
    )


@pytest.mark.parametrize("size", ["small", "wide"])
def test_golden_numbers_of_the_reference_objective(shared_data: Path, make_network: Make, size: str) -> None:
    golden = np.load(shared_data / "parity" / "sdpn_objective.npz")

    def tensor(name: str) -> Tensor:
        return torch.tensor(golden[f"{size}_{name}"])

    prototypes = nn.Parameter(tensor("prototypes"))
    network: SDPN = make_network(
        sdpn={"num_prototypes": len(prototypes)}, head={"projection_dim": prototypes.shape[1]}
    )
    network.prototypes = prototypes
    teacher_z, student_z = tensor("teacher_z"), tensor("student_z").requires_grad_()
    embedding = tensor("embedding").requires_grad_()
    shape = (len(student_z) // len(teacher_z), len(teacher_z), -1)
    result = network.objective(
        Projections(
            teacher_z.unsqueeze(0), student_z.view(shape), embedding.view(shape), torch.arange(shape[1])
        )
    )
    result.total.backward()
    for name, value in {**result.terms, "total": result.total.detach()}.items():
        torch.testing.assert_close(value, tensor(name), rtol=0, atol=1e-6, msg=name)
    for name, leaf in {"student_z": student_z, "prototypes": prototypes, "embedding": embedding}.items():
        torch.testing.assert_close(leaf.grad, tensor(f"grad_{name}"), rtol=0, atol=1e-6, msg=name)


def test_objective_is_the_weighted_sum_of_its_terms(make_network: Make) -> None:
    weights = {"memax_weight": 0.5, "koleo_weight": 0.3, "dimension_weight": 0.2}
    network: SDPN = make_network(sdpn=weights)
    projections = _projections(torch.Generator().manual_seed(4))
    unit = normalize(network.prototypes, dim=1)
    student = (normalize(projections.student_VBE, dim=-1) @ unit.T / 0.1).log_softmax(-1)
    teacher = normalize(projections.teacher_GBE, dim=-1) @ unit.T / 0.1
    ce = sum(losses.cross_entropy(student, assign(t, sharpening=0.25, iterations=3)) for t in teacher) / 2
    embedding = projections.embedding_VBD
    expected = ce + 0.5 * losses.mean_entropy_gap(student) + 0.3 * losses.koleo(embedding)
    expected = expected + 0.2 * losses.frobenius(embedding)
    torch.testing.assert_close(network.objective(projections).total, expected)


def test_every_constant_of_the_objective_is_a_setting(make_network: Make) -> None:
    projections = _projections(torch.Generator().manual_seed(5))
    plain = make_network().objective(projections).total
    for changed in (
        {"temperature": 0.2},
        {"sharpening": 0.5},
        {"sinkhorn_iterations": 0},
        {"memax_weight": 0.0},
        {"koleo_weight": 0.0},
        {"koleo_floor": 2.0},
        {"dimension_weight": 1.0},
        {"dimension_weight": 1.0, "dimension_kind": "off-diagonal"},
    ):
        assert not torch.isclose(make_network(sdpn=changed).objective(projections).total, plain), changed


def test_the_queue_joins_the_balancing_but_not_the_targets(make_network: Make) -> None:
    network: SDPN = make_network(sdpn={"queue_size": 12})
    generator = torch.Generator().manual_seed(6)
    first, second = _projections(generator), _projections(generator)
    without = make_network().objective(first)
    terms = network.objective(first)  # nothing is queued yet
    torch.testing.assert_close(terms.total, without.total)
    network.after_step(0.99, terms)
    assert len(network.queue) == 10  # two global crops of five utterances
    total = network.objective(second).total

    unit = normalize(network.prototypes, dim=1)
    queued = normalize(first.teacher_GBE.flatten(0, 1), dim=1) @ unit.T / 0.1
    student = (normalize(second.student_VBE, dim=-1) @ unit.T / 0.1).log_softmax(-1)
    ce = torch.zeros(())
    for rows in normalize(second.teacher_GBE, dim=-1) @ unit.T / 0.1:
        balanced = assign(torch.cat([rows, queued]), sharpening=0.25, iterations=3)
        ce = ce + losses.cross_entropy(student, balanced[:5]) / 2
    expected = ce + losses.mean_entropy_gap(student) + 0.1 * losses.koleo(second.embedding_VBD)
    torch.testing.assert_close(total, expected)
    assert not torch.isclose(total, make_network().objective(second).total)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("kind", ["huge", "tiny", "identical", "one-hot", "zero"])
@pytest.mark.parametrize("objective", ["sdpn", "dino"])
def test_adversarial_projections_give_finite_loss_and_gradients(
    make_network: Make, dtype: torch.dtype, kind: str, objective: str
) -> None:
    generator = torch.Generator().manual_seed(2)
    rows = {
        "huge": torch.randn(2, 6, 8, generator=generator).sign() * 1e4,
        "tiny": torch.randn(2, 6, 8, generator=generator) * 1e-7,
        "identical": torch.randn(1, 1, 8, generator=generator).repeat(2, 6, 1),
        "one-hot": torch.eye(8)[:6].repeat(2, 1, 1) * 1e4,
        "zero": torch.zeros(2, 6, 8),
    }[kind]
    temperature = 0.1 if kind in ("tiny", "zero") else 1e-4  # cosines become logits of ±10,000
    network = make_network(objective, **{objective: {"temperature": temperature}})
    student, embedding = (rows.to(dtype).requires_grad_() for _ in range(2))
    result = network.objective(
        Projections(rows[:1].to(dtype), student, embedding, torch.arange(rows.shape[1]))
    )
    result.total.backward()
    assert torch.isfinite(result.total)
    assert student.grad is not None and torch.isfinite(student.grad).all()
    assert embedding.grad is None or torch.isfinite(embedding.grad).all()
    assert network.prototypes.grad is not None and torch.isfinite(network.prototypes.grad).all()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_half_precision_step_is_finite_and_close_to_fp32(
    make_network: Make, make_batch: Make, dtype: torch.dtype
) -> None:
    exact = make_network()(make_batch()).total
    network = make_network()
    with torch.autocast("cpu", dtype):
        rough = network(make_batch()).total
    assert rough.dtype == torch.float32  # the terms are computed in float32
    rough.backward()
    assert rough.item() == pytest.approx(exact.item(), rel=0.03)
    assert all(torch.isfinite(p.grad).all() for p in network.parameters() if p.grad is not None)


@pytest.mark.parametrize(
    "changes",
    [
        {"num_prototypes": 1},
        {"temperature": 0.0},
        {"sinkhorn_iterations": -1},
        {"queue_size": -1},
        {"dimension_weight": -0.1},
    ],
)
def test_settings_out_of_range(changes: dict[str, float]) -> None:
    with pytest.raises(ValueError):
        SDPNConfig(**changes)  # type: ignore[arg-type]

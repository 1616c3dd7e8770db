"""DINO: centring and sharpening against formulas, and a teacher with prototypes of its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.nn.functional import normalize

from sdpn.distill.base import Projections
from sdpn.distill.dino import DINO, DINOConfig

Make = Callable[..., Any]


def test_loss_and_centre_by_formula(make_network: Make) -> None:
    network: DINO = make_network("dino", dino={"centre_momentum": 0.8})
    generator = torch.Generator().manual_seed(0)
    projections = Projections(*(torch.randn(2, 5, 8, generator=generator) for _ in range(3)), torch.arange(5))
    unit = normalize(network.prototypes.detach(), dim=1)
    outputs = normalize(projections.teacher_GBE, dim=-1) @ unit.T
    student = (normalize(projections.student_VBE, dim=-1) @ unit.T / 0.1).softmax(-1)

    def expected(centre: torch.Tensor) -> torch.Tensor:
        targets = ((outputs - centre) / 0.04).softmax(-1)
        return torch.stack([-(t * s.log()).sum(-1).mean() for t in targets for s in student]).mean()

    first = network.objective(projections)
    torch.testing.assert_close(first.total, expected(torch.zeros(10)))
    network.after_step(1.0, first)
    centre = 0.2 * outputs.flatten(0, 1).mean(0)
    torch.testing.assert_close(network.centre_K, centre)
    torch.testing.assert_close(network.objective(projections).total, expected(centre))


def test_the_teachers_prototypes_follow_and_are_not_trained(make_network: Make, make_batch: Make) -> None:
    network: DINO = make_network("dino")
    terms = network(make_batch())
    terms.total.backward()
    assert network.teacher_prototypes.grad is None
    before = network.teacher_prototypes.clone()
    with torch.no_grad():
        network.prototypes.add_(1.0)
    network.after_step(0.75, terms)
    torch.testing.assert_close(
        network.teacher_prototypes.detach(), 0.75 * before.detach() + 0.25 * network.prototypes.detach()
    )


def test_given_prototypes_are_the_teachers_too(make_network: Make) -> None:
    network: DINO = make_network("dino")
    given = torch.randn(10, 8)
    network.set_prototypes(given)
    assert torch.equal(network.prototypes, given) and torch.equal(network.teacher_prototypes, given)


@pytest.mark.parametrize(
    "changes", [{"num_prototypes": 1}, {"teacher_temperature": 0}, {"centre_momentum": 1}]
)
def test_settings_out_of_range(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        DINOConfig(**changes)

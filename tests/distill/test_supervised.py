"""The supervised objective against torch and against angles computed apart; its schedule; its folds."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import cross_entropy, normalize

from sdpn.augmentation.augment import AugmentationConfig
from sdpn.data.crops import CropBatch
from sdpn.distill.base import Projections
from sdpn.distill.labels import Labels
from sdpn.distill.supervised import Supervised
from sdpn.training.build import build
from sdpn.training.config import RunConfig
from sdpn.training.labelled import stratified_folds

_LABELS = Labels(torch.tensor([0, 0, 1, 1, 2, 2]), 3, ("a", "b", "c"))


def _network(run: RunConfig, **settings: Any) -> Supervised:
    torch.manual_seed(0)
    given = {"margin_warmup_steps": 0, **settings}
    network = build(
        replace(run, objective="supervised", supervised=replace(run.supervised, **given)), _LABELS
    )
    assert isinstance(network, Supervised)
    return network.train()


def _projections(network: Supervised, utterances: list[int], seed: int = 1) -> Projections:
    generator = torch.Generator().manual_seed(seed)
    size = network.student.projection_dim
    rows = torch.randn(2, len(utterances), size, generator=generator).requires_grad_()
    return Projections(rows.detach()[:1], rows, rows, torch.tensor(utterances))


def _total(network: Supervised, projections: Projections) -> Tensor:
    return network.objective(projections).total


@pytest.mark.parametrize(("head", "angular", "additive"), [("aam", 0.3, 0.0), ("am", 0.0, 0.3)])
def test_margins_are_those_of_the_papers(
    tiny_run: RunConfig, head: str, angular: float, additive: float
) -> None:
    network = _network(tiny_run, head=head, margin=0.3, scale=20.0)
    projections = _projections(network, [0, 2, 4, 5])
    cosine = normalize(projections.student_VBE, dim=-1) @ normalize(network.prototypes, dim=-1).T
    for place, label in enumerate([0, 1, 2, 2]):
        own = torch.cos(torch.arccos(cosine[:, place, label]) + angular) - additive
        cosine = cosine.clone()
        cosine[:, place, label] = own
    expected = cross_entropy(20 * cosine.flatten(0, 1), torch.tensor([0, 1, 2, 2] * 2))
    torch.testing.assert_close(_total(network, projections), expected, rtol=1e-5, atol=1e-6)


def test_the_nearest_other_class_gets_its_margin(tiny_run: RunConfig) -> None:
    network = _network(tiny_run, head="aam", margin=0.0, nearest=1, nearest_margin=0.1, scale=10.0)
    projections = _projections(network, [0, 2, 4])
    cosine = normalize(projections.student_VBE, dim=-1) @ normalize(network.prototypes, dim=-1).T
    expected = cosine.detach().clone()
    for view in range(2):
        for place, label in enumerate([0, 1, 2]):
            others = [k for k in range(3) if k != label]
            near = max(others, key=lambda k: float(cosine[view, place, k].detach()))
            expected[view, place, near] = torch.cos(torch.arccos(cosine[view, place, near]) - 0.1)
    total = cross_entropy(10 * expected.flatten(0, 1), torch.tensor([0, 1, 2] * 2))
    torch.testing.assert_close(_total(network, projections), total, rtol=1e-5, atol=1e-6)


def test_of_sub_centres_the_nearest_counts(tiny_run: RunConfig) -> None:
    network = _network(tiny_run, head="aam", margin=0.0, sub_centres=2, scale=10.0)
    assert network.prototypes.shape == (6, 12)
    projections = _projections(network, [1, 3])
    cosine = normalize(projections.student_VBE, dim=-1) @ normalize(network.prototypes, dim=-1).T
    best = torch.stack([cosine[..., 2 * k : 2 * k + 2].max(-1).values for k in range(3)], dim=-1)
    expected = cross_entropy(10 * best.flatten(0, 1), torch.tensor([0, 1] * 2))
    torch.testing.assert_close(_total(network, projections), expected)


@pytest.mark.parametrize("head", ["linear", "mlp"])
def test_linear_heads_are_torchs_linear_layer(tiny_run: RunConfig, head: str) -> None:
    network = _network(tiny_run, head=head, hidden=7)
    assert network.bias_K is not None
    with torch.no_grad():
        network.bias_K.copy_(torch.tensor([0.1, -0.2, 0.3]))
    assert network.student.projection_dim == (7 if head == "mlp" else 12)
    projections = _projections(network, [0, 5])
    logits = torch.nn.functional.linear(projections.student_VBE, network.prototypes, network.bias_K)
    expected = cross_entropy(logits.flatten(0, 1), torch.tensor([0, 2] * 2))
    total = _total(network, projections)
    torch.testing.assert_close(total, expected)
    total.backward()
    assert network.bias_K.grad is not None and float(network.bias_K.grad.abs().sum()) > 0


def test_at_another_speed_a_speaker_is_another_class(tiny_run: RunConfig) -> None:
    at_speeds = replace(tiny_run, augmentation=AugmentationConfig(speed_probability=0.5))
    network = _network(at_speeds, head="aam", margin=0.0, scale=10.0)
    assert network.prototypes.shape == (9, 12) and network.names == ("a", "b", "c")
    crops = torch.randn(2, 3, 16000, generator=torch.Generator().manual_seed(0))
    batch = CropBatch(crops[:1], crops, torch.tensor([0, 2, 5]), speed_B=torch.tensor([1.0, 1.1, 0.9]))
    projections = network.project(batch)
    cosine = normalize(projections.student_VBE, dim=-1) @ normalize(network.prototypes, dim=-1).T
    # classes 0, 1 and 2, of speeds 1, 0.9 and 1.1
    expected = cross_entropy(10 * cosine.flatten(0, 1), torch.tensor([0, 2 * 3 + 1, 3 + 2] * 2))
    torch.testing.assert_close(_total(network, projections), expected)


@pytest.mark.parametrize("head", ["aam", "linear"])
def test_classes_of_other_speeds_are_neither_validated_nor_exported(tiny_run: RunConfig, head: str) -> None:
    at_speeds = replace(tiny_run, augmentation=AugmentationConfig(speed_probability=0.5))
    network = _network(at_speeds, head=head, sub_centres=2 if head == "aam" else 1)
    classes, weight_JE = network.classifier
    assert len(weight_JE) == 3 * classes.sub_centres and classes.names == ("a", "b", "c")
    torch.testing.assert_close(weight_JE, network.prototypes[: len(weight_JE)].detach())
    assert classes.bias_K is None or len(classes.bias_K) == 3
    assert network.average_logits(torch.randn(4, 12)).shape == (4, 3)


def test_the_margin_follows_its_schedule(tiny_run: RunConfig) -> None:
    network = _network(tiny_run, margin=0.4, margin_start_step=2, margin_warmup_steps=4)
    projections = _projections(network, [0, 2, 4])
    without = _network(tiny_run, margin=0.0)
    totals = []
    for _ in range(8):
        terms = network.objective(projections)
        totals.append(float(terms.total.detach()))
        network.after_step(1.0, terms)
    assert totals[0] == totals[1] == pytest.approx(float(_total(without, projections).detach()))
    assert totals[1] < totals[2] < totals[3] < totals[4] < totals[5] == totals[6] == totals[7]


def test_a_classifier_averages_as_its_network_does(tiny_run: RunConfig) -> None:
    network = _network(tiny_run, head="linear")
    terms = network.objective(_projections(network, [0, 2]))
    before = network.average_JE.clone()
    with torch.no_grad():
        network.prototypes.add_(1.0)
    network.after_step(0.75, terms)
    torch.testing.assert_close(network.average_JE, before + 0.25)
    network.after_step(0.0, terms)
    assert torch.equal(network.average_JE, network.prototypes)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"head": "linear", "nearest": 1}, "need cosines"),
        ({"head": "mlp", "sub_centres": 2}, "need cosines"),
        ({"folds": 1}, "at least 2"),
        ({"folds": 5, "fold": 5}, "from 0 to 4"),
        ({"margin": 1.6}, "margin"),
        ({"scale": 0.0}, "scale"),
    ],
)
def test_settings_that_do_not_fit(tiny_run: RunConfig, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(tiny_run.supervised, **settings)


@given(
    st.lists(st.integers(-1, 6), min_size=1, max_size=80),
    st.integers(2, 6),
    st.integers(0, 100),
)
def test_folds_are_even_and_leave_every_class_in_training(labels: list[int], folds: int, seed: int) -> None:
    label_N = np.array(labels)
    fold_N = stratified_folds(label_N, folds, seed=seed)
    assert ((fold_N >= -1) & (fold_N < folds)).all()
    assert (fold_N[label_N < 0] == -1).all()
    for label in set(labels) - {-1}:
        own = fold_N[label_N == label]
        if len(own) == 1:
            assert own[0] == -1
            continue
        counts = np.bincount(own, minlength=folds)
        assert counts.max() - counts.min() <= 1
        assert all((own != fold).any() for fold in range(folds))
    assert np.array_equal(fold_N, stratified_folds(label_N, folds, seed=seed))

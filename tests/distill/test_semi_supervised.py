"""Labels and self-distillation in one step: each kind of row has its own loss, computed apart."""

from __future__ import annotations

from dataclasses import replace

import torch

from sdpn.data.crops import CropBatch
from sdpn.distill.base import Projections
from sdpn.distill.labels import Labels
from sdpn.distill.sdpn import SDPN
from sdpn.distill.semi_supervised import SemiSupervised
from sdpn.models.pretraining import Pretraining
from sdpn.training.build import build
from sdpn.training.config import RunConfig

_LABELS = Labels(torch.tensor([0, -1, 1, -1, -1, 2, 1, -1]), 3, ("a", "b", "c"))


def _network(run: RunConfig) -> SemiSupervised:
    torch.manual_seed(0)
    settings = replace(run.supervised, margin_warmup_steps=0, unlabelled_weight=0.5)
    sdpn = replace(run.sdpn, queue_size=6)
    network = build(replace(run, objective="supervised", supervised=settings, sdpn=sdpn), _LABELS)
    assert isinstance(network, SemiSupervised)
    return network.train()


def _batch() -> CropBatch:
    generator = torch.Generator().manual_seed(1)
    waves = [0.1 * torch.randn(views, 8, 8000, generator=generator) for views in (1, 2)]
    return CropBatch(waves[0], waves[1], torch.arange(8))


def test_the_loss_is_that_of_both_objectives_on_their_rows(tiny_run: RunConfig) -> None:
    network = _network(tiny_run).eval()
    batch = _batch()
    own = network.project(batch)
    terms = network.objective(own)
    labelled, others = _LABELS.label_N >= 0, _LABELS.label_N < 0
    # the classifier alone, as `Supervised` computes it of labelled rows
    rows = own.embedding_VBD[:, labelled]
    known = super(SemiSupervised, network).objective(
        Projections(rows[:1], rows, rows, own.utterance_B[labelled])
    )
    # SDPN alone, on the unlabelled ones
    sdpn = build(replace(tiny_run, objective="sdpn"))
    assert isinstance(sdpn, SDPN)
    with torch.no_grad():
        sdpn.prototypes.copy_(network.clusters)
    unknown = sdpn.objective(
        Projections(
            own.teacher_GBE[:, others],
            own.student_VBE[:, others],
            own.embedding_VBD[:, others],
            own.utterance_B[others],
        )
    )
    torch.testing.assert_close(terms.total, known.total + 0.5 * unknown.total)
    assert (
        terms.terms["unlabelled_koleo"] == unknown.terms["koleo"] and terms.terms["ce"] == known.terms["ce"]
    )


def test_gradients_reach_every_trained_tensor_and_the_average_follows(tiny_run: RunConfig) -> None:
    network = _network(tiny_run)
    terms = network(_batch())
    terms.total.backward()
    for name, tensor in network.named_parameters():
        assert (tensor.grad is not None) is tensor.requires_grad, name
    before = network.average_sdpn_head.layers[0].weight.clone()
    with torch.no_grad():
        network.sdpn_head.layers[0].weight += 1.0
    network.after_step(0.75, terms)
    torch.testing.assert_close(network.average_sdpn_head.layers[0].weight, before + 0.25)
    assert len(network.queue) == 4  # projections of the teacher of the four unlabelled utterances


def test_it_starts_from_head_and_prototypes_of_the_same_sizes(tiny_run: RunConfig) -> None:
    network = _network(tiny_run)
    other = _network(replace(tiny_run, head=replace(tiny_run.head)))
    with torch.no_grad():
        for tensor in other.sdpn_head.parameters():
            tensor += 0.5
    earlier = Pretraining(other.sdpn_head.state_dict(), torch.ones(10, 8))
    network.start_from(earlier)
    assert torch.equal(network.sdpn_head.layers[0].weight, other.sdpn_head.layers[0].weight)
    assert torch.equal(network.average_sdpn_head.layers[0].weight, other.sdpn_head.layers[0].weight)
    assert torch.equal(network.clusters, torch.ones(10, 8))
    network.start_from(Pretraining({"layers.0.weight": torch.eye(3)}, torch.zeros(4, 3)))
    assert torch.equal(network.clusters, torch.ones(10, 8))

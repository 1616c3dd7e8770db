"""Builds the network of a run from its configuration: encoder, features and objective."""

from __future__ import annotations

import copy

import torch
from torch import nn

from sdpn.distill.base import Branch, Objective
from sdpn.distill.dino import DINO
from sdpn.distill.distillation import Distill
from sdpn.distill.labels import Labels
from sdpn.distill.pseudo import Pseudo
from sdpn.distill.sdpn import SDPN
from sdpn.distill.segmentation import Segmentation
from sdpn.distill.semi_supervised import SemiSupervised
from sdpn.distill.supervised import Supervised
from sdpn.distill.targets import Targets
from sdpn.features.given import GivenFeatures
from sdpn.features.registry import build_features
from sdpn.models.adapters import attach_adapters
from sdpn.models.classifier import hidden_layer
from sdpn.models.encoder import Encoder
from sdpn.models.heads import ProjectionHead
from sdpn.models.registry import build_encoder
from sdpn.models.segmentation_net import SegmentationNet
from sdpn.training.config import RunConfig


def build(
    config: RunConfig,
    labels: Labels | None = None,
    targets: Targets | None = None,
    *,
    given_features: bool = False,
) -> Objective:
    """The network of a run, freshly initialised from torch's random state.

    Args:
        config: the whole configuration.
        labels: the labels of ``objective=supervised``, or the pseudo-labels of ``objective=pseudo``.
        targets: the teacher's embeddings for ``objective=distill``.
        given_features: the data of ``objective=supervised`` are mel features instead of samples.
    """
    if config.objective == "segmentation":
        return Segmentation(SegmentationNet(config.segmentation.network))
    features = build_features(config.features)
    encoder = build_encoder(config.encoder, features.num_mels)
    if config.layers.trained == "adapters":
        attach_adapters(encoder, config.adapters)
    batch_norm = config.teacher.batch_norm
    if config.objective == "pseudo":
        assert labels is not None
        student = Branch(encoder)
        return Pseudo(
            student,
            copy.deepcopy(student),
            labels,
            config=config.pseudo,
            features=features,
            batch_norm=batch_norm,
        )
    if config.objective == "supervised":
        assert labels is not None
        speeds = [float(speed) for speed in config.augmentation.speaker_speeds]
        hidden = None
        if config.supervised.head == "mlp":
            hidden = hidden_layer(encoder.embedding_dim, config.supervised.hidden)
        student = Branch(encoder, hidden, projection_dim=config.supervised.hidden if hidden else None)
        if bool((labels.label_N < 0).any()):
            return SemiSupervised(
                student,
                copy.deepcopy(student),
                labels,
                head=ProjectionHead(config.head, encoder.embedding_dim),
                sdpn=config.sdpn,
                config=config.supervised,
                features=features,
                speeds=speeds,
            )
        return Supervised(
            student,
            copy.deepcopy(student),
            labels,
            config=config.supervised,
            features=GivenFeatures(features) if given_features else features,
            speeds=speeds,
        )
    if config.objective == "distill":
        assert targets is not None
        student = Branch(encoder, _linear(encoder, targets, config.distill.num_prototypes))
        return Distill(student, copy.deepcopy(student), targets, config=config.distill, features=features)
    student = Branch(encoder, ProjectionHead(config.head, encoder.embedding_dim))
    teacher = copy.deepcopy(student)
    if config.objective == "dino":
        return DINO(
            student,
            teacher,
            config.dino.num_prototypes,
            config=config.dino,
            features=features,
            batch_norm=batch_norm,
        )
    return SDPN(
        student,
        teacher,
        config.sdpn.num_prototypes,
        config=config.sdpn,
        features=features,
        batch_norm=batch_norm,
    )


def _linear(encoder: Encoder, targets: Targets, num_prototypes: int) -> nn.Linear | None:
    """Linear map to the dimension of the teacher's embeddings; None if the student has the same dimension."""
    if encoder.embedding_dim == targets.embedding_dim:
        return None
    torch.rand(
        num_prototypes, encoder.embedding_dim
    )  # keeps the random state, and so the weights, of earlier versions
    return nn.Linear(encoder.embedding_dim, targets.embedding_dim)

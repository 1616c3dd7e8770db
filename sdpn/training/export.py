"""What a run leaves: its teacher as a model folder, and adapters alone."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from sdpn.distill.base import Objective, SelfDistillation
from sdpn.distill.segmentation import Segmentation
from sdpn.distill.supervised import Supervised
from sdpn.distill.targets import Targets
from sdpn.io.kaldi import Utterance
from sdpn.models.adapter_folder import in_layers, save_adapters
from sdpn.models.embedder import Embedder
from sdpn.models.encoder import Encoder
from sdpn.models.folder import ModelFolder, read_model, save_model
from sdpn.models.pretraining import Pretraining
from sdpn.models.segmentation_folder import save_segmentation
from sdpn.models.weights import weights_digest
from sdpn.pretrained import model_path
from sdpn.training.clustering_threshold import measure_clustering_threshold
from sdpn.training.config import RunConfig
from sdpn.training.layers import LayerPlan, LayersConfig
from sdpn.training.start import start_source

_log = logging.getLogger(__name__)


def exported(network: Objective) -> nn.Module:
    """The part of the teacher that is exported for use."""
    return network.teacher.encoder if isinstance(network, SelfDistillation) else network.teacher


def warn_if_larger_than_teacher(student: Objective, targets: Targets) -> None:
    """Warn if the student is larger than its teacher."""
    own = sum(tensor.numel() for tensor in exported(student).parameters())
    if targets.teacher_parameters is not None and own > targets.teacher_parameters:
        _log.warning(
            "the student has %s parameters, more than the %s of its teacher",
            f"{own:,}",
            f"{targets.teacher_parameters:,}",
        )


def export_model(
    config: RunConfig,
    network: Objective,
    utterances: Sequence[Utterance],
    targets: Targets | None,
    path: Path,
    *,
    steps: int,
    device: torch.device,
    versions: dict[str, str],
    calibrate: bool,
) -> None:
    """Write the teacher as a model folder, with its clustering threshold and its origin."""
    source = {
        "objective": config.objective,
        "steps": steps,
        "seed": config.training.seed,
        "num_utterances": len(utterances),
        **_teacher_source(config, targets),
        **start_source(config),
        **versions,
    }
    if isinstance(network, Segmentation):
        save_segmentation(path, network.teacher, window_s=config.segmentation.window_s, source=source)
        return
    assert isinstance(network, SelfDistillation)
    teacher = network.teacher.eval()
    assert isinstance(teacher.encoder, Encoder)
    adapters = config.adapters if config.layers.trained == "adapters" else None
    model = in_layers(
        ModelFolder(teacher.encoder, config.encoder, config.features, source=source, adapters=adapters)
    )
    calibration: Mapping[str, float] = {}
    if calibrate:
        calibration = measure_clustering_threshold(
            Embedder(model, device=str(device)),
            utterances,
            seed=config.training.seed,
            channel=config.crops.channel,
        )
    classes, prototypes = None, network.prototypes.detach()
    if isinstance(network, Supervised):
        classes, prototypes = network.classifier
    teacher.to("cpu")
    save_model(
        path,
        replace(model, calibration=calibration),
        pretraining=Pretraining(teacher.head.state_dict(), prototypes),
        classes=classes,
    )
    teacher.to(device)


def _teacher_source(config: RunConfig, targets: Targets | None) -> dict[str, str]:
    """File name and fingerprint of the distillation teacher, for information."""
    if targets is None or config.distill.teacher is None:
        return {}
    return {"teacher": f"{config.distill.teacher.name} {targets.teacher}"}


def export_adapters(config: RunConfig, network: Objective, path: Path) -> None:
    """Write the adapters alone."""
    assert isinstance(network, SelfDistillation) and config.initial.model is not None
    encoder = network.teacher.encoder
    assert isinstance(encoder, Encoder)
    start = read_model(model_path(config.initial.model))
    digest = weights_digest(start.encoder)
    assert digest is not None  # it was trained: it is no graph
    base = start.source.get("name", config.initial.model.name)
    model = ModelFolder(encoder, config.encoder, config.features, adapters=config.adapters)
    save_adapters(path, model, base=str(base), digest=digest)


def trained_parameters(config: RunConfig, network: Objective) -> dict[str, int]:
    """How many numbers of the encoder were trained, of a run that need not train all."""
    if config.layers == LayersConfig():
        return {}
    assert isinstance(network, SelfDistillation)
    plan = LayerPlan(config.layers, network, config.adapters)
    return {"trained_parameters": plan.num_trained}

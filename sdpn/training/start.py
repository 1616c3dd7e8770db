"""The model that a run was fine-tuned from, in the run's own folder: what of it stays in the result."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sdpn.config import to_dict
from sdpn.distill.base import Objective, SelfDistillation
from sdpn.models.blend import blend_weights
from sdpn.models.folder import read_model
from sdpn.models.weights import weights_digest
from sdpn.pretrained import model_path
from sdpn.training.config import RunConfig

#: Folder of the model that a fine-tuning run started from, in its experiment folder.
START = "start"


def start_identity(config: RunConfig, out: Path) -> dict[str, Any]:
    """The start of a fine-tuning run, which lies in its own folder, by its weights instead of its place."""
    start = config.initial.model
    if start is None or start != out / START:
        return {}
    digest = weights_digest(read_model(start).encoder)
    return {"initial": {**to_dict(config.initial), "model": f"{START} {digest}"}}


def start_source(config: RunConfig) -> dict[str, str]:
    """Name and digest of the model that was fine-tuned, for information."""
    if config.initial.model is None or config.initial.model.name != START:
        return {}
    start = read_model(config.initial.model)
    return {"start": f"{start.source.get('name')} {weights_digest(start.encoder)}"}


def blend_with_start(config: RunConfig, network: Objective) -> None:
    """Give the exported encoder the weights between the start and its own, as ``layers.blend`` says."""
    if config.layers.blend == 1:
        return
    assert isinstance(network, SelfDistillation) and config.initial.model is not None
    start = read_model(model_path(config.initial.model)).encoder.state_dict()
    encoder = network.teacher.encoder
    own = {name: value.cpu() for name, value in encoder.state_dict().items()}
    encoder.load_state_dict(blend_weights(start, own, config.layers.blend))

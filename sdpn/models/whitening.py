"""An embedding in whose space utterances of a speaker differ alike in all directions.

Cosines treat all directions alike, but the recordings of a speaker differ more in some than in others. A
linear map makes the within-speaker covariance a multiple of the identity: within-class covariance
normalisation (Hatch, Kajarekar and Stolcke, Interspeech 2006). It is composed with the last layer, and its
inverse with the first of the projection head, so that head and prototypes see what they were trained on.

Shapes: D embedding, H units of the first layer of a head.
"""

from __future__ import annotations

import copy
from dataclasses import replace

import torch
from torch import Tensor, nn

from sdpn.errors import InputError
from sdpn.features.registry import build_features
from sdpn.models.encoder import Encoder
from sdpn.models.folder import ModelFolder
from sdpn.models.pretraining import Pretraining

#: Frames of the trial that shows whether an encoder ends in its linear layer.
_FRAMES = 200


def whiten(
    model: ModelFolder, pretraining: Pretraining | None, transform_DD: Tensor
) -> tuple[ModelFolder, Pretraining | None]:
    """Map embeddings x to transform x, scaled to a similar length.

    No mean is subtracted: that of a corpus differs more from another's than both do from zero.

    Args:
        model: whose encoder ends in a linear layer; it stays as it is.
        pretraining: its head and prototypes.
        transform_DD: a map after which the within-speaker covariance is the identity.

    Returns:
        the model without calibration, which no longer fits, and its head, which undoes the map.

    Raises:
        InputError: the encoder does not end in a linear layer with bias.
    """
    encoder = copy.deepcopy(model.encoder)
    last = last_linear(encoder, build_features(model.features).num_mels)
    map_DD = transform_DD.double()
    map_DD = map_DD * (len(map_DD) ** 0.5 / map_DD.norm())
    with torch.no_grad():
        last.weight.copy_(map_DD @ last.weight.double())
        last.bias.copy_(map_DD @ last.bias.double())
    if pretraining is not None:
        pretraining = pretraining._replace(head=_undoing(pretraining.head, torch.linalg.inv(map_DD)))
    return replace(model, encoder=encoder, calibration={}), pretraining


def last_linear(encoder: Encoder, num_mels: int) -> nn.Linear:
    """The linear layer whose output the embedding is.

    Raises:
        InputError: there is none, or it has no bias.
    """
    layer = getattr(encoder, "embedding", None)
    if isinstance(layer, nn.Linear) and layer.bias is not None:
        outputs: list[Tensor] = []
        hook = layer.register_forward_hook(lambda _layer, _inputs, output: outputs.append(output))
        with torch.no_grad():
            embedding = encoder(torch.zeros(1, num_mels, _FRAMES))
        hook.remove()
        if outputs and torch.equal(outputs[-1], embedding):
            return layer
    raise InputError(
        f"an encoder of type {type(encoder).__name__} does not end in a linear layer with bias, which the "
        "map could be composed with",
        hint="the back end alone compensates for within-speaker variation ('sdpn verify --back-end')",
    )


def _undoing(head: dict[str, Tensor], inverse_DD: Tensor) -> dict[str, Tensor]:
    """A head that is given y = map x in place of x: its first layer sees inverse y."""
    weight_HD = head["layers.0.weight"].double() @ inverse_DD
    return {**head, "layers.0.weight": weight_HD.float()}

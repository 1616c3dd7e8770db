"""Linear interpolation between the weights of two models.

Interpolating a fine-tuned model with the original one preserves much of the accuracy of both. Source:
Wortsman et al., "Robust fine-tuning of zero-shot models" (WiSE-FT), arXiv 2109.01903, equation 1.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from sdpn.models.folder import ModelFolder
from sdpn.models.pretraining import Pretraining


def blend_weights(old: Mapping[str, Tensor], new: Mapping[str, Tensor], share: float) -> dict[str, Tensor]:
    """Interpolate state dicts: old + share · (new − old); integer buffers are taken from the new one."""
    return {
        key: torch.lerp(value.float(), new[key].float(), share) if value.is_floating_point() else new[key]
        for key, value in old.items()
    }


def blend_models(
    old: tuple[ModelFolder, Pretraining], new: tuple[ModelFolder, Pretraining], share: float
) -> tuple[ModelFolder, Pretraining]:
    """Blend encoder, head and prototypes of two models of one configuration.

    Args:
        old: the model at share 0.
        new: the model at share 1, whose calibration and source are kept.
        share: interpolation weight of the new model.
    """
    encoder = copy.deepcopy(new[0].encoder)
    encoder.load_state_dict(blend_weights(old[0].encoder.state_dict(), new[0].encoder.state_dict(), share))
    return (
        replace(new[0], encoder=encoder),
        Pretraining(
            blend_weights(old[1].head, new[1].head, share),
            torch.lerp(old[1].prototypes.float(), new[1].prototypes.float(), share),
        ),
    )

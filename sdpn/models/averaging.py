"""The mean of the weights of several models.

Networks that were trained from one start lie in one basin of the loss, where the mean of their weights is
often better than each of them. Source: Wortsman et al., "Model soups", arXiv 2203.05482, the uniform soup. Of
networks from different starts the mean is worthless.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from sdpn.errors import InputError
from sdpn.models.blend import blend_weights
from sdpn.models.folder import ModelFolder


def average_models(models: Sequence[ModelFolder], paths: Sequence[Path]) -> ModelFolder:
    """The mean of the encoders, statistics of batch normalisation included.

    Args:
        models: of one configuration.
        paths: where they were read, for messages.

    Raises:
        InputError: two have different encoders or features.
    """
    first = models[0]
    for one, path in zip(models[1:], paths[1:], strict=True):
        if (one.encoder_config, one.features, one.adapters) != (
            first.encoder_config,
            first.features,
            first.adapters,
        ):
            raise InputError(
                f"has another encoder or other features than {paths[0]}: their weights have no mean",
                path=path,
            )
    weights = dict(first.encoder.state_dict())
    for number, one in enumerate(models[1:], start=2):
        weights = blend_weights(weights, one.encoder.state_dict(), 1 / number)
    encoder = copy.deepcopy(first.encoder)
    encoder.load_state_dict(weights)
    return replace(
        first, encoder=encoder, calibration={}, source={"average_of": [str(path) for path in paths]}
    )

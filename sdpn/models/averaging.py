"""The mean of several weights.

Networks that were trained from one start lie in one basin of the loss, where the mean of their weights is
often better than each of them. Source: Wortsman et al., "Model soups", arXiv 2203.05482, the uniform soup. Of
networks from different starts the mean is worthless.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from torch import Tensor

from sdpn.errors import InputError
from sdpn.models.folder import ModelFolder


def mean_weights(weights: Iterable[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """The mean of state dicts of one network, taken one after another, in float64.

    Running averages of batch norm are averaged as weights are; integers are those of the last one.
    """
    sums: dict[str, Tensor] = {}
    count = 0
    for tensors in weights:
        count += 1
        for key, value in tensors.items():
            if not value.is_floating_point():
                sums[key] = value
            else:
                sums[key] = sums[key] + value if key in sums else value.double()
    return {
        key: (value / count).float() if value.is_floating_point() else value for key, value in sums.items()
    }


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
    encoder = copy.deepcopy(first.encoder)
    encoder.load_state_dict(mean_weights(one.encoder.state_dict() for one in models))
    return replace(
        first, encoder=encoder, calibration={}, source={"average_of": [str(path) for path in paths]}
    )

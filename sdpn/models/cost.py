"""Cost of an encoder: parameters, and multiply-accumulates per second of audio."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode

from sdpn.models.registry import AnyEncoderConfig, build_encoder

#: Length of the utterance; attention grows with its square.
_SECONDS = 10
_FRAMES_PER_S = 100


@dataclass(frozen=True)
class Cost:
    """Cost of an encoder.

    Attributes:
        parameters: trainable numbers.
        macs_per_s: multiply-accumulates of convolutions and matrix products for one second of audio, of an
            utterance of ten seconds.
    """

    parameters: int
    macs_per_s: float


def cost_of(config: AnyEncoderConfig, num_features: int = 80) -> Cost:
    """Count without computing: the network is built on the meta device."""
    counter = FlopCounterMode(display=False)
    with FakeTensorMode(), torch.no_grad():
        encoder = build_encoder(config, num_features).eval()
        features = torch.empty(1, num_features, _SECONDS * _FRAMES_PER_S)
        with counter:
            encoder(features)
    parameters = sum(parameter.numel() for parameter in encoder.parameters())
    return Cost(parameters, counter.get_total_flops() / 2 / _SECONDS)

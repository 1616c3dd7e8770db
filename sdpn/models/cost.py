"""Cost of an encoder: parameters, and multiply-accumulates per second of audio."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode

from sdpn.errors import InputError
from sdpn.models.registry import SIZES, AnyEncoderConfig, build_encoder

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
        embedding_dim: size of the embedding.
    """

    parameters: int
    macs_per_s: float
    embedding_dim: int


def cost_of(config: AnyEncoderConfig, num_features: int = 80) -> Cost:
    """Count without computing: the network is built on the meta device."""
    counter = FlopCounterMode(display=False)
    with FakeTensorMode(), torch.no_grad():
        encoder = build_encoder(config, num_features).eval()
        features = torch.empty(1, num_features, _SECONDS * _FRAMES_PER_S)
        with counter:
            encoder(features)
    parameters = sum(parameter.numel() for parameter in encoder.parameters())
    return Cost(parameters, counter.get_total_flops() / 2 / _SECONDS, encoder.embedding_dim)


@dataclass(frozen=True)
class ListedEncoder:
    """An encoder that can be trained.

    Attributes:
        name: of ``encoder.kind=NAME``.
        kind: its family.
        embedding_dim: size of its embedding.
        parameters: see `Cost`.
        macs_per_s: see `Cost`.
    """

    name: str
    kind: str
    embedding_dim: int
    parameters: int
    macs_per_s: float


def list_encoders(names: Iterable[str] = (), *, num_mels: int = 80) -> list[ListedEncoder]:
    """The encoders and what they cost.

    Args:
        names: of encoders; none lists all.
        num_mels: mel bands of their input.

    Raises:
        InputError: a name is unknown, or there are no mel bands.
    """
    if num_mels < 1:
        raise InputError("--num-mels must be at least 1")
    chosen = tuple(names) or tuple(SIZES)
    for name in chosen:
        if name not in SIZES:
            near = difflib.get_close_matches(name, SIZES, n=1, cutoff=0.0)[0]
            raise InputError(
                f"unknown encoder {name!r}", hint=f"did you mean {near!r}? 'sdpn models' lists all"
            )
    costs = [(name, cost_of(SIZES[name], num_mels)) for name in chosen]
    return [
        ListedEncoder(name, SIZES[name].kind, cost.embedding_dim, cost.parameters, cost.macs_per_s)
        for name, cost in costs
    ]

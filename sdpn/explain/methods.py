"""The methods that make maps, by name, with what is known of how far to trust them.

A new method is one function and one entry; tests and ``sdpn explain compare`` cover it.

Shapes: F mel bins, T frames.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from sdpn.errors import InputError
from sdpn.explain.class_activation import class_activation, eigen_cam, grad_cam
from sdpn.explain.gradients import gradient_times_input, integrated_gradients
from sdpn.explain.network import ExplainedNetwork, is_silent
from sdpn.explain.occlusion import occlusion
from sdpn.explain.relevance import allows_relevance, layerwise_relevance
from sdpn.explain.target import Target


@dataclass(frozen=True)
class Method:
    """A way to make a map.

    Attributes:
        title: for people.
        explain: maps (network, target, features (1, F, T)) to relevance (F or 1, T).
        kept: whether it found planted evidence (share of positive relevance at least 0.75) and was better
            than random masks on the included models (docs/explain.md); the others are shown with a warning.
        fits: whether it can be applied to a network.
    """

    title: str
    explain: Callable[[ExplainedNetwork, Target, Tensor], Tensor]
    kept: bool
    fits: Callable[[ExplainedNetwork], bool] = field(default=lambda _network: True)


METHODS: dict[str, Method] = {
    "cam": Method("class activation", class_activation, True),
    "occlusion": Method("occlusion", occlusion, True),
    "integrated-gradients": Method("integrated gradients", integrated_gradients, True),
    "grad-cam": Method("Grad-CAM", grad_cam, False),
    "gradient": Method("gradient × input", gradient_times_input, False),
    "eigen-cam": Method("EigenCAM", eigen_cam, False),
    "relevance": Method("layer-wise relevance propagation", layerwise_relevance, False, allows_relevance),
}

#: The methods that a map is made with unless others are asked for.
DEFAULT_METHODS = ("cam", "occlusion")


@dataclass(frozen=True, eq=False)
class RelevanceMap:
    """Where in an utterance the evidence for a score lies.

    Attributes:
        method: name in `METHODS`.
        target: what is explained, for people.
        score: its value.
        values_FT: (F, T) relevance of every value of the features; (1, T) of a method that knows only time.
        hop_s: seconds between frames.
    """

    method: str
    target: str
    score: float
    values_FT: np.ndarray
    hop_s: float

    @property
    def over_time_T(self) -> np.ndarray:
        """Relevance of every frame, (T,)."""
        summed_T: np.ndarray = self.values_FT.sum(0)
        return summed_T


def make_map(
    network: ExplainedNetwork, target: Target, wave_S: np.ndarray, method: str = DEFAULT_METHODS[0]
) -> RelevanceMap:
    """Make the map of a recording.

    Recordings over half a minute are explained in equal parts, each by itself; the score is their mean, and
    silent parts have no relevance.

    Args:
        network: the network.
        target: what is explained.
        wave_S: (S,) float32 at 16 kHz.
        method: a name in `METHODS`.

    Raises:
        InputError: no such method, it cannot be applied to this network, or the recording is silent.
    """
    chosen = find_method(method)
    pieces = network.pieces(wave_S)
    maps: list[np.ndarray] = []
    scores: list[float] = []
    for piece in pieces:
        if is_silent(piece):
            maps.append(np.zeros((1, network.num_frames(piece)), dtype=np.float32))
            continue
        features_1FT = network.features(piece)
        maps.append(chosen.explain(network, target, features_1FT).float().cpu().numpy() / len(pieces))
        with torch.no_grad():
            scores.append(float(network.scorer(target)(features_1FT)))
    bands = max(map(len, maps))
    values_FT = np.concatenate([np.broadcast_to(each, (bands, each.shape[1])) for each in maps], axis=1)
    return RelevanceMap(method, target.name, float(np.mean(scores)), values_FT, network.hop_s)


def find_method(name: str) -> Method:
    """The method of a name.

    Raises:
        InputError: there is none; the message lists those that there are.
    """
    if name not in METHODS:
        raise InputError(f"there is no method {name!r}", hint=f"expected one of: {', '.join(METHODS)}")
    return METHODS[name]


def fitting_methods(network: ExplainedNetwork, names: Sequence[str] | None = None) -> list[str]:
    """Those of the methods that can be applied to a network; None: all.

    Raises:
        InputError: there is no such method.
    """
    names = list(METHODS) if names is None else names
    return [name for name in names if find_method(name).fits(network)]

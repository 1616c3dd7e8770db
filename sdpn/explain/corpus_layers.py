"""Outputs of all main layers for many utterances: statistics of each, or frames.

Shapes: N utterances, S samples, D features of a layer, T frames, R rows.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch

from sdpn.errors import InputError
from sdpn.explain.layers import over_frames, statistics, watched
from sdpn.explain.network import ExplainedNetwork, is_silent
from sdpn.io.audio import RATE_HZ
from sdpn.io.kaldi import Utterance

_log = logging.getLogger(__name__)

#: Longest stretch of an utterance that is looked at: statistics change little beyond it.
_LONGEST_S = 20.0
#: Names of what is before the first layer and after the last.
INPUT, OUTPUT = "features", "embedding vector"


class LayerRows(NamedTuple):
    """One row for each utterance and layer.

    Attributes:
        utterances: those that could be used, in order.
        rows: (N, D) by layer: mean and standard deviation over time; from the features to the embedding.
        durations_s: (N,) of the whole utterances.
    """

    utterances: list[Utterance]
    rows: dict[str, np.ndarray]
    durations_s: np.ndarray


def layer_statistics(
    network: ExplainedNetwork,
    utterances: Sequence[Utterance],
    layers: Sequence[str] | None = None,
    *,
    change: Callable[[np.ndarray, int], np.ndarray] | None = None,
    on_progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> LayerRows:
    """Statistics of every layer for every utterance; those that are silent or unreadable are left out.

    Args:
        network: the network.
        utterances: the utterances.
        layers: names; None: the main layers.
        change: what is done to the samples first, given the index of the utterance, such as adding noise.
        on_progress: called with (done, total).

    Raises:
        InputError: none of the utterances can be used.
    """
    names = network.layers if layers is None else list(layers)
    axes = {name: axis for name in names for axis in [network.axes_of(name).get(name, -1)]}
    rows: dict[str, list[np.ndarray]] = {}
    used, durations = [], []
    for index, utterance, wave_S in readable(utterances):
        durations.append(len(wave_S) / RATE_HZ)
        heard_S = wave_S[: int(_LONGEST_S * RATE_HZ)]
        features_1FT = network.features(heard_S if change is None else change(heard_S, index))
        with torch.no_grad(), watched(network.encoder, names) as outputs:
            embedding_1D = network.embed(features_1FT)
        found = {INPUT: statistics(features_1FT, 2)}
        for name, output in outputs.items():
            axis = axes[name]
            if axis != -1:
                found[name] = statistics(output, axis)
        last = next(reversed(found))
        if layers is None and torch.equal(found[last], embedding_1D):
            del found[last]  # the last layer is the embedding
        found[OUTPUT] = embedding_1D
        for name, row in found.items():
            rows.setdefault(name, []).append(row[0].cpu().numpy())
        used.append(utterance)
        on_progress(index + 1, len(utterances))
    if not used:
        raise InputError("none of the utterances can be used: they are silent or cannot be read")
    return LayerRows(used, {name: np.stack(each) for name, each in rows.items()}, np.array(durations))


def frames_of_layers(
    network: ExplainedNetwork, wave_S: np.ndarray, layers: Sequence[str] | None = None
) -> tuple[dict[str, np.ndarray], int]:
    """Outputs of every layer that has one for each frame, brought to the frames of the features.

    Returns:
        (T, D) float32 by layer, the features first, and T.
    """
    names = network.layers if layers is None else list(layers)
    features_1FT = network.features(wave_S)
    with torch.no_grad(), watched(network.encoder, names) as outputs:
        network.embed(features_1FT)
    num_frames = features_1FT.shape[-1]
    found = {INPUT: features_1FT[0].T.cpu().numpy()}
    for name in names:
        axis = network.axes_of(name).get(name)
        if axis is None or name not in outputs:
            continue
        rows_TD = over_frames(outputs[name], axis)[0].T.float().cpu().numpy()
        found[name] = rows_TD[(np.arange(num_frames) * len(rows_TD)) // num_frames]
    return found, num_frames


def readable(utterances: Sequence[Utterance]) -> Iterator[tuple[int, Utterance, np.ndarray]]:
    """Index, utterance and samples of those that can be read and hold sound; how many do not is logged."""
    left_out: list[str] = []
    for index, utterance in enumerate(utterances):
        try:
            wave_S = utterance.read()
        except InputError as error:
            left_out.append(f"{utterance.id}: {error}")
            continue
        if is_silent(wave_S):
            left_out.append(f"{utterance.id}: is silent")
            continue
        yield index, utterance, wave_S
    if left_out:
        _log.warning("%d utterances left out, such as %s", len(left_out), left_out[0])

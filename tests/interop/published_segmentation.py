"""A small PyanNet in a checkpoint as pyannote.audio writes it, and its output computed from the file alone.

The computation follows the published description, in numpy and float64, and shares nothing with sdpn.
"""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor

#: Sizes of the network: sinc filters, channels, units of an LSTM and layers.
FILTERS, CHANNELS, HIDDEN, LAYERS, LINEAR = 6, 4, 3, 2, 5


def segmentation_weights(*, seed: int, classes: int = 7) -> dict[str, Tensor]:
    """Random weights under the names of pyannote.audio."""
    generator = torch.Generator().manual_seed(seed)

    def random(*shape: int) -> Tensor:
        return 0.5 * torch.randn(*shape, generator=generator)

    bank = "sincnet.conv1d.0.filterbank."
    samples = torch.arange(-125, 0)
    weights = {
        "sincnet.wav_norm1d.weight": 1 + random(1),
        "sincnet.wav_norm1d.bias": random(1),
        f"{bank}low_hz_": torch.tensor([[30.0], [700.0], [-2500.0]]),  # the sign does not matter
        f"{bank}band_hz_": torch.tensor([[100.0], [-400.0], [9000.0]]),  # the last one is cut at 8 kHz
        f"{bank}window_": 0.54 - 0.46 * torch.cos(2 * torch.pi * torch.arange(125) / 250),
        f"{bank}n_": (2 * torch.pi * samples / 16000)[None],
        "sincnet.conv1d.1.weight": random(CHANNELS, FILTERS, 5),
        "sincnet.conv1d.1.bias": random(CHANNELS),
        "sincnet.conv1d.2.weight": random(CHANNELS, CHANNELS, 5),
        "sincnet.conv1d.2.bias": random(CHANNELS),
    }
    for number, width in enumerate((FILTERS, CHANNELS, CHANNELS)):
        weights[f"sincnet.norm1d.{number}.weight"] = 1 + random(width)
        weights[f"sincnet.norm1d.{number}.bias"] = random(width)
    for layer in range(LAYERS):
        for direction in ("", "_reverse"):
            inputs = 2 * HIDDEN if layer else CHANNELS
            weights[f"lstm.weight_ih_l{layer}{direction}"] = random(4 * HIDDEN, inputs)
            weights[f"lstm.weight_hh_l{layer}{direction}"] = random(4 * HIDDEN, HIDDEN)
            weights[f"lstm.bias_ih_l{layer}{direction}"] = random(4 * HIDDEN)
            weights[f"lstm.bias_hh_l{layer}{direction}"] = random(4 * HIDDEN)
    for number, inputs in enumerate((2 * HIDDEN, LINEAR)):
        weights[f"linear.{number}.weight"] = random(LINEAR, inputs)
        weights[f"linear.{number}.bias"] = random(LINEAR)
    weights["classifier.weight"], weights["classifier.bias"] = random(classes, LINEAR), random(classes)
    return weights


def write_segmentation(
    path: Path, *, seed: int, weights: dict[str, Tensor] | None = None, **changes: Any
) -> dict[str, Tensor]:
    """Write a checkpoint as pyannote.audio does, with objects of its classes; returns the weights.

    Args:
        path: the file.
        seed: of the weights.
        weights: in place of random ones.
        changes: fields of the specifications that differ; None leaves a field out.
    """
    weights = segmentation_weights(seed=seed) if weights is None else weights
    module = ModuleType("pyannote.audio.core.task")
    names = ("Specifications", "Problem", "Resolution")
    kinds = {name: type(name, (_Number,) if name != "Specifications" else (), {}) for name in names}
    for name, kind in kinds.items():
        kind.__module__ = module.__name__
        setattr(module, name, kind)
    fields = {
        "problem": kinds["Problem"](1),
        "resolution": kinds["Resolution"](1),
        "duration": 2.0,
        "warm_up": (0.0, 0.0),
        "classes": ["speaker#1", "speaker#2", "speaker#3"],
        "powerset_max_classes": 2,
        "permutation_invariant": True,
        **changes,
    }
    specifications = kinds["Specifications"]()
    vars(specifications).update({name: value for name, value in fields.items() if value is not None})
    parents = {name: ModuleType(name) for name in ("pyannote.audio", "pyannote.audio.core")}
    before = {name: sys.modules.get(name) for name in (*parents, module.__name__)}
    sys.modules.update({**parents, module.__name__: module})
    try:
        torch.save(
            {
                "pytorch-lightning_version": "2.0.2",
                "state_dict": weights,
                "hyper_parameters": {
                    "sample_rate": 16000,
                    "sincnet": {"stride": 10, "sample_rate": 16000},
                    "lstm": {"hidden_size": HIDDEN, "num_layers": LAYERS, "bidirectional": True},
                },
                "pyannote.audio": {"versions": {}, "specifications": specifications},
            },
            path,
        )
    finally:
        for name, kept in before.items():
            if kept is None:
                del sys.modules[name]
            else:
                sys.modules[name] = kept
    return weights


class _Number:
    """Is pickled as an enum is: its class, called with a number."""

    def __init__(self, number: int) -> None:
        self.number = number

    def __reduce__(self) -> tuple[type, tuple[int]]:
        return type(self), (self.number,)


def expected_output(weights: dict[str, Tensor], wave_S: np.ndarray) -> np.ndarray:
    """Log-probabilities (T, C) of the network with these weights."""
    w = {key: value.double().numpy() for key, value in weights.items()}
    bank = "sincnet.conv1d.0.filterbank."
    low = 50 + np.abs(w[f"{bank}low_hz_"])
    high = np.minimum(low + 50 + np.abs(w[f"{bank}band_hz_"]), 8000)
    # a band-pass filter is the difference of two low-pass filters, its sine the quadrature of it
    t = np.arange(-125, 126) / 16000
    window = np.hamming(251)
    with np.errstate(divide="ignore", invalid="ignore"):
        cosine = (np.sin(2 * np.pi * high * t) - np.sin(2 * np.pi * low * t)) / (np.pi * t)
        sine = (np.cos(2 * np.pi * low * t) - np.cos(2 * np.pi * high * t)) / (np.pi * t)
    cosine[:, 125], sine[:, 125] = (2 * (high - low))[:, 0], 0.0
    filters = np.concatenate([cosine * window, sine * window]) / np.tile(2 * (high - low), (2, 1))

    x = _normalised(wave_S[None].astype(np.float64), w, "sincnet.wav_norm1d")
    x = np.abs(_convolved(x, filters[:, None], np.zeros(len(filters)), stride=10))
    for number in range(3):
        if number:
            name = f"sincnet.conv1d.{number}"
            x = _convolved(x, w[f"{name}.weight"], w[f"{name}.bias"], stride=1)
        x = x[:, : x.shape[1] // 3 * 3].reshape(len(x), -1, 3).max(axis=2)
        x = _leaky(_normalised(x, w, f"sincnet.norm1d.{number}"))
    rows = x.T
    for layer in range(LAYERS):
        forward = _lstm(rows, w, f"l{layer}")
        backward = _lstm(rows[::-1], w, f"l{layer}_reverse")[::-1]
        rows = np.concatenate([forward, backward], axis=1)
    for number in range(2):
        rows = _leaky(rows @ w[f"linear.{number}.weight"].T + w[f"linear.{number}.bias"])
    scores = rows @ w["classifier.weight"].T + w["classifier.bias"]
    return scores - np.log(np.exp(scores).sum(axis=1, keepdims=True))


def _normalised(x: np.ndarray, w: dict[str, np.ndarray], name: str) -> np.ndarray:
    scaled = (x - x.mean(axis=1, keepdims=True)) / np.sqrt(x.var(axis=1, keepdims=True) + 1e-5)
    return scaled * w[f"{name}.weight"][:, None] + w[f"{name}.bias"][:, None]


def _convolved(x: np.ndarray, kernels: np.ndarray, bias: np.ndarray, *, stride: int) -> np.ndarray:
    pieces = np.lib.stride_tricks.sliding_window_view(x, kernels.shape[2], axis=1)[:, ::stride]
    return np.einsum("oik,itk->ot", kernels, pieces) + bias[:, None]


def _leaky(x: np.ndarray) -> np.ndarray:
    return np.where(x > 0, x, 0.01 * x)


def _lstm(rows: np.ndarray, w: dict[str, np.ndarray], name: str) -> np.ndarray:
    def sigmoid(x: np.ndarray) -> np.ndarray:
        return 1 / (1 + np.exp(-x))

    hidden = cell = np.zeros(HIDDEN)
    outputs = []
    for row in rows:
        gates = w[f"lstm.weight_ih_{name}"] @ row + w[f"lstm.bias_ih_{name}"]
        gates = gates + w[f"lstm.weight_hh_{name}"] @ hidden + w[f"lstm.bias_hh_{name}"]
        enter, forget, value, leave = np.split(gates, 4)
        cell = sigmoid(forget) * cell + sigmoid(enter) * np.tanh(value)
        hidden = sigmoid(leave) * np.tanh(cell)
        outputs.append(hidden)
    return np.array(outputs)

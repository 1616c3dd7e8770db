"""Silero's voice activity network with torch, for `sdpn.diarization.vad`.

The stock loop calls it once per frame. Only the LSTM needs the past, though, so here the STFT and the
convolutions see thousands of frames at once and the LSTM runs over them in one call: the same numbers, up to
float32 rounding, about 13 times faster (``tools/benchmarks/vad.py``).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import numpy as np
import torch
from torch.nn import functional

#: Samples that the STFT sees mirrored after each frame.
_MIRRORED = 64


@contextmanager
def _one_thread() -> Iterator[None]:
    """Run torch with one thread inside the block.

    The LSTM's steps are too small for several threads: two are no faster on idle cores, and wait for each
    other at every step on busy ones (measured: 80 times slower). The block also restores the number of
    threads, which importing silero_vad sets to one for the whole process.
    """
    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(num_threads)


@cache
def _silero() -> Any:
    with _one_thread():
        import silero_vad

    return silero_vad


@cache
def silero_network() -> SileroNetwork:
    """The network, loaded once."""
    return SileroNetwork(_silero().load_silero_vad().state_dict())


class SileroNetwork:
    """Silero's 16 kHz network over many consecutive frames at once; `sdpn.diarization.vad.HearsSpeech`.

    Args:
        weights: of the network in silero-vad's package.
    """

    def __init__(self, weights: dict[str, torch.Tensor]) -> None:
        self.stft = weights["_model.stft.forward_basis_buffer"]  # (2 * 129, 1, 256): cosines, then sines
        convolutions = [f"_model.encoder.{layer}.reparam_conv" for layer in range(4)]
        self.convolutions = [(weights[f"{name}.weight"], weights[f"{name}.bias"]) for name in convolutions]
        self.output = (weights["_model.decoder.decoder.2.weight"], weights["_model.decoder.decoder.2.bias"])
        names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        hidden = weights["_model.decoder.rnn.weight_hh"].shape[1]
        self.lstm = torch.nn.LSTM(hidden, hidden)
        self.lstm.load_state_dict({f"{name}_l0": weights[f"_model.decoder.rnn.{name}"] for name in names})

    @torch.inference_mode()
    def features(self, frames_TS: np.ndarray) -> torch.Tensor:
        """Inputs of the LSTM for frames (T, 576): (T, 128, 1)."""
        with _one_thread():
            return self._features(torch.from_numpy(np.ascontiguousarray(frames_TS)))

    def _features(self, frames: torch.Tensor) -> torch.Tensor:
        padded = functional.pad(frames[:, None], (0, _MIRRORED), mode="reflect")
        spectrum = functional.conv1d(padded, self.stft, stride=128)  # (T, 258, 4)
        real, imaginary = spectrum.chunk(2, dim=1)
        features = (real**2 + imaginary**2).sqrt()
        for (weight, bias), stride in zip(self.convolutions, (1, 2, 2, 1), strict=True):
            features = functional.conv1d(features, weight, bias, stride=stride, padding=1).relu()
        return features

    @torch.inference_mode()
    def probabilities(self, features: torch.Tensor, state: Any) -> tuple[np.ndarray, Any]:
        """Map consecutive features and the LSTM's state to probabilities (T,) and its new state."""
        with _one_thread():
            hidden, state = self.lstm(features.transpose(1, 2), state)  # (T, 1, 128): T steps, a batch of 1
            weight, bias = self.output
            scores = functional.conv1d(hidden.relu().transpose(1, 2), weight, bias)
            return scores.sigmoid()[:, 0, 0].cpu().numpy(), state

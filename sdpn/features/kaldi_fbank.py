"""Kaldi's log-mel filter bank, batched and on any device: the features of most published speaker models.

Equal to ``torchaudio.compliance.kaldi.fbank`` and to kaldi-native-fbank, with whole windows only
(``snip_edges``) and without dither, a noise that embeddings should not depend on.

Shapes: B batch, S samples, F mel bins, T frames, W samples of a window, H bins of the FFT.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from sdpn.features.frontend import FrontEnd, check_bands, power_spectrum
from sdpn.io.audio import RATE_HZ

#: Kaldi floors the energy of a band at the smallest step of a float32.
_FLOOR = torch.finfo(torch.float32).eps


@dataclass(frozen=True, kw_only=True)
class KaldiFbankConfig:
    """Settings of Kaldi features of a waveform in [-1, 1].

    Published: 3D-Speaker takes these defaults; WeSpeaker the Hamming window and a scale of 32768.

    Attributes:
        num_mels: number of mel bands F between ``low_hz`` and ``high_hz``.
        window_ms: length of the analysis window.
        hop_ms: hop between frames.
        low_hz: lower edge of the first band.
        high_hz: upper edge of the last band.
        window: window shape; ``povey`` is a Hann window to the power of 0.85.
        preemphasis: pre-emphasis coefficient.
        scale: factor on the waveform; 32768 gives the range of 16-bit samples, which Kaldi expects.
        normalisation: per utterance and band over time: ``mean`` subtracts the mean, ``mean-variance`` also
            divides by the standard deviation.
    """

    kind: ClassVar[str] = "kaldi-fbank"

    num_mels: int = 80
    window_ms: float = 25.0
    hop_ms: float = 10.0
    low_hz: float = 20.0
    high_hz: float = 8000.0
    window: Literal["povey", "hamming", "hann"] = "povey"
    preemphasis: float = 0.97
    scale: float = 1.0
    normalisation: Literal["mean", "mean-variance", "none"] = "mean"

    def __post_init__(self) -> None:
        """Check ranges."""
        check_bands(self.num_mels, self.window_ms, self.hop_ms, self.low_hz, self.high_hz)
        if not 0 <= self.preemphasis <= 1 or self.scale <= 0:
            raise ValueError("preemphasis must lie in [0, 1], and scale be positive")


class KaldiFbank(FrontEnd):
    """Kaldi's computation, in its order: mean off, pre-emphasis, window, power, mel, log."""

    window: Tensor
    mel: Tensor

    def __init__(self, config: KaldiFbankConfig) -> None:
        super().__init__(config)
        self.config = config
        self._fft_size = 1 << (self.window_samples - 1).bit_length()
        self.register_buffer("window", _window(config.window, self.window_samples), persistent=False)
        mel_HF = mel_filters(config.num_mels, self._fft_size, config.low_hz, config.high_hz)
        self.register_buffer("mel", mel_HF, persistent=False)

    def log_mel(self, wave_BS: Tensor, mask_BS: Tensor | None = None) -> Tensor:  # noqa: ARG002
        """Features (B, F, T) before normalisation; whole windows see no padding: no mask is needed."""
        frames_BTW = self.frames(wave_BS.float() * self.config.scale)
        frames_BTW = frames_BTW - frames_BTW.mean(-1, keepdim=True)
        before_BTW = torch.cat([frames_BTW[..., :1], frames_BTW[..., :-1]], dim=-1)
        frames_BTW = (frames_BTW - self.config.preemphasis * before_BTW) * self.window
        energy_BTF = power_spectrum(frames_BTW, self._fft_size) @ self.mel
        return energy_BTF.clamp(min=_FLOOR).log().transpose(1, 2)


def mel_filters(num_mels: int, fft_size: int, low_hz: float, high_hz: float) -> Tensor:
    """Kaldi's filters (H, F): triangles of height 1 over the mel scale 1127 ln(1 + f / 700)."""

    def mel(hz: Tensor) -> Tensor:
        return 1127.0 * torch.log1p(hz / 700.0)

    limits = mel(torch.tensor([low_hz, high_hz], dtype=torch.float64))
    edges = torch.linspace(0, 1, num_mels + 2, dtype=torch.float64) * (limits[1] - limits[0]) + limits[0]
    bins_H1 = mel(torch.arange(fft_size // 2 + 1, dtype=torch.float64) * (RATE_HZ / fft_size)).unsqueeze(1)
    left_F, centre_F, right_F = edges[:-2], edges[1:-1], edges[2:]
    up_HF = (bins_H1 - left_F) / (centre_F - left_F)
    down_HF = (right_F - bins_H1) / (right_F - centre_F)
    filters_HF = torch.minimum(up_HF, down_HF).clamp(min=0)
    filters_HF[-1] = 0  # Kaldi leaves the Nyquist frequency out
    return filters_HF.float()


def _window(shape: str, num_samples: int) -> Tensor:
    if shape == "hamming":
        return torch.hamming_window(num_samples, periodic=False)
    hann = torch.hann_window(num_samples, periodic=False)
    return hann.pow(0.85) if shape == "povey" else hann

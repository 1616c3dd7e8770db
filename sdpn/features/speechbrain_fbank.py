"""SpeechBrain's log-mel filter bank, in decibels.

Source: Ravanelli et al., SpeechBrain (arXiv 2106.04624); the features of its published ECAPA-TDNN.

Shapes: B batch, S samples, F mel bins, T frames, H bins of the FFT.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor
from torch.nn import functional

from sdpn.features.frontend import FrontEnd, check_bands, power_spectrum
from sdpn.features.lengths import hide
from sdpn.io.audio import RATE_HZ


@dataclass(frozen=True, kw_only=True)
class SpeechBrainFbankConfig:
    """Settings of SpeechBrain's features of a waveform in [-1, 1].

    Attributes:
        num_mels: number of mel bands F between ``low_hz`` and ``high_hz``.
        window_ms: length of the (periodic Hamming) analysis window.
        hop_ms: hop between frames.
        fft_size: FFT length.
        low_hz: lower edge of the first band.
        high_hz: upper edge of the last band.
        floor: minimum energy of a band.
        top_db: maximum range in dB below the loudest band and frame of the utterance.
        normalisation: per utterance and band over time: ``mean`` subtracts the mean, ``mean-variance`` also
            divides by the standard deviation.
    """

    kind: ClassVar[str] = "speechbrain-fbank"

    num_mels: int = 80
    window_ms: float = 25.0
    hop_ms: float = 10.0
    fft_size: int = 400
    low_hz: float = 0.0
    high_hz: float = 8000.0
    floor: float = 1e-10
    top_db: float = 80.0
    normalisation: Literal["mean", "mean-variance", "none"] = "mean"

    def __post_init__(self) -> None:
        """Check ranges."""
        check_bands(self.num_mels, self.window_ms, self.hop_ms, self.low_hz, self.high_hz)
        if self.floor <= 0 or self.top_db <= 0:
            raise ValueError("floor and top_db must be positive")
        if not 0 < self.window_ms * RATE_HZ / 1000 <= self.fft_size:
            raise ValueError("the window must fit into fft_size samples")


class SpeechBrainFbank(FrontEnd):
    """Frames around every hop (zeros beyond the ends), power, mel, decibels, a floor below the loudest."""

    window: Tensor
    mel: Tensor
    centred = True

    def __init__(self, config: SpeechBrainFbankConfig) -> None:
        super().__init__(config)
        self.config = config
        self.register_buffer("window", torch.hamming_window(self.window_samples), persistent=False)
        self.register_buffer("mel", _mel_filters(config), persistent=False)

    def log_mel(self, wave_BS: Tensor, mask_BS: Tensor | None = None) -> Tensor:
        """Features (B, F, T) in dB, before what depends on the whole utterance."""
        half = self.window_samples // 2
        wave_BS = functional.pad(hide(wave_BS.float(), mask_BS), (half, half))
        power_BTH = power_spectrum(self.frames(wave_BS) * self.window, self.config.fft_size)
        return (power_BTH @ self.mel).clamp(min=self.config.floor).log10().mul(10).transpose(1, 2)

    def normalise(self, log_BFT: Tensor, mask_BT: Tensor | None = None) -> Tensor:
        """Apply the floor relative to the maximum, then normalise."""
        if mask_BT is None:
            loudest_B = log_BFT.amax((1, 2))
        else:
            loudest_B = log_BFT.masked_fill(~mask_BT.unsqueeze(1), -torch.inf).amax((1, 2))
        floor_B11 = (loudest_B - self.config.top_db).view(-1, 1, 1)
        return super().normalise(torch.maximum(log_BFT, floor_B11), mask_BT)


def _mel_filters(config: SpeechBrainFbankConfig) -> Tensor:
    """Triangles (H, F) around mel-spaced centres, each as wide to the right as to the left.

    The mel scale is 2595 lg(1 + f / 700). Where the centres move apart, symmetric triangles leave gaps that
    those of other toolkits do not have.
    """
    limits = torch.tensor([config.low_hz, config.high_hz], dtype=torch.float64)
    limits = 2595.0 * torch.log10(1 + limits / 700.0)
    edges = torch.linspace(0, 1, config.num_mels + 2, dtype=torch.float64) * (limits[1] - limits[0])
    edges_hz = 700.0 * (10 ** ((edges + limits[0]) / 2595.0) - 1)
    centre_F, width_F = edges_hz[1:-1], edges_hz[1:-1] - edges_hz[:-2]
    bins_H1 = torch.linspace(0, RATE_HZ / 2, config.fft_size // 2 + 1, dtype=torch.float64).unsqueeze(1)
    return (1 - ((bins_H1 - centre_F) / width_F).abs()).clamp(min=0).float()

"""The log-mel features of published ReDimNets.

Source: github.com/PalabraAI/redimnet2, its features of type ``tf``.

Shapes: B batch, S samples, F mel bins, T frames, H bins of the FFT.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor
from torch.nn import functional

from sdpn.features.frontend import FrontEnd, check_bands, power_spectrum
from sdpn.features.lengths import hide, mean_over_time
from sdpn.io.audio import RATE_HZ


@dataclass(frozen=True, kw_only=True)
class ReDimNetMelConfig:
    """Settings of ReDimNet's features of a waveform in [-1, 1].

    Attributes:
        num_mels: number of mel bands F between ``low_hz`` and ``high_hz``.
        window_ms: length of the (symmetric Hamming) analysis window.
        hop_ms: hop between frames; half a hop of zeros is added at both ends of the utterance.
        fft_size: FFT length; the highest bin is not used.
        low_hz: lower edge of the first band.
        high_hz: upper edge of the last band.
        unit_variance: first normalise the utterance to mean 0 and variance 1.
        preemphasis: pre-emphasis coefficient.
        floor: minimum power of a bin and of a band, also added to the latter.
        normalisation: per utterance and band over time: ``mean`` subtracts the mean, ``mean-variance`` also
            divides by the standard deviation.
    """

    kind: ClassVar[str] = "redimnet-mel"

    num_mels: int = 72
    window_ms: float = 25.0
    hop_ms: float = 10.0
    fft_size: int = 512
    low_hz: float = 20.0
    high_hz: float = 7600.0
    unit_variance: bool = True
    preemphasis: float = 0.97
    floor: float = 1e-8
    normalisation: Literal["mean", "mean-variance", "none"] = "mean"

    def __post_init__(self) -> None:
        """Check ranges."""
        check_bands(self.num_mels, self.window_ms, self.hop_ms, self.low_hz, self.high_hz)
        if self.floor <= 0 or not 0 <= self.preemphasis <= 1:
            raise ValueError("floor must be positive and preemphasis lie in [0, 1]")
        if not 0 < self.window_ms * RATE_HZ / 1000 <= self.fft_size:
            raise ValueError("the window must fit into fft_size samples")


class ReDimNetMel(FrontEnd):
    """Unit variance, pre-emphasis, power, mel, log.

    Windows of a recording share the mean and variance of the block that they are in; a floor 80 dB below it
    leaves no more of that than of rounding.
    """

    window: Tensor
    mel: Tensor
    centred = True  # a frame sees half a hop before its time

    def __init__(self, config: ReDimNetMelConfig) -> None:
        super().__init__(config)
        self.config = config
        window_W = torch.hamming_window(self.window_samples, periodic=False, dtype=torch.float64)
        self.register_buffer("window", window_W.float(), persistent=False)
        self.register_buffer("mel", _mel_filters(config), persistent=False)

    def num_frames(self, num_samples: int) -> int:
        """Frames that ``num_samples`` samples give; at least one."""
        padded = num_samples + self.hop_samples // 2 * 2
        return 1 + max(0, padded - self.window_samples) // self.hop_samples

    def frame_lengths(self, lengths_B: Tensor) -> Tensor:
        """Frames of utterances from their numbers of samples, (B,)."""
        padded_B = lengths_B + self.hop_samples // 2 * 2
        return 1 + (padded_B - self.window_samples).clamp(min=0) // self.hop_samples

    def log_mel(self, wave_BS: Tensor, mask_BS: Tensor | None = None) -> Tensor:
        """Features (B, F, T) before the mean over time is taken off."""
        floor, half = self.config.floor, self.hop_samples // 2
        wave_BS = wave_BS.float()
        if self.config.unit_variance:
            wave_BS = wave_BS - mean_over_time(wave_BS.unsqueeze(1), mask_BS)
            deviation_B1 = mean_over_time(wave_BS.square().unsqueeze(1), mask_BS).sqrt()
            wave_BS = wave_BS / (deviation_B1 + floor)
        if self.config.preemphasis:
            # before the first sample stands the second, its mirror image
            before_BS = torch.cat([wave_BS[:, 1:2], wave_BS[:, :-1]], dim=1)[:, : wave_BS.shape[1]]
            wave_BS = wave_BS - self.config.preemphasis * before_BS
        wave_BS = functional.pad(hide(wave_BS, mask_BS), (half, half))
        power_BTH = power_spectrum(self.frames(wave_BS) * self.window, self.config.fft_size)[..., :-1]
        mel_BTF = power_BTH.clamp(floor, 1 / floor) @ self.mel
        return mel_BTF.clamp(floor, 1 / floor).add(floor).log().transpose(1, 2)


def _mel_filters(config: ReDimNetMelConfig) -> Tensor:
    """Triangular filters in mel, (H, F), over bins from 0 to half the rate; the first bin is unused."""

    def mel(hz: Tensor) -> Tensor:
        return 2595.0 * torch.log10(1 + hz / 700.0)

    limits = mel(torch.tensor([config.low_hz, config.high_hz], dtype=torch.float64))
    edges = torch.linspace(float(limits[0]), float(limits[1]), config.num_mels + 2, dtype=torch.float64)
    # as published: one bin less, spread over the full range
    bins_H1 = mel(torch.linspace(0, RATE_HZ / 2, config.fft_size // 2, dtype=torch.float64)).unsqueeze(1)
    rising = (bins_H1 - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - bins_H1) / (edges[2:] - edges[1:-1])
    filters_HF = torch.minimum(rising, falling).clamp(min=0)
    filters_HF[0] = 0
    return filters_HF.float()

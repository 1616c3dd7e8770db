"""Waveforms to log-mel features, batched, on whatever device the waveform is on.

Shapes: B batch, S samples, F mel bins, T frames.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from sdpn.io.audio import RATE_HZ
from sdpn.torchaudio_import import torchaudio


@dataclass(frozen=True, kw_only=True)
class FeatureConfig:
    """How a waveform in [-1, 1] becomes features.

    Attributes:
        num_mels: mel bands F between ``low_hz`` and ``high_hz``.
        window_ms: length of the (Hann) analysis window.
        hop_ms: step between frames.
        fft_size: points of the FFT.
        low_hz: lower edge of the first band.
        high_hz: upper edge of the last band.
        floor: added to the mel power before the log, for waveforms in [-1, 1].
        normalisation: per utterance and band over time: ``mean`` subtracts the mean, ``mean-variance`` also
            divides by the standard deviation (instance normalisation, as published for SDPN).
    """

    num_mels: int = 80
    window_ms: float = 25.0
    hop_ms: float = 10.0
    fft_size: int = 512
    low_hz: float = 20.0
    high_hz: float = 7600.0
    floor: float = 1e-6
    normalisation: Literal["mean", "mean-variance", "none"] = "mean"

    def __post_init__(self) -> None:
        """Check ranges."""
        if not 0 <= self.low_hz < self.high_hz <= RATE_HZ / 2:
            raise ValueError(f"low_hz < high_hz <= {RATE_HZ / 2:.0f} is needed")
        if self.num_mels < 1 or self.hop_ms <= 0 or self.floor <= 0:
            raise ValueError("num_mels, hop_ms and floor must be positive")
        if not 0 < self.window_ms * RATE_HZ / 1000 <= self.fft_size:
            raise ValueError("the window must fit into fft_size samples")

    @property
    def window_samples(self) -> int:
        """Samples in a window."""
        return round(self.window_ms * RATE_HZ / 1000)

    @property
    def hop_samples(self) -> int:
        """Samples between frames."""
        return round(self.hop_ms * RATE_HZ / 1000)


class LogMel(nn.Module):
    """Log power-mel features with per-utterance normalisation. Holds no parameters and no saved state."""

    window: Tensor
    mel: Tensor

    def __init__(self, config: FeatureConfig) -> None:
        super().__init__()
        self.config = config
        mel_HF = torchaudio.functional.melscale_fbanks(
            config.fft_size // 2 + 1, config.low_hz, config.high_hz, config.num_mels, RATE_HZ
        )
        self.register_buffer("window", torch.hann_window(config.window_samples), persistent=False)
        self.register_buffer("mel", mel_HF, persistent=False)

    def num_frames(self, num_samples: int) -> int:
        """Frames that ``num_samples`` samples give; at least one."""
        return 1 + max(0, num_samples - self.config.window_samples) // self.config.hop_samples

    @torch.autocast("cpu", enabled=False)
    def forward(self, wave_BS: Tensor) -> Tensor:
        """Compute features in float32.

        Args:
            wave_BS: (B, S) in [-1, 1]; shorter than a window is padded with zeros.

        Returns:
            (B, F, T) float32.
        """
        log_BFT = self.log_mel(wave_BS)
        return self.normalise(log_BFT)

    def log_mel(self, wave_BS: Tensor) -> Tensor:
        """Features (B, F, T) before normalisation over time, which windows of a recording can share."""
        config = self.config
        wave_BS = wave_BS.float()
        if wave_BS.shape[-1] < config.window_samples:
            wave_BS = nn.functional.pad(wave_BS, (0, config.window_samples - wave_BS.shape[-1]))
        frames_BTW = wave_BS.unfold(-1, config.window_samples, config.hop_samples)
        spectrum_BTH2 = torch.view_as_real(torch.fft.rfft(frames_BTW * self.window, n=config.fft_size))
        power_BTH = spectrum_BTH2.square().sum(-1)
        return (power_BTH @ self.mel).add_(config.floor).log_().transpose(1, 2)

    def normalise(self, log_BFT: Tensor) -> Tensor:
        """Apply the configured normalisation over the last axis."""
        if self.config.normalisation == "none":
            return log_BFT
        centred_BFT = log_BFT - log_BFT.mean(-1, keepdim=True)
        if self.config.normalisation == "mean":
            return centred_BFT
        return centred_BFT / (centred_BFT.square().mean(-1, keepdim=True).add(1e-5).sqrt())

"""Waveforms to log power-mel features, as SDPN uses them.

Shapes: B batch, S samples, F mel bins, T frames, H bins of the FFT.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from sdpn.features.frontend import FrontEnd, check_bands, power_spectrum
from sdpn.features.lengths import mean_over_time, reflect
from sdpn.io.audio import RATE_HZ
from sdpn.torchaudio_import import torchaudio

#: Mel power floor of digital silence, whose logarithm must be finite; 16-bit rounding gives 1e-8.
_SMALLEST_POWER = 1e-30


@dataclass(frozen=True, kw_only=True)
class FeatureConfig:
    """Settings of log-mel features of a waveform in [-1, 1].

    Published for SDPN: 0-8000 Hz, ``centred``, ``mean-variance``.

    Attributes:
        num_mels: number of mel bands F between ``low_hz`` and ``high_hz``.
        window_ms: length of the (Hann) analysis window.
        hop_ms: hop between frames.
        fft_size: FFT length.
        low_hz: lower edge of the first band.
        high_hz: upper edge of the last band.
        level: reference level of the floor. ``absolute``: full scale, so that the features depend on the gain
            and lose faint sounds of quiet recordings. ``relative``: the mean mel power of the utterance, or
            of each window, so that the features do not depend on the gain.
        floor: added to the mel power before the log, in units of ``level``. With a relative level, 1e-4 (40
            dB below the mean) still masks the 16-bit rounding noise of speech recorded 20 dB too low.
        normalisation: per utterance and band, over time: ``mean`` subtracts the mean, ``mean-variance`` also
            divides by the standard deviation (instance normalisation, as published for SDPN).
        centred: frames are centred at multiples of the hop and the waveform is reflected at its ends;
            otherwise frames start at multiples of the hop, and only complete windows are used.
    """

    kind: ClassVar[str] = "log-mel"

    num_mels: int = 80
    window_ms: float = 25.0
    hop_ms: float = 10.0
    fft_size: int = 512
    low_hz: float = 20.0
    high_hz: float = 7600.0
    level: Literal["absolute", "relative"] = "absolute"
    floor: float = 1e-6
    normalisation: Literal["mean", "mean-variance", "none"] = "mean"
    centred: bool = False

    def __post_init__(self) -> None:
        """Check ranges."""
        check_bands(self.num_mels, self.window_ms, self.hop_ms, self.low_hz, self.high_hz)
        if self.floor <= 0:
            raise ValueError("floor must be positive")
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


class LogMel(FrontEnd):
    """Log power-mel features with per-utterance normalisation."""

    window: Tensor
    mel: Tensor

    def __init__(self, config: FeatureConfig) -> None:
        super().__init__(config)
        self.config = config
        self.centred = config.centred
        mel_HF = torchaudio.functional.melscale_fbanks(
            config.fft_size // 2 + 1, config.low_hz, config.high_hz, config.num_mels, RATE_HZ
        )
        self.register_buffer("window", torch.hann_window(config.window_samples), persistent=False)
        self.register_buffer("mel", mel_HF, persistent=False)

    def log_mel(self, wave_BS: Tensor, mask_BS: Tensor | None = None) -> Tensor:
        """Features (B, F, T) before normalisation over time, which windows of a recording can share."""
        wave_BS = wave_BS.float()
        if self.centred:
            wave_BS = reflect(wave_BS, self.window_samples // 2, mask_BS)
        power_BTH = power_spectrum(self.frames(wave_BS) * self.window, self.config.fft_size)
        mel_BTF = power_BTH @ self.mel
        if self.config.level == "relative":  # the floor depends on the whole utterance: see normalise
            return mel_BTF.clamp_(min=_SMALLEST_POWER).log_().transpose(1, 2)
        return mel_BTF.add_(self.config.floor).log_().transpose(1, 2)

    def normalise(self, log_BFT: Tensor, mask_BT: Tensor | None = None) -> Tensor:
        """Apply the floor relative to the level of the utterance, then normalise."""
        if self.config.level == "relative":
            level_B11 = mean_over_time(log_BFT.exp(), mask_BT).mean(1).log().view(-1, 1, 1)
            log_BFT = (log_BFT - level_B11).exp().add(self.config.floor).log()
        return super().normalise(log_BFT, mask_BT)

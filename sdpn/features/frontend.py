"""Common parts of all features: framing, log-mel, normalisation over the utterance.

Why not those of torchaudio and SpeechBrain: ``torchaudio.compliance.kaldi.fbank`` takes one utterance at a
time (64 crops of 1.5 s in 46 ms on one core, 33 ms here); ``MelSpectrogram`` and SpeechBrain's ``Fbank`` know
no lengths, so that the end of a shorter utterance in a batch would see padding.

Shapes: B batch, S samples, F mel bins, T frames, W samples of a window.
"""

from __future__ import annotations

import abc
from typing import Literal, Protocol

import torch
from torch import Tensor, nn

from sdpn.features.framing import Framing
from sdpn.features.lengths import hide, mask_of, mean_over_time
from sdpn.io.audio import RATE_HZ

Normalisation = Literal["mean", "mean-variance", "none"]


class FrameConfig(Protocol):
    """Configuration of frames and bands, common to all features."""

    @property
    def num_mels(self) -> int:
        """Mel bands F."""

    @property
    def window_ms(self) -> float:
        """Length of the analysis window."""

    @property
    def hop_ms(self) -> float:
        """Step between frames."""

    @property
    def normalisation(self) -> Normalisation:
        """Normalisation of a band over the utterance."""


class FrontEnd(nn.Module, abc.ABC):
    """Waveforms to features, batched, on whatever device they are on. Holds no parameters and no saved state.

    Attributes:
        window_samples: samples W in a window.
        hop_samples: samples between frames.
        num_mels: mel bands F.
        centred: frame i is centred at sample i * hop and there are 1 + S // hop of them; otherwise frame i
            starts there and only complete windows are used.
    """

    centred = False

    def __init__(self, config: FrameConfig) -> None:
        super().__init__()
        self.window_samples = round(config.window_ms * RATE_HZ / 1000)
        self.hop_samples = round(config.hop_ms * RATE_HZ / 1000)
        self.num_mels = config.num_mels
        self._normalisation = config.normalisation

    @property
    def framing(self) -> Framing:
        """Where the frames lie."""
        return Framing(window_samples=self.window_samples, hop_samples=self.hop_samples, centred=self.centred)

    def num_frames(self, num_samples: int) -> int:
        """Number of frames for ``num_samples`` samples; at least one."""
        return self.framing.num_frames(num_samples)

    def frame_lengths(self, lengths_B: Tensor) -> Tensor:
        """Frames of utterances from their numbers of samples, (B,)."""
        if self.centred:
            return 1 + lengths_B // self.hop_samples
        return 1 + (lengths_B - self.window_samples).clamp(min=0) // self.hop_samples

    def forward(self, wave_BS: Tensor, lengths_B: Tensor | None = None) -> Tensor:
        """Compute features in float32.

        Args:
            wave_BS: (B, S) in [-1, 1]; shorter than a window is padded with zeros.
            lengths_B: samples of each utterance where some are shorter than S; None: all have S.

        Returns:
            (B, F, T) float32; frames beyond an utterance's own (`frame_lengths`) are zero.
        """
        frames_B = None if lengths_B is None else self.frame_lengths(lengths_B)
        with torch.autocast(wave_BS.device.type, enabled=False):
            log_BFT = self.log_mel(wave_BS, mask_of(lengths_B, wave_BS.shape[-1]))
            return self.normalise(log_BFT, mask_of(frames_B, log_BFT.shape[-1]))

    @abc.abstractmethod
    def log_mel(self, wave_BS: Tensor, mask_BS: Tensor | None = None) -> Tensor:
        """Features (B, F, T) before normalisation over time, which windows of a recording can share."""

    def normalise(self, log_BFT: Tensor, mask_BT: Tensor | None = None) -> Tensor:
        """Apply the configured normalisation over the last axis, and zero the padding."""
        if self._normalisation != "none":
            log_BFT = log_BFT - mean_over_time(log_BFT, mask_BT).unsqueeze(-1)
        if self._normalisation == "mean-variance":
            variance_BF = mean_over_time(log_BFT.square(), mask_BT)
            log_BFT = log_BFT / variance_BF.unsqueeze(-1).add(1e-5).sqrt()
        return hide(log_BFT, mask_BT)

    def frames(self, wave_BS: Tensor) -> Tensor:
        """Cut (B, S) into windows at every hop, (B, T, W); shorter input is zero-padded."""
        if wave_BS.shape[-1] < self.window_samples:
            wave_BS = nn.functional.pad(wave_BS, (0, self.window_samples - wave_BS.shape[-1]))
        return wave_BS.unfold(-1, self.window_samples, self.hop_samples)


def power_spectrum(frames_BTW: Tensor, fft_size: int) -> Tensor:
    """Squared magnitudes of the FFT of each frame, (B, T, fft_size // 2 + 1)."""
    if torch.onnx.is_in_onnx_export():
        return _power_by_products(frames_BTW, fft_size)
    return torch.view_as_real(torch.fft.rfft(frames_BTW, n=fft_size)).square().sum(-1)


def _power_by_products(frames_BTW: Tensor, fft_size: int) -> Tensor:
    """The same by two matrix products: onnxruntime's FFT is inaccurate far below the strongest bin."""
    sample_W1 = torch.arange(frames_BTW.shape[-1], dtype=torch.float64).unsqueeze(1)
    angle_WH = sample_W1 * torch.arange(fft_size // 2 + 1) * (-2 * torch.pi / fft_size)
    real_BTH, imaginary_BTH = (frames_BTW @ part.float() for part in (angle_WH.cos(), angle_WH.sin()))
    return real_BTH.square() + imaginary_BTH.square()


def check_bands(num_mels: int, window_ms: float, hop_ms: float, low_hz: float, high_hz: float) -> None:
    """Check settings common to all features.

    Raises:
        ValueError: a setting is out of range.
    """
    if not 0 <= low_hz < high_hz <= RATE_HZ / 2:
        raise ValueError(f"expected low_hz < high_hz <= {RATE_HZ / 2:.0f}")
    if num_mels < 1 or hop_ms <= 0 or window_ms <= 0:
        raise ValueError("num_mels, window_ms and hop_ms must be positive")

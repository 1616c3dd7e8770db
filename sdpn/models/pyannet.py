"""PyanNet: who of a few local speakers speaks in each frame of some seconds of audio.

Sinc filters on the waveform, two convolutions, bidirectional LSTMs and linear layers, to powerset classes
(`sdpn.models.powerset`). The speakers are local: numbered anew in every piece of audio.

Sources: Bredin and Laurent, "End-to-end speaker segmentation for overlap-aware resegmentation", Interspeech
2021, arXiv 2104.04045; Ravanelli and Bengio, "Speaker recognition from raw waveform with SincNet",
arXiv 1808.00158.

Shapes: B batch, S samples, T frames, C classes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from sdpn.models.encoder import check_positive
from sdpn.models.powerset import num_classes

_RATE_HZ = 16_000
#: Lowest edge and smallest width of a filter, in Hz.
_LOWEST_HZ = _NARROWEST_HZ = 50.0
#: Every convolution is followed by a maximum over this many frames.
_POOL = 3


@dataclass(frozen=True, kw_only=True)
class PyanNetConfig:
    """Sizes; the defaults are those of ``pyannote/segmentation-3.0``.

    Attributes:
        num_speakers: local speakers that are told apart.
        max_together: speakers at the same time, at most.
        filters: sinc filters, half of them cosines and half sines.
        kernel: samples of a filter, odd.
        stride: samples from one output of the filters to the next.
        channels: of the two convolutions.
        convolution_kernel: frames that each of them sees.
        hidden: units of an LSTM in each direction.
        num_layers: LSTMs.
        linear: sizes of the linear layers between LSTMs and classes.
    """

    num_speakers: int = 3
    max_together: int = 2
    filters: int = 80
    kernel: int = 251
    stride: int = 10
    channels: tuple[int, int] = (60, 60)
    convolution_kernel: int = 5
    hidden: int = 128
    num_layers: int = 4
    linear: tuple[int, ...] = (128, 128)

    def __post_init__(self) -> None:
        check_positive(
            *(self.num_speakers, self.filters, self.kernel, self.stride, self.convolution_kernel),
            *(self.hidden, self.num_layers, *self.channels, *self.linear),
        )
        if not 1 <= self.max_together <= self.num_speakers:
            raise ValueError(f"max_together is {self.max_together}; expected 1 to {self.num_speakers}")
        if self.filters % 2 or not self.kernel % 2:
            raise ValueError("the number of sinc filters must be even, and their length odd")

    @property
    def hop_samples(self) -> int:
        """Samples from one frame of the output to the next."""
        return self.stride * _POOL**3

    @property
    def window_samples(self) -> int:
        """Samples that a frame of the convolutions sees; the LSTMs see all."""
        size = 1
        for kernel, stride in (*[(self.convolution_kernel, 1)] * 2, (self.kernel, self.stride)):
            size = ((size - 1) * _POOL + _POOL - 1) * stride + kernel
        return size

    def num_frames(self, num_samples: int) -> int:
        """Frames of the output for so many samples; 0 if they are too few."""
        frames = num_samples
        for kernel, stride in ((self.kernel, self.stride), *[(self.convolution_kernel, 1)] * 2):
            frames = max(0, ((frames - kernel) // stride + 1) // _POOL)
        return frames


class PyanNet(nn.Module):
    """The network.

    Args:
        config: its sizes.
    """

    def __init__(self, config: PyanNetConfig) -> None:
        super().__init__()
        self.config = config
        widths = (config.filters, *config.channels)
        self.wave_norm = nn.InstanceNorm1d(1, affine=True)
        self.filters = SincFilters(config.filters, config.kernel, config.stride)
        self.convolutions = nn.ModuleList(
            nn.Conv1d(inputs, outputs, config.convolution_kernel) for inputs, outputs in pairwise(widths)
        )
        self.norms = nn.ModuleList(nn.InstanceNorm1d(width, affine=True) for width in widths)
        self.lstm = nn.LSTM(
            widths[-1],
            config.hidden,
            config.num_layers,
            bidirectional=True,
            batch_first=True,
            dropout=0.5 if config.num_layers > 1 else 0.0,
        )
        sizes = (2 * config.hidden, *config.linear)
        self.linear = nn.ModuleList(nn.Linear(inputs, outputs) for inputs, outputs in pairwise(sizes))
        self.classifier = nn.Linear(sizes[-1], num_classes(config.num_speakers, config.max_together))

    def forward(self, wave_BS: Tensor) -> Tensor:
        """Log-probabilities of the classes (B, T, C) for waves (B, S) at 16 kHz."""
        hidden = self.filters(self.wave_norm(wave_BS[:, None])).abs()
        hidden = functional.leaky_relu(self.norms[0](functional.max_pool1d(hidden, _POOL)))
        for convolution, norm in zip(self.convolutions, self.norms[1:], strict=True):
            hidden = functional.leaky_relu(norm(functional.max_pool1d(convolution(hidden), _POOL)))
        hidden, _ = self.lstm(hidden.transpose(1, 2))
        for layer in self.linear:
            hidden = functional.leaky_relu(layer(hidden))
        return self.classifier(hidden).log_softmax(dim=-1)


class SincFilters(nn.Module):
    """Windowed band-pass filters whose two edges are learnt, each as a cosine and as a sine.

    Args:
        filters: number of both together.
        kernel: samples of a filter, odd.
        stride: of the convolution.
    """

    left_1H: Tensor
    window_H: Tensor

    def __init__(self, filters: int, kernel: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        # bands of equal width in mel from 30 Hz to half the rate, as in SincNet
        mel = torch.linspace(_mel(30.0), _mel(_RATE_HZ / 2 - _LOWEST_HZ - _NARROWEST_HZ), filters // 2 + 1)
        edges_hz = 700.0 * (10.0 ** (mel / 2595.0) - 1.0)
        self.low_hz = nn.Parameter(edges_hz[:-1, None].clone())
        self.band_hz = nn.Parameter(edges_hz.diff()[:, None].clone())
        half = kernel // 2
        self.register_buffer("left_1H", 2 * math.pi * torch.arange(-half, 0)[None] / _RATE_HZ)
        self.register_buffer("window_H", torch.hamming_window(kernel, periodic=False)[:half])

    def kernels(self) -> Tensor:
        """The filters (F, kernel)."""
        low_hz = _LOWEST_HZ + self.low_hz.abs()
        high_hz = (low_hz + _NARROWEST_HZ + self.band_hz.abs()).clamp(_LOWEST_HZ, _RATE_HZ / 2)
        band_hz = high_hz - low_hz
        low, high, scale = low_hz * self.left_1H, high_hz * self.left_1H, self.left_1H / 2
        cosines = (high.sin() - low.sin()) / scale * self.window_H
        sines = (low.cos() - high.cos()) / scale * self.window_H
        cosine = torch.cat([cosines, 2 * band_hz, cosines.flip(1)], dim=1)
        sine = torch.cat([sines, torch.zeros_like(band_hz), -sines.flip(1)], dim=1)
        return torch.cat([cosine, sine]) / (2 * torch.cat([band_hz, band_hz]))

    def forward(self, wave_B1S: Tensor) -> Tensor:
        """Filter waves (B, 1, S): (B, F, T)."""
        return functional.conv1d(wave_B1S, self.kernels()[:, None], stride=self.stride)


def _mel(hz: float) -> float:
    return 2595.0 * math.log10(1.0 + hz / 700.0)

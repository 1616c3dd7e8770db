"""A small network that hears who of a few local speakers speaks in each frame of some seconds of audio.

Log-mel features every 10 ms, a convolution that halves their rate, dilated residual convolutions, and
bidirectional LSTMs at half of that rate, where most of the cost is; a linear layer returns to 20 ms, and the
convolutions' output joins it, which knows the edges. The output is of powerset classes
(`sdpn.models.powerset`), as that of `sdpn.models.pyannet.PyanNet`.

Shapes: B batch, S samples, F mel bins, T frames, U frames of the LSTMs, C channels, H hidden units,
K classes.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from sdpn.features.log_mel import FeatureConfig, LogMel
from sdpn.models.ecapa import ConvUnit
from sdpn.models.encoder import check_positive
from sdpn.models.powerset import num_classes

#: Frames of the features for one frame of the output, and frames of the output for one of the LSTMs.
_STRIDE = _COARSE = 2


def _features() -> FeatureConfig:
    # 40 dB below the level that windows are brought to
    return FeatureConfig(num_mels=64, hop_ms=10.0, floor=1e-4)


@dataclass(frozen=True, kw_only=True)
class SegmentationNetConfig:
    """Sizes of the network.

    Attributes:
        num_speakers: local speakers that are told apart.
        max_together: speakers at the same time, at most.
        features: log-mel features; frames of the output are twice their hop apart.
        channels: channels C of the convolutions.
        dilations: dilation of each residual convolution.
        hidden: units of an LSTM in each direction.
        num_layers: LSTMs.
        linear: units H before the classes.
    """

    num_speakers: int = 3
    max_together: int = 2
    features: FeatureConfig = field(default_factory=_features)
    channels: int = 128
    dilations: tuple[int, ...] = (1, 2, 4)
    hidden: int = 96
    num_layers: int = 2
    linear: int = 128

    def __post_init__(self) -> None:
        """Check ranges."""
        check_positive(self.num_speakers, self.channels, *self.dilations)
        check_positive(self.hidden, self.num_layers, self.linear)
        if not 1 <= self.max_together <= self.num_speakers:
            raise ValueError(f"max_together is {self.max_together}; expected 1 to {self.num_speakers}")
        if self.features.centred:
            raise ValueError("features.centred must be false: frames are counted from the first sample")

    @property
    def hop_samples(self) -> int:
        """Samples from one frame of the output to the next."""
        return _STRIDE * self.features.hop_samples

    @property
    def window_samples(self) -> int:
        """Samples that a frame is about; the first starts with the audio."""
        return self.features.window_samples

    def num_frames(self, num_samples: int) -> int:
        """Frames of the output for so many samples; 0 if they are too few."""
        return max(0, (num_samples - self.window_samples) // self.hop_samples + 1)


class SegmentationNet(nn.Module):
    """The network.

    Args:
        config: its sizes.
    """

    def __init__(self, config: SegmentationNetConfig) -> None:
        super().__init__()
        self.config = config
        channels = config.channels
        with torch.device("cpu"):  # constants, which torch.device("meta") cannot make
            self.features = LogMel(config.features)
        self.stem = ConvUnit(config.features.num_mels, channels, kernel=5, stride=_STRIDE)
        self.blocks = nn.ModuleList(
            ConvUnit(channels, channels, kernel=3, dilation=dilation) for dilation in config.dilations
        )
        self.coarse = ConvUnit(channels, channels, kernel=3, stride=_COARSE)
        self.lstm = nn.LSTM(channels, config.hidden, config.num_layers, bidirectional=True, batch_first=True)
        self.fine = nn.Linear(2 * config.hidden, _COARSE * config.linear)
        self.detail = nn.Linear(channels, config.linear)
        self.classifier = nn.Linear(config.linear, num_classes(config.num_speakers, config.max_together))

    def forward(self, wave_BS: Tensor) -> Tensor:
        """Log-probabilities of the classes (B, T, K) for waves (B, S) at 16 kHz."""
        logits_BTK: Tensor = self.classifier(self.hidden(wave_BS))
        return logits_BTK.float().log_softmax(dim=-1)

    def hidden(self, wave_BS: Tensor) -> Tensor:
        """What the classes are decided from, (B, T, H)."""
        with torch.autocast(wave_BS.device.type, enabled=False):  # features are always float32
            features_BFT = self.features(wave_BS)
        hidden_BCT = self.stem(features_BFT)
        for block in self.blocks:
            hidden_BCT = hidden_BCT + block(hidden_BCT)
        hidden_BTC = hidden_BCT.transpose(1, 2)
        context_BUH, _ = self.lstm(self.coarse(hidden_BCT).transpose(1, 2))
        fine_BTH = self.fine(context_BUH).reshape(wave_BS.shape[0], -1, self.config.linear)
        return torch.relu(self.detail(hidden_BTC) + fine_BTH[:, : hidden_BTC.shape[1]])

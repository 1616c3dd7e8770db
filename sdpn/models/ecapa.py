"""ECAPA-TDNN (Desplanques et al., arXiv 2005.07143), sized from CPUs upwards.

Shapes: B batch, F feature bins, T frames, C channels, D embedding.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from sdpn.features.lengths import hide, mask_of, mean_over_time, reflect, stride_mask
from sdpn.models.encoder import Encoder
from sdpn.models.pooling import PoolingConfig, build_pooling
from sdpn.models.residual import BasicBlock, conv3x3


def _attentive_statistics() -> PoolingConfig:
    return PoolingConfig(
        kind="attentive-statistics",
        hidden="relu-norm-tanh",
        context=True,
        unbiased=False,
        floor=1e-6,
        passes=1,
    )


@dataclass(frozen=True, kw_only=True)
class EcapaConfig:
    """Sizes of an ECAPA-TDNN. The published network has 1024 or 512 channels, scale 8 and aggregation 1536.

    Attributes:
        channels: channels C of the convolutional trunk.
        aggregation_channels: channels after multi-layer feature aggregation.
        embedding_dim: size D of the embedding.
        res2_scale: groups of a Res2 convolution; fewer, wider groups are faster on CPUs.
        bottleneck: hidden units of squeeze-excitation and attention.
        dilations: dilation of each SE-Res2 block.
        padding: padding of convolutions: zeros, or reflection (SpeechBrain, 3D-Speaker).
        stride: frames for one output of the first convolution. All layers after it, nearly all of the cost,
            see that many times fewer frames: with 2, a network of 1.4 times the channels costs the same.
        spectral_channels: channels of a two-dimensional stem, whose output joins the features (ECAPA
            CNN-TDNN); 0 has none. Its filters move along frequency, so that what they learn of one voice's
            formants holds for those of others.
        aggregation_norm: batch norm after the aggregation (SpeechBrain, 3D-Speaker).
        pooling: from frames to one vector.
    """

    kind: ClassVar[str] = "ecapa"

    channels: int = 256
    aggregation_channels: int = 512
    embedding_dim: int = 192
    res2_scale: int = 4
    bottleneck: int = 64
    dilations: tuple[int, ...] = (2, 3, 4)
    padding: Literal["zeros", "reflect"] = "zeros"
    stride: int = 1
    spectral_channels: int = 0
    aggregation_norm: bool = False
    pooling: PoolingConfig = field(default_factory=_attentive_statistics)

    def __post_init__(self) -> None:
        """Check ranges."""
        if min(self.channels, self.aggregation_channels, self.embedding_dim, self.bottleneck) < 1:
            raise ValueError("channels, aggregation_channels, embedding_dim and bottleneck must be positive")
        if self.res2_scale < 2 or self.channels % self.res2_scale:
            raise ValueError(f"channels ({self.channels}) must be a multiple of res2_scale (>= 2)")
        if self.stride < 1 or self.spectral_channels < 0:
            raise ValueError("stride must be positive, spectral_channels not negative")
        if not self.dilations or min(self.dilations) < 1:
            raise ValueError("dilations must be positive, one for each block")


class Ecapa(Encoder):
    """Features to embeddings.

    Source: arXiv 2005.07143, figure 2 and section 3.
    """

    def __init__(self, config: EcapaConfig, num_features: int) -> None:
        super().__init__()
        self.embedding_dim = config.embedding_dim
        channels, wide = config.channels, config.aggregation_channels
        self._stride = config.stride
        self.spectral = SpectralStem(config.spectral_channels) if config.spectral_channels else None
        if self.spectral is not None:
            num_features += self.spectral.num_outputs(num_features)
        self.stem = ConvUnit(num_features, channels, kernel=5, stride=config.stride, padding=config.padding)
        self.blocks = nn.ModuleList(
            SERes2Block(channels, config.res2_scale, config.bottleneck, dilation, config.padding)
            for dilation in config.dilations
        )
        self.aggregation = nn.Conv1d(channels * len(config.dilations), wide, 1)
        self.aggregation_norm = nn.BatchNorm1d(wide) if config.aggregation_norm else None
        self.pooling = build_pooling(config.pooling, wide, bottleneck=config.bottleneck)
        self.pooled_norm = nn.BatchNorm1d(self.pooling.num_outputs)
        self.embedding = nn.Linear(self.pooling.num_outputs, config.embedding_dim)

    def forward(self, features_BFT: Tensor, lengths_B: Tensor | None = None) -> Tensor:
        """Compute embeddings (B, D) of features (B, F, T); see `Encoder.forward`."""
        mask_BT = mask_of(lengths_B, features_BFT.shape[-1])
        if self.spectral is not None:
            features_BFT = torch.cat([features_BFT, self.spectral(features_BFT, mask_BT)], dim=1)
        hidden_BCT = self.stem(features_BFT, mask_BT)
        mask_BT = stride_mask(mask_BT, self._stride)
        outputs = []
        for block in self.blocks:
            hidden_BCT = block(hidden_BCT, mask_BT)
            outputs.append(hidden_BCT)
        aggregated_BAT = torch.relu(self.aggregation(torch.cat(outputs, dim=1)))
        if self.aggregation_norm is not None:
            aggregated_BAT = self.aggregation_norm(aggregated_BAT)
        embedding: Tensor = self.embedding(self.pooled_norm(self.pooling(aggregated_BAT, mask_BT)))
        return embedding


class SpectralStem(nn.Module):
    """Residual blocks over frequency and time; frequency is divided by eight, time stays.

    Source: Thienpondt et al., Integrating frequency translational invariance in TDNNs, arXiv 2104.02370,
    section 3.1, with fewer channels and the features beside its output instead of replaced by it.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self._channels = channels
        self.first = conv3x3(1, channels, (2, 1))
        self.first_norm = nn.BatchNorm2d(channels)
        self.blocks = nn.ModuleList(
            BasicBlock(channels, channels, stride) for stride in ((1, 1), (2, 1), (2, 1))
        )

    def num_outputs(self, num_features: int) -> int:
        """Channels of the output for so many feature bins."""
        return self._channels * -(-num_features // 8)

    def forward(self, features_BFT: Tensor, mask_BT: Tensor | None) -> Tensor:
        """Transform (B, F, T) to (B, C * F / 8, T)."""
        hidden = torch.relu(self.first_norm(self.first(hide(features_BFT.unsqueeze(1), mask_BT))))
        for block in self.blocks:
            hidden = block(hidden, mask_BT)
        return hidden.flatten(1, 2)


class ConvUnit(nn.Sequential):
    """Convolution over time, ReLU, batch norm: the paper's order."""

    def __init__(
        self,
        num_in: int,
        num_out: int,
        *,
        kernel: int = 1,
        stride: int = 1,
        dilation: int = 1,
        padding: str = "zeros",
    ) -> None:
        amount = dilation * (kernel - 1) // 2
        self.reflection = amount if padding == "reflect" else 0
        super().__init__(
            nn.Conv1d(num_in, num_out, kernel, stride, dilation=dilation, padding=amount - self.reflection),
            nn.ReLU(inplace=True),
            nn.BatchNorm1d(num_out),
        )
        self.sees_neighbours = kernel > 1

    def forward(self, hidden_BCT: Tensor, mask_BT: Tensor | None = None) -> Tensor:
        """Transform (B, C, T) to (B, C', T)."""
        if self.reflection:
            hidden_BCT = reflect(hidden_BCT, self.reflection, mask_BT)
        elif self.sees_neighbours:
            hidden_BCT = hide(hidden_BCT, mask_BT)
        result: Tensor = super().forward(hidden_BCT)
        return result


class SERes2Block(nn.Module):
    """1x1, Res2 dilated convolution, 1x1, squeeze-excitation, around a residual connection."""

    def __init__(
        self, channels: int, scale: int, bottleneck: int, dilation: int, padding: str = "zeros"
    ) -> None:
        super().__init__()
        width = channels // scale
        self.expand = ConvUnit(channels, channels)
        self.res2 = nn.ModuleList(
            ConvUnit(width, width, kernel=3, dilation=dilation, padding=padding) for _ in range(scale - 1)
        )
        self.merge = ConvUnit(channels, channels)
        self.squeeze = nn.Sequential(
            nn.Linear(channels, bottleneck),
            nn.ReLU(inplace=True),
            nn.Linear(bottleneck, channels),
            nn.Sigmoid(),
        )

    def forward(self, input_BCT: Tensor, mask_BT: Tensor | None = None) -> Tensor:
        """Transform (B, C, T) to the same shape."""
        first, *rest = self.expand(input_BCT).chunk(len(self.res2) + 1, dim=1)
        outputs = [first]
        for unit, part in zip(self.res2, rest, strict=True):
            outputs.append(unit(part if len(outputs) == 1 else part + outputs[-1], mask_BT))
        hidden_BCT = self.merge(torch.cat(outputs, dim=1))
        gate_BC = self.squeeze(mean_over_time(hidden_BCT, mask_BT))
        return input_BCT + hidden_BCT * gate_BC.unsqueeze(-1)

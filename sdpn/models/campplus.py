"""CAM++: a densely connected TDNN whose layers are masked by their context.

Source: Wang et al., CAM++: a fast and efficient network for speaker verification using context-aware
masking, arXiv 2303.00332, figures 1 and 2.

Shapes: B batch, F feature bins, T frames, C channels, G growth, D embedding.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from sdpn.features.lengths import hide, mask_of, mean_over_time, stride_mask
from sdpn.models.encoder import Encoder, check_positive
from sdpn.models.pooling import PoolingConfig, build_pooling
from sdpn.models.residual import BasicBlock, Stage, conv3x3


@dataclass(frozen=True, kw_only=True)
class CamPlusPlusConfig:
    """Sizes of a CAM++ network; the defaults are the published ones.

    Attributes:
        head_channels: channels of the two-dimensional head.
        channels: channels after the first convolution over time; a layer's bottleneck has as many.
        growth: channels added per layer.
        blocks: number of layers in each dense block; channels are halved after each.
        dilations: dilation of the convolutions of each block.
        reduction: ratio of the input channels to the hidden units of a mask.
        segment_frames: length of the segments whose averages are the near context of a mask.
        embedding_dim: size D of the embedding.
        pooling: from frames to one vector.
    """

    kind: ClassVar[str] = "campplus"

    head_channels: int = 32
    channels: int = 128
    growth: int = 32
    blocks: tuple[int, ...] = (12, 24, 16)
    dilations: tuple[int, ...] = (1, 2, 2)
    reduction: int = 2
    segment_frames: int = 100
    embedding_dim: int = 512
    pooling: PoolingConfig = field(default_factory=PoolingConfig)

    def __post_init__(self) -> None:
        """Check ranges."""
        check_positive(
            self.head_channels,
            self.channels,
            self.growth,
            *self.blocks,
            *self.dilations,
            self.reduction,
            self.segment_frames,
            self.embedding_dim,
        )
        if not self.blocks or len(self.dilations) != len(self.blocks):
            raise ValueError("dilations must be as many as blocks")


class CamPlusPlus(Encoder):
    """Features to embeddings."""

    def __init__(self, config: CamPlusPlusConfig, num_features: int) -> None:
        super().__init__()
        self.embedding_dim = config.embedding_dim
        self.head = SpectralHead(config.head_channels)
        channels = config.channels
        self.stem = nn.Conv1d(
            config.head_channels * -(-num_features // 8), channels, 5, stride=2, padding=2, bias=False
        )
        self.stem_norm = nn.BatchNorm1d(channels)
        self.blocks = nn.ModuleList()
        self.transitions = nn.ModuleList()
        for num_layers, dilation in zip(config.blocks, config.dilations, strict=True):
            self.blocks.append(
                nn.ModuleList(
                    DenseLayer(config, channels + index * config.growth, dilation)
                    for index in range(num_layers)
                )
            )
            channels += num_layers * config.growth
            self.transitions.append(
                nn.Sequential(
                    nn.BatchNorm1d(channels), nn.ReLU(), nn.Conv1d(channels, channels // 2, 1, bias=False)
                )
            )
            channels //= 2
        self.norm = nn.BatchNorm1d(channels)
        self.pooling = build_pooling(config.pooling, channels)
        self.embedding = nn.Linear(self.pooling.num_outputs, config.embedding_dim, bias=False)
        self.embedding_norm = nn.BatchNorm1d(config.embedding_dim, affine=False)

    def forward(self, features_BFT: Tensor, lengths_B: Tensor | None = None) -> Tensor:
        """Compute embeddings (B, D) of features (B, F, T); see `Encoder.forward`."""
        mask_BT = mask_of(lengths_B, features_BFT.shape[-1])
        head_BCT = self.head(features_BFT, mask_BT)
        hidden_BCT = torch.relu(self.stem_norm(self.stem(hide(head_BCT, mask_BT))))
        mask_BT = stride_mask(mask_BT, 2)
        for block, transition in zip(self.blocks, self.transitions, strict=True):
            for layer in block.children():
                hidden_BCT = torch.cat([hidden_BCT, layer(hidden_BCT, mask_BT)], dim=1)
            hidden_BCT = transition(hidden_BCT)
        pooled_BP = self.pooling(torch.relu(self.norm(hidden_BCT)), mask_BT)
        embedding_BD: Tensor = self.embedding_norm(self.embedding(pooled_BP))
        return embedding_BD


class SpectralHead(nn.Module):
    """Residual blocks over frequency and time; frequency is divided by eight, time stays."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.stem = conv3x3(1, channels)
        self.stem_norm = nn.BatchNorm2d(channels)
        self.stages = nn.ModuleList(
            Stage([BasicBlock(channels, channels, (2, 1)), BasicBlock(channels, channels)], 1)
            for _ in range(2)
        )
        self.last = conv3x3(channels, channels, (2, 1))
        self.last_norm = nn.BatchNorm2d(channels)

    def forward(self, features_BFT: Tensor, mask_BT: Tensor | None) -> Tensor:
        """Transform (B, F, T) to (B, C * F / 8, T)."""
        hidden = torch.relu(self.stem_norm(self.stem(hide(features_BFT.unsqueeze(1), mask_BT))))
        for stage in self.stages:
            hidden, _ = stage(hidden, mask_BT)
        hidden = torch.relu(self.last_norm(self.last(hide(hidden, mask_BT))))
        return hidden.flatten(1, 2)


class DenseLayer(nn.Module):
    """Bottleneck, then a convolution over time whose output is masked by near and far context."""

    def __init__(self, config: CamPlusPlusConfig, num_in: int, dilation: int) -> None:
        super().__init__()
        width = config.channels
        self.bottleneck = nn.Sequential(
            nn.BatchNorm1d(num_in),
            nn.ReLU(),
            nn.Conv1d(num_in, width, 1, bias=False),
            nn.BatchNorm1d(width),
            nn.ReLU(),
        )
        self.local = nn.Conv1d(width, config.growth, 3, padding=dilation, dilation=dilation, bias=False)
        self.mask = nn.Sequential(
            nn.Conv1d(width, width // config.reduction, 1),
            nn.ReLU(),
            nn.Conv1d(width // config.reduction, config.growth, 1),
            nn.Sigmoid(),
        )
        self.segment_frames = config.segment_frames

    def forward(self, input_BCT: Tensor, mask_BT: Tensor | None) -> Tensor:
        """Compute the channels (B, G, T) that this layer adds to its input (B, C, T)."""
        hidden_BCT = hide(self.bottleneck(input_BCT), mask_BT)
        far_BC1 = mean_over_time(hidden_BCT, mask_BT).unsqueeze(-1)
        # The mask is computed once for each segment and repeated, not computed for each frame.
        mask_BGN = self.mask(far_BC1 + self._near(hidden_BCT, mask_BT))
        mask_BGT = mask_BGN.repeat_interleave(self.segment_frames, dim=-1)[..., : hidden_BCT.shape[-1]]
        return self.local(hidden_BCT) * mask_BGT

    def _near(self, hidden_BCT: Tensor, mask_BT: Tensor | None) -> Tensor:
        """Averages (B, C, N) of N segments; the last one may be shorter."""
        size = self.segment_frames
        if mask_BT is None:
            return functional.avg_pool1d(hidden_BCT, size, stride=size, ceil_mode=True)
        missing = -hidden_BCT.shape[-1] % size
        sums_BCN = functional.pad(hidden_BCT, (0, missing)).unflatten(-1, (-1, size)).sum(-1)
        count_BN = functional.pad(mask_BT, (0, missing)).unflatten(-1, (-1, size)).sum(-1)
        return sums_BCN / count_BN.clamp(min=1).unsqueeze(1)

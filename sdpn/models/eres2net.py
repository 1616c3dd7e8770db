"""ERes2Net: Res2 blocks with attentive fusion inside a block and between stages.

Source: Chen et al., An enhanced Res2Net with local and global feature fusion for speaker verification,
arXiv 2305.12838, figures 2-4; the layout of 3D-Speaker's network.

Shapes: B batch, F feature bins, T frames, C channels, D embedding.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from sdpn.features.lengths import hide, mask_of, stride_mask
from sdpn.models.encoder import Encoder, check_positive
from sdpn.models.pooling import PoolingConfig, build_pooling
from sdpn.models.residual import EmbeddingLayers, Stage, Stride, conv1x1, conv3x3, shortcut

#: Activations inside a block are clipped here, as in 3D-Speaker.
_CLIP = 20.0
#: Hidden units of a fusion: its channels divided by this.
_REDUCTION = 4
#: Stages whose blocks fuse their groups by attention instead of adding them (the last two of four).
_FUSING_STAGES = (2, 3)


@dataclass(frozen=True, kw_only=True)
class ERes2NetConfig:
    """Sizes of an ERes2Net; the defaults are 3D-Speaker's base network.

    Attributes:
        blocks: residual blocks in each of the four stages.
        channels: of the first stage; each stage has twice as many as the one before.
        base_width: width of a Res2 group for 64 channels.
        scale: Res2 groups.
        expansion: a stage gives this many times its channels.
        embedding_dim: size D of the embedding.
        two_layers: the embedding is the second linear layer after pooling, not the first.
        pooling: from frames to one vector.
    """

    kind: ClassVar[str] = "eres2net"

    blocks: tuple[int, int, int, int] = (3, 4, 6, 3)
    channels: int = 32
    base_width: int = 32
    scale: int = 2
    expansion: int = 2
    embedding_dim: int = 512
    two_layers: bool = False
    pooling: PoolingConfig = field(default_factory=PoolingConfig)

    def __post_init__(self) -> None:
        """Check ranges."""
        check_positive(*self.blocks, self.channels, self.base_width, self.expansion, self.embedding_dim)
        if self.scale < 2:
            raise ValueError("scale must be at least 2: Res2 groups feed each other")
        if self.channels * self.base_width < 64:
            raise ValueError("channels times base_width must be at least 64: a group needs a channel")


class ERes2Net(Encoder):
    """Features to embeddings: every stage is fused with the fusion of the stages below."""

    def __init__(self, config: ERes2NetConfig, num_features: int) -> None:
        super().__init__()
        self.embedding_dim = config.embedding_dim
        self.stem = conv3x3(1, config.channels)
        self.stem_norm = nn.BatchNorm2d(config.channels)
        self.stages = res2_stages(config)
        widths = [config.expansion * config.channels << index for index in range(4)]
        self.downsamples = nn.ModuleList(conv3x3(low, high, (2, 2)) for low, high in pairwise(widths))
        self.fusions = nn.ModuleList(AttentiveFusion(high) for high in widths[1:])
        self.pooling = build_pooling(config.pooling, widths[-1] * height_after_stages(num_features))
        self.embedding = EmbeddingLayers(
            self.pooling.num_outputs, config.embedding_dim, two_layers=config.two_layers
        )

    def forward(self, features_BFT: Tensor, lengths_B: Tensor | None = None) -> Tensor:
        """Compute embeddings (B, D) of features (B, F, T); see `Encoder.forward`."""
        mask_BT = mask_of(lengths_B, features_BFT.shape[-1])
        hidden = torch.relu(self.stem_norm(self.stem(hide(features_BFT.unsqueeze(1), mask_BT))))
        first, *others = self.stages
        hidden, mask_BT = first(hidden, mask_BT)
        fused = hidden
        for stage, downsample, fusion in zip(others, self.downsamples, self.fusions, strict=True):
            below = downsample(hide(fused, mask_BT))
            hidden, mask_BT = stage(hidden, mask_BT)
            fused = fusion(hidden, below)
        embedding_BD: Tensor = self.embedding(self.pooling(fused.flatten(1, 2), mask_BT))
        return embedding_BD


def height_after_stages(num_features: int) -> int:
    """Frequencies left of ``num_features`` after three strides of 2."""
    return -(-num_features // 8)


def res2_stages(config: ERes2NetConfig) -> nn.ModuleList:
    """Four stages of blocks; the blocks of the last two fuse by attention."""
    stages = nn.ModuleList()
    num_in = config.channels
    for index, num_blocks in enumerate(config.blocks):
        channels, stride = config.channels << index, 1 if index == 0 else 2
        stage: list[nn.Module] = []
        for position in range(num_blocks):
            both: Stride = (stride, stride) if position == 0 else (1, 1)
            stage.append(ERes2Block(config, num_in, channels, both, fusing=index in _FUSING_STAGES))
            num_in = config.expansion * channels
        stages.append(Stage(stage, stride))
    return stages


class ERes2Block(nn.Module):
    """1x1, groups of 3x3 that each see the one before, 1x1, around a residual connection."""

    def __init__(
        self, config: ERes2NetConfig, num_in: int, channels: int, stride: Stride, *, fusing: bool
    ) -> None:
        super().__init__()
        width, num_out = channels * config.base_width // 64, config.expansion * channels
        self.expand = conv1x1(num_in, width * config.scale, stride)
        self.expand_norm = nn.BatchNorm2d(width * config.scale)
        self.convs = nn.ModuleList(conv3x3(width, width) for _ in range(config.scale))
        self.norms = nn.ModuleList(nn.BatchNorm2d(width) for _ in range(config.scale))
        self.fusions = (
            nn.ModuleList(AttentiveFusion(width) for _ in range(config.scale - 1)) if fusing else None
        )
        self.merge = conv1x1(width * config.scale, num_out)
        self.merge_norm = nn.BatchNorm2d(num_out)
        self.shortcut = shortcut(num_in, num_out, stride)
        self.time_stride = stride[1]

    def forward(self, input_BCFT: Tensor, mask_BT: Tensor | None = None) -> Tensor:
        """Transform (B, C, F, T) to (B, C', F / stride, T / stride)."""
        mask_BT = stride_mask(mask_BT, self.time_stride)
        parts = _clipped(self.expand_norm(self.expand(input_BCFT))).chunk(len(self.convs), dim=1)
        outputs: list[Tensor] = []
        for index, (part, conv, norm) in enumerate(zip(parts, self.convs, self.norms, strict=True)):
            if index == 0:
                mixed = part
            elif self.fusions is None:
                mixed = outputs[-1] + part
            else:
                mixed = self.fusions[index - 1](outputs[-1], part)
            outputs.append(_clipped(norm(conv(hide(mixed, mask_BT)))))
        hidden = self.merge_norm(self.merge(torch.cat(outputs, dim=1)))
        return _clipped(hidden + self.shortcut(input_BCFT))


class AttentiveFusion(nn.Module):
    """Two inputs, weighted against each other at every point (arXiv 2305.12838, equations 3 and 4)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        bottleneck = max(1, channels // _REDUCTION)
        self.attention = nn.Sequential(
            nn.Conv2d(2 * channels, bottleneck, 1),
            nn.BatchNorm2d(bottleneck),
            nn.SiLU(),
            nn.Conv2d(bottleneck, channels, 1),
            nn.BatchNorm2d(channels),
        )

    def forward(self, one: Tensor, other: Tensor) -> Tensor:
        """Fuse two (B, C, F, T) to one of the same shape."""
        preference = torch.tanh(self.attention(torch.cat([one, other], dim=1)))
        return one * (1 + preference) + other * (1 - preference)


def _clipped(hidden: Tensor) -> Tensor:
    return functional.hardtanh(hidden, 0.0, _CLIP)

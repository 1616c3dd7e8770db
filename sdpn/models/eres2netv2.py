"""ERes2NetV2: wider stages, thinner blocks, and fusion of the last two stages only.

Source: Chen et al., ERes2NetV2: boosting short-duration speaker verification performance with computational
efficiency, arXiv 2406.02167, figure 1; the layout of 3D-Speaker's network.

Shapes: B batch, F feature bins, T frames, C channels, D embedding.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from sdpn.features.lengths import hide, mask_of
from sdpn.models.encoder import Encoder
from sdpn.models.eres2net import AttentiveFusion, ERes2NetConfig, height_after_stages, res2_stages
from sdpn.models.pooling import build_pooling
from sdpn.models.residual import EmbeddingLayers, conv3x3


@dataclass(frozen=True, kw_only=True)
class ERes2NetV2Config(ERes2NetConfig):
    """Sizes of an ERes2NetV2, as in `ERes2NetConfig`; the defaults are 3D-Speaker's."""

    kind: ClassVar[str] = "eres2netv2"

    channels: int = 64
    base_width: int = 26
    embedding_dim: int = 192


class ERes2NetV2(Encoder):
    """Features to embeddings: the last stage is fused with the one before it."""

    def __init__(self, config: ERes2NetV2Config, num_features: int) -> None:
        super().__init__()
        self.embedding_dim = config.embedding_dim
        self.stem = conv3x3(1, config.channels)
        self.stem_norm = nn.BatchNorm2d(config.channels)
        self.stages = res2_stages(config)
        third, fourth = (config.expansion * config.channels << index for index in (2, 3))
        self.downsample = conv3x3(third, fourth, (2, 2))
        self.fusion = AttentiveFusion(fourth)
        self.pooling = build_pooling(config.pooling, fourth * height_after_stages(num_features))
        self.embedding = EmbeddingLayers(
            self.pooling.num_outputs, config.embedding_dim, two_layers=config.two_layers
        )

    def forward(self, features_BFT: Tensor, lengths_B: Tensor | None = None) -> Tensor:
        """Compute embeddings (B, D) of features (B, F, T); see `Encoder.forward`."""
        mask_BT = mask_of(lengths_B, features_BFT.shape[-1])
        hidden = torch.relu(self.stem_norm(self.stem(hide(features_BFT.unsqueeze(1), mask_BT))))
        *lower, last = self.stages
        for stage in lower:
            hidden, mask_BT = stage(hidden, mask_BT)
        below = self.downsample(hide(hidden, mask_BT))
        hidden, mask_BT = last(hidden, mask_BT)
        fused = self.fusion(hidden, below)
        embedding_BD: Tensor = self.embedding(self.pooling(fused.flatten(1, 2), mask_BT))
        return embedding_BD

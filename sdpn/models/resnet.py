"""ResNet over the mel spectrogram, 18 to 101 layers deep.

Source: He et al., arXiv 1512.03385, with the stem, widths and strides of Zeinali et al., arXiv 1910.12592.

Shapes: B batch, F feature bins, T frames, C channels, D embedding.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor, nn

from sdpn.features.lengths import hide, mask_of
from sdpn.models.encoder import Encoder, check_positive
from sdpn.models.pooling import PoolingConfig, build_pooling
from sdpn.models.residual import BasicBlock, Bottleneck, EmbeddingLayers, Stage, Stride, conv3x3


@dataclass(frozen=True, kw_only=True)
class ResNetConfig:
    """Sizes of a ResNet; the defaults are the 34 layers of WeSpeaker and 3D-Speaker.

    Attributes:
        blocks: residual blocks in each of the four stages: 18 layers have 2, 2, 2, 2; 34 and 50 have
            3, 4, 6, 3; 101 have 3, 4, 23, 3.
        bottleneck: blocks of three convolutions (50 layers and more) instead of two.
        channels: of the first stage; each stage has twice as many as the one before.
        embedding_dim: size D of the embedding.
        two_layers: the embedding is the second linear layer after pooling (3D-Speaker), not the first.
        pooling: from frames to one vector.
    """

    kind: ClassVar[str] = "resnet"

    blocks: tuple[int, int, int, int] = (3, 4, 6, 3)
    bottleneck: bool = False
    channels: int = 32
    embedding_dim: int = 256
    two_layers: bool = False
    pooling: PoolingConfig = field(default_factory=PoolingConfig)

    def __post_init__(self) -> None:
        """Check ranges."""
        check_positive(*self.blocks, self.channels, self.embedding_dim)


class ResNet(Encoder):
    """Features to embeddings: the spectrogram as an image with one channel."""

    def __init__(self, config: ResNetConfig, num_features: int) -> None:
        super().__init__()
        self.embedding_dim = config.embedding_dim
        block: type[BasicBlock | Bottleneck] = Bottleneck if config.bottleneck else BasicBlock
        self.stem = conv3x3(1, config.channels)
        self.stem_norm = nn.BatchNorm2d(config.channels)
        num_in, height = config.channels, num_features
        self.stages = nn.ModuleList()
        for index, num_blocks in enumerate(config.blocks):
            channels, stride = config.channels << index, 1 if index == 0 else 2
            stage: list[nn.Module] = []
            for position in range(num_blocks):
                both: Stride = (stride, stride) if position == 0 else (1, 1)
                stage.append(block(num_in, channels, both))
                num_in = block.expansion * channels
            self.stages.append(Stage(stage, stride))
            height = -(-height // stride)
        self.pooling = build_pooling(config.pooling, num_in * height)
        self.embedding = EmbeddingLayers(
            self.pooling.num_outputs, config.embedding_dim, two_layers=config.two_layers
        )

    def forward(self, features_BFT: Tensor, lengths_B: Tensor | None = None) -> Tensor:
        """Compute embeddings (B, D) of features (B, F, T); see `Encoder.forward`."""
        mask_BT = mask_of(lengths_B, features_BFT.shape[-1])
        hidden = torch.relu(self.stem_norm(self.stem(hide(features_BFT.unsqueeze(1), mask_BT))))
        for stage in self.stages:
            hidden, mask_BT = stage(hidden, mask_BT)
        embedding_BD: Tensor = self.embedding(self.pooling(hidden.flatten(1, 2), mask_BT))
        return embedding_BD

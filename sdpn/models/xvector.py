"""The x-vector TDNN (Snyder et al., X-vectors: robust DNN embeddings for speaker recognition, ICASSP 2018).

Shapes: B batch, F feature bins, T frames, C channels, D embedding.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from torch import Tensor, nn

from sdpn.features.lengths import mask_of
from sdpn.models.ecapa import ConvUnit
from sdpn.models.encoder import Encoder, check_positive
from sdpn.models.pooling import PoolingConfig, build_pooling

#: (kernel, dilation) of the frame layers: table 1 of the paper.
_FRAME_LAYERS = ((5, 1), (3, 2), (3, 3), (1, 1))


@dataclass(frozen=True, kw_only=True)
class XVectorConfig:
    """Sizes of an x-vector network; the defaults are the published ones.

    Attributes:
        channels: of the first four frame layers.
        pooled_channels: of the fifth, which is pooled.
        embedding_dim: size D of the embedding, the first layer after pooling before its activation.
        pooling: from frames to one vector.
    """

    kind: ClassVar[str] = "xvector"

    channels: int = 512
    pooled_channels: int = 1500
    embedding_dim: int = 512
    pooling: PoolingConfig = field(default_factory=PoolingConfig)

    def __post_init__(self) -> None:
        """Check ranges."""
        check_positive(self.channels, self.pooled_channels, self.embedding_dim)


class XVector(Encoder):
    """Features to embeddings. The ends are padded with zeros, so that an utterance keeps all its frames."""

    def __init__(self, config: XVectorConfig, num_features: int) -> None:
        super().__init__()
        self.embedding_dim = config.embedding_dim
        self.layers = nn.ModuleList()
        num_in = num_features
        for kernel, dilation in _FRAME_LAYERS:
            self.layers.append(ConvUnit(num_in, config.channels, kernel=kernel, dilation=dilation))
            num_in = config.channels
        self.layers.append(ConvUnit(num_in, config.pooled_channels))
        self.pooling = build_pooling(config.pooling, config.pooled_channels)
        self.embedding = nn.Linear(self.pooling.num_outputs, config.embedding_dim)

    def forward(self, features_BFT: Tensor, lengths_B: Tensor | None = None) -> Tensor:
        """Compute embeddings (B, D) of features (B, F, T); see `Encoder.forward`."""
        mask_BT = mask_of(lengths_B, features_BFT.shape[-1])
        hidden_BCT = features_BFT
        for layer in self.layers:
            hidden_BCT = layer(hidden_BCT, mask_BT)
        embedding_BD: Tensor = self.embedding(self.pooling(hidden_BCT, mask_BT))
        return embedding_BD

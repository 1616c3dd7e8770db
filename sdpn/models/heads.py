"""The projection head between an embedding and the prototypes.

Shapes: B batch, D embedding, E projection.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn


@dataclass(frozen=True, kw_only=True)
class HeadConfig:
    """Sizes of the projection head. Published for SDPN: two hidden layers of 2048, projection 256.

    Attributes:
        hidden_dim: units of each hidden layer.
        num_hidden: number of hidden layers.
        projection_dim: size E of the projection space of the prototypes.
        batch_norm: normalise hidden layers over the batch.
    """

    hidden_dim: int = 512
    num_hidden: int = 2
    projection_dim: int = 128
    batch_norm: bool = True

    def __post_init__(self) -> None:
        """Check ranges."""
        if min(self.hidden_dim, self.projection_dim) < 1 or self.num_hidden < 0:
            raise ValueError("hidden_dim and projection_dim must be positive, num_hidden not negative")


class ProjectionHead(nn.Module):
    """MLP with batch norm and GELU, initialised with a truncated normal (σ = 0.02), as published for SDPN.

    Source: arXiv 2308.02774, section II-A.
    """

    def __init__(self, config: HeadConfig, embedding_dim: int) -> None:
        super().__init__()
        self.projection_dim = config.projection_dim
        layers: list[nn.Module] = []
        width = embedding_dim
        for _ in range(config.num_hidden):
            layers.append(nn.Linear(width, config.hidden_dim))
            if config.batch_norm:
                layers.append(nn.BatchNorm1d(config.hidden_dim))
            layers.append(nn.GELU())
            width = config.hidden_dim
        layers.append(nn.Linear(width, config.projection_dim))
        self.layers = nn.Sequential(*layers)
        for layer in self.layers:
            if isinstance(layer, nn.Linear):
                nn.init.trunc_normal_(layer.weight, std=0.02)
                nn.init.zeros_(layer.bias)

    def forward(self, embedding_BD: Tensor) -> Tensor:
        """Project embeddings (B, D) to (B, E), not yet normalised."""
        projected: Tensor = self.layers(embedding_BD)
        return projected

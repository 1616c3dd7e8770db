"""The encoder interface: features to one embedding per utterance."""

from __future__ import annotations

import abc
from typing import Literal

from torch import Tensor, nn

InputNorm = Literal["none", "batch"]


class Encoder(nn.Module, abc.ABC):
    """Features to embeddings.

    Batches may hold utterances of different lengths: every encoder keeps padding out of each convolution
    over time, norm, attention and pooling, so that an utterance's embedding is the same alone or in a batch.
    Equal lengths, as in training, have no overhead.

    Attributes:
        embedding_dim: size D of the embedding.
    """

    embedding_dim: int

    @abc.abstractmethod
    def forward(self, features_BFT: Tensor, lengths_B: Tensor | None = None) -> Tensor:
        """Compute embeddings (B, D).

        Args:
            features_BFT: (B, F, T) features.
            lengths_B: frames of each utterance, the rest being padding; None: all have T. Meant for
                evaluation: in training mode, batch norm would count padding among its frames.
        """


def build_input_norm(kind: InputNorm, num_features: int) -> nn.Module:
    """What features (B, F, T) go through before an encoder."""
    return nn.BatchNorm1d(num_features) if kind == "batch" else nn.Identity()


def check_positive(*sizes: int) -> None:
    """Check sizes of an encoder.

    Raises:
        ValueError: one of them is not positive.
    """
    if min(sizes) < 1:
        raise ValueError("channels and sizes must be positive")


def check_attention(width: int, heads: int, feed_forward: int, num_blocks: int, dropout: float) -> None:
    """Check sizes of blocks of self-attention and feed-forward layers.

    Raises:
        ValueError: one of them is not positive, the heads do not share the width, or dropout is no rate.
    """
    check_positive(width, heads, feed_forward, num_blocks)
    if width % heads or width % 2:  # sines and cosines of positions go in pairs
        raise ValueError(f"width ({width}) must be even, and a multiple of the heads ({heads})")
    if not 0 <= dropout < 1:
        raise ValueError("dropout must lie in [0, 1)")

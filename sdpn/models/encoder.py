"""The encoder interface: features to one embedding per utterance."""

from __future__ import annotations

import abc

from torch import Tensor, nn


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


def check_positive(*sizes: int) -> None:
    """Check sizes of an encoder.

    Raises:
        ValueError: one of them is not positive.
    """
    if min(sizes) < 1:
        raise ValueError("channels and sizes must be positive")

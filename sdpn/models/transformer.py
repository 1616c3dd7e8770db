"""A transformer encoder over frames: a linear layer, encoder layers, a pooling.

Source: Vaswani et al., arXiv 1706.03762, section 3; without positions by default, as in the exercise of
egs/speaker_id, since the pooling does not depend on the order of the frames either.

Shapes: B batch, F feature bins, T frames, M model width, D embedding.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from sdpn.features.lengths import mask_of
from sdpn.models.encoder import Encoder, InputNorm, build_input_norm, check_attention, check_positive
from sdpn.models.pooling import PoolingConfig, build_pooling


def _mean() -> PoolingConfig:
    return PoolingConfig(kind="mean")


@dataclass(frozen=True, kw_only=True)
class TransformerConfig:
    """Sizes of a transformer; the defaults are those of the exercise.

    Attributes:
        width: model width M.
        heads: number of attention heads.
        feed_forward: hidden units of the feed-forward layers.
        num_blocks: number of layers.
        positions: ``none``, or ``sinusoidal``, added to the frames.
        norm_first: layer norm before attention and feed-forward layers instead of after them.
        dropout: dropout rate in training.
        embedding_dim: size D of the embedding; None takes the pooled vector itself.
        pooling: from frames to one vector.
        input_norm: ``batch`` normalises each band by its mean and spread over the training data, which
            features that are not normalised want; ``none`` leaves them as they are.
    """

    kind: ClassVar[str] = "transformer"

    width: int = 80
    heads: int = 2
    feed_forward: int = 256
    num_blocks: int = 1
    positions: Literal["none", "sinusoidal"] = "none"
    norm_first: bool = False
    dropout: float = 0.1
    embedding_dim: int | None = None
    pooling: PoolingConfig = field(default_factory=_mean)
    input_norm: InputNorm = "none"

    def __post_init__(self) -> None:
        """Check ranges."""
        check_attention(self.width, self.heads, self.feed_forward, self.num_blocks, self.dropout)
        check_positive(1 if self.embedding_dim is None else self.embedding_dim)


class Transformer(Encoder):
    """Features to embeddings, at the frame rate of the features."""

    def __init__(self, config: TransformerConfig, num_features: int) -> None:
        super().__init__()
        self.input_norm = build_input_norm(config.input_norm, num_features)
        self.project = nn.Linear(num_features, config.width)
        self.positions = config.positions
        self.blocks = nn.ModuleList(TransformerBlock(config) for _ in range(config.num_blocks))
        self.norm = nn.LayerNorm(config.width) if config.norm_first else nn.Identity()
        self.pooling = build_pooling(config.pooling, config.width)
        pooled = self.pooling.num_outputs
        self.embedding_dim = pooled if config.embedding_dim is None else config.embedding_dim
        self.embedding = (
            nn.Identity() if config.embedding_dim is None else nn.Linear(pooled, self.embedding_dim)
        )

    def forward(self, features_BFT: Tensor, lengths_B: Tensor | None = None) -> Tensor:
        """Compute embeddings (B, D) of features (B, F, T); see `Encoder.forward`."""
        mask_BT = mask_of(lengths_B, features_BFT.shape[-1])
        hidden_BTM = self.project(self.input_norm(features_BFT).transpose(1, 2))
        if self.positions == "sinusoidal":
            hidden_BTM = hidden_BTM + _sinusoids(hidden_BTM)
        for block in self.blocks:
            hidden_BTM = block(hidden_BTM, mask_BT)
        hidden_BTM = self.norm(hidden_BTM)
        embedding_BD: Tensor = self.embedding(self.pooling(hidden_BTM.transpose(1, 2), mask_BT))
        return embedding_BD


class TransformerBlock(nn.Module):
    """Self-attention and feed-forward layer, as ``torch.nn.TransformerEncoderLayer`` computes them.

    Not that layer itself: in evaluation it takes another path than in training, which can neither be traced
    nor be asked for its attention (`sdpn.explain.attention`).
    """

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.heads = config.heads
        self.scale = 1 / math.sqrt(config.width // config.heads)
        self.norm_first = config.norm_first
        self.inputs = nn.Linear(config.width, 3 * config.width)
        self.output = nn.Linear(config.width, config.width)
        self.expand = nn.Linear(config.width, config.feed_forward)
        self.reduce = nn.Linear(config.feed_forward, config.width)
        self.attention_norm = nn.LayerNorm(config.width)
        self.feed_forward_norm = nn.LayerNorm(config.width)
        self.dropout = nn.Dropout(config.dropout)
        nn.init.xavier_uniform_(self.inputs.weight)
        nn.init.zeros_(self.inputs.bias)
        nn.init.zeros_(self.output.bias)

    def forward(self, hidden_BTM: Tensor, mask_BT: Tensor | None) -> Tensor:
        """Transform (B, T, M) to the same shape; padding is not attended to."""
        if self.norm_first:
            hidden_BTM = hidden_BTM + self._attend(self.attention_norm(hidden_BTM), mask_BT)
            return hidden_BTM + self._feed_forward(self.feed_forward_norm(hidden_BTM))
        hidden_BTM = self.attention_norm(hidden_BTM + self._attend(hidden_BTM, mask_BT))
        normed_BTM: Tensor = self.feed_forward_norm(hidden_BTM + self._feed_forward(hidden_BTM))
        return normed_BTM

    def _attend(self, hidden_BTM: Tensor, mask_BT: Tensor | None) -> Tensor:
        query, key, value = (
            part.unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for part in self.inputs(hidden_BTM).chunk(3, dim=-1)
        )
        scores_BHTT = query @ key.transpose(-1, -2) * self.scale
        if mask_BT is not None:
            scores_BHTT = scores_BHTT.masked_fill(~mask_BT[:, None, None, :], -torch.inf)
        attended_BHTM = self.dropout(scores_BHTT.softmax(-1)) @ value
        output_BTM: Tensor = self.dropout(self.output(attended_BHTM.transpose(1, 2).flatten(2)))
        return output_BTM

    def _feed_forward(self, hidden_BTM: Tensor) -> Tensor:
        inner_BTM = self.dropout(torch.relu(self.expand(hidden_BTM)))
        output_BTM: Tensor = self.dropout(self.reduce(inner_BTM))
        return output_BTM


def _sinusoids(like_BTM: Tensor) -> Tensor:
    """Sines and cosines (T, M) of the frames' positions."""
    width = like_BTM.shape[2]
    position_T1 = torch.arange(like_BTM.shape[1], device=like_BTM.device).unsqueeze(1)
    rate = torch.exp(torch.arange(0, width, 2, device=like_BTM.device) * (-math.log(10000.0) / width))
    angle = position_T1 * rate
    return torch.stack([angle.sin(), angle.cos()], dim=-1).flatten(1).to(like_BTM.dtype)

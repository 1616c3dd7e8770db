"""Conformer and MFA-Conformer.

Sources: Gulati et al., Conformer, arXiv 2005.08100, figures 1-4; Zhang et al., MFA-Conformer, arXiv
2203.15249, figure 1; relative positions: Dai et al., Transformer-XL, arXiv 1901.02860, section 3.3.

Shapes: B batch, F feature bins, T frames, M model width, H heads, R relative positions, D embedding.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from sdpn.features.lengths import hide, mask_of, stride_mask
from sdpn.models.encoder import Encoder, InputNorm, build_input_norm, check_attention, check_positive
from sdpn.models.pooling import PoolingConfig, build_pooling


def _attentive_statistics() -> PoolingConfig:
    return PoolingConfig(kind="attentive-statistics", context=True)


@dataclass(frozen=True, kw_only=True)
class ConformerConfig:
    """Sizes of a Conformer; the defaults are those of MFA-Conformer.

    Attributes:
        width: model width M.
        heads: number of attention heads.
        feed_forward: hidden units of the feed-forward layers.
        num_blocks: number of Conformer blocks.
        kernel: kernel size of the convolution of a block in frames, an odd number.
        multi_scale: concatenate the outputs of all blocks before pooling (MFA-Conformer), instead of using
            only the last one.
        subsampling: ``convolutional`` halves the frame rate by two convolutions; ``none`` is a linear layer
            on each frame.
        dropout: dropout rate in training.
        embedding_dim: size D of the embedding.
        pooling: from frames to one vector.
        input_norm: ``batch`` normalises each band by its mean and spread over the training data, which
            features that are not normalised want; ``none`` leaves them as they are.
    """

    kind: ClassVar[str] = "conformer"

    width: int = 256
    heads: int = 4
    feed_forward: int = 2048
    num_blocks: int = 6
    kernel: int = 15
    multi_scale: bool = True
    subsampling: Literal["convolutional", "none"] = "convolutional"
    dropout: float = 0.1
    embedding_dim: int = 192
    pooling: PoolingConfig = field(default_factory=_attentive_statistics)
    input_norm: InputNorm = "none"

    def __post_init__(self) -> None:
        """Check ranges."""
        check_attention(self.width, self.heads, self.feed_forward, self.num_blocks, self.dropout)
        check_positive(self.embedding_dim)
        if self.kernel < 1 or self.kernel % 2 == 0:
            raise ValueError("kernel must be an odd number of frames")


class Conformer(Encoder):
    """Features to embeddings; time is halved before the blocks, unless the configuration says otherwise."""

    def __init__(self, config: ConformerConfig, num_features: int) -> None:
        super().__init__()
        self.embedding_dim = config.embedding_dim
        self.input_norm = build_input_norm(config.input_norm, num_features)
        self.stride = 2 if config.subsampling == "convolutional" else 1
        self.subsampling = (Subsampling if self.stride == 2 else FrameProjection)(num_features, config.width)
        self.dropout = nn.Dropout(config.dropout)
        self.blocks = nn.ModuleList(ConformerBlock(config) for _ in range(config.num_blocks))
        self.multi_scale = config.multi_scale
        pooled = config.width * (config.num_blocks if config.multi_scale else 1)
        self.norm = nn.LayerNorm(pooled)
        self.pooling = build_pooling(config.pooling, pooled)
        self.pooled_norm = nn.BatchNorm1d(self.pooling.num_outputs)
        self.embedding = nn.Linear(self.pooling.num_outputs, config.embedding_dim)

    def forward(self, features_BFT: Tensor, lengths_B: Tensor | None = None) -> Tensor:
        """Compute embeddings (B, D) of features (B, F, T); see `Encoder.forward`."""
        mask_BT = mask_of(lengths_B, features_BFT.shape[-1])
        hidden_BTM = self.dropout(self.subsampling(self.input_norm(features_BFT), mask_BT))
        mask_BT = stride_mask(mask_BT, self.stride)
        position_RM = _relative_positions(hidden_BTM.shape[1], hidden_BTM.shape[2], hidden_BTM)
        outputs = []
        for block in self.blocks:
            hidden_BTM = block(hidden_BTM, position_RM, mask_BT)
            outputs.append(hidden_BTM)
        pooled_BTM = self.norm(torch.cat(outputs, dim=-1) if self.multi_scale else hidden_BTM)
        pooled_BP = self.pooling(pooled_BTM.transpose(1, 2), mask_BT)
        embedding_BD: Tensor = self.embedding(self.pooled_norm(pooled_BP))
        return embedding_BD


class Subsampling(nn.Module):
    """Two 3x3 convolutions, the first with a stride of 2, and a linear layer over channels and bands."""

    def __init__(self, num_features: int, width: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, width, 3, stride=2, padding=1)
        self.second = nn.Conv2d(width, width, 3, padding=1)
        self.project = nn.Linear(width * -(-num_features // 2), width)

    def forward(self, features_BFT: Tensor, mask_BT: Tensor | None) -> Tensor:
        """Transform (B, F, T) to (B, T / 2, M)."""
        hidden = torch.relu(self.first(hide(features_BFT.unsqueeze(1), mask_BT)))
        hidden = torch.relu(self.second(hide(hidden, stride_mask(mask_BT, 2))))
        projected_BTM: Tensor = self.project(hidden.flatten(1, 2).transpose(1, 2))
        return projected_BTM


class FrameProjection(nn.Module):
    """A linear layer on each frame."""

    def __init__(self, num_features: int, width: int) -> None:
        super().__init__()
        self.project = nn.Linear(num_features, width)

    def forward(self, features_BFT: Tensor, mask_BT: Tensor | None) -> Tensor:  # noqa: ARG002 - each on its own
        """Transform (B, F, T) to (B, T, M)."""
        projected_BTM: Tensor = self.project(features_BFT.transpose(1, 2))
        return projected_BTM


class ConformerBlock(nn.Module):
    """Half a feed-forward step, attention, convolution, the other half, layer norm."""

    def __init__(self, config: ConformerConfig) -> None:
        super().__init__()
        self.before = _feed_forward(config)
        self.attention_norm = nn.LayerNorm(config.width)
        self.attention = RelativeAttention(config.width, config.heads)
        self.convolution = ConvolutionModule(config.width, config.kernel)
        self.after = _feed_forward(config)
        self.norm = nn.LayerNorm(config.width)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, hidden_BTM: Tensor, position_RM: Tensor, mask_BT: Tensor | None) -> Tensor:
        """Transform (B, T, M) to the same shape."""
        hidden_BTM = hidden_BTM + 0.5 * self.before(hidden_BTM)
        attended_BTM = self.attention(self.attention_norm(hidden_BTM), position_RM, mask_BT)
        hidden_BTM = hidden_BTM + self.dropout(attended_BTM)
        hidden_BTM = hidden_BTM + self.dropout(self.convolution(hidden_BTM, mask_BT))
        hidden_BTM = hidden_BTM + 0.5 * self.after(hidden_BTM)
        normed_BTM: Tensor = self.norm(hidden_BTM)
        return normed_BTM


class RelativeAttention(nn.Module):
    """Self-attention with relative positions (arXiv 1901.02860)."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.scale = 1 / math.sqrt(width // heads)
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width)
        self.value = nn.Linear(width, width)
        self.position = nn.Linear(width, width, bias=False)
        self.output = nn.Linear(width, width)
        # u and v of the paper: query-independent biases for content and distance
        self.content_bias = nn.Parameter(torch.zeros(heads, 1, width // heads))
        self.distance_bias = nn.Parameter(torch.zeros(heads, 1, width // heads))

    def forward(self, hidden_BTM: Tensor, position_RM: Tensor, mask_BT: Tensor | None) -> Tensor:
        """Transform (B, T, M) to the same shape; padding is masked."""
        query, key, value = (
            layer(hidden_BTM).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for layer in (self.query, self.key, self.value)
        )
        position_HRM = self.position(position_RM).unflatten(-1, (self.heads, -1)).transpose(0, 1)
        content_BHTT = (query + self.content_bias) @ key.transpose(-1, -2)
        distance_BHTT = _by_distance((query + self.distance_bias) @ position_HRM.transpose(-1, -2))
        scores_BHTT = (content_BHTT + distance_BHTT) * self.scale
        if mask_BT is not None:
            scores_BHTT = scores_BHTT.masked_fill(~mask_BT[:, None, None, :], -torch.inf)
        attended_BTM = (scores_BHTT.softmax(-1) @ value).transpose(1, 2).flatten(2)
        output_BTM: Tensor = self.output(attended_BTM)
        return output_BTM


class ConvolutionModule(nn.Module):
    """Layer norm, gated pointwise, depthwise, batch norm, Swish, pointwise."""

    def __init__(self, width: int, kernel: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.expand = nn.Linear(width, 2 * width)
        self.depthwise = nn.Conv1d(width, width, kernel, padding=kernel // 2, groups=width)
        self.depthwise_norm = nn.BatchNorm1d(width)
        self.project = nn.Linear(width, width)

    def forward(self, hidden_BTM: Tensor, mask_BT: Tensor | None) -> Tensor:
        """Transform (B, T, M) to the same shape."""
        gated_BMT = nn.functional.glu(self.expand(self.norm(hidden_BTM))).transpose(1, 2)
        mixed_BMT = self.depthwise_norm(self.depthwise(hide(gated_BMT, mask_BT)))
        output_BTM: Tensor = self.project(nn.functional.silu(mixed_BMT).transpose(1, 2))
        return output_BTM


def _feed_forward(config: ConformerConfig) -> nn.Sequential:
    return nn.Sequential(
        nn.LayerNorm(config.width),
        nn.Linear(config.width, config.feed_forward),
        nn.SiLU(),
        nn.Dropout(config.dropout),
        nn.Linear(config.feed_forward, config.width),
        nn.Dropout(config.dropout),
    )


def _relative_positions(num_frames: int, width: int, like: Tensor) -> Tensor:
    """Sines and cosines (R = 2T - 1, M) of the distances T - 1, ..., 0, ..., -(T - 1)."""
    distance_R1 = torch.arange(num_frames - 1, -num_frames, -1, device=like.device).unsqueeze(1)
    rate = torch.exp(torch.arange(0, width, 2, device=like.device) * (-math.log(10000.0) / width))
    angle = distance_R1 * rate
    return torch.stack([angle.sin(), angle.cos()], dim=-1).flatten(1).to(like.dtype)


def _by_distance(scores_BHTR: Tensor) -> Tensor:
    """From scores of each frame and distance (T, 2T - 1) to scores of each frame and other frame (T, T).

    Row i begins T - 1 - i columns to the left of the row before: one zero in front of every row, read with
    rows one longer, moves each row by one more than the last.
    """
    num_frames, num_distances = scores_BHTR.shape[-2:]
    padded = nn.functional.pad(scores_BHTR, (1, 0)).flatten(-2)
    shifted = padded[..., num_frames:].unflatten(-1, (num_frames, num_distances))
    return shifted[..., :num_frames]

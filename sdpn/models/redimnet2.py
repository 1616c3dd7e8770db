"""ReDimNet2: two-dimensional stages whose outputs are one-dimensional maps that every later stage mixes.

A map of C channels by F bands is also a map of C·F channels without bands. Between stages it is the latter,
at the full frame rate, so that a stage can mix the outputs of all before it with weights of its own; inside a
stage it is the former, at fewer bands and frames. Pooling over time in the stages is what ReDimNet2 adds.

Sources: Reshape Dimensions Network, arXiv 2407.18223, figure 2; ReDimNet2, its blocks and its sizes B0 to B2:
github.com/PalabraAI/redimnet2 and its recipes for VoxCeleb2. Reimplemented.

Shapes: B batch, F feature bins, T frames, C channels, M = C·F channels of a one-dimensional map, H units of a
context block, N maps, D embedding.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu, pad, scaled_dot_product_attention

from sdpn.features.lengths import hide, mask_of, mean_over_time
from sdpn.models.encoder import Encoder, check_positive
from sdpn.models.pooling import PoolingConfig, build_pooling

#: Frames that the convolutions of a context block see.
_KERNELS = (7, 19, 31, 59)


def _attentive_statistics() -> PoolingConfig:
    return PoolingConfig(kind="attentive-statistics", context=True, floor=1e-7, passes=1)


@dataclass(frozen=True, kw_only=True)
class ReDimNet2Config:
    """Sizes of a ReDimNet2; the defaults are those of B0. A stage has one value in each of the tuples.

    Attributes:
        channels: channels C at the full number of bands.
        band_strides: factor by which a stage divides the bands and multiplies the channels, permanently.
        frame_strides: factor by which a stage reduces the frames, cumulative over stages; its output is
            upsampled to the full rate.
        blocks: residual blocks.
        expansions: channels inside a stage, as multiples of its output channels.
        context_divisors: M divided by the units H of a stage's context block; H is a multiple of the heads.
        heads: attention heads of a context block.
        map_norm: group norm on every map that is mixed, C groups.
        output_channels: channels after the last stage; None keeps those of the last stage.
        embedding_dim: size D of the embedding.
        embedding_norm: batch norm on the embedding.
        pooling: from frames to one vector.
    """

    kind: ClassVar[str] = "redimnet2"

    channels: int = 12
    band_strides: tuple[int, ...] = (1, 2, 1, 2, 1, 2)
    frame_strides: tuple[int, ...] = (1, 1, 2, 1, 2, 1)
    blocks: tuple[int, ...] = (2, 3, 4, 5, 4, 3)
    expansions: tuple[int, ...] = (2, 1, 1, 1, 1, 1)
    context_divisors: tuple[int, ...] = (36, 36, 36, 36, 18, 18)
    heads: int = 4
    map_norm: bool = True
    output_channels: int | None = 64
    embedding_dim: int = 192
    embedding_norm: bool = False
    pooling: PoolingConfig = field(default_factory=_attentive_statistics)

    def __post_init__(self) -> None:
        """Check ranges."""
        stages = (self.band_strides, self.frame_strides, self.blocks, self.expansions, self.context_divisors)
        if len({len(values) for values in stages}) != 1 or not self.blocks:
            raise ValueError(
                "band_strides, frame_strides, blocks, expansions and context_divisors need one value per "
                "stage"
            )
        check_positive(self.channels, self.heads, self.embedding_dim, self.output_channels or 1)
        check_positive(*(value for values in stages for value in values))


class ReDimNet2(Encoder):
    """Features to embeddings.

    Features whose number is no multiple of all band strides together get bands of zeros; frames beyond the
    last multiple of the frame strides are left out, as published.
    """

    def __init__(self, config: ReDimNet2Config, num_features: int) -> None:
        super().__init__()
        self.embedding_dim = config.embedding_dim
        band_stride = math.prod(config.band_strides)
        self.frame_stride = math.prod(config.frame_strides)
        self.num_bands = -(-num_features // band_stride) * band_stride
        wide = config.channels * self.num_bands
        self.stem = nn.Conv2d(1, config.channels, 3, padding=1)
        self.stem_norm = ChannelNorm(config.channels)
        self.map_norms = nn.ModuleList(
            GroupNorm(config.channels, wide) for _ in range(len(config.blocks) + 1 if config.map_norm else 0)
        )
        self.mixes = nn.ModuleList(Mix(count + 2, wide) for count in range(len(config.blocks)))
        self.stages = nn.ModuleList()
        channels, frame_stride = config.channels, 1
        for bands, frames, blocks, expansion, divisor in zip(
            config.band_strides,
            config.frame_strides,
            config.blocks,
            config.expansions,
            config.context_divisors,
            strict=True,
        ):
            frame_stride *= frames
            units = max(1, wide // divisor // config.heads) * config.heads
            self.stages.append(
                ReDimNet2Stage(
                    channels,
                    wide,
                    (bands, frame_stride),
                    blocks=blocks,
                    expansion=expansion,
                    units=units,
                    heads=config.heads,
                )
            )
            channels *= bands
        self.channels = channels
        self.output = (
            None if config.output_channels is None else nn.Conv2d(channels, config.output_channels, 1)
        )
        pooled = (config.output_channels or channels) * (self.num_bands // band_stride)
        self.pooling = build_pooling(config.pooling, pooled)
        self.pooled_norm = nn.BatchNorm1d(self.pooling.num_outputs)
        self.embedding = nn.Linear(self.pooling.num_outputs, config.embedding_dim)
        self.embedding_norm = nn.BatchNorm1d(config.embedding_dim) if config.embedding_norm else None

    def forward(self, features_BFT: Tensor, lengths_B: Tensor | None = None) -> Tensor:
        """Compute embeddings (B, D) of features (B, F, T); see `Encoder.forward`."""
        mask_BT = mask_of(lengths_B, features_BFT.shape[-1])
        features_BFT, mask_BT = self._whole_strides(hide(features_BFT, mask_BT), mask_BT)
        stem = self.stem_norm(self.stem(features_BFT.unsqueeze(1)))
        maps = [self._normed(0, _flat(stem), mask_BT)]
        mixed_BMT = maps[0]
        for index, (stage, mix) in enumerate(zip(self.stages, self.mixes, strict=True), start=1):
            maps.append(self._normed(index, stage(mixed_BMT, mask_BT), mask_BT))
            mixed_BMT = mix(maps)
        hidden = _folded(mixed_BMT, self.channels)
        if self.output is not None:
            hidden = self.output(hidden)
        pooled_BP = self.pooled_norm(self.pooling(hidden.flatten(1, 2), mask_BT))
        embedding_BD: Tensor = self.embedding(pooled_BP)
        return embedding_BD if self.embedding_norm is None else self.embedding_norm(embedding_BD)

    def _whole_strides(self, features_BFT: Tensor, mask_BT: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Bands and frames in whole strides, and which frames are an utterance's: one stride at least."""
        stride = self.frame_stride
        missing = max(0, stride - features_BFT.shape[-1])
        if missing or self.num_bands != features_BFT.shape[1]:
            features_BFT = pad(features_BFT, (0, missing, 0, self.num_bands - features_BFT.shape[1]))
        kept = features_BFT.shape[-1] // stride * stride
        features_BFT = features_BFT[..., :kept]
        if mask_BT is not None:
            lengths_B = (mask_BT.sum(1) // stride * stride).clamp(min=stride)
            mask_BT = mask_of(lengths_B, kept)
        return hide(features_BFT, mask_BT), mask_BT

    def _normed(self, index: int, map_BMT: Tensor, mask_BT: Tensor | None) -> Tensor:
        if not len(self.map_norms):
            return map_BMT
        normed: Tensor = self.map_norms[index](map_BMT, mask_BT)
        return normed


class ReDimNet2Stage(nn.Module):
    """Fold a map into bands, fewer of them and fewer frames; residual blocks; unfold; context along time."""

    def __init__(
        self,
        channels: int,
        wide: int,
        strides: tuple[int, int],
        *,
        blocks: int,
        expansion: int,
        units: int,
        heads: int,
    ) -> None:
        super().__init__()
        self.channels = channels
        self.frame_stride = strides[1]
        end = channels * strides[0]
        inside = end * expansion
        self.reduce = nn.Conv2d(channels, inside, strides, stride=strides, groups=math.gcd(channels, inside))
        self.blocks = nn.ModuleList(ResidualBlock(inside) for _ in range(blocks))
        self.project = (
            nn.Sequential(nn.Conv2d(inside, end, 1), nn.BatchNorm2d(end, eps=1e-6)) if expansion > 1 else None
        )
        self.context = ContextBlock(wide, units, heads)

    def forward(self, mixed_BMT: Tensor, mask_BT: Tensor | None) -> Tensor:
        """Transform (B, M, T) to the same shape."""
        # masked first: strides reach beyond the end of an utterance only by frames that are left out anyway
        hidden = self.reduce(_folded(hide(mixed_BMT, mask_BT), self.channels))
        reduced_BT = None if mask_BT is None else mask_BT[:, :: self.frame_stride]
        for block in self.blocks:
            hidden = block(hidden, reduced_BT)
        if self.project is not None:
            hidden = self.project(hidden)
        context_BMT = self.context(_flat(hidden), reduced_BT)
        return (
            context_BMT.repeat_interleave(self.frame_stride, dim=-1) if self.frame_stride > 1 else context_BMT
        )


class ResidualBlock(nn.Module):
    """Two separable 3x3 convolutions around a residual connection."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.depth1, self.point1 = _separable(channels)
        self.norm1 = nn.BatchNorm2d(channels)
        self.depth2, self.point2 = _separable(channels)
        self.norm2 = nn.BatchNorm2d(channels)

    def forward(self, input_BCFT: Tensor, mask_BT: Tensor | None) -> Tensor:
        """Transform (B, C, F, T) to the same shape."""
        hidden = self.norm1(torch.relu(self.point1(self.depth1(hide(input_BCFT, mask_BT)))))
        hidden = self.norm2(self.point2(self.depth2(hide(hidden, mask_BT))))
        return torch.relu(input_BCFT + hidden)


class ContextBlock(nn.Module):
    """Along time, in few units: convolutions of growing reach, then attention; all around a residual."""

    def __init__(self, wide: int, units: int, heads: int) -> None:
        super().__init__()
        self.reduce = nn.Conv1d(wide, units, 1)
        self.reduced_norm = ChannelNorm(units)
        self.convolutions = nn.ModuleList(ContextConvolution(units, kernel) for kernel in _KERNELS)
        self.attention = Attention(units, heads)
        self.expand = nn.Conv1d(units, wide, 1)

    def forward(self, map_BMT: Tensor, mask_BT: Tensor | None) -> Tensor:
        """Transform (B, M, T) to the same shape."""
        hidden_BHT = self.reduced_norm(self.reduce(map_BMT))
        for convolution in self.convolutions:
            hidden_BHT = convolution(hidden_BHT, mask_BT)
        return map_BMT + self.expand(self.attention(hidden_BHT.transpose(1, 2), mask_BT).transpose(1, 2))


class ContextConvolution(nn.Module):
    """Depthwise convolution, batch norm, GELU, pointwise; around a residual connection."""

    def __init__(self, units: int, kernel: int) -> None:
        super().__init__()
        self.depth = nn.Conv1d(units, units, kernel, padding=kernel // 2, groups=units)
        self.norm = nn.BatchNorm1d(units)
        self.point = nn.Conv1d(units, units, 1)

    def forward(self, hidden_BHT: Tensor, mask_BT: Tensor | None) -> Tensor:
        """Transform (B, H, T) to the same shape."""
        return hidden_BHT + self.point(gelu(self.norm(self.depth(hide(hidden_BHT, mask_BT)))))


class Attention(nn.Module):
    """A transformer layer without positions: self-attention and feed-forward, each before a layer norm."""

    def __init__(self, units: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value, self.output = (nn.Linear(units, units) for _ in range(4))
        self.norm = nn.LayerNorm(units, eps=1e-6)
        self.feed1, self.feed2 = nn.Linear(units, units), nn.Linear(units, units)
        self.final_norm = nn.LayerNorm(units, eps=1e-6)

    def forward(self, hidden_BTH: Tensor, mask_BT: Tensor | None) -> Tensor:
        """Transform (B, T, H) to the same shape; padding is masked."""
        query, key, value = (
            layer(hidden_BTH).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for layer in (self.query, self.key, self.value)
        )
        allowed = None if mask_BT is None else mask_BT[:, None, None, :]
        attended_BTH = scaled_dot_product_attention(query, key, value, allowed).transpose(1, 2).flatten(2)
        hidden_BTH = self.norm(hidden_BTH + self.output(attended_BTH))
        fed_BTH: Tensor = self.final_norm(
            hidden_BTH + self.feed2(gelu(self.feed1(hidden_BTH), approximate="tanh"))
        )
        return fed_BTH


class Mix(nn.Module):
    """Maps weighted channel by channel; the weights of a channel are a softmax over the maps."""

    def __init__(self, count: int, wide: int) -> None:
        super().__init__()
        self.weights = nn.Parameter(torch.zeros(1, count, wide, 1))

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Mix N maps (B, M, T) to one."""
        shares_NM1 = self.weights[0].softmax(0)
        return torch.stack(
            [one_BMT * share_M1 for one_BMT, share_M1 in zip(maps, shares_NM1, strict=True)]
        ).sum(0)


class ChannelNorm(nn.Module):
    """Layer norm over the channels of (B, C, ...)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, hidden: Tensor) -> Tensor:
        """Normalise each position separately."""
        variance, mean = torch.var_mean(hidden, dim=1, unbiased=False, keepdim=True)
        shape = (-1, *[1] * (hidden.ndim - 2))
        unit = (hidden - mean) * torch.rsqrt(variance + 1e-6)
        return unit * self.weight.view(shape) + self.bias.view(shape)


class GroupNorm(nn.GroupNorm):
    """Group norm of (B, M, T) over an utterance's own frames."""

    def forward(self, map_BMT: Tensor, mask_BT: Tensor | None = None) -> Tensor:
        """Normalise each group of channels over channels and frames."""
        if mask_BT is None:
            plain: Tensor = super().forward(map_BMT)
            return plain
        grouped = map_BMT.unflatten(1, (self.num_groups, -1))
        mean = mean_over_time(grouped, mask_BT).mean(-1)[..., None, None]
        variance = mean_over_time((grouped - mean).square(), mask_BT).mean(-1)[..., None, None]
        unit_BMT = ((grouped - mean) * torch.rsqrt(variance + self.eps)).flatten(1, 2)
        return unit_BMT * self.weight.unsqueeze(-1) + self.bias.unsqueeze(-1)


def _separable(channels: int) -> tuple[nn.Conv2d, nn.Conv2d]:
    depth = nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False)
    return depth, nn.Conv2d(channels, channels, 1)


def _flat(hidden_BCFT: Tensor) -> Tensor:
    """(B, C, F, T) as (B, F·C, T): band by band."""
    return hidden_BCFT.transpose(1, 2).flatten(1, 2)


def _folded(map_BMT: Tensor, channels: int) -> Tensor:
    """The inverse of `_flat`: (B, F·C, T) as (B, C, F, T)."""
    return map_BMT.unflatten(1, (-1, channels)).transpose(1, 2)

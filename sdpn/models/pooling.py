"""Poolings: a sequence of frames to one vector.

Shapes: B batch, C channels, T frames, K hidden units, H heads, P pooled.
"""

from __future__ import annotations

import abc
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from sdpn.features.lengths import hide, mean_over_time, softmax_over_time
from sdpn.models.weighted_moments import weighted_moments

#: Default number of hidden units of attention.
_BOTTLENECK = 128


@dataclass(frozen=True, kw_only=True)
class PoolingConfig:
    """Pooling of frames to one vector.

    Attributes:
        kind: ``mean``; ``statistics``: mean and standard deviation; ``self-attentive``: mean weighted by one
            score per frame; ``attentive-statistics``: both statistics, weighted by a score per frame and
            channel; ``multi-head``: one score per frame and group of channels.
        hidden: hidden layer of the attention: ``none``, ``tanh``, or ``relu-norm-tanh``, which adds ReLU and
            batch norm before the tanh.
        bottleneck: units of that layer; None uses the encoder's bottleneck if it has one, else 128.
        context: the scores of attentive-statistics also depend on the mean and standard deviation of the
            utterance.
        heads: number of channel groups of ``multi-head``.
        unbiased: divide variances by T - 1; never applied to attention-weighted ones.
        floor: minimum variance before the square root (``statistics`` add it), which bounds gradients in
            constant channels.
        passes: 1 computes variances as the mean of squares minus the square of the mean, which is faster; 2
            subtracts the mean first, which is exact for nearly constant channels.
    """

    kind: Literal["mean", "statistics", "self-attentive", "attentive-statistics", "multi-head"] = "statistics"
    hidden: Literal["none", "tanh", "relu-norm-tanh"] = "tanh"
    bottleneck: int | None = None
    context: bool = False
    heads: int = 4
    unbiased: bool = True
    floor: float = 1e-8
    passes: Literal[1, 2] = 2

    def __post_init__(self) -> None:
        """Check ranges."""
        if self.heads < 1 or (self.bottleneck is not None and self.bottleneck < 1):
            raise ValueError("heads and bottleneck must be positive")
        if self.floor <= 0:
            raise ValueError("floor must be positive")
        if self.kind == "attentive-statistics" and self.hidden == "none":
            raise ValueError("attentive-statistics need a hidden layer: tanh or relu-norm-tanh")
        if self.context and self.kind != "attentive-statistics":
            raise ValueError("context belongs to attentive-statistics")


class Pooling(nn.Module, abc.ABC):
    """Frames to one vector.

    Attributes:
        num_outputs: size P of the vector.
    """

    num_outputs: int

    @abc.abstractmethod
    def forward(self, hidden_BCT: Tensor, mask_BT: Tensor | None = None) -> Tensor:
        """Pool (B, C, T) to (B, P) in float32, leaving out frames where the mask is false."""


class Mean(Pooling):
    """Average over time."""

    def __init__(self, config: PoolingConfig, channels: int, bottleneck: int = _BOTTLENECK) -> None:  # noqa: ARG002
        super().__init__()
        self.num_outputs = channels

    def forward(self, hidden_BCT: Tensor, mask_BT: Tensor | None = None) -> Tensor:
        """Pool (B, C, T) to (B, C)."""
        return mean_over_time(_wide(hidden_BCT), mask_BT)


class Statistics(Pooling):
    """Mean and standard deviation over time (Snyder et al., ICASSP 2018)."""

    def __init__(self, config: PoolingConfig, channels: int, bottleneck: int = _BOTTLENECK) -> None:  # noqa: ARG002
        super().__init__()
        self.num_outputs = 2 * channels
        self._floor, self._unbiased = config.floor, config.unbiased

    def forward(self, hidden_BCT: Tensor, mask_BT: Tensor | None = None) -> Tensor:
        """Pool (B, C, T) to (B, 2C): means, then standard deviations."""
        mean_BC, variance_BC = _mean_and_variance(_wide(hidden_BCT), mask_BT, unbiased=self._unbiased)
        return torch.cat([mean_BC, (variance_BC + self._floor).sqrt()], dim=1)


class SelfAttentive(Pooling):
    """Mean weighted by a score for each frame, with or without a hidden layer.

    Source: Zhu et al., Self-attentive speaker embeddings, Interspeech 2018, equations 1-3.
    """

    def __init__(self, config: PoolingConfig, channels: int, bottleneck: int = _BOTTLENECK) -> None:
        super().__init__()
        self.num_outputs = channels
        self.hidden = _hidden_layer(config, channels, bottleneck)
        self.score = nn.Conv1d(channels if self.hidden is None else bottleneck, 1, 1)

    def forward(self, hidden_BCT: Tensor, mask_BT: Tensor | None = None) -> Tensor:
        """Pool (B, C, T) to (B, C)."""
        scores_B1T = self.score(hidden_BCT if self.hidden is None else self.hidden(hidden_BCT))
        with torch.autocast(hidden_BCT.device.type, enabled=False):
            return (softmax_over_time(_wide(scores_B1T), mask_BT) * _real(hidden_BCT, mask_BT)).sum(-1)


class MultiHead(Pooling):
    """Each group of channels is averaged with its own weights.

    Source: India et al., Self multi-head attention for speaker recognition, Interspeech 2019, equations 3-5,
    with a hidden layer where the configuration asks for one.
    """

    def __init__(self, config: PoolingConfig, channels: int, bottleneck: int = _BOTTLENECK) -> None:
        super().__init__()
        if channels % config.heads:
            raise ValueError(f"{channels} channels cannot be split into {config.heads} heads")
        self.num_outputs = channels
        self._heads = config.heads
        self.hidden = _hidden_layer(config, channels, bottleneck)
        # a head sees its own channels; a hidden layer has mixed them already
        self.score = (
            nn.Conv1d(channels, config.heads, 1, groups=config.heads)
            if self.hidden is None
            else nn.Conv1d(bottleneck, config.heads, 1)
        )

    def forward(self, hidden_BCT: Tensor, mask_BT: Tensor | None = None) -> Tensor:
        """Pool (B, C, T) to (B, C)."""
        scores_BHT = self.score(hidden_BCT if self.hidden is None else self.hidden(hidden_BCT))
        with torch.autocast(hidden_BCT.device.type, enabled=False):
            weights_BHT = softmax_over_time(_wide(scores_BHT), mask_BT)
            heads_BHCT = _real(hidden_BCT, mask_BT).unflatten(1, (self._heads, -1))
            return (weights_BHT.unsqueeze(2) * heads_BHCT).sum(-1).flatten(1)


class AttentiveStatistics(Pooling):
    """Channel-dependent attentive mean and standard deviation, with or without global context.

    Source: Okabe et al., arXiv 1803.10963; for each channel and with context arXiv 2005.07143, section 3.1,
    equations 1-3: a score for every channel and frame, from the frame and the utterance's mean and standard
    deviation.
    """

    def __init__(self, config: PoolingConfig, channels: int, bottleneck: int = _BOTTLENECK) -> None:
        super().__init__()
        self.num_outputs = 2 * channels
        self._config = config
        # A convolution over [frame; mean; deviation] is a convolution over the frame plus one constant for
        # the utterance: computed apart, it saves two thirds of the work and the repeated copies.
        self.frame = nn.Conv1d(channels, bottleneck, 1)
        self.context = nn.Linear(2 * channels, bottleneck, bias=False) if config.context else None
        self.norm = nn.BatchNorm1d(bottleneck) if config.hidden == "relu-norm-tanh" else None
        self.score = nn.Conv1d(bottleneck, channels, 1)

    def forward(self, hidden_BCT: Tensor, mask_BT: Tensor | None = None) -> Tensor:
        """Pool (B, C, T) to (B, 2C): weighted means, then weighted standard deviations, in float32."""
        with torch.autocast(hidden_BCT.device.type, enabled=False):
            wide_BCT = _real(hidden_BCT, mask_BT)
            statistics_BP = None if self.context is None else self._statistics(wide_BCT, mask_BT)
        if self.context is None:
            hidden_BKT = self.frame(hidden_BCT)
        else:
            context_BK1 = self.context(statistics_BP).unsqueeze(-1)
            hidden_BKT = self.frame(hidden_BCT) + context_BK1
        if self.norm is not None:
            hidden_BKT = self.norm(torch.relu(hidden_BKT))
        scores_BCT = self.score(torch.tanh(hidden_BKT))
        with torch.autocast(hidden_BCT.device.type, enabled=False):
            weights_BCT = softmax_over_time(_wide(scores_BCT), mask_BT)
            if self._config.passes == 1:
                mean_BC, square_BC = weighted_moments(weights_BCT, wide_BCT)
                variance_BC = square_BC - mean_BC * mean_BC
            else:
                mean_BC = (weights_BCT * wide_BCT).sum(-1)
                variance_BC = (weights_BCT * (wide_BCT - mean_BC.unsqueeze(-1)).square()).sum(-1)
        return torch.cat([mean_BC, self._deviation(variance_BC)], dim=1)

    def _statistics(self, wide_BCT: Tensor, mask_BT: Tensor | None) -> Tensor:
        """Mean and standard deviation of the utterance, unweighted."""
        if self._config.passes == 1 and not self._config.unbiased:
            mean_BC = mean_over_time(wide_BCT, mask_BT)
            variance_BC = mean_over_time(wide_BCT * wide_BCT, mask_BT) - mean_BC * mean_BC
        else:
            mean_BC, variance_BC = _mean_and_variance(wide_BCT, mask_BT, unbiased=self._config.unbiased)
        return torch.cat([mean_BC, self._deviation(variance_BC)], dim=1)

    def _deviation(self, variance: Tensor) -> Tensor:
        """Standard deviation, floored where the root's gradient would blow up."""
        return variance.clamp(min=self._config.floor).sqrt()


#: Kind -> class. A new pooling is one class and one line.
POOLINGS: dict[str, type[Mean | Statistics | SelfAttentive | AttentiveStatistics | MultiHead]] = {
    "mean": Mean,
    "statistics": Statistics,
    "self-attentive": SelfAttentive,
    "attentive-statistics": AttentiveStatistics,
    "multi-head": MultiHead,
}


def build_pooling(config: PoolingConfig, channels: int, *, bottleneck: int = _BOTTLENECK) -> Pooling:
    """Build a pooling of C channels; ``bottleneck`` is the encoder's, for a pooling that names none.

    Raises:
        ValueError: the channels cannot be split into the heads.
    """
    return POOLINGS[config.kind](config, channels, config.bottleneck or bottleneck)


def _hidden_layer(config: PoolingConfig, channels: int, bottleneck: int) -> nn.Module | None:
    if config.hidden == "none":
        return None
    layers: list[nn.Module] = [nn.Conv1d(channels, bottleneck, 1)]
    if config.hidden == "relu-norm-tanh":
        layers += [nn.ReLU(), nn.BatchNorm1d(bottleneck)]
    return nn.Sequential(*layers, nn.Tanh())


def _real(hidden_BCT: Tensor, mask_BT: Tensor | None) -> Tensor:
    """The frames in float32, zero where they are padding."""
    return hide(_wide(hidden_BCT), mask_BT)


def _mean_and_variance(
    hidden_BCT: Tensor, mask_BT: Tensor | None, *, unbiased: bool
) -> tuple[Tensor, Tensor]:
    """Mean and variance (B, C) over the frames of each utterance; a single frame has no variance."""
    mean_BC = mean_over_time(hidden_BCT, mask_BT)
    squares_BCT = hide((hidden_BCT - mean_BC.unsqueeze(-1)).square(), mask_BT)
    if mask_BT is None:
        # counted instead of read from the shape, so that a traced graph supports any length
        count_11 = torch.ones_like(hidden_BCT[:1, :1]).sum(-1)
        return mean_BC, squares_BCT.sum(-1) / (count_11 - int(unbiased)).clamp(min=1)
    return mean_BC, squares_BCT.sum(-1) / (mask_BT.sum(1, keepdim=True) - int(unbiased)).clamp(min=1)


def _wide(tensor: Tensor) -> Tensor:
    """In float32; float64 is kept, in which tests compare runs."""
    return tensor if tensor.dtype == torch.float64 else tensor.float()

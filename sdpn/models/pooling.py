"""Poolings: a sequence of frames to one vector.

Shapes: B batch, C channels, T frames.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class AttentiveStatistics(nn.Module):
    """Channel-dependent attentive mean and standard deviation, with global context.

    Source: arXiv 2005.07143, section 3.1, equations 1-3: a score for every channel and frame, from the frame
    and the utterance's mean and standard deviation.
    """

    def __init__(self, channels: int, bottleneck: int) -> None:
        super().__init__()
        # A convolution over [frame; mean; deviation] is a convolution over the frame plus one constant for
        # the utterance: computed apart, it saves two thirds of the work and the repeated copies.
        self.frame = nn.Conv1d(channels, bottleneck, 1)
        self.context = nn.Linear(2 * channels, bottleneck, bias=False)
        self.norm = nn.BatchNorm1d(bottleneck)
        self.score = nn.Conv1d(bottleneck, channels, 1)

    def forward(self, hidden_BCT: Tensor) -> Tensor:
        """Pool (B, C, T) to (B, 2C): weighted means, then weighted standard deviations, in float32."""
        with torch.autocast(hidden_BCT.device.type, enabled=False):
            wide_BCT = hidden_BCT.float()
            mean_BC = wide_BCT.mean(-1)
            deviation_BC = _deviation((wide_BCT * wide_BCT).mean(-1), mean_BC)
        context_BK1 = self.context(torch.cat([mean_BC, deviation_BC], dim=1)).unsqueeze(-1)
        scores_BCT = self.score(torch.tanh(self.norm(torch.relu(self.frame(hidden_BCT) + context_BK1))))
        with torch.autocast(hidden_BCT.device.type, enabled=False):
            weights_BCT = scores_BCT.float().softmax(-1)
            mean_BC = (weights_BCT * wide_BCT).sum(-1)
            deviation_BC = _deviation((weights_BCT * wide_BCT * wide_BCT).sum(-1), mean_BC)
        return torch.cat([mean_BC, deviation_BC], dim=1)


def _deviation(second_moment: Tensor, mean: Tensor) -> Tensor:
    """Standard deviation, floored where the root's gradient would blow up."""
    return (second_moment - mean * mean).clamp(min=1e-6).sqrt()

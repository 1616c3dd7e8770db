"""Weighted sums of frames and of their squares, with a backward pass that reads each tensor once.

Autograd keeps the products of weights and frames, and passes over tensors of all channels and frames nine
times where four suffice: in a step of ECAPA-TDNN on a CPU, the products of its pooling were what took longest
after the convolutions (docs/training.md).

Shapes: B batch, C channels, T frames.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


def weighted_moments(weights_BCT: Tensor, frames_BCT: Tensor) -> tuple[Tensor, Tensor]:
    """Sums over frames of w · x and of w · x², (B, C) each.

    Args:
        weights_BCT: weights w.
        frames_BCT: frames x.
    """
    if torch.is_grad_enabled() and not torch.jit.is_tracing() and not torch.compiler.is_compiling():
        moments: tuple[Tensor, Tensor] = _WeightedMoments.apply(weights_BCT, frames_BCT)
        return moments
    products_BCT = weights_BCT * frames_BCT
    return products_BCT.sum(-1), (products_BCT * frames_BCT).sum(-1)


class _WeightedMoments(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, weights_BCT: Tensor, frames_BCT: Tensor) -> tuple[Tensor, Tensor]:
        """The sums; their parts are not kept."""
        ctx.save_for_backward(weights_BCT, frames_BCT)
        products_BCT = weights_BCT * frames_BCT
        return products_BCT.sum(-1), products_BCT.mul_(frames_BCT).sum(-1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, first_BC: Tensor, second_BC: Tensor) -> tuple[Tensor, Tensor]:
        """d/dw = g₁ x + g₂ x², d/dx = w (g₁ + 2 g₂ x)."""
        weights_BCT, frames_BCT = ctx.saved_tensors
        first_BC1, second_BC1 = first_BC.unsqueeze(-1), second_BC.unsqueeze(-1)
        of_weights_BCT = torch.addcmul(first_BC1, second_BC1, frames_BCT).mul_(frames_BCT)
        of_frames_BCT = torch.addcmul(first_BC1, second_BC1, frames_BCT, value=2).mul_(weights_BCT)
        return of_weights_BCT, of_frames_BCT

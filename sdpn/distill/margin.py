"""Additive angular margin (ArcFace) on cosines.

Shapes: N rows, K classes.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


def with_margin(cosine_NK: Tensor, labels_N: Tensor, margin: float) -> Tensor:
    """Replace the cosine of each row's own class, cos θ, by cos(θ + m).

    Beyond θ = π − m, where cos(θ + m) would increase again, cos θ − m sin m is used instead, as in the
    authors' code.

    Args:
        cosine_NK: cosine of every row to every class, (…, N, K).
        labels_N: class of each row, (N,) int64; the same for all leading dimensions.
        margin: m in radians, in [0, π/2).

    Returns:
        (…, N, K).

    Source: arXiv 1801.07698, eq. 3.
    """
    index = labels_N.expand(cosine_NK.shape[:-1]).unsqueeze(-1)
    own = cosine_NK.gather(-1, index)
    # the floor keeps the gradient of the sine finite where the row lies on its centre
    sine = (1.0 - own.square()).clamp(min=1e-6).sqrt()
    moved = torch.where(
        own > -math.cos(margin),
        own * math.cos(margin) - sine * math.sin(margin),
        own - margin * math.sin(margin),
    )
    return cosine_NK.scatter(-1, index, moved)

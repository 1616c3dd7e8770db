"""Margins on cosines: additive angular (ArcFace), additive (CosFace), against the nearest other classes.

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


def with_additive_margin(cosine_NK: Tensor, labels_N: Tensor, margin: float) -> Tensor:
    """Replace the cosine of each row's own class, cos θ, by cos θ − m; shapes as in `with_margin`.

    Source: arXiv 1801.05599, eq. 5 (AM-softmax), and 1801.09414 (CosFace).
    """
    index = labels_N.expand(cosine_NK.shape[:-1]).unsqueeze(-1)
    return cosine_NK.scatter(-1, index, cosine_NK.gather(-1, index) - margin)


def with_nearest_penalty(cosine_NK: Tensor, labels_N: Tensor, nearest: int, margin: float) -> Tensor:
    """Replace the cosines of the ``nearest`` other classes, cos θ, by cos(θ − m), so that they weigh more.

    Args:
        cosine_NK: cosine of every row to every class, (…, N, K).
        labels_N: class of each row, (N,) int64; its own cosine is left as it is.
        nearest: how many; no more than there are other classes.
        margin: m in radians, in [0, π/2).

    Returns:
        (…, N, K).

    Source: Zhao et al., arXiv 2110.05042, section 2.3 (inter-top-K penalty).
    """
    index = labels_N.expand(cosine_NK.shape[:-1]).unsqueeze(-1)
    others = cosine_NK.detach().scatter(-1, index, -torch.inf)
    chosen = others.topk(min(nearest, cosine_NK.shape[-1] - 1), dim=-1).indices
    near = cosine_NK.gather(-1, chosen)
    sine = (1.0 - near.square()).clamp(min=1e-6).sqrt()
    raised = near * math.cos(margin) + sine * math.sin(margin)
    # closer than m, the angle would be negative and the cosine fall again
    return cosine_NK.scatter(-1, chosen, torch.where(near < math.cos(margin), raised, near))


def scheduled_margin(margin: float, updates: int, *, start: int = 0, warmup: int = 0) -> float:
    """The margin after so many updates: 0 for ``start`` steps, then linear up to ``margin``.

    Args:
        margin: its final value.
        updates: updates so far, which the next one follows.
        start: steps without a margin.
        warmup: steps of linear increase.
    """
    return margin * min(1.0, max(0, updates + 1 - start) / max(1, warmup))

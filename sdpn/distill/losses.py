"""The terms of the SDPN objective, as pure functions.

Shapes: B batch, V local views, K prototypes, D embedding. All terms are computed in float32 (or float64),
whatever precision the network ran in.

Source: arXiv 2308.02774, section II, and its public implementation for me-max; KoLeo from arXiv 1806.03198.
"""

from __future__ import annotations

import torch
from torch import Tensor


def cross_entropy(log_student_VBK: Tensor, targets_BK: Tensor) -> Tensor:
    """Mean over views and batch of −Σ_k q_k log p_k.

    Args:
        log_student_VBK: (V, B, K) log-probabilities of the student.
        targets_BK: (B, K) assignments of the teacher.

    Returns:
        scalar; at most log K at collapse onto the uniform distribution.
    """
    return -(targets_BK * log_student_VBK).sum(-1).mean()


def mean_entropy_gap(log_student_VBK: Tensor) -> Tensor:
    """me-max: log K − H(mean prediction); 0 when all prototypes are used equally.

    Args:
        log_student_VBK: (V, B, K) log-probabilities of the student.

    Returns:
        scalar in [0, log K].
    """
    num_prototypes = log_student_VBK.shape[-1]
    log_rows_NK = log_student_VBK.reshape(-1, num_prototypes)
    log_mean_K = torch.logsumexp(log_rows_NK, dim=0) - torch.log(
        log_rows_NK.new_tensor(float(len(log_rows_NK)))
    )
    entropy = -(log_mean_K.exp() * log_mean_K).sum()
    return torch.log(entropy.new_tensor(float(num_prototypes))) - entropy


def koleo(embedding_VBD: Tensor, *, floor: float = 1e-4) -> Tensor:
    """Kozachenko-Leonenko regulariser: spreads the embeddings of each view over the sphere.

    −mean_i log min_{j≠i} ‖ê_i − ê_j‖ for each view, summed over views.

    Args:
        embedding_VBD: (V, B, D), not normalised; B >= 2, otherwise the term is 0.
        floor: smallest distance that counts. Two near-duplicate rows would otherwise give a gradient of
            1/distance; below the floor the pair contributes a constant.

    Returns:
        scalar.
    """
    if embedding_VBD.shape[1] < 2:
        return embedding_VBD.sum() * 0.0
    unit_VBD = torch.nn.functional.normalize(_at_least_float32(embedding_VBD), dim=-1)
    with torch.no_grad():  # the nearest neighbour is a choice; only its distance has a gradient
        similarity_VBB = unit_VBD @ unit_VBD.transpose(1, 2)
        similarity_VBB.diagonal(dim1=1, dim2=2).fill_(-torch.inf)
        nearest_VB = similarity_VBB.argmax(-1)
    neighbour_VBD = torch.take_along_dim(unit_VBD, nearest_VB.unsqueeze(-1), dim=1)
    # ‖a − b‖² from the difference, not from 2 − 2 a·b, which cancels for close rows
    squared_VB = (unit_VBD - neighbour_VBD).square().sum(-1)
    return -0.5 * squared_VB.clamp(min=floor**2).log().mean(-1).sum()


def _at_least_float32(tensor: Tensor) -> Tensor:
    return tensor if tensor.dtype == torch.float64 else tensor.float()

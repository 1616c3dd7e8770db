"""The terms of the SDPN objective, as pure functions.

Shapes: B batch, V local views, K prototypes, D embedding. All terms are computed in float32 (or float64),
regardless of the precision of the network.

Source: arXiv 2308.02774, section II, and its public implementation for me-max; KoLeo from arXiv 1806.03198;
dimension regularisers from arXiv 2505.13826.
"""

from __future__ import annotations

from collections.abc import Iterable

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


def cross_entropy_over_crops(log_student_VBK: Tensor, targets_GBK: Iterable[Tensor]) -> Tensor:
    """Mean of `cross_entropy` over the teacher's global crops, each compared with every local crop."""
    return torch.stack([cross_entropy(log_student_VBK, targets_BK) for targets_BK in targets_GBK]).mean()


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
        floor: minimum distance. Two near-duplicate rows would otherwise give a gradient of
            1/distance; below the floor the pair contributes a constant.

    Returns:
        scalar.
    """
    if embedding_VBD.shape[1] < 2:
        return embedding_VBD.sum() * 0.0
    unit_VBD = direction(embedding_VBD)
    with torch.no_grad():  # gradients flow through the distance, not through the choice of the neighbour
        similarity_VBB = unit_VBD @ unit_VBD.transpose(1, 2)
        similarity_VBB.diagonal(dim1=1, dim2=2).fill_(-torch.inf)
        nearest_VB = similarity_VBB.argmax(-1)
    neighbour_VBD = torch.take_along_dim(unit_VBD, nearest_VB.unsqueeze(-1), dim=1)
    # ‖a − b‖² from the difference, not from 2 − 2 a·b, which cancels for close rows
    squared_VB = (unit_VBD - neighbour_VBD).square().sum(-1)
    return -0.5 * squared_VB.clamp(min=floor**2).log().mean(-1).sum()


def off_diagonal(embedding_VBD: Tensor) -> Tensor:
    """Dimension regulariser: mean over dimensions of the squared correlations with the others.

    Source: arXiv 2505.13826, its off-diagonal term (form as in VICReg, arXiv 2105.04906, eq. 4, of
    correlations, so that the scale of the embedding has no effect).

    Args:
        embedding_VBD: (V, B, D); the correlations are taken over all V·B rows.

    Returns:
        scalar in [0, D − 1].
    """
    correlation_DD = _correlation(embedding_VBD)
    return (correlation_DD.square().sum() - correlation_DD.diagonal().square().sum()) / len(correlation_DD)


def frobenius(embedding_VBD: Tensor) -> Tensor:
    """Dimension regulariser: log ‖C‖²_F / D of the correlation matrix C between the embedding's dimensions.

    Correlated dimensions carry the same information; at total collapse of dimensions all correlations are ±1.
    The logarithm keeps the gradient large when correlations are small.

    Source: arXiv 2505.13826, its Frobenius term (form as in FroSSL, arXiv 2310.02903); divided by D so that
    uncorrelated dimensions give 0.

    Args:
        embedding_VBD: (V, B, D); the correlations are taken over all V·B rows.

    Returns:
        scalar in [0, log D].
    """
    return torch.log1p(off_diagonal(embedding_VBD))  # ‖C‖²_F = D + the sum of squares beside the diagonal


#: Dimension regularisers by their name in the configuration.
DIMENSION = {"frobenius": frobenius, "off-diagonal": off_diagonal}


def _correlation(embedding_VBD: Tensor) -> Tensor:
    """Correlation matrix (D, D) over all rows; a constant dimension has correlation 0 with every other."""
    rows_ND = _at_least_float32(embedding_VBD).flatten(0, 1)
    centred_ND = rows_ND - rows_ND.mean(0)
    # the floor keeps the gradient of a dimension that (nearly) does not vary finite
    unit_ND = centred_ND / centred_ND.square().sum(0).clamp(min=1e-8).sqrt()
    return unit_ND.T @ unit_ND


def direction(rows_ND: Tensor) -> Tensor:
    """L2-normalise the rows, in float32 (float64 is kept).

    A row shorter than 0.01 is divided by 0.01: the gradient of a direction grows with 1 / length, and must
    not overflow in fp16. Embeddings, projections and prototypes are far longer.
    """
    return torch.nn.functional.normalize(_at_least_float32(rows_ND), dim=-1, eps=1e-2)


def _at_least_float32(tensor: Tensor) -> Tensor:
    return tensor if tensor.dtype == torch.float64 else tensor.float()

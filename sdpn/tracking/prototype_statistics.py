"""Statistics of prototypes, as pure functions of tensors.

Shapes: K prototypes, E projection, N rows, D embedding.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import normalize

#: Rows whose cosines to all prototypes are in memory at once.
_BLOCK = 1024


def cosine_drift(before_KE: Tensor, after_KE: Tensor) -> Tensor:
    """1 − cosine between each prototype then and now, (K,): 0 is unchanged, 1 is at a right angle."""
    return 1 - (normalize(before_KE, dim=1) * normalize(after_KE, dim=1)).sum(1)


def usage(assignment_NK: Tensor) -> Tensor:
    """Share of the rows' probability that each prototype gets, (K,), summing to 1."""
    return assignment_NK.mean(0)


def perplexity(usage_K: Tensor) -> Tensor:
    """exp(entropy): the effective number of prototypes in use; a scalar in [1, K]."""
    return torch.special.entr(usage_K).sum().exp()


def is_dead(usage_K: Tensor, *, share: float = 0.1) -> Tensor:
    """Which prototypes get less than ``share`` of the uniform share 1/K, (K,) bool."""
    return usage_K < share / len(usage_K)


def prototype_similarity(prototypes_KE: Tensor) -> Tensor:
    """Cosines between prototypes, (K, K)."""
    unit_KE = normalize(prototypes_KE, dim=1)
    return unit_KE @ unit_KE.T


def nearest_cosine(prototypes_KE: Tensor) -> Tensor:
    """Cosine of each prototype to its nearest neighbour, (K,); 1 means two prototypes have merged.

    Of tens of thousands all cosines at once would fill the memory: a block of rows is compared at a time.
    """
    unit_KE = normalize(prototypes_KE, dim=1)
    nearest = []
    for start in range(0, len(unit_KE), _BLOCK):
        cosine_BK = unit_KE[start : start + _BLOCK] @ unit_KE.T
        cosine_BK.diagonal(start).fill_(-1.0)
        nearest.append(cosine_BK.max(1).values)
    return torch.cat(nearest)


def effective_rank(rows_ND: Tensor) -> Tensor:
    """exp(entropy of the normalised singular values) of the centred rows (Roy & Vetterli, 2007); scalar."""
    singular = torch.linalg.svdvals((rows_ND - rows_ND.mean(0)).float())
    return perplexity(singular / singular.sum().clamp(min=1e-12))


def deviation(rows_ND: Tensor) -> Tensor:
    """Mean standard deviation of the L2-normalised rows, times √D: about 1 when spread, 0 at collapse."""
    unit_ND = normalize(rows_ND.float(), dim=1)
    return unit_ND.std(0).mean() * unit_ND.shape[1] ** 0.5


def order_by_similarity(similarity_KK: Tensor) -> Tensor:
    """Order that puts similar prototypes side by side, (K,): the leaves of an average-linkage tree."""
    from scipy.cluster.hierarchy import leaves_list, linkage
    from scipy.spatial.distance import squareform

    distance = (1 - similarity_KK.double()).clamp(min=0).fill_diagonal_(0)
    condensed = squareform(((distance + distance.T) / 2).cpu().numpy(), checks=False)
    return torch.from_numpy(leaves_list(linkage(condensed, "average")).astype("int64"))

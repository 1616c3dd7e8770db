"""Deletion and insertion: does the score follow what a map calls relevant, more than random masks?

Source: Petsiuk et al., RISE, arXiv 1806.07421, section 4.1. Patches of the features are hidden (deletion) or
shown (insertion), the most relevant first; hidden values are the mean of their band. Random masks hide as
many patches. A random order read backwards is a random order, so that one set of masks serves both.

Shapes: F mel bins, T frames, P patches, N masks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from sdpn.explain.network import ExplainedNetwork
from sdpn.explain.occlusion import patch_grid
from sdpn.explain.target import Target

#: Shares of the patches that are hidden: for figures over many utterances, and for a first look at one.
SHARES = (0.125, 0.25, 0.375, 0.5, 0.625, 0.75, 0.875)
FEW_SHARES = (0.25, 0.5, 0.75)
#: Length of a patch: a phone or two.
_PATCH_S = 0.2
#: Random orders for each utterance.
_ORDERS = 3
#: Masked copies in one batch.
_AT_ONCE = 7


@dataclass(frozen=True, eq=False)
class MaskCurves:
    """Scores of an utterance with growing shares of it hidden.

    Attributes:
        deletion: the most relevant patches hidden.
        insertion: the least relevant patches hidden.
        random: random patches hidden.
    """

    deletion: np.ndarray
    insertion: np.ndarray
    random: np.ndarray

    @property
    def areas(self) -> tuple[float, float, float]:
        """Mean scores: deletion (the lower the better), insertion (the higher the better), random."""
        return float(self.deletion.mean()), float(self.insertion.mean()), float(self.random.mean())


class MaskTest:
    """Masks of one utterance; the random ones are computed once for all methods of the same resolution.

    Args:
        network: the network.
        target: what is explained.
        features_1FT: the features of the utterance.
        shares: shares of the patches that are hidden.
        seed: random seed of the orders.
    """

    def __init__(
        self,
        network: ExplainedNetwork,
        target: Target,
        features_1FT: Tensor,
        *,
        shares: Sequence[float] = SHARES,
        seed: int = 0,
    ) -> None:
        self._shares = shares
        self._score = network.scorer(target)
        self._features_1FT = features_1FT
        self._hop_s = network.hop_s
        self._seed = seed
        self._random: dict[int, np.ndarray] = {}

    def curves(self, values_FT: np.ndarray) -> MaskCurves:
        """Hide patches in the order of a map: (F, T), or (1, T) for patches of all bands."""
        _, num_mels, num_frames = self._features_1FT.shape
        bands = 1 if len(values_FT) == 1 else 2
        grid_FT = patch_grid(num_mels, num_frames, self._hop_s, bands=bands, patch_s=_PATCH_S)
        spread_FT = np.broadcast_to(values_FT, (num_mels, num_frames)) / (num_mels if bands == 1 else 1)
        relevance_P = np.bincount(grid_FT.cpu().numpy().ravel(), weights=spread_FT.ravel())
        order_P = np.argsort(-relevance_P, kind="stable")
        if bands not in self._random:
            rng = np.random.default_rng(self._seed)
            orders = [rng.permutation(len(relevance_P)) for _ in range(_ORDERS)]
            self._random[bands] = np.mean([self._hidden(grid_FT, order) for order in orders], axis=0)
        return MaskCurves(
            self._hidden(grid_FT, order_P), self._hidden(grid_FT, order_P[::-1]), self._random[bands]
        )

    @torch.no_grad()
    def _hidden(self, grid_FT: Tensor, order_P: np.ndarray) -> np.ndarray:
        """Scores with growing shares of the patches hidden, in this order."""
        rank_P = torch.empty(len(order_P))
        rank_P[torch.from_numpy(order_P.copy())] = (torch.arange(len(order_P)) + 0.5) / len(order_P)
        shown_NFT = rank_P[grid_FT].unsqueeze(0) > torch.tensor(self._shares).view(-1, 1, 1)
        device = self._features_1FT.device
        scores = [
            self._score(self._features_1FT * shown.to(device, self._features_1FT.dtype))
            for shown in shown_NFT.split(_AT_ONCE)
        ]
        return torch.cat(scores).cpu().numpy()

"""Maps from occlusion: what the score loses where a patch of time and frequency is hidden.

Source: Zeiler and Fergus, Visualizing and understanding convolutional networks, arXiv 1311.2901; captum's
feature ablation over a grid.

Shapes: F mel bins, T frames.
"""

from __future__ import annotations

import torch
from torch import Tensor

from sdpn.explain.network import ExplainedNetwork
from sdpn.explain.target import Target

#: Length and bands of a patch: about a syllable, and a quarter of the spectrum.
PATCH_S = 0.4
NUM_BANDS = 4
#: Patches in time at most; longer recordings have longer ones.
_MOST_PATCHES = 24
#: Occluded copies in one batch.
_AT_ONCE = 8


def patch_grid(
    num_mels: int, num_frames: int, hop_s: float, *, bands: int = NUM_BANDS, patch_s: float = PATCH_S
) -> Tensor:
    """The number of the patch that every value of the features belongs to, (F, T)."""
    columns = min(_MOST_PATCHES, max(1, round(num_frames * hop_s / patch_s)))
    band_F1 = (torch.arange(num_mels) * bands // num_mels).unsqueeze(1)
    column_1T = (torch.arange(num_frames) * columns // num_frames).unsqueeze(0)
    return band_F1 * columns + column_1T


def occlusion(network: ExplainedNetwork, target: Target, features_1FT: Tensor) -> Tensor:
    """Relevance (F, T): the score lost where a patch takes the mean of its bands, spread over the patch."""
    from captum.attr import FeatureAblation

    _, num_mels, num_frames = features_1FT.shape
    grid_FT = patch_grid(num_mels, num_frames, network.hop_s).to(features_1FT.device)
    with torch.no_grad():
        loss_1FT: Tensor = FeatureAblation(network.scorer(target)).attribute(
            features_1FT, feature_mask=grid_FT.unsqueeze(0), perturbations_per_eval=_AT_ONCE
        )
    size_P = torch.bincount(grid_FT.flatten())
    return loss_1FT[0] / size_P[grid_FT]

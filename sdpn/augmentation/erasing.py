"""Erasing frames and bands of log features, after the log and on the training device.

A loader process draws the positions, as four numbers per view that do not depend on the size of the features;
the training device erases. Erased values become the mean of their band over the view; zeros before the log
would be outliers that affect the normalisation of the whole view.

Shapes: N views, F bands, T frames.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

#: Resolution of positions.
_PLACES = 1 << 16


def draw_erasure(
    rng: np.random.Generator, probability: float, most_frames: int, most_bands: int
) -> np.ndarray:
    """Draw what to erase in one view: consecutive frames and consecutive bands.

    Args:
        rng: random generator.
        probability: probability of erasing.
        most_frames: maximum number of frames; the number is uniform from 0.
        most_bands: maximum number of bands; likewise.

    Returns:
        (4,) int32: position and number of the frames, position and number of the bands. Positions are shares
        of the possible range, in 65536ths.
    """
    erasure = np.zeros(4, dtype=np.int32)
    if rng.random() < probability:
        erasure[0::2] = rng.integers(_PLACES, size=2)
        erasure[1] = rng.integers(most_frames + 1)
        erasure[3] = rng.integers(most_bands + 1)
    return erasure


def erase(features_NFT: Tensor, erasure_N4: Tensor) -> Tensor:
    """Set the erased frames and bands of each view to the mean of their band.

    Args:
        features_NFT: log features (N, F, T).
        erasure_N4: results of `draw_erasure`, (N, 4).

    Returns:
        (N, F, T).
    """
    place_N, frames_N, band_N, bands_N = erasure_N4.long().unsqueeze(-1).unbind(1)
    erased_NT = _run(features_NFT.shape[2], place_N, frames_N)
    erased_NF = _run(features_NFT.shape[1], band_N, bands_N)
    mean_NF1 = features_NFT.mean(dim=2, keepdim=True)
    return torch.where(erased_NF.unsqueeze(2) | erased_NT.unsqueeze(1), mean_NF1, features_NFT)


def _run(length: int, place_N1: Tensor, count_N1: Tensor) -> Tensor:
    """Mask (N, length) of ``count`` consecutive positions; all valid starts are equally likely."""
    start_N1 = place_N1 * (length - count_N1 + 1).clamp(min=1) // _PLACES
    at = torch.arange(length, device=place_N1.device)
    return (at >= start_N1) & (at < start_N1 + count_N1)

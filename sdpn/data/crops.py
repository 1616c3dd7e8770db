"""Global and local crops of an utterance.

The teacher sees long clean crops, the student short augmented ones (arXiv 2308.02774, figure 1).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from sdpn.io.audio import RATE_HZ

#: A crop below this root mean square (−80 dB of full scale) counts as digital silence.
SILENCE_RMS = 1e-4
_TRIES = 8


@dataclass(frozen=True, kw_only=True)
class CropConfig:
    """How many crops of what length. Published: one global of 4 s, four local of 2 s.

    Attributes:
        num_global: global crops G per utterance, for the teacher.
        global_s: their length in seconds.
        num_local: local crops V per utterance, for the student.
        local_s: their length in seconds.
    """

    num_global: int = 1
    global_s: float = 3.0
    num_local: int = 4
    local_s: float = 1.5

    def __post_init__(self) -> None:
        """Check ranges."""
        if self.num_global < 1 or self.num_local < 1:
            raise ValueError("num_global and num_local must be at least 1")
        if self.global_s < 0.1 or self.local_s < 0.1:
            raise ValueError("global_s and local_s must be at least 0.1 s")

    @property
    def global_samples(self) -> int:
        """Samples in a global crop."""
        return round(self.global_s * RATE_HZ)

    @property
    def local_samples(self) -> int:
        """Samples in a local crop."""
        return round(self.local_s * RATE_HZ)


class CropBatch(NamedTuple):
    """One training batch.

    Attributes:
        global_GBS: (G, B, S) clean crops for the teacher.
        local_VBS: (V, B, S') augmented crops for the student.
        utterance_B: (B,) int64, the place of each utterance in the training data.
    """

    global_GBS: Tensor
    local_VBS: Tensor
    utterance_B: Tensor

    def to(self, device: torch.device) -> CropBatch:
        """Move to a device."""
        return CropBatch(*(part.to(device, non_blocking=True) for part in self))

    def rows(self, rows: slice) -> CropBatch:
        """Some of the utterances, with all their crops."""
        return CropBatch(self.global_GBS[:, rows], self.local_VBS[:, rows], self.utterance_B[rows])

    def chunk(self, parts: int) -> list[CropBatch]:
        """Split into ``parts`` of equally many utterances; their number is a multiple of it."""
        size = len(self.utterance_B) // parts
        return [self.rows(slice(start, start + size)) for start in range(0, parts * size, size)]


def crop(wave: np.ndarray, num_samples: int, rng: np.random.Generator) -> np.ndarray | None:
    """Cut ``num_samples`` at a random place; every offset, the last one included, is equally likely.

    A shorter waveform is repeated, not zero-padded, so that the network never learns from silence.

    Args:
        wave: (S,) samples.
        num_samples: length of the crop.
        rng: where the randomness comes from.

    Returns:
        (num_samples,) samples, or None where the places tried were all digitally silent.
    """
    if len(wave) < num_samples:
        wave = np.resize(wave, num_samples)
    for _ in range(_TRIES):
        start = int(rng.integers(0, len(wave) - num_samples + 1))
        piece = wave[start : start + num_samples]
        if np.dot(piece, piece) > num_samples * SILENCE_RMS**2:
            return piece
    return None

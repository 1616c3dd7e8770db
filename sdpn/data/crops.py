"""Global and local crops of an utterance.

The teacher sees long clean crops, the student short augmented ones (arXiv 2308.02774, figure 1).
"""

from __future__ import annotations

from collections.abc import Callable
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
        num_global: global crops G per utterance, for the teacher; 0 for none (``distill``).
        global_s: their length in seconds.
        num_local: local crops V per utterance, for the student.
        local_s: their length in seconds.
        longest_local_s: if given, the length of local crops is drawn between ``local_s`` and this, once per
            batch and process; None keeps it at ``local_s``.
        channel: channel of multichannel files, counted from 0; None averages them.
    """

    num_global: int = 1
    global_s: float = 3.0
    num_local: int = 4
    local_s: float = 1.5
    longest_local_s: float | None = None
    channel: int | None = None

    def __post_init__(self) -> None:
        """Check ranges."""
        if self.num_global < 0 or self.num_local < 1:
            raise ValueError("num_global must not be negative, num_local at least 1")
        if self.global_s < 0.1 or self.local_s < 0.1:
            raise ValueError("global_s and local_s must be at least 0.1 s")
        if self.longest_local_s is not None and self.longest_local_s < self.local_s:
            raise ValueError("longest_local_s must not be below local_s")
        if self.channel is not None and self.channel < 0:
            raise ValueError("channel is counted from 0")

    @property
    def global_samples(self) -> int:
        """Samples in a global crop."""
        return round(self.global_s * RATE_HZ)

    @property
    def local_samples(self) -> int:
        """Samples in a local crop, of the shortest where lengths differ."""
        return round(self.local_s * RATE_HZ)

    @property
    def mean_samples(self) -> int:
        """Samples in all crops of an utterance together, on average."""
        local_s = (self.local_s + (self.longest_local_s or self.local_s)) / 2
        return self.num_global * self.global_samples + self.num_local * round(local_s * RATE_HZ)

    def draw_local_samples(self, rng: np.random.Generator) -> int:
        """Samples in the local crops of a batch; draws only where lengths differ."""
        if self.longest_local_s is None:
            return self.local_samples
        return round(rng.uniform(self.local_s, self.longest_local_s) * RATE_HZ)


class CropBatch(NamedTuple):
    """One training batch.

    Attributes:
        global_GBS: (G, B, S) clean crops for the teacher.
        local_VBS: (V, B, S') augmented crops for the student.
        utterance_B: (B,) int64, the place of each utterance in the training data.
        erasure_VB4: (V, B, 4) what to erase in the features of local crops (`sdpn.augmentation.erasing`);
            None is nothing.
        speed_B: (B,) float32, how much faster than recorded all crops of an utterance are; None if not at
            all.
    """

    global_GBS: Tensor
    local_VBS: Tensor
    utterance_B: Tensor
    erasure_VB4: Tensor | None = None
    speed_B: Tensor | None = None

    def to(self, device: torch.device) -> CropBatch:
        """Move to a device."""

        def move(part: Tensor) -> Tensor:
            return part.to(device, non_blocking=True)

        return CropBatch(
            move(self.global_GBS),
            move(self.local_VBS),
            move(self.utterance_B),
            None if self.erasure_VB4 is None else move(self.erasure_VB4),
            None if self.speed_B is None else move(self.speed_B),
        )

    def rows(self, rows: slice) -> CropBatch:
        """Some of the utterances, with all their crops."""
        return CropBatch(
            self.global_GBS[:, rows],
            self.local_VBS[:, rows],
            self.utterance_B[rows],
            None if self.erasure_VB4 is None else self.erasure_VB4[:, rows],
            None if self.speed_B is None else self.speed_B[rows],
        )

    def chunk(self, parts: int) -> list[CropBatch]:
        """Split into ``parts`` of equally many utterances; their number is a multiple of it."""
        size = len(self.utterance_B) // parts
        return [self.rows(slice(start, start + size)) for start in range(0, parts * size, size)]


def crop(wave: np.ndarray, num_samples: int, rng: np.random.Generator) -> np.ndarray | None:
    """Cut ``num_samples`` at a random offset; all offsets, including the last one, are equally likely.

    A shorter waveform is repeated, not zero-padded, so that the network never learns from silence.

    Args:
        wave: (S,) samples.
        num_samples: length of the crop.
        rng: where the randomness comes from.

    Returns:
        (num_samples,) samples, or None if all offsets tried were digital silence.
    """
    return crop_range(lambda first, count: wave[first : first + count], len(wave), num_samples, rng)


def crop_range(
    read: Callable[[int, int], np.ndarray], length: int, num_samples: int, rng: np.random.Generator
) -> np.ndarray | None:
    """As `crop`, of a waveform of which only the crop is read.

    Args:
        read: gives ``count`` samples from ``first`` on.
        length: of the whole waveform.
        num_samples: length of the crop.
        rng: where the randomness comes from.

    Returns:
        as `crop`.
    """
    for _ in range(_TRIES):
        first = int(rng.integers(0, max(length, num_samples) - num_samples + 1))
        piece = read(first, min(length, num_samples))
        if np.dot(piece, piece) > len(piece) * SILENCE_RMS**2:
            return piece if length >= num_samples else np.resize(piece, num_samples)
        if length <= num_samples:
            return None  # there is no other place
    return None

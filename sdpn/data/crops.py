"""Global and local crops of an utterance.

The teacher gets long clean crops, the student short augmented ones (arXiv 2308.02774, figure 1).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from sdpn.augmentation.on_device import Effects, apply_effects
from sdpn.io.audio import RATE_HZ

#: A crop below this root mean square (−80 dB of full scale) counts as digital silence.
SILENCE_RMS = 1e-4
_TRIES = 8


@dataclass(frozen=True, kw_only=True)
class CropConfig:
    """Number and length of crops. Published: one global crop of 4 s, four local crops of 2 s.

    Attributes:
        num_global: global crops G per utterance, for the teacher; 0 for none (``distill``).
        global_s: length of global crops in seconds.
        num_local: local crops V per utterance, for the student.
        local_s: length of local crops in seconds.
        longest_local_s: if given, the length of local crops is drawn between ``local_s`` and this, once per
            batch and process; None uses ``local_s`` for all.
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
        """Samples in a local crop; the minimum if lengths differ."""
        return round(self.local_s * RATE_HZ)

    @property
    def mean_samples(self) -> int:
        """Mean total number of samples in all crops of an utterance."""
        local_s = (self.local_s + (self.longest_local_s or self.local_s)) / 2
        return self.num_global * self.global_samples + self.num_local * round(local_s * RATE_HZ)

    def draw_local_samples(self, rng: np.random.Generator) -> int:
        """Draw the number of samples in the local crops of a batch."""
        if self.longest_local_s is None:
            return self.local_samples
        return round(rng.uniform(self.local_s, self.longest_local_s) * RATE_HZ)


class CropBatch(NamedTuple):
    """One training batch.

    Attributes:
        global_GBS: (G, B, S) clean crops for the teacher.
        local_VBS: (V, B, S') augmented crops for the student.
        utterance_B: (B,) int64, index of each utterance in the training data.
        erasure_VB4: (V, B, 4) parts of the features of local crops to erase (`sdpn.augmentation.erasing`);
            None for none.
        speed_B: (B,) float32, speed factor of all crops of an utterance; None for the original speed.
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

    def speed_index(self, speeds: Sequence[float]) -> Tensor:
        """Which of these speeds, 1 first, each utterance has: (B,) int64."""
        if self.speed_B is None:
            return torch.zeros_like(self.utterance_B)
        speeds_S = torch.tensor(speeds, dtype=self.speed_B.dtype, device=self.speed_B.device)
        return (self.speed_B.unsqueeze(1) - speeds_S).abs().argmin(1)

    def rows(self, rows: slice) -> CropBatch:
        """Select utterances, with all their crops."""
        return CropBatch(
            self.global_GBS[:, rows],
            self.local_VBS[:, rows],
            self.utterance_B[rows],
            None if self.erasure_VB4 is None else self.erasure_VB4[:, rows],
            None if self.speed_B is None else self.speed_B[rows],
        )

    def chunk(self, parts: int) -> list[CropBatch]:
        """Split into ``parts`` with equal numbers of utterances; the batch size must be a multiple of it."""
        size = len(self.utterance_B) // parts
        return [self.rows(slice(start, start + size)) for start in range(0, parts * size, size)]


class DrawnCropBatch(NamedTuple):
    """One training batch whose augmentation is drawn, to be applied on the training device.

    Attributes:
        crops: the batch, with clean local crops.
        effects: of the local crops, view by view.
    """

    crops: CropBatch
    effects: Effects

    def to(self, device: torch.device) -> CropBatch:
        """Move to a device and augment there."""
        moved = self.crops.to(device)
        clean_VBS = moved.local_VBS
        local_NS = apply_effects(clean_VBS.flatten(0, 1), self.effects.to(device))
        return moved._replace(local_VBS=local_NS.view_as(clean_VBS))


def crop(wave: np.ndarray, num_samples: int, rng: np.random.Generator) -> np.ndarray | None:
    """Cut ``num_samples`` at a random offset; all offsets, including the last one, are equally likely.

    A shorter waveform is repeated instead of zero-padded, so that the network is not trained on silence.

    Args:
        wave: (S,) samples.
        num_samples: length of the crop.
        rng: random generator.

    Returns:
        (num_samples,) samples, or None if all offsets tried were digital silence.
    """
    return crop_range(lambda first, count: wave[first : first + count], len(wave), num_samples, rng)


def crop_range(
    read: Callable[[int, int], np.ndarray], length: int, num_samples: int, rng: np.random.Generator
) -> np.ndarray | None:
    """Crop as `crop` does, reading only the samples of the crop.

    Args:
        read: returns ``count`` samples from ``first`` on.
        length: length of the whole waveform in samples.
        num_samples: length of the crop.
        rng: random generator.

    Returns:
        see `crop`.
    """
    for _ in range(_TRIES):
        first = int(rng.integers(0, max(length, num_samples) - num_samples + 1))
        piece = read(first, min(length, num_samples))
        if np.dot(piece, piece) > len(piece) * SILENCE_RMS**2:
            return piece if length >= num_samples else np.resize(piece, num_samples)
        if length <= num_samples:
            return None  # there is only one offset
    return None

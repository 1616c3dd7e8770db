"""The space in which rows are compared, and the way back from it.

Shapes: B rows, K centres, D dimensions.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sdpn.clustering.streaming.moments import Moments


@dataclass(frozen=True, eq=False)
class Space:
    """Rows are shifted, scaled and, where directions are compared, given length 1.

    The shift by the mean changes no distance. It is there because ``|x|² - 2xc + |c|²`` in float32 loses
    its digits where rows are far from the origin.

    Attributes:
        mean_D: subtracted first, float64.
        scale_D: divided by next, float64, positive.
        spherical: whether rows and centres have length 1.
    """

    mean_D: np.ndarray
    scale_D: np.ndarray
    spherical: bool

    @classmethod
    def of(cls, moments: Moments, *, standardise: bool, spherical: bool) -> Space:
        """The space of a stream with these moments.

        A dimension that is constant is not scaled. Directions are those from the origin, unless the rows are
        standardised, which moves the origin to their mean.
        """
        deviation_D = np.sqrt(moments.variance_D)
        scale_D = np.where(deviation_D > 0, deviation_D, 1.0) if standardise else np.ones_like(deviation_D)
        moved = standardise or not spherical
        return cls(moments.mean_D if moved else np.zeros_like(scale_D), scale_D, spherical)

    def enter(self, rows_BD: np.ndarray) -> np.ndarray:
        """Move float32 rows into the space, in place; returns them."""
        if self.mean_D.any():
            rows_BD -= self.mean_D.astype(np.float32)
        if (self.scale_D != 1).any():
            rows_BD *= (1.0 / self.scale_D).astype(np.float32)
        return to_length_1(rows_BD) if self.spherical else rows_BD

    def enter_centres(self, centres_KD: np.ndarray) -> np.ndarray:
        """Centres of the input space as float32 ones of this space."""
        moved_KD = (np.asarray(centres_KD, dtype=np.float64) - self.mean_D) / self.scale_D
        if self.spherical:
            to_length_1(moved_KD)
        return moved_KD.astype(np.float32)

    def leave(self, centres_KD: np.ndarray) -> np.ndarray:
        """Centres of this space in the space of the input, float64.

        Where directions are compared, they are the points whose direction is the centre's.
        """
        outside_KD: np.ndarray = centres_KD.astype(np.float64) * self.scale_D + self.mean_D
        return outside_KD


def to_length_1(rows_BD: np.ndarray) -> np.ndarray:
    """Divide rows by their length, in place; a row that is zero stays so. Returns them."""
    lengths_B = np.sqrt(np.einsum("bd,bd->b", rows_BD, rows_BD))
    lengths_B[lengths_B == 0] = 1.0
    rows_BD /= lengths_B[:, None]
    return rows_BD

"""Mean and variance of rows that pass by once.

Shapes: B rows of a block, D dimensions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass
class Moments:
    """Welford's running moments, a block at a time (Chan, Golub and LeVeque 1979), in float64.

    Sums of squares would cancel where the mean is large beside the deviation.

    Attributes:
        count: rows so far.
        mean_D: their mean.
        squares_D: sum of squared deviations from it.
    """

    count: int
    mean_D: np.ndarray
    squares_D: np.ndarray

    @classmethod
    def empty(cls, dimension: int) -> Moments:
        """Moments of no rows."""
        return cls(0, np.zeros(dimension), np.zeros(dimension))

    def add(self, rows_BD: np.ndarray) -> None:
        """Take in a block."""
        num = len(rows_BD)
        mean_D = rows_BD.mean(axis=0, dtype=np.float64)
        # float32 deviations from a float32 mean keep all digits of the rows; float64 takes twice the time
        rounded_D = mean_D.astype(np.float32)
        deviations_BD = rows_BD - rounded_D
        squares_D = np.einsum("bd,bd->d", deviations_BD, deviations_BD, dtype=np.float64)
        squares_D -= num * (mean_D - rounded_D) ** 2
        delta_D = mean_D - self.mean_D
        total = self.count + num
        self.mean_D = self.mean_D + delta_D * (num / total)
        self.squares_D = self.squares_D + squares_D + delta_D**2 * (self.count * num / total)
        self.count = total

    @property
    def variance_D(self) -> np.ndarray:
        """Variance of each dimension (divided by the count, as standardisation does)."""
        return np.maximum(self.squares_D, 0.0) / max(self.count, 1)

    def state(self) -> dict[str, Any]:
        """What `restore` takes."""
        return {"count": self.count, "mean": self.mean_D, "squares": self.squares_D}

    @classmethod
    def restore(cls, state: dict[str, Any]) -> Moments:
        """The moments that gave ``state``."""
        return cls(state["count"], state["mean"], state["squares"])

"""A uniform sample of a stream whose length nobody knows.

Shapes: B rows of a block, D dimensions.
"""

from __future__ import annotations

from typing import Any

import numpy as np


class UniformSample:
    """Reservoir that keeps the rows with the smallest random tags.

    Every row draws one number, and the ``capacity`` smallest stay: each set of rows is equally likely, as
    in Vitter's reservoir (1985), it does not matter how rows are cut into blocks, and samples of parts
    merge into a sample of the whole (Efraimidis and Spirakis 2006, with equal weights).

    Args:
        capacity: rows to keep, fewer where the stream has fewer.
        seed: of the tags.
    """

    def __init__(self, capacity: int, seed: int | list[int]) -> None:
        self._capacity = capacity
        self._rng = np.random.default_rng(seed)
        self._limit = np.inf
        self._rows: list[np.ndarray] = []
        self._tags: list[np.ndarray] = []
        self._held = 0

    def add(self, rows_BD: np.ndarray) -> None:
        """Offer a block."""
        self._take(rows_BD, self._rng.random(len(rows_BD)))

    def merge(self, rows_MD: np.ndarray, tags_M: np.ndarray) -> None:
        """Offer what another sample kept of other rows."""
        self._take(rows_MD, tags_M)

    def _take(self, rows_BD: np.ndarray, tags_B: np.ndarray) -> None:
        taken = np.flatnonzero(tags_B < self._limit)
        if len(taken):
            self._rows.append(rows_BD[taken])  # a copy
            self._tags.append(tags_B[taken])
            self._held += len(taken)
        if self._held > 2 * self._capacity:
            self._shrink()

    def _shrink(self) -> None:
        if not self._rows:
            return
        tags, rows = np.concatenate(self._tags), np.concatenate(self._rows)
        kept = np.argsort(tags, kind="stable")[: self._capacity]
        self._rows, self._tags, self._held = [rows[kept]], [tags[kept]], len(kept)
        if len(kept) == self._capacity:
            self._limit = float(self._tags[0][-1])

    @property
    def rows_MD(self) -> np.ndarray:
        """The sample in random order, whatever the order of the stream; (0, 0) before any row."""
        self._shrink()
        return self._rows[0] if self._rows else np.empty((0, 0), dtype=np.float32)

    @property
    def tags_M(self) -> np.ndarray:
        """Tags of the sample, ascending."""
        self._shrink()
        return self._tags[0] if self._tags else np.empty(0)

    def state(self) -> dict[str, Any]:
        """What `restore` takes."""
        return {"rows": self.rows_MD, "tags": self.tags_M, "rng": self._rng.bit_generator.state}

    @classmethod
    def restore(cls, capacity: int, state: dict[str, Any]) -> UniformSample:
        """The sample that gave ``state``."""
        sample = cls(capacity, 0)
        sample._rng.bit_generator.state = state["rng"]
        if len(state["tags"]):
            sample._rows, sample._tags, sample._held = [state["rows"]], [state["tags"]], len(state["tags"])
            sample._shrink()
        return sample

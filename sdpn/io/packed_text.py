"""Compact storage for millions of short texts, such as ids and paths.

A ``str`` has an overhead of 50 bytes, plus 8 in a list or about 35 in a set, and forked processes copy its
memory on every access, because of reference counting.
"""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Iterable, Iterator, Sequence
from typing import overload

import numpy as np

#: Sorted runs of digests are merged so that each is at least twice as long as the next.
_GROWTH = 2
#: Digests are kept in so many parts, by their first bits: merging doubles the memory of one of them only.
_PARTS = 16


class PackedText(Sequence[str]):
    """An append-only list of texts in one byte array.

    Takes the UTF-8 bytes of the texts and 8 bytes for each.

    Args:
        texts: initial texts.
    """

    def __init__(self, texts: Iterable[str] = ()) -> None:
        self._bytes = bytearray()
        self._ends = array("q")
        self.extend(texts)

    def append(self, text: str) -> None:
        """Add a text."""
        self._bytes += text.encode("utf-8", "surrogateescape")
        self._ends.append(len(self._bytes))

    def extend(self, texts: Iterable[str]) -> None:
        """Add texts."""
        texts = list(texts)
        joined = "".join(texts)
        if joined.isascii():  # a character is a byte
            ends = np.cumsum(np.fromiter(map(len, texts), dtype=np.int64, count=len(texts)))
            self._ends.frombytes((ends + len(self._bytes)).tobytes())
            self._bytes += joined.encode()
            return
        for text in texts:
            self.append(text)

    def __len__(self) -> int:
        """Return the number of texts."""
        return len(self._ends)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[str]: ...
    def __getitem__(self, index: int | slice) -> str | Sequence[str]:
        """Return a text, or a list of those in a slice."""
        if isinstance(index, slice):
            return [self[place] for place in range(*index.indices(len(self)))]
        place = range(len(self))[index]
        start = self._ends[place - 1] if place else 0
        return self._bytes[start : self._ends[place]].decode("utf-8", "surrogateescape")

    def __iter__(self) -> Iterator[str]:
        """Yield the texts."""
        start = 0
        for end in self._ends:
            yield self._bytes[start:end].decode("utf-8", "surrogateescape")
            start = end


class DistinctKeys:
    """A set of keys that takes 16 bytes for each, for finding duplicates.

    Stores 128-bit digests in sorted runs; collisions are negligible.
    """

    def __init__(self) -> None:
        self._parts: list[list[np.ndarray]] = [[] for _ in range(_PARTS)]

    def add(self, keys: Sequence[str]) -> int | None:
        """Add keys; returns the index of the first duplicate, or None.

        Args:
            keys: large batches take less time per key.
        """
        if not keys:
            return None
        found_N = _digests(keys)
        order_N = np.argsort(found_N, kind="stable")
        sorted_N = found_N[order_N]
        again_N = np.empty(len(keys), dtype=bool)
        again_N[order_N] = self._holds(sorted_N)  # sorted, which searches faster
        again_N[order_N[1:]] |= sorted_N[1:] == sorted_N[:-1]  # stable: the earlier one comes first
        for part, stretch in zip(self._parts, _in_parts(sorted_N), strict=True):
            if len(stretch):
                part.append(stretch.copy())
            while len(part) > 1 and len(part[-2]) < _GROWTH * len(part[-1]):
                merged = np.concatenate([part.pop(), part.pop()])
                merged.sort(kind="stable")
                part.append(merged)
        return int(again_N.argmax()) if again_N.any() else None

    def holds(self, keys: Sequence[str]) -> np.ndarray:
        """Which of keys are in the set, (N,) bool."""
        digests_N = _digests(keys)
        order_N = np.argsort(digests_N, kind="stable")
        held_N = np.empty(len(digests_N), dtype=bool)
        held_N[order_N] = self._holds(digests_N[order_N])
        return held_N

    def _holds(self, sorted_N: np.ndarray) -> np.ndarray:
        held: list[np.ndarray] = []
        for part, digests_M in zip(self._parts, _in_parts(sorted_N), strict=True):
            held_M = np.zeros(len(digests_M), dtype=bool)
            for stretch in part:
                places_M = np.searchsorted(stretch, digests_M)
                places_M[places_M == len(stretch)] = 0
                held_M |= stretch[places_M] == digests_M
            held.append(held_M)
        return np.concatenate(held)


def _in_parts(sorted_N: np.ndarray) -> list[np.ndarray]:
    """Sorted digests in `_PARTS` stretches, by their first bits."""
    edges = np.array([bytes([256 * part // _PARTS]) for part in range(1, _PARTS)], dtype="S16")
    return np.split(sorted_N, np.searchsorted(sorted_N, edges))


def count_distinct(texts: Iterable[str]) -> int:
    """Number of distinct texts; takes 16 bytes for each."""
    return len(np.unique(_digests(texts)))


def _digests(keys: Iterable[str]) -> np.ndarray:
    """128 bits of each key, (N,)."""
    joined = b"".join(
        hashlib.blake2b(key.encode("utf-8", "surrogateescape"), digest_size=16).digest() for key in keys
    )
    return np.frombuffer(joined, dtype="S16")

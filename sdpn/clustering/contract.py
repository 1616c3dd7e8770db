"""What every clusterer promises, and the rules that all of them share.

Shapes: N windows, D embedding dimensions.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np

from sdpn.errors import InputError


class Clusterer(Protocol):
    """Finds the speakers among embeddings.

    An implementation is a frozen dataclass whose fields are its settings. It never hands its work to
    another method, and equal input gives equal output.
    """

    def fit_predict(
        self,
        emb_ND: np.ndarray,
        *,
        num_speakers: int | None = None,
        min_speakers: int = 1,
        max_speakers: int | None = None,
    ) -> np.ndarray:
        """Assign every embedding to a speaker.

        Args:
            emb_ND: embeddings (N, D), finite and not zero.
            num_speakers: exactly that many, whatever the bounds and the method's own estimate say.
            min_speakers: at least that many.
            max_speakers: at most that many; None sets no bound.

        Returns:
            (N,) int64 labels 0..k-1, numbered by first appearance, none of them unused.

        Raises:
            InputError: no rows; a row that is zero or not finite; more speakers demanded than there
                are rows; bounds that contradict each other.
        """
        ...


def speaker_bounds(
    num_windows: int, *, num_speakers: int | None, min_speakers: int, max_speakers: int | None
) -> tuple[int, int]:
    """Turn the three ways of stating a speaker count into the smallest and largest admissible count.

    A given ``num_speakers`` makes both equal and overrules the bounds.

    Raises:
        InputError: see `Clusterer.fit_predict`.
    """
    if num_windows < 1:
        raise InputError("there are no embeddings to cluster")
    if num_speakers is not None:
        check_counts(num_speakers=num_speakers, min_speakers=1, max_speakers=None)
        low, high = num_speakers, num_speakers
    else:
        check_counts(num_speakers=None, min_speakers=min_speakers, max_speakers=max_speakers)
        low, high = min_speakers, num_windows if max_speakers is None else min(max_speakers, num_windows)
    if low > num_windows:
        windows = f"{num_windows} window" + ("s" if num_windows > 1 else "")
        raise InputError(
            f"{low} speakers are asked for, but the speech gives only {windows} to tell them apart",
            hint=f"ask for at most {num_windows}",
        )
    return low, high


def check_counts(*, num_speakers: int | None, min_speakers: int, max_speakers: int | None) -> None:
    """Refuse counts that no recording could satisfy.

    Raises:
        InputError: a count below 1, or a minimum above the maximum.
    """
    for name, value in (("num", num_speakers), ("min", min_speakers), ("max", max_speakers)):
        if value is not None and value < 1:
            raise InputError(f"the number of speakers ({name}_speakers) is {value}; expected at least 1")
    if max_speakers is not None and min_speakers > max_speakers:
        raise InputError(f"min_speakers is {min_speakers}, above max_speakers, which is {max_speakers}")


def by_first_appearance(labels_N: np.ndarray) -> np.ndarray:
    """Renumber any labels (N,) as 0..k-1 in the order in which they first appear."""
    _, first, inverse = np.unique(labels_N, return_index=True, return_inverse=True)
    rank = np.empty(len(first), dtype=np.int64)
    rank[np.argsort(first)] = np.arange(len(first))
    renumbered: np.ndarray = rank[inverse]
    return renumbered

"""Window embeddings as those of a conversation: turns, windows that overlap by half, unequal speakers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

DIMENSIONS = 192


def conversation(
    windows: Sequence[int], *, within: float, between: float, seed: int, turn: int = 10
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Embeddings (N, D), times (N, 2) and speakers (N,).

    Args:
        windows: how many each speaker has; he takes turns of about ``turn`` of them.
        within: cosine of two windows of one speaker that do not overlap.
        between: cosine of two windows of different speakers.
        seed: random seed.
        turn: windows in a turn.
    """
    rng = np.random.default_rng(seed)
    turns = [
        np.full(len(part), speaker)
        for speaker, count in enumerate(windows)
        for part in np.array_split(np.arange(count), max(1, count // turn))
    ]
    truth = np.concatenate([turns[place] for place in rng.permutation(len(turns))])
    noise = rng.normal(size=(len(truth) + 1, DIMENSIONS))
    noise = (noise[1:] + noise[:-1]) / np.sqrt(2)  # neighbours share half of what is heard
    common, speakers = rng.normal(size=DIMENSIONS), rng.normal(size=(len(windows), DIMENSIONS))
    emb = (
        np.sqrt(between) * common + np.sqrt(within - between) * speakers[truth] + np.sqrt(1 - within) * noise
    )
    starts = 0.75 * np.arange(len(truth))
    return emb, np.stack([starts, starts + 1.5], axis=1), truth

"""Embeddings of the speakers of a recording, of the windows in their turns.

Shapes: N windows, D embedding dimensions, K speakers, T turns.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sdpn.io.rttm import Turn


def speaker_embeddings(
    times_N2: np.ndarray, emb_ND: np.ndarray, turns: Sequence[Turn]
) -> dict[str, np.ndarray]:
    """The mean embedding of every speaker: each window counts by the seconds that it shares with the turns.

    Args:
        times_N2: start and end of the windows in seconds.
        emb_ND: their embeddings.
        turns: of the same recording and channel, with one speaker at a time.

    Returns:
        (D,) float32 by speaker, in the order of their first turns, not normalised: back ends subtract a mean
        first. A speaker whose turns no window meets is left out.
    """
    if not len(emb_ND) or not turns:
        return {}
    found = {}
    for speaker in dict.fromkeys(turn.speaker for turn in sorted(turns)):
        spans_T2 = np.array(sorted((t.onset_s, t.end_s) for t in turns if t.speaker == speaker))
        seconds_N = seconds_within(times_N2, spans_T2)
        if (total_s := float(seconds_N.sum())) > 0:
            found[speaker] = (seconds_N / total_s @ emb_ND.astype(np.float64)).astype(np.float32)
    return found


def seconds_within(times_N2: np.ndarray, spans_T2: np.ndarray) -> np.ndarray:
    """The seconds that each window shares with spans.

    Args:
        times_N2: start and end of the windows.
        spans_T2: start and end of disjoint spans in order of time.

    Returns:
        (N,) float64.
    """
    starts_T, ends_T = spans_T2.T
    before_T = np.concatenate([[0.0], np.cumsum(ends_T - starts_T)])  # covered before each span

    def covered(times: np.ndarray) -> np.ndarray:
        """Seconds of the spans before each time."""
        last = np.searchsorted(starts_T, times, side="right") - 1
        inside = np.minimum(times, ends_T[last]) - starts_T[last]
        sums: np.ndarray = np.where(last < 0, 0.0, before_T[last] + inside)
        return sums

    return covered(times_N2[:, 1]) - covered(times_N2[:, 0])

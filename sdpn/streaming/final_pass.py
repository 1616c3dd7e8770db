"""The end of a stream: its windows are clustered as those of a file, and the result is compared with the live
one.

Shapes: F frames of 10 ms.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sdpn.diarization.timeline import LabelledSpan
from sdpn.io.rttm import Turn
from sdpn.metrics.diarization import score_recordings

_FRAME_S = 0.01


@dataclass(frozen=True, kw_only=True)
class Difference:
    """Of the live turns from the final ones.

    Attributes:
        changed_s: seconds of speech with another speaker.
        der: DER of the live turns with the final ones as the reference, collar 0; a fraction.
    """

    changed_s: float
    der: float


def with_live_labels(
    final: Sequence[LabelledSpan], live: Sequence[LabelledSpan], *, new: int
) -> list[LabelledSpan]:
    """Label the final spans as the live ones, speaker by speaker with the most time in common.

    Args:
        final: disjoint spans in order of time.
        live: the same.
        new: labels from here on are for speakers who are not among the live ones.
    """
    from scipy.optimize import linear_sum_assignment

    final_F, live_F = _frames(final, live)
    labels = list(dict.fromkeys(span.label for span in final))
    known = sorted({span.label for span in live})
    both_F = (final_F >= 0) & (live_F >= 0)
    shared_CK = np.zeros((len(labels), len(known)))
    places_F = np.searchsorted(known, live_F[both_F])
    rank = {label: place for place, label in enumerate(labels)}
    ranks = np.array([rank.get(label, 0) for label in range(max(labels, default=0) + 1)])
    np.add.at(shared_CK, (ranks[final_F[both_F]], places_F), 1.0)
    name = {}
    for cluster, place in zip(*linear_sum_assignment(shared_CK, maximize=True), strict=True):
        if shared_CK[cluster, place] > 0:
            name[labels[cluster]] = known[place]
    for label in labels:
        if label not in name:
            name[label], new = new, new + 1
    return [span._replace(label=name[span.label]) for span in final]


def difference(live: Sequence[LabelledSpan], final: Sequence[LabelledSpan]) -> Difference:
    """How much the final pass changed; labels mean the same speakers on both sides."""
    final_F, live_F = _frames(final, live)
    changed = int(((final_F != live_F) & (final_F >= 0) & (live_F >= 0)).sum())
    (score,) = score_recordings({"stream": _turns(final)}, {"stream": _turns(live)})
    return Difference(changed_s=changed * _FRAME_S, der=score.components.der)


def _frames(*of: Sequence[LabelledSpan]) -> list[np.ndarray]:
    """Label of each frame, (F,) for each list of spans; -1 for none."""
    start = min((span.start_s for spans in of for span in spans), default=0.0)
    end = max((span.end_s for spans in of for span in spans), default=0.0)
    found = []
    for spans in of:
        label_F = np.full(round((end - start) / _FRAME_S) + 1, -1, dtype=np.int32)
        for span in spans:
            label_F[round((span.start_s - start) / _FRAME_S) : round((span.end_s - start) / _FRAME_S)] = (
                span.label
            )
        found.append(label_F)
    return found


def _turns(spans: Sequence[LabelledSpan]) -> list[Turn]:
    return [
        Turn(
            recording="stream",
            onset_s=span.start_s,
            duration_s=span.end_s - span.start_s,
            speaker=str(span.label),
        )
        for span in spans
        if span.end_s > span.start_s
    ]

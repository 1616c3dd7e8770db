"""Live and final turns are compared, speaker by speaker."""

from __future__ import annotations

import pytest

from sdpn.diarization.timeline import LabelledSpan
from sdpn.streaming.final_pass import difference, with_live_labels


def spans(*rows: tuple[float, float, int]) -> list[LabelledSpan]:
    return [LabelledSpan(*row) for row in rows]


def test_speakers_keep_their_live_labels() -> None:
    live = spans((0, 4, 5), (5, 8, 2), (9, 10, 5))
    final = spans((0, 4, 0), (5, 8, 1), (9, 10, 2), (11, 12, 3))
    found = with_live_labels(final, live, new=7)
    assert [span.label for span in found] == [5, 2, 7, 8]
    assert [span[:2] for span in found] == [span[:2] for span in final]


def test_difference_by_hand() -> None:
    """One of nine seconds has another speaker, one is missed, and one is too much."""
    final = spans((0, 4, 0), (5, 10, 1))
    live = spans((0, 5, 0), (5, 6, 0), (6, 9, 1))
    found = difference(live, final)
    assert found.changed_s == pytest.approx(1.0, abs=0.02)
    assert found.der == pytest.approx((1 + 1 + 1) / 9)


def test_nothing_to_compare() -> None:
    assert with_live_labels([], spans((0, 1, 0)), new=1) == []
    assert (difference([], []).der, difference([], []).changed_s) == (0.0, 0.0)
    assert difference(spans((0, 1, 0)), []).der == 1.0
    assert difference([], spans((0, 1, 0))).der == 1.0

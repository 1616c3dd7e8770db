"""Unions of spans, by hand."""

from __future__ import annotations

from sdpn.diarization.speech import union


def test_union_merges_overlapping_and_touching_spans_and_cuts_at_the_ends() -> None:
    spans = [
        (5.0, 6.0),
        (-1.0, 0.5),
        (0.4, 1.0),
        (1.0, 2.0),
        (5.2, 5.4),
        (9.0, 99.0),
        (70.0, 80.0),
        (3.0, 3.0),
    ]
    assert union(spans, duration_s=10.0) == [(0.0, 2.0), (5.0, 6.0), (9.0, 10.0)]

"""Stretches of speech against silero-vad's own rules, which see the whole recording at once."""

from __future__ import annotations

import silero_vad
from hypothesis import given
from hypothesis import strategies as st

from sdpn.diarization.speech_spans import SpeechSpans

RATE_HZ, FRAME = 16000, 512
#: Both thresholds and what lies around and between them.
PROBABILITIES = st.lists(st.sampled_from([0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 1.0]), min_size=1, max_size=200)


@given(
    probabilities=PROBABILITIES,
    threshold=st.sampled_from([0.1, 0.3, 0.5]),
    min_speech_s=st.sampled_from([0.0, 0.1, 0.25]),
    min_silence_s=st.sampled_from([0.0, 0.1, 0.3]),
    pad_s=st.sampled_from([0.0, 0.03, 0.1, 0.5]),
    missing=st.integers(0, FRAME - 1),
    at_once=st.integers(1, 20),
)
def test_as_silero_does_and_never_taken_back(
    probabilities: list[float],
    threshold: float,
    min_speech_s: float,
    min_silence_s: float,
    pad_s: float,
    missing: int,
    at_once: int,
) -> None:
    num_samples = len(probabilities) * FRAME - missing
    theirs = silero_vad.get_speech_timestamps_from_probs(
        probabilities,
        sampling_rate=RATE_HZ,
        threshold=threshold,
        min_speech_duration_ms=1000 * min_speech_s,
        min_silence_duration_ms=1000 * min_silence_s,
        speech_pad_ms=1000 * pad_s,
        audio_length_samples=num_samples,
    )
    expected = [
        (span["start"] / RATE_HZ, span["end"] / RATE_HZ) for span in theirs if span["end"] > span["start"]
    ]
    spans = SpeechSpans(
        threshold=threshold, min_speech_s=min_speech_s, min_silence_s=min_silence_s, pad_s=pad_s
    )
    found, promised = [], []
    for start in range(0, len(probabilities), at_once):
        undecided_s = spans.undecided_from_s
        new = spans.push(probabilities[start : start + at_once])
        assert all(segment.end_s >= undecided_s for segment in new)
        found += new
        promised += [] if spans.growing is None else [spans.growing]
    found += spans.finish(num_samples)
    assert found == expected
    for start_s, end_s in promised:
        assert any(start_s == segment.start_s and end_s <= segment.end_s for segment in found)


def test_a_probability_between_the_thresholds_ends_speech_after_half_a_minute() -> None:
    """Silero would wait for ever."""
    spans = SpeechSpans(threshold=0.5, min_speech_s=0.25, min_silence_s=0.1, pad_s=0.0)
    found = spans.push([1.0] * 100 + [0.3] + [0.4] * 936)
    assert found == []
    found = spans.push([0.4] * 2)
    assert found == [(0.0, 100 * FRAME / RATE_HZ)]
    assert spans.growing is None
    assert spans.finish(1039 * FRAME) == []

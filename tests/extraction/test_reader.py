"""Reading ahead, and batches of like lengths."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest

from sdpn.extraction.clips import ClipPlan, WindowPlan
from sdpn.extraction.reader import ReadClip, Reading, bucketed, read_ahead
from sdpn.io.kaldi import Utterance


@pytest.mark.parametrize("threads", [1, 3])
def test_utterances_come_in_order_with_their_samples(utterances: list[Utterance], threads: int) -> None:
    clips = list(read_ahead(utterances, threads=threads))
    assert [one.utterance for one in clips] == utterances
    for one in clips:
        np.testing.assert_array_equal(one.wave_S, one.utterance.read())
        assert one.duration_s == len(one.wave_S) / 16000


def test_a_bad_file_is_reported_in_order_and_stops_nothing(
    utterances: list[Utterance], tmp_path: Path
) -> None:
    missing = Utterance("gone", tmp_path / "gone.wav")
    clips = list(read_ahead([*utterances[:2], missing, *utterances[2:4]], threads=2))
    assert [one.error is None for one in clips] == [True, True, False, True, True]
    assert str(clips[2].error) == f"{tmp_path / 'gone.wav'}: no such audio file"


def test_no_more_is_read_than_soon_needed(
    utterances: list[Utterance], monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []
    lock = threading.Lock()
    real = ClipPlan.__init__

    def counted(self: ClipPlan, **arguments: object) -> None:
        with lock:
            opened.append("one")
        real(self, **arguments)

    monkeypatch.setattr(ClipPlan, "__init__", counted)
    reading = read_ahead(utterances, threads=1)
    next(reading)
    reading.close()
    assert len(opened) <= 5  # of 40: four ahead


def test_windows_come_clip_by_clip(utterances: list[Utterance]) -> None:
    plan = WindowPlan(window_s=0.2, hop_s=0.1)
    clips = list(read_ahead(utterances[:3], Reading(windows=plan), threads=2))
    assert all(one.windows_N2 is not None and one.number < one.num_clips for one in clips)
    for utterance in utterances[:3]:
        own = [one for one in clips if one.utterance == utterance]
        assert [one.number for one in own] == list(range(own[0].num_clips))
        number = sum(len(one.windows_N2) for one in own if one.windows_N2 is not None)
        assert number == len(plan.times(own[0].duration_s))


def test_batches_hold_like_lengths_within_their_bounds(utterances: list[Utterance]) -> None:
    samples = 6 * 16000
    batches = list(bucketed(read_ahead(utterances), samples=samples, utterances=4))
    assert sorted(one.utterance.id for batch in batches for one in batch) == [u.id for u in utterances]
    for batch in batches:
        longest = max(len(one.wave_S) for one in batch)
        assert len(batch) <= 4 and (len(batch) == 1 or len(batch) * longest <= samples)
        assert min(len(one.wave_S) for one in batch) >= 0.9 * longest
    assert len(batches) < len(utterances) / 1.5  # there is something to share


def test_an_odd_length_does_not_wait_for_ever() -> None:
    """The oldest goes first, however lonely; and the store is bounded."""
    lengths = [50, *[10] * 100]
    clips = (
        ReadClip(utterance=Utterance(str(at), Path("x")), wave_S=np.zeros(length, dtype=np.float32))
        for at, length in enumerate(lengths)
    )
    batches = bucketed(clips, samples=20, utterances=2)
    assert [one.utterance.id for one in next(batches)] == ["0"]
    assert all(len(batch) == 2 for batch in batches)

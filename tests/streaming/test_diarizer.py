"""Streams of real speech, cut in any way, of any length, with gaps and changes of rate."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.signal import resample_poly

import sdpn
from sdpn.diarization.timeline import LabelledSpan
from sdpn.diarization.vad import detect_speech
from sdpn.errors import InputError
from sdpn.io import audio
from sdpn.streaming.diarizer import StreamingConfig, StreamingDiarizer
from sdpn.streaming.events import Event, Gap, Relabelled, StreamBegins, StreamEnds, TurnBegins, TurnEnds
from sdpn.streaming.live_turns import LiveTurns
from tests.diarization.test_pipeline import HumEmbedder

RATE_HZ = 16000


@pytest.fixture(scope="module")
def meeting(shared_data: Path) -> np.ndarray:
    """24 s of a meeting."""
    return audio.read(shared_data / "ami_excerpt" / "dev00.flac")[: 24 * RATE_HZ]


def streamed(
    wave: np.ndarray, cuts: list[int] | None = None, **options: object
) -> tuple[list[Event], StreamingDiarizer]:
    diarizer = StreamingDiarizer(HumEmbedder(), **options)  # type: ignore[arg-type]
    events: list[Event] = []
    for begin, end in pairwise([0, *sorted(cuts or []), len(wave)]):
        events += diarizer.push(wave[begin:end])
    return events + diarizer.finish(), diarizer


def ending(events: list[Event]) -> StreamEnds:
    assert isinstance(events[-1], StreamEnds)
    assert not any(isinstance(event, StreamEnds) for event in events[:-1])
    return events[-1]


def replayed(events: list[Event], diarizer: StreamingDiarizer) -> list[tuple[float, float, str]]:
    """Turns as somebody knows them who has nothing but the events."""
    turns, names = LiveTurns(max_pause_s=diarizer.config.max_pause_s), []
    for event in events:
        for name in (getattr(event, "was", None), getattr(event, "speaker", None)):
            if name is not None and name not in names:
                names.append(name)
        if isinstance(event, TurnEnds):
            turns.add(event.start_s, event.end_s, names.index(event.speaker))
        elif isinstance(event, Relabelled):
            turns.relabel(event.start_s, event.end_s, names.index(event.was), names.index(event.speaker))
    return [(span.start_s, span.end_s, names[span.label]) for span in turns.spans]


@pytest.mark.parametrize("latency_s", [0.5, 2.0])
def test_events_do_not_depend_on_the_cuts(latency_s: float, meeting: np.ndarray) -> None:
    wave = meeting[: 12 * RATE_HZ + 77]
    expected, _ = streamed(wave, latency_s=latency_s)
    assert any(isinstance(event, TurnBegins) for event in expected)

    @settings(max_examples=3, deadline=None, suppress_health_check=list(HealthCheck))
    @given(cuts=st.lists(st.integers(0, len(wave)), max_size=40))
    def check(cuts: list[int]) -> None:
        assert streamed(wave, cuts, latency_s=latency_s)[0] == expected

    check()
    every_sample_at_first = [*range(1, 300), 5000, 5001]
    assert streamed(wave, every_sample_at_first, latency_s=latency_s)[0] == expected


@pytest.mark.parametrize("latency_s", [0.5, 1.0, 2.0, 5.0])
def test_the_latency_is_kept_and_events_say_everything(latency_s: float, meeting: np.ndarray) -> None:
    events, diarizer = streamed(meeting, latency_s=latency_s)
    assert isinstance(events[0], StreamBegins)
    times = [event.at_s for event in events]
    assert times == sorted(times)
    begun = [event for event in events if isinstance(event, TurnBegins)]
    ended = [event for event in events if isinstance(event, TurnEnds)]
    assert [event.turn for event in begun] == [event.turn for event in ended] == list(range(len(begun)))
    for begins, ends in zip(begun, ended, strict=True):
        assert begins.start_s == ends.start_s < ends.end_s
        assert begins.speaker == ends.speaker
        assert begins.at_s - begins.start_s <= latency_s + 1e-6
        # a turn has ended once there was silence for as long as a pause may last, or another begins
        assert ends.at_s - ends.end_s <= latency_s + diarizer.config.max_pause_s + 0.6
    found = replayed(events, diarizer)
    expected = [(turn.start, turn.end, name) for turn, _, name in live(diarizer).itertracks(yield_label=True)]
    np.testing.assert_allclose([row[:2] for row in found], [row[:2] for row in expected], atol=1e-6)
    assert [row[2] for row in found] == [row[2] for row in expected]


def live(diarizer: StreamingDiarizer) -> object:
    """The live turns, although the stream has ended."""
    diarizer._final = None
    return diarizer.turns


def test_speech_is_that_of_a_file(meeting: np.ndarray) -> None:
    """Levels of the past find nearly the speech that levels of the whole find."""
    _, diarizer = streamed(meeting)
    config = StreamingConfig()
    whole = detect_speech(meeting, config.vad)

    def mask(spans: list[tuple[float, float]]) -> np.ndarray:
        steps = np.zeros(2400, dtype=bool)
        for start_s, end_s in spans:
            steps[round(100 * start_s) : round(100 * end_s)] = True
        return steps

    heard, expected = mask([span[:2] for span in diarizer.relabelled]), mask([tuple(one) for one in whole])
    assert (heard != expected).mean() < 0.1


def test_with_the_model_of_the_package(meeting: np.ndarray) -> None:
    diarizer = sdpn.StreamingDiarizer(sdpn.load_model(), latency_s=1.0, recording="meeting")
    events = [
        event for at in range(0, len(meeting), 5000) for event in diarizer.push(meeting[at : at + 5000])
    ]
    end = ending(events + diarizer.finish())
    assert diarizer.turns.uri == "meeting"
    assert end.num_speakers == len(diarizer.turns.labels()) >= 1
    assert 0.0 <= end.der <= end.der_as_reported + 0.2
    assert [turn["speaker"] for turn in end.turns] == [
        name for _, _, name in diarizer.turns.itertracks(yield_label=True)
    ]


@pytest.mark.parametrize("seconds", [0.0, 0.01, 0.2, 2.0])
def test_short_streams(seconds: float, meeting: np.ndarray) -> None:
    """Also those that end in the middle of a word."""
    events, diarizer = streamed(meeting[7 * RATE_HZ :][: round(seconds * RATE_HZ)])
    end = ending(events)
    assert end.at_s == pytest.approx(seconds, abs=1e-3)
    assert len(diarizer.turns) == len(end.turns)
    if seconds == 2.0:
        assert len(end.turns) >= 1
        assert end.turns[-1]["end_s"] <= 2.0


@pytest.mark.parametrize("level", [0.0, 1e-5, 0.1])
def test_silence_and_noise(level: float) -> None:
    wave = np.random.default_rng(0).normal(scale=level, size=10 * RATE_HZ).astype(np.float32)
    events, diarizer = streamed(wave)
    assert [event.kind for event in events] == ["stream_begins", "stream_ends"]
    end = ending(events)
    assert (end.num_speakers, end.changed_s, end.der, end.turns) == (0, 0.0, 0.0, [])
    assert not diarizer.turns


def test_a_gap_ends_words_and_moves_the_time(meeting: np.ndarray) -> None:
    half = 8 * RATE_HZ
    diarizer = StreamingDiarizer(HumEmbedder())
    events = diarizer.push(meeting[:half]) + diarizer.gap(30.0) + diarizer.push(meeting[half : 2 * half])
    events += diarizer.finish()
    (gap,) = [event for event in events if isinstance(event, Gap)]
    assert (gap.at_s, gap.seconds) == (8.0, 30.0)
    alone, _ = streamed(meeting[:half])
    before = [event for event in events if isinstance(event, TurnEnds) and event.at_s <= 8.0]
    assert before == [event for event in alone if isinstance(event, TurnEnds)]
    spans = [(turn["start_s"], turn["end_s"]) for turn in ending(events).turns]
    assert all(end_s <= 8.0 or start_s >= 38.0 for start_s, end_s in spans)
    assert any(start_s >= 38.0 for start_s, _ in spans)
    assert diarizer.heard_s == pytest.approx(46.0)


def test_a_change_of_rate(meeting: np.ndarray) -> None:
    """The second half at 48 kHz gives the speech that it gives at 16 kHz."""
    half = 12 * RATE_HZ
    diarizer = StreamingDiarizer(HumEmbedder())
    diarizer.push(meeting[:half])
    diarizer.push(resample_poly(meeting[half:], 3, 1).astype(np.float32), 48000)
    changed = ending(diarizer.finish())
    same, _ = streamed(meeting)
    assert changed.at_s == pytest.approx(24.0)
    seconds = [sum(turn["end_s"] - turn["start_s"] for turn in end.turns) for end in (changed, ending(same))]
    assert seconds[0] == pytest.approx(seconds[1], rel=0.1)


def test_a_number_of_speakers_is_obeyed(meeting: np.ndarray) -> None:
    events, diarizer = streamed(meeting, num_speakers=2)
    assert ending(events).num_speakers == 2
    assert len({span.label for span in diarizer.reported}) <= 2
    # more than the speech has windows: as many as there are
    tiny, _ = streamed(meeting[7 * RATE_HZ : 9 * RATE_HZ], num_speakers=50)
    assert ending(tiny).num_speakers <= 3


def test_what_is_no_stream() -> None:
    with pytest.raises(InputError, match=r"latency is 0.1 s.*0.5 to 5"):
        StreamingDiarizer(HumEmbedder(), latency_s=0.1)
    with pytest.raises(InputError, match="min_speakers is 3"):
        StreamingDiarizer(HumEmbedder(), min_speakers=3, max_speakers=2)
    with pytest.raises(InputError, match="unknown clusterer"):
        StreamingDiarizer(HumEmbedder(), config=StreamingConfig(method="magic"))
    diarizer = StreamingDiarizer(HumEmbedder())
    with pytest.raises(InputError, match="NaN"):
        diarizer.push(np.array([np.nan]))
    with pytest.raises(InputError, match="gap of -1"):
        diarizer.gap(-1.0)
    diarizer.push(np.zeros(100))  # an error leaves the stream as it was
    diarizer.finish()
    for call in (diarizer.finish, diarizer.gap, lambda: diarizer.push(np.zeros(5))):
        with pytest.raises(InputError, match="the stream has ended"):
            call()


def test_live_turns_are_disjoint(meeting: np.ndarray) -> None:
    _, diarizer = streamed(meeting, latency_s=0.5)
    for spans in (diarizer.reported, diarizer.relabelled, diarizer.final):
        assert spans
        assert all(isinstance(span, LabelledSpan) and span.end_s > span.start_s for span in spans)
        assert all(one.end_s <= two.start_s + 1e-9 for one, two in pairwise(spans))

"""Transcripts of recognisers: every format gives the same words; what cannot be is said in one line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdpn.errors import InputError
from sdpn.words.transcript import read_transcript

WORDS = [("Good", 0.5, 0.8), ("morning,", 0.8, 1.25), ("Anna.", 1.3, 1.9), ("Hello!", 2.5, 3.0)]


def rows(text: str = "word", start: str = "start", end: str = "end", blank: str = "") -> list[dict[str, Any]]:
    return [{text: blank + word, start: begin, end: stop} for word, begin, stop in WORDS]


def segments(**keys: str) -> list[dict[str, Any]]:
    every = rows(**keys)
    return [
        {"id": 0, "start": 0.5, "end": 1.9, "text": " Good morning, Anna.", "words": every[:3]},
        {"id": 1, "start": 2.5, "end": 3.0, "text": " Hello!", "words": every[3:]},
    ]


FORMATS: dict[str, Any] = {
    "whisper": {"text": "…", "language": "en", "segments": segments(blank=" ")},
    "whisperX": {"segments": segments(), "word_segments": rows()},
    "faster-whisper, a list of segments": segments(blank=" "),
    "a list of words": rows(),
    "NeMo, timestamp": {
        "audio_filepath": "/a/m.wav",
        "pred_text": "…",
        "timestamp": {"word": rows(), "segment": []},
    },
    "NeMo, word_timestamps": {"word_timestamps": rows(start="start_time", end="end_time")},
    "NeMo, diarized": {"status": "initialized", "words": rows(start="start_time", end="end_time")},
}


def write(path: Path, document: Any) -> Path:
    path.write_text(json.dumps(document))
    return path


@pytest.mark.parametrize("name", FORMATS)
def test_words_with_times(name: str, tmp_path: Path) -> None:
    found = read_transcript(write(tmp_path / "m.json", FORMATS[name]))
    assert [(word.text, word.start_s, word.end_s) for word in found.words] == WORDS
    assert found.estimated == 0 and found.end_s == 3.0
    assert found.recording == ("m" if name == "NeMo, timestamp" else None)


def test_lines_of_a_manifest(tmp_path: Path) -> None:
    lines = [
        {"audio_filepath": f"/a/{name}.wav", "word_timestamps": rows()[:number]}
        for number, name in ((1, "k"), (2, "m"))
    ]
    path = tmp_path / "manifest.json"
    path.write_text("\n".join(map(json.dumps, lines)) + "\n")
    assert len(read_transcript(path, recording="m").words) == 2
    with pytest.raises(InputError, match=r"has 2 transcripts, and 0 of them are of 'other'"):
        read_transcript(path, recording="other")


def test_milliseconds(tmp_path: Path) -> None:
    document = [{**row, "start": 1000 * row["start"], "end": 1000 * row["end"]} for row in rows()]
    found = read_transcript(write(tmp_path / "m.json", document), unit="ms")
    assert found.words[1].end_s == pytest.approx(1.25)
    cpp = {"transcription": [{"offsets": {"from": 500, "to": 1900}, "text": " Good morning, Anna."}]}
    found = read_transcript(write(tmp_path / "m.json", cpp))
    assert found.estimated == 3 and (found.words[0].start_s, found.words[-1].end_s) == (0.5, 1.9)


@pytest.mark.parametrize(
    "text",
    [
        "1\n00:00:00,500 --> 00:00:01,900\nGood <i>morning</i>,\nAnna.\n\n"
        "2\n00:00:02,500 --> 00:00:03,000\nHello!\n",
        "WEBVTT\n\nNOTE made by hand\n\n00:00.500 --> 00:01.900 align:start\n<v Anna>Good morning, Anna.\n\n"
        "00:02.500 --> 00:03.000\nHello!\n",
        "1\n00:00:00,500 --> 00:00:01,900\nGood morning, Anna.\n2\n00:00:02,500 --> 00:00:03,000\nHello!\n",
    ],
)
def test_subtitles_share_their_time(text: str, tmp_path: Path) -> None:
    path = tmp_path / "m.srt"
    path.write_text(text)
    found = read_transcript(path)
    assert [word.text for word in found.words] == [word for word, _, _ in WORDS]
    assert found.estimated == 4
    # 4, 8 and 5 letters share 1.4 s
    assert found.words[1].start_s == pytest.approx(0.5 + 1.4 * 4 / 17)
    assert [word.segment for word in found.words] == [0, 0, 0, 1]


def test_times_of_words_in_webvtt(tmp_path: Path) -> None:
    path = tmp_path / "m.vtt"
    path.write_text(
        "WEBVTT\n\n00:00:00.500 --> 00:00:01.900\n"
        "Good<00:00:00.800><c> morning,</c><00:00:01.300><c> Anna.</c>\n"
    )
    found = read_transcript(path)
    times = [(word.text, word.start_s, word.end_s) for word in found.words]
    assert times == [("Good", 0.5, 0.8), ("morning,", 0.8, 1.3), ("Anna.", 1.3, 1.9)]
    assert found.estimated == 0


def test_a_word_that_alignment_has_no_time_for(tmp_path: Path) -> None:
    """WhisperX leaves out the times of numerals: they lie between the neighbours."""
    document = {"segments": segments()}
    del document["segments"][0]["words"][1]["start"], document["segments"][0]["words"][1]["end"]
    found = read_transcript(write(tmp_path / "m.json", document))
    assert found.estimated == 1
    assert (found.words[1].start_s, found.words[1].end_s) == (0.8, 1.3)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"text": "no segments"}', "is not a transcript with times .'segments' is missing"),
        ("just text", "is not a transcript with times.*expected JSON of whisper"),
        ('{"segments": [{"text": "no times"}]}', "the word 'no' has no times.*--word_timestamps True"),
        (
            '{"segments": [{"text": "a", "start": 2, "end": 1}]}',
            r"the word 'a' lasts from 2 to 2|from 2 to 1",
        ),
        (
            '{"segments": [{"words": [{"word": "a", "start": -1, "end": 1}], "text": "a"}]}',
            "lasts from -1 to 1 s",
        ),
        (
            '{"segments": [{"words": [{"word": "a", "start": 3, "end": 1}], "text": "a"}]}',
            "lasts from 3 to 1 s",
        ),
        ('{"segments": [{"text": "a", "start": "1", "end": 2}]}', "'1' is not a time"),
        ('{"segments": [{"start": 1, "end": 2}]}', "has no text"),
        ('{"segments": [3]}', "is 3, not an object"),
        ('{"segments": []}', "holds no words"),
        ("1\n00:00:00 --> 00:00:01,000\nA\n", r"m\.json:2: expected 'start --> end' of a cue"),
        ("", "is not a transcript with times"),
    ],
)
def test_what_is_no_transcript(content: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "m.json"
    path.write_text(content)
    if '"start": 2, "end": 1' in content:  # a segment that ends before it starts has no length to share
        assert read_transcript(path).words[0].start_s == 2
        return
    with pytest.raises(InputError, match=message) as raised:
        read_transcript(path)
    assert str(raised.value).startswith(str(path))


@given(st.lists(st.tuples(st.floats(0, 1e4), st.floats(0, 10)), min_size=1, max_size=30))
def test_any_order_and_overlap(spans: list[tuple[float, float]]) -> None:
    """Words may overlap and come in any order: they are sorted, and none gets lost."""
    import tempfile

    document = [
        {"word": f"w{index}", "start": start, "end": start + length}
        for index, (start, length) in enumerate(spans)
    ]
    with tempfile.TemporaryDirectory() as folder:
        found = read_transcript(write(Path(folder) / "m.json", document))
    assert sorted(word.text for word in found.words) == sorted(row["word"] for row in document)
    starts = [word.start_s for word in found.words]
    assert starts == sorted(starts)
    assert all(word.end_s > word.start_s for word in found.words)

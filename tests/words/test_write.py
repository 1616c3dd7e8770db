"""Words with speakers in every format, read back by other software; scored by meeteval."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
import webvtt

from sdpn.words.attribute import SpokenWord
from sdpn.words.transcript import Word
from sdpn.words.write import WORD_FORMATS, SpokenText, passages, write_words


def spoken(start_s: float, text: str, speaker: str | None) -> SpokenWord:
    return SpokenWord(
        word=Word(start_s=start_s, end_s=start_s + 0.4, text=text, segment=0),
        speaker=speaker,
        likely=speaker or "Anna Lee",
        confidence=0.9 if speaker else 0.3,
    )


WORDS = [
    spoken(0.0, "Good", "Anna Lee"),
    spoken(0.5, "<morning>", "Anna Lee"),
    spoken(1.0, "hm", None),
    spoken(1.5, "Hello", "Bob"),
    spoken(5.0, "again", "Bob"),  # after a pause
]
TEXT = SpokenText(recording="m", words=WORDS, details={"num_words": 5})


def test_passages() -> None:
    assert [(each.speaker, each.text) for each in passages(WORDS)] == [
        ("Anna Lee", "Good <morning>"),
        (None, "hm"),
        ("Bob", "Hello"),
        ("Bob", "again"),
    ]
    many = [spoken(0.5 * k, "word", "Bob") for k in range(40)]
    cues = passages(many, cues=True)
    assert len(passages(many)) == 1 and all(cue.end_s - cue.start_s <= 6.0 for cue in cues)
    assert sum(len(cue.words) for cue in cues) == 40


def test_every_format(tmp_path: Path) -> None:
    files = write_words(TEXT, tmp_path, list(WORD_FORMATS))
    document = json.loads(files["json"].read_text())
    assert document["schema"] == "sdpn.words/1" and document["words"][2]["speaker"] is None
    assert document["words"][2]["likely"] == "Anna Lee" and len(document["passages"]) == 4
    assert files["txt"].read_text().splitlines()[:2] == [
        "[00:00:00] Anna Lee: Good <morning>",
        "[00:00:01] ?: hm",
    ]
    rows = list(csv.DictReader(files["csv"].read_text().splitlines()))
    assert rows[0]["speaker"] == "Anna Lee" and rows[2]["speaker"] == "" and rows[2]["confidence"] == "0.3"
    assert webvtt.from_srt(str(files["srt"]))[0].text == "Anna Lee: Good _morning_"
    caption = webvtt.read(str(files["vtt"]))[0]
    assert caption.voice == "Anna Lee" and "&lt;morning&gt;" in caption.raw_text
    assert files["stm"].read_text().splitlines()[0] == "m 1 Anna_Lee 0.000 0.900 Good <morning>"


def test_meeteval_reads_our_stm(tmp_path: Path) -> None:
    """One word of seven has another speaker, one is missing: an insertion and two deletions of seven."""
    meeteval = pytest.importorskip("meeteval", reason="pip install 'sdpn[meeteval]'")
    reference = tmp_path / "ref.stm"
    reference.write_text("m 1 X 0 1 one two three four\nm 1 Y 1 2 five six seven\n")
    said = [("one", "A"), ("two", "A"), ("three", "B"), ("five", "B"), ("six", "B"), ("seven", "B")]
    text = SpokenText(
        recording="m",
        words=[spoken(0.3 * k, word, speaker) for k, (word, speaker) in enumerate(said)],
        details={},
    )
    found = meeteval.wer.cpwer(reference, write_words(text, tmp_path, ["stm"])["stm"])["m"]
    assert (found.errors, found.length) == (3, 7)

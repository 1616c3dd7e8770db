"""Turns in every format, read back by other software than wrote them: ffmpeg, pympi, Python's own readers."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree

import av
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pympi.Praat import TextGrid

from sdpn.errors import InputError
from sdpn.formats.registry import TURN_FORMATS, find_formats, write_turns
from sdpn.formats.who_spoke_when import WhoSpokeWhen
from sdpn.io.rttm import Turn, read_rttm, rounded

Row = tuple[int, int, str]  # start and end in milliseconds, speaker

#: Names that try the formats: blanks, quotes, markup of every format, digits alone, other scripts, length.
NAMES = [
    "speaker00",
    "Anna Lee",
    'O"Brien, "Bo"',
    "<v Mallory>&amp;</v> --> {\\an8}",
    "123",
    "名前 🙂",
    "a/b;c=d",
    "x" * 300,
]


def spoken(
    turns: list[Turn], audio: Path | None = None, exclusive: Sequence[Turn] | None = None
) -> WhoSpokeWhen:
    return WhoSpokeWhen(
        recording="m",
        audio=audio,
        duration_s=max((turn.end_s for turn in turns), default=4.0),
        turns=turns,
        exclusive=turns if exclusive is None else exclusive,
    )


def in_ms(seconds: float) -> int:
    return round(seconds * 1000)


def read_subtitles(path: Path) -> list[Row]:
    """By ffmpeg."""
    if not path.read_text().removeprefix("WEBVTT").strip():
        return []  # ffmpeg refuses an empty file
    with av.open(str(path)) as container:
        return [
            (packet.pts, packet.pts + packet.duration, bytes(packet).decode())
            for packet in container.demux()
            if packet.pts is not None and packet.size
        ]


def read_elan(path: Path) -> list[Row]:
    root = ElementTree.parse(path).getroot()
    times = {slot.get("TIME_SLOT_ID"): int(slot.get("TIME_VALUE", "")) for slot in root.iter("TIME_SLOT")}
    return sorted(
        (
            times[one.get("TIME_SLOT_REF1")],
            times[one.get("TIME_SLOT_REF2")],
            str(one.findtext("ANNOTATION_VALUE")),
        )
        for tier in root.iter("TIER")
        for one in tier.iter("ALIGNABLE_ANNOTATION")
        if tier.get("TIER_ID") == one.findtext("ANNOTATION_VALUE")
    )


def read_textgrid(path: Path) -> list[Row]:
    return sorted(
        (in_ms(start_s), in_ms(end_s), text)
        for tier in TextGrid(str(path), codec="utf-8").get_tiers()
        for start_s, end_s, text in tier.get_all_intervals()
        if text
    )


def read_back(name: str, path: Path) -> list[Row]:
    """Turns of a file; names as the format has them."""
    if name == "rttm":
        turns = read_rttm(path)["m"]
        return sorted((in_ms(turn.onset_s), in_ms(turn.end_s), turn.speaker) for turn in turns)
    if name == "json":
        rows = json.loads(path.read_text())["turns"]
        return [(in_ms(row["start_s"]), in_ms(row["end_s"]), row["speaker"]) for row in rows]
    if name == "csv":
        with open(path, encoding="utf-8", newline="") as stream:
            rows = list(csv.DictReader(stream))
        return [(in_ms(float(row["start_s"])), in_ms(float(row["end_s"])), row["speaker"]) for row in rows]
    if name == "audacity":
        fields = [line.split("\t") for line in path.read_text().split("\n")[:-1]]
        return [(in_ms(float(start)), in_ms(float(end)), label) for start, end, label in fields]
    return {"textgrid": read_textgrid, "elan": read_elan}.get(name, read_subtitles)(path)


def expected(name: str, turns: list[Turn]) -> list[Row]:
    """By hand: what the rule of names and the escapes of the format make of `NAMES`."""
    in_srt = {NAMES[3]: "_v Mallory_&amp;_/v_ --_ _\\an8_"}
    rows = []
    for turn in rounded(turns):
        label = turn.speaker
        if name == "rttm":
            label = label.replace(" ", "_")
        elif name == "srt":
            label = in_srt.get(label, label)
        elif name == "vtt":
            text = label.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
            label = f"<v {text}>{text}"
        rows.append((in_ms(turn.onset_s), in_ms(turn.end_s), label))
    return rows


@pytest.mark.parametrize("name", TURN_FORMATS)
def test_every_format_is_read_back(name: str, tmp_path: Path) -> None:
    turns = [Turn("m", 1.5 * index, 1.2345 + index % 2, speaker) for index, speaker in enumerate(NAMES)]
    turns.append(Turn("m", 360_000.001, 1.0, "speaker00"))  # after 100 hours
    path = tmp_path / f"m{TURN_FORMATS[name].suffix}"
    write_turns(spoken(turns), {name: path})
    found = read_back(name, path)
    assert sorted(found) == sorted(expected(name, turns))


@pytest.mark.parametrize("name", TURN_FORMATS)
def test_a_recording_without_speech(name: str, tmp_path: Path) -> None:
    path = tmp_path / f"m{TURN_FORMATS[name].suffix}"
    write_turns(spoken([]), {name: path})
    if name == "textgrid":
        assert "size = 0" in path.read_text()
    else:
        assert read_back(name, path) == []


times = st.integers(0, 20_000)
any_turns = st.lists(
    st.tuples(times, st.integers(1, 5000), st.sampled_from(["A", "B b", "C"])),
    max_size=8,
    unique=True,  # ffmpeg takes two equal cues for one
)


@pytest.mark.parametrize("name", TURN_FORMATS)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25, deadline=None)
@given(rows=any_turns)
def test_any_turns(name: str, rows: list[tuple[int, int, str]], tmp_path: Path) -> None:
    """Overlapping turns, also of one speaker; tiers join those that overlap."""
    turns = sorted(Turn("m", onset / 1000, duration / 1000, who) for onset, duration, who in rows)
    path = tmp_path / f"m{TURN_FORMATS[name].suffix}"
    write_turns(spoken(turns), {name: path})
    if name == "textgrid" and not turns:
        return
    found = read_back(name, path)
    whole = spoken(turns)
    kept = turns
    if name in ("textgrid", "elan"):
        kept = sorted(turn for who in whole.speakers for turn in whole.turns_of(who))
    assert sorted(found) == sorted(expected(name, kept))


def test_the_json_document(tmp_path: Path) -> None:
    audio = tmp_path / "m.wav"
    turns = [Turn("m", 0.0, 3.0, "A"), Turn("m", 2.0, 2.0, "B"), Turn("m", 5.0, 1.0, "A")]
    exclusive = [turns[0], Turn("m", 3.0, 1.0, "B"), turns[2]]
    write_turns(spoken(turns, audio, exclusive), {"json": tmp_path / "m.json"})
    document = json.loads((tmp_path / "m.json").read_text())
    assert document["audio"] == str(audio) and document["duration_s"] == 6.0
    assert document["speakers"] == [
        {"speaker": "A", "talk_s": 4.0, "share": 0.6667, "num_turns": 2},
        {"speaker": "B", "talk_s": 2.0, "share": 0.3333, "num_turns": 1},
    ]
    alone = [(row["start_s"], row["end_s"], row["speaker"]) for row in document["exclusive_turns"]]
    assert alone == [(0.0, 3.0, "A"), (3.0, 4.0, "B"), (5.0, 6.0, "A")]


def test_elan_finds_the_audio(tmp_path: Path) -> None:
    audio = tmp_path / "müde & <wach>.wav"
    write_turns(spoken([Turn("m", 0, 1, "A")], audio), {"elan": tmp_path / "m.eaf"})
    (media,) = ElementTree.parse(tmp_path / "m.eaf").getroot().iter("MEDIA_DESCRIPTOR")
    assert media.get("MEDIA_URL") == audio.as_uri()
    assert media.get("RELATIVE_MEDIA_URL") == "./m%C3%BCde%20%26%20%3Cwach%3E.wav"
    before = (tmp_path / "m.eaf").read_bytes()
    write_turns(spoken([Turn("m", 0, 1, "A")], audio), {"elan": tmp_path / "m.eaf"})
    assert (tmp_path / "m.eaf").read_bytes() == before  # no date, no backup copy
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m.eaf"]
    (tmp_path / "out").mkdir()
    write_turns(spoken([Turn("m", 0, 1, "A")], audio), {"elan": tmp_path / "out" / "m.eaf"})
    (media,) = ElementTree.parse(tmp_path / "out" / "m.eaf").getroot().iter("MEDIA_DESCRIPTOR")
    assert media.get("RELATIVE_MEDIA_URL") == "../m%C3%BCde%20%26%20%3Cwach%3E.wav"


def test_times_are_whole_milliseconds(tmp_path: Path) -> None:
    """27.228 + 1.992 has more digits as floats are added."""
    write_turns(spoken([Turn("m", 27.228, 1.992, "A")]), {"textgrid": tmp_path / "m.TextGrid"})
    assert "xmax = 29.22 \n" in (tmp_path / "m.TextGrid").read_text()


def test_the_last_subtitle_ends(tmp_path: Path) -> None:
    write_turns(spoken([Turn("m", 0, 1, "A")]), {"srt": tmp_path / "m.srt"})
    assert (tmp_path / "m.srt").read_text() == "1\n00:00:00,000 --> 00:00:01,000\nA\n\n"


def test_formats_that_are_none() -> None:
    assert find_formats(["srt", "rttm", "srt"]) == ("rttm", "srt")
    for names in (["srt", "docx"], [], [""]):
        with pytest.raises(
            InputError, match=r"format of turns.*rttm,json,csv,srt,vtt,audacity,textgrid,elan"
        ):
            find_formats(names)

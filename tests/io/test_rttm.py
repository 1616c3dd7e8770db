"""sdpn.io.rttm: what NIST wrote is read; what is written reads back; the rest names its line."""

from __future__ import annotations

import random
import unicodedata
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyannote.core import Annotation, Segment

from sdpn.errors import InputError
from sdpn.io.rttm import (
    Mark,
    Turn,
    from_annotation,
    merge_overlaps,
    read_records,
    read_rttm,
    read_rttms,
    to_annotation,
    write_rttm,
    write_rttms,
)


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_every_dialect_is_read(tmp_path: Path) -> None:
    path = write(
        tmp_path / "all.rttm",
        ";; a comment\n"
        "SPKR-INFO rec 1 <NA> <NA> <NA> unknown ann <NA> <NA>\n"
        "\n"
        "SPEAKER rec 1 10.5 2.25 <NA> <NA> ann <NA> <NA>\r\n"
        "SPEAKER\trec\t1\t0.100\t1\t<NA>\t<NA>\tMÉO069\t<NA>\n"  # nine fields, tabs, any script
        "SPEAKER rec A 3 0 <NA> <NA> ann <NA> <NA>\n"  # no length: dropped
        "SPEAKER other 1 1 1 <NA> <NA> ann <NA> <NA>\n"
        "SPEAKER other 1 1 1 <NA> <NA> ann <NA> <NA>\n"  # twice is twice
        "SPKR-INFO silent 1 <NA> <NA> <NA> unknown ann <NA>\n"
        "NON-SPEECH rec 1 5 1 laugh <NA> <NA> <NA> <NA>\n",
    )
    assert read_rttm(path) == {
        "rec": [Turn("rec", 0.1, 1.0, "MÉO069"), Turn("rec", 10.5, 2.25, "ann")],
        "other": [Turn("other", 1.0, 1.0, "ann")] * 2,
        "silent": [],
    }
    assert read_rttm(path)["rec"][1].end_s == 12.75


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("SPEAKER rec 1 0 1 <NA> <NA> ann", "9 or 10 fields, found 8"),
        ("SPEAKER rec 1 0 1 <NA> <NA> ann lee <NA> <NA>", "9 or 10 fields, found 11"),
        ("SPEAKER rec 1 zero 1 <NA> <NA> ann <NA> <NA>", "onset 'zero' is not a time"),
        ("SPEAKER rec 1 -1 1 <NA> <NA> ann <NA> <NA>", "onset '-1' is not a time"),
        ("SPEAKER rec 1 0 -0.5 <NA> <NA> ann <NA> <NA>", "duration '-0.5' is not a time"),
        ("SPEAKER rec 1 0 nan <NA> <NA> ann <NA> <NA>", "duration 'nan' is not a time"),
        ("SPEAKER rec 1 inf 1 <NA> <NA> ann <NA> <NA>", "onset 'inf' is not a time"),
        ("rec 1 0.000 30.000", "expected an RTTM record such as 'SPEAKER', found 'rec'"),
        ("speaker rec 1 0 1 <NA> <NA> ann <NA> <NA>", "expected an RTTM record"),
    ],
)
def test_a_malformed_line_is_named(tmp_path: Path, line: str, message: str) -> None:
    path = write(tmp_path / "bad.rttm", f"SPEAKER rec 1 0 1 <NA> <NA> ann <NA> <NA>\n\n{line}\n")
    with pytest.raises(InputError, match=message) as caught:
        read_rttm(path)
    assert (caught.value.path, caught.value.line) == (str(path), 3)


def test_an_empty_file_is_a_silent_recording(tmp_path: Path) -> None:
    assert read_rttm(write(tmp_path / "meeting.2.rttm", "")) == {"meeting.2": []}
    assert read_rttm(write(tmp_path / "quiet.rttm", ";; nobody came\n")) == {"quiet": []}


def test_many_files_are_one_but_a_recording_is_in_one_only(tmp_path: Path) -> None:
    a = write(tmp_path / "a.rttm", "SPEAKER a 1 0 1 <NA> <NA> ann <NA> <NA>\n")
    b = write(tmp_path / "b.rttm", "SPEAKER b 1 0 1 <NA> <NA> ann <NA> <NA>\n")
    again = write(tmp_path / "again.rttm", "SPEAKER a 1 5 1 <NA> <NA> ann <NA> <NA>\n")
    assert list(read_rttms([a, b])) == ["a", "b"]
    with pytest.raises(InputError, match=f"again.rttm: recording 'a' is also in {a}"):
        read_rttms([a, b, again])


def test_channels_of_a_recording_may_be_in_files_of_their_own(tmp_path: Path) -> None:
    line = "SPEAKER call {} {} 1 <NA> <NA> ann <NA> <NA>\n"
    files = [write(tmp_path / f"{name}.rttm", line.format(name, at)) for name, at in (("A", 5), ("B", 2))]
    assert [(turn.channel, turn.onset_s) for turn in read_rttms(files)["call"]] == [("B", 2.0), ("A", 5.0)]
    with pytest.raises(InputError, match="recording 'call' is also in"):
        read_rttms([*files, write(tmp_path / "again.rttm", line.format("a", 9))])


def test_marks_estimated_times_and_durations_that_are_not_known(tmp_path: Path) -> None:
    path = write(
        tmp_path / "rec.rttm",
        "NOSCORE rec 1 3.5* 2 <NA> <NA> <NA> <NA>\n"
        "LEXEME rec 1 1 <NA> uh fp ann <NA> <NA>\n"
        "NON-LEX rec a 0 1* <NA> LAUGH ann <NA>\n"
        "SPEAKER rec 1 0* 4.5* <NA> <NA> ann <NA> <NA>\n"
        "SPEAKER rec 1 6 <NA> <NA> <NA> ann <NA> <NA>\n",
    )
    records = read_records([path])
    assert records.turns == {"rec": [Turn("rec", 0.0, 4.5, "ann")]}
    assert records.marks == {"rec": [Mark(0.0, 1.0, "NON-LEX", "a"), Mark(3.5, 5.5, "NOSCORE", "1")]}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("NOSCORE rec 1 3", "a NOSCORE record has 9 or 10 fields, found 4"),
        ("NOSCORE rec 1 3 -2 <NA> <NA> <NA> <NA>", "duration '-2' is not a time"),
        ("NON-LEX rec 1 3 2 <NA> yodel ann <NA>", "'yodel' is not a subtype of NON-LEX"),
        ("NON-LEX rec 1 <NA> 2 <NA> laugh ann <NA>", "onset '<NA>' is not a time"),
    ],
)
def test_a_malformed_mark_is_named(tmp_path: Path, line: str, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        read_records([write(tmp_path / "bad.rttm", f"\n{line}\n")])
    assert caught.value.line == 2


def test_the_channel_is_written(tmp_path: Path) -> None:
    turns = [Turn("rec", 0.0, 1.0, "ann", "2"), Turn("rec", 0.5, 1.0, "bob", "1")]
    write_rttms(tmp_path / "rec.rttm", turns)
    assert read_rttm(tmp_path / "rec.rttm")["rec"] == turns
    with pytest.raises(InputError, match="channel"):
        write_rttms(tmp_path / "bad.rttm", [Turn("rec", 0.0, 1.0, "ann", "left right")])


def test_the_written_line_is_the_standard_one(tmp_path: Path) -> None:
    path = tmp_path / "out" / "rec.rttm"
    write_rttm(path, "rec", [Turn("rec", 12.3456, 1.0, "B"), Turn("rec", 0.0, 1.5, "A")])
    assert path.read_text() == (
        "SPEAKER rec 1 0.000 1.500 <NA> <NA> A <NA> <NA>\nSPEAKER rec 1 12.346 1.000 <NA> <NA> B <NA> <NA>\n"
    )
    write_rttm(path, "rec", [])
    assert path.read_bytes() == b""


def test_touching_turns_touch_after_rounding(tmp_path: Path) -> None:
    # 0.0004 + 0.0014 apart: rounding onset and duration alone would open or overlap a millisecond
    edges = [0.0004, 1.0018, 2.0032, 3.0046, 4.00049]
    turns = [Turn("rec", start, end - start, "A") for start, end in pairwise(edges)]
    write_rttm(tmp_path / "rec.rttm", "rec", turns)
    read = read_rttm(tmp_path / "rec.rttm")["rec"]
    for before, after in pairwise(read):
        assert before.end_s == pytest.approx(after.onset_s, abs=1e-9)


def test_half_a_millisecond_goes_the_same_way_as_an_end_and_as_an_onset(tmp_path: Path) -> None:
    turns = [Turn("rec", 0.001, 0.0035, "A"), Turn("rec", 0.0045, 1.0, "A")]
    assert turns[0].end_s != turns[1].onset_s  # in binary
    write_rttm(tmp_path / "rec.rttm", "rec", turns)
    first, second = read_rttm(tmp_path / "rec.rttm")["rec"]
    assert first.end_s == pytest.approx(second.onset_s, abs=1e-9)


@pytest.mark.parametrize("recording", ["my meeting", "", "a\tb"])
def test_ids_with_blanks_cannot_be_written(tmp_path: Path, recording: str) -> None:
    with pytest.raises(InputError, match=r"rec.rttm: recording .* contains white space"):
        write_rttm(tmp_path / "rec.rttm", recording, [])
    with pytest.raises(InputError, match=r"rec.rttm: speaker .* contains white space"):
        write_rttm(tmp_path / "rec.rttm", "rec", [Turn("rec", 0, 1, recording)])
    assert not (tmp_path / "rec.rttm").exists()


@pytest.mark.parametrize("times", [(-1.0, 2.0), (float("nan"), 1.0), (0.0, float("inf")), (1.0, -0.5)])
def test_impossible_times_cannot_be_written(tmp_path: Path, times: tuple[float, float]) -> None:
    with pytest.raises(InputError, match="a turn runs from"):
        write_rttm(tmp_path / "rec.rttm", "rec", [Turn("rec", *times, "A")])


def test_a_turn_of_another_recording_is_a_bug(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="a turn of 'b' among those of 'a'"):
        write_rttm(tmp_path / "a.rttm", "a", [Turn("b", 0, 1, "A")])


def test_annotation_and_turns_convert_both_ways() -> None:
    annotation = Annotation(uri="rec")
    annotation[Segment(3.0, 4.0), 0] = "B"
    annotation[Segment(0.0, 2.0), 0] = "A"
    annotation[Segment(0.0, 2.0), 1] = "B"
    turns = [Turn("rec", 0.0, 2.0, "A"), Turn("rec", 0.0, 2.0, "B"), Turn("rec", 3.0, 1.0, "B")]
    assert from_annotation(annotation) == turns
    back = to_annotation(turns)
    assert back.uri == "rec"
    assert list(back.itertracks(yield_label=True)) == [
        (Segment(0.0, 2.0), 0, "A"),
        (Segment(0.0, 2.0), 1, "B"),
        (Segment(3.0, 4.0), 2, "B"),
    ]
    assert to_annotation([], "rec").uri == "rec"
    assert from_annotation(to_annotation([]), "rec") == []
    with pytest.raises(ValueError, match="no uri"):
        from_annotation(Annotation())
    numbered = Annotation(uri="rec")
    numbered[Segment(0, 1)] = 7
    assert from_annotation(numbered, "other") == [Turn("other", 0, 1, "7")]


def test_turns_of_one_speaker_do_not_overlap() -> None:
    def turn(start_s: float, end_s: float, speaker: str = "A") -> Turn:
        return Turn("rec", start_s, end_s - start_s, speaker)

    turns = [turn(0, 4), turn(1, 2), turn(3, 5), turn(5, 6), turn(2, 3, "B"), turn(2, 3, "B")]
    assert merge_overlaps(sorted(turns)) == [turn(0, 5), turn(2, 3, "B"), turn(5, 6)]
    # 0.1 + 0.2 > 0.3 in binary: these touch, and each keeps its boundary
    assert len(merge_overlaps([Turn("rec", 0.1, 0.2, "A"), Turn("rec", 0.3, 0.2, "A")])) == 2


def test_real_references_are_read_and_written_without_change(shared_data: Path, tmp_path: Path) -> None:
    files = sorted((shared_data / "voxconverse_rttm").glob("*.rttm"))
    references = read_rttms(files)
    assert len(references) == len(files) == 216
    # counted apart: one line, one turn
    assert sum(map(len, references.values())) == sum(len(file.read_text().splitlines()) for file in files)
    for recording in random.Random(0).sample(sorted(references), 20):
        path = tmp_path / f"{recording}.rttm"
        write_rttm(path, recording, references[recording])
        for before, after in zip(references[recording], read_rttm(path)[recording], strict=True):
            assert (before.recording, before.speaker) == (after.recording, after.speaker)
            assert (before.onset_s, before.end_s) == pytest.approx((after.onset_s, after.end_s), abs=1e-9)


IDS = st.text(min_size=1, max_size=8).filter(
    lambda text: (
        text.split() == [text]
        and not any(unicodedata.category(character) == "Cc" for character in text)
        and not text.startswith("\ufeff")
        and text == text.encode("utf-8", "replace").decode()
    )
)
MILLISECONDS = st.integers(0, 10**8)


@given(
    recording=IDS,
    turns=st.lists(st.tuples(MILLISECONDS, st.integers(1, 10**7), IDS), max_size=20),
)
def test_what_is_written_reads_back(
    tmp_path: Path, recording: str, turns: list[tuple[int, int, str]]
) -> None:
    path = tmp_path / "written.rttm"
    written = [Turn(recording, onset / 1000, length / 1000, speaker) for onset, length, speaker in turns]
    write_rttm(path, recording, written)
    read = read_rttm(path)
    assert list(read) == ([recording] if turns else ["written"])
    key = [
        (round(t.onset_s * 1000), round(t.duration_s * 1000), t.speaker) for t in next(iter(read.values()))
    ]
    assert sorted(key) == sorted(turns)


@given(
    content=st.one_of(
        st.binary(max_size=200), st.text(max_size=200).map(lambda t: t.encode("utf-8", "replace"))
    )
)
def test_random_bytes_are_read_or_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "random.rttm"
    path.write_bytes(content)
    try:
        read_rttm(path)
    except InputError as error:
        assert error.path == str(path)


FIELD = st.sampled_from(
    ["SPEAKER", "SPKR-INFO", ";;", "rec", "1", "0.5", "-3", "nan", "<NA>", "A", "\n", "\t"]
)


@given(fields=st.lists(FIELD, max_size=40))
def test_shuffled_fields_are_read_or_refused_by_line(tmp_path: Path, fields: list[str]) -> None:
    path = tmp_path / "shuffled.rttm"
    path.write_text(" ".join(fields))
    try:
        turns = [turn for turns in read_rttm(path).values() for turn in turns]
    except InputError as error:
        assert error.line is not None
    else:
        assert all(turn.duration_s > 0 <= turn.onset_s for turn in turns)


def test_short_pauses_of_a_speaker_are_joined_on_request() -> None:
    turns = [
        Turn("rec", 0.0, 1.0, "A"),
        Turn("rec", 1.1, 0.5, "B"),
        Turn("rec", 1.2, 1.0, "A"),  # 0.2 s after the one before, while B speaks
        Turn("rec", 2.5, 1.0, "A"),  # 0.3 s after it
    ]
    expected = [Turn("rec", 0.0, 2.2, "A"), Turn("rec", 1.1, 0.5, "B"), Turn("rec", 2.5, 1.0, "A")]
    assert merge_overlaps(turns, pause_s=0.25) == expected
    assert merge_overlaps(turns) == turns


def test_several_recordings_in_one_file(tmp_path: Path) -> None:
    path = tmp_path / "all.rttm"
    write_rttms(path, [Turn("two", 0.0, 1.0, "A"), Turn("one", 1.0, 1.0, "B"), Turn("one", 0.0, 2.0, "A")])
    assert [line.split()[1] for line in path.read_text().splitlines()] == ["one", "one", "two"]
    assert read_rttm(path) == {
        "one": [Turn("one", 0.0, 2.0, "A"), Turn("one", 1.0, 1.0, "B")],
        "two": [Turn("two", 0.0, 1.0, "A")],
    }

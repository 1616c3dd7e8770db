"""Corrections: what a line says, what follows, and contradictions, by name."""

from __future__ import annotations

from pathlib import Path

import pytest

from sdpn.editing.corrections import Correction, constraints_of, parse_correction, read_corrections
from sdpn.errors import InputError
from sdpn.io.rttm import Turn

TURNS = [
    Turn("m", 0.0, 2.0, "A"),
    Turn("m", 2.0, 3.0, "B"),
    Turn("m", 6.0, 1.0, "A"),
    Turn("m", 7.5, 1.0, "C"),
]


def of(*lines: str) -> list[Correction]:
    return [parse_correction(line.split()) for line in lines]


def test_a_file(tmp_path: Path) -> None:
    path = tmp_path / "c.txt"
    path.write_text('# mine\nis 1.5 "Anna Lee"  # her\n\nsame A B\ndifferent 1 6.5\n')
    found = read_corrections(path)
    assert found == [
        Correction("is", "1.5", "Anna Lee"),
        Correction("same", "A", "B"),
        Correction("different", "1", "6.5"),
    ]
    assert str(found[0]) == "is 1.5 'Anna Lee'"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("was 1 A", "'was 1 A' is no correction.*expected one of: is TIME NAME"),
        ("is 1", "'is 1' is no correction"),
        ("is soon A", "'soon' is not a time in seconds"),
        ("different 1 nan", "'nan' is not a time"),
        ("different -1 2", "'-1' is not a time"),
        ('is 1 "A', "No closing quotation"),
        ('is 1 ""', "the name '' is empty"),
        ('is 1 "a\tb"', "control characters"),
        (f"is 1 {'x' * 1001}", "has 1001 characters"),
        ("same A A", "'A' is one speaker already"),
    ],
)
def test_lines_that_are_none(line: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "c.txt"
    path.write_text(f"same A B\n{line}\n")
    with pytest.raises(InputError, match=message) as raised:
        read_corrections(path)
    assert str(raised.value).startswith(f"{path}:2: ")


def test_what_follows() -> None:
    found = constraints_of(of("is 1.0 B", "same B C"), TURNS)
    assert [(one.start_s, one.end_s, one.speaker) for one in found.known] == [(0.0, 2.0, "B")]
    assert found.root("C") == found.root("B") == "B" and found.root("A") == "A"


def test_different_turns_of_one_speaker_divide() -> None:
    found = constraints_of(of("different 1.0 6.5"), TURNS)
    assert [(one.start_s, one.speaker) for one in found.known] == [(0.0, "A"), (6.0, "A-2")]


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (
            ("is 1 B", "same A C", "is 1.5 C"),
            r"correction 3 \(is 1\.5 C\) contradicts correction 1 \(is 1 B\): the turn from 0 to 2 s would",
        ),
        (
            ("different 1 6.5", "same A A-2"),
            r"correction 2 \(same A A-2\) contradicts correction 1 \(different 1 6\.5\): .*and two",
        ),
        (
            ("same A B", "different 1 3"),
            r"correction 2 \(different 1 3\) contradicts correction 1 \(same A B\)",
        ),
        (
            ("different 1 3", "same A C", "same C B"),
            r"correction 3 \(same C B\) contradicts correction 1 \(different 1 3\)",
        ),
    ],
)
def test_contradictions_are_named(lines: tuple[str, ...], message: str) -> None:
    with pytest.raises(InputError, match=message):
        constraints_of(of(*lines), TURNS)


def test_the_same_said_twice_is_no_contradiction() -> None:
    found = constraints_of(of("is 1 B", "is 1.5 B", "same B C", "is 1 C"), TURNS)
    assert len(found.known) == 3


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("is 5.5 B", r"nobody speaks at 5\.5 s.*the nearest turn is 'B' from 2 to 5 s|'A' from 6 to 7 s"),
        ("same A Zoe", "nobody is 'Zoe'.*these speak: A, B, C"),
        ("different 0.5 1.5", "both times are in one turn, from 0 to 2 s"),
    ],
)
def test_what_is_not_there(line: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        constraints_of(of(line), TURNS)

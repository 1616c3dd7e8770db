"""The tables of a Kaldi data directory, with every fault in them.

Other than `sdpn.io.kaldi.read_data_dir`, which stops at the first fault of the tables that training needs,
this reads every table that Kaldi's own scripts know, and goes on behind a fault.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Literal, NamedTuple

from sdpn.errors import InputError
from sdpn.io.atomic import atomic_directory, atomic_write_text, check_writable
from sdpn.io.kaldi import check_recording, parse_segment, spk2utt
from sdpn.io.shards import MANIFEST, check_shards
from sdpn.io.text import numbered_lines

#: Tables with a row for each utterance, beside wav.scp where there are no segments.
OF_UTTERANCES = (
    "segments",
    "utt2spk",
    "text",
    "utt2lang",
    "utt2uniq",
    "utt2dur",
    "utt2num_frames",
    "feats.scp",
    "vad.scp",
)
#: Tables with a row for each recording.
OF_RECORDINGS = ("wav.scp", "reco2dur", "reco2num_frames", "reco2file_and_channel")
#: Tables with a row for each speaker, beside spk2utt, which is made of utt2spk.
OF_SPEAKERS = ("spk2gender", "spk2age", "cmvn.scp")
#: Tables of files, whose paths may be relative to the table.
_OF_FILES = ("wav.scp", "feats.scp", "vad.scp", "cmvn.scp")
_TABLES = (*OF_RECORDINGS, *OF_UTTERANCES, *OF_SPEAKERS)


class TableFault(NamedTuple):
    """What is wrong with a table.

    Attributes:
        path: the table, or the directory.
        line: the line, from 1; None where a file as a whole is concerned.
        message: what is wrong.
        kind: a row that means nothing, tables that disagree, or nothing but the order of lines.
    """

    path: Path
    line: int | None
    message: str
    kind: Literal["row", "disagreement", "order"] = "row"

    def __str__(self) -> str:
        """As compilers write it."""
        return f"{self.path}{'' if self.line is None else f':{self.line}'}: {self.message}"


class TableRow(NamedTuple):
    """The value of a row, and the line that it is on."""

    line: int
    value: str


Table = dict[str, TableRow]


@dataclass
class DataTables:
    """All tables of a data directory.

    Attributes:
        directory: the directory.
        tables: name of a table -> id -> row; only rows that are sound in themselves.
        faults: what is wrong, in the order of tables and lines.
        others: names of other files and folders.
    """

    directory: Path
    tables: dict[str, Table]
    faults: list[TableFault] = field(default_factory=list)
    others: list[str] = field(default_factory=list)

    @property
    def utterances(self) -> Table:
        """The table that says which utterances there are: segments, or else wav.scp."""
        return self.tables["segments" if "segments" in self.tables else "wav.scp"]

    @property
    def speaker_of(self) -> dict[str, str]:
        """The speaker of each utterance; empty without ``utt2spk``."""
        return {key: row.value for key, row in self.tables.get("utt2spk", {}).items()}

    def recording_of(self, utterance: str) -> str:
        """The recording of an utterance."""
        if "segments" not in self.tables:
            return utterance
        return self.tables["segments"][utterance].value.split(maxsplit=1)[0]

    def part(self, utterances: Iterable[str]) -> dict[str, dict[str, str]]:
        """Values of all tables for some of its utterances, their recordings and their speakers."""
        chosen = set(utterances)
        recordings = {self.recording_of(key) for key in chosen}
        speaker_of = self.speaker_of
        speakers = {speaker_of[key] for key in chosen & speaker_of.keys()}
        values = {}
        for name, table in self.tables.items():
            ids = recordings if name in OF_RECORDINGS else speakers if name in OF_SPEAKERS else chosen
            values[name] = {key: self._elsewhere(name, row.value) for key, row in table.items() if key in ids}
        return values

    def _elsewhere(self, name: str, value: str) -> str:
        """A value as it has to be written in another directory: with absolute paths."""
        if name not in _OF_FILES or value.endswith("|") or value.startswith("|"):
            return value
        return os.path.join(os.path.abspath(self.directory), value)


def read_tables(directory: Path, *, check_files: bool = False) -> DataTables:
    """Read all tables, and find all faults.

    Args:
        directory: the data directory.
        check_files: also require that the files of ``wav.scp`` exist, and that packed speech is whole.

    Raises:
        InputError: it is not a data directory, or a table is not text.
    """
    if not (directory / "wav.scp").is_file():
        raise InputError(
            "is not a Kaldi data directory: it has no wav.scp",
            path=directory,
            hint="expected wav.scp with 'id path' lines",
        )
    data = DataTables(directory, {})
    if check_files and (directory / MANIFEST).is_file():
        check_shards(directory)
    for name in _TABLES:
        if (directory / name).is_file():
            data.tables[name] = _read_rows(data, name, check_files=check_files)
    _read_spk2utt(data)
    data.faults += _disagreements(data)
    known = {*_TABLES, "spk2utt"}
    data.others = sorted(path.name for path in directory.iterdir() if path.name not in known)
    return data


def read_sound_tables(directory: Path) -> DataTables:
    """Read all tables of a directory in which nothing but the order may be wrong.

    Raises:
        InputError: as `read_tables`, or there is a fault.
    """
    data = read_tables(directory)
    for fault in data.faults:
        if fault.kind != "order":
            raise InputError(
                fault.message,
                path=fault.path,
                line=fault.line,
                hint="'sdpn data validate' lists all faults, and 'sdpn data fix' drops what they concern",
            )
    return data


def write_tables(directory: Path, tables: Mapping[str, Mapping[str, str]]) -> None:
    """Write tables in C-locale order, and ``spk2utt`` with ``utt2spk``.

    Args:
        directory: a folder that exists.
        tables: name -> id -> value; an empty value is written as the id alone.
    """
    for name, rows in tables.items():
        ordered = {key: rows[key] for key in sorted(rows, key=str.encode)}
        text = "".join(f"{key} {value}".rstrip() + "\n" for key, value in ordered.items())
        atomic_write_text(directory / name, text)
        if name == "utt2spk":
            atomic_write_text(directory / "spk2utt", spk2utt(ordered))


def write_new_directory(out: Path, tables: Mapping[str, Mapping[str, str]]) -> None:
    """Write a data directory that does not exist yet: whole, or not at all.

    Raises:
        InputError: there is something of its name, or it cannot be written.
    """
    check_writable(out, "new")
    with atomic_directory(out) as folder:
        write_tables(folder, tables)


def _read_rows(data: DataTables, name: str, *, check_files: bool) -> Table:
    """The rows of a table that are sound in themselves; faults are added to ``data``."""
    path = data.directory / name
    rows: Table = {}
    keys = []
    for number, line in numbered_lines(path):
        key, *rest = line.split(maxsplit=1)
        keys.append((number, key))
        if not rest and name != "text":  # nobody may have said a word
            data.faults.append(TableFault(path, number, f"expected 'id value', found {line!r}"))
            continue
        if key in rows:
            message = f"id {key!r} occurs a second time (first on line {rows[key].line})"
            data.faults.append(TableFault(path, number, message))
            continue
        try:
            if name == "segments":
                parse_segment(line, path=path, line=number)
            if name == "wav.scp":
                check_recording(key, rest[0], path=path, line=number, check_file=check_files)
        except InputError as error:
            hint = "" if error.hint is None else f" ({error.hint})"
            data.faults.append(TableFault(path, number, error.message + hint))
            continue
        if name in ("utt2spk", *OF_SPEAKERS) and name != "cmvn.scp" and len(rest[0].split()) > 1:
            data.faults.append(TableFault(path, number, f"expected 'id value', found {line!r}"))
            continue
        rows[key] = TableRow(number, rest[0] if rest else "")
    for (_, before), (number, after) in pairwise(keys):
        if after.encode() < before.encode():
            message = f"{after!r} comes after {before!r}: lines are not in C-locale order (LC_ALL=C sort)"
            data.faults.append(TableFault(path, number, message, "order"))
            break
    if not keys:
        data.faults.append(TableFault(path, None, "is empty", "disagreement"))
    return rows


def _read_spk2utt(data: DataTables) -> None:
    """Compare spk2utt with utt2spk, or make up for the lack of that."""
    path = data.directory / "spk2utt"
    if not path.is_file():
        return
    lines: dict[str, int] = {}
    turned: Table = {}
    for number, line in numbered_lines(path):
        speaker, *utterances = line.split()
        if speaker in lines:
            data.faults.append(
                TableFault(path, number, f"speaker {speaker!r} occurs a second time", "disagreement")
            )
        lines.setdefault(speaker, number)
        for key in utterances:
            if key in turned:
                data.faults.append(
                    TableFault(path, number, f"utterance {key!r} occurs a second time", "disagreement")
                )
            turned.setdefault(key, TableRow(number, speaker))
    if "utt2spk" not in data.tables:
        data.faults.append(TableFault(path, None, "there is no utt2spk beside it", "disagreement"))
        data.tables["utt2spk"] = turned
        return
    speaker_of = data.tables["utt2spk"]
    for key, row in turned.items():
        if key not in speaker_of or speaker_of[key].value != row.value:
            message = f"utterance {key!r} is of {row.value!r} here, but not in utt2spk"
            data.faults.append(TableFault(path, row.line, message, "disagreement"))
    for key in speaker_of.keys() - turned.keys():
        row = speaker_of[key]
        data.faults.append(
            TableFault(
                data.directory / "utt2spk", row.line, f"utterance {key!r} is not in spk2utt", "disagreement"
            )
        )


def _disagreements(data: DataTables) -> Iterator[TableFault]:
    """Faults of ids that are in one table and not in another."""
    named = "segments" if "segments" in data.tables else "wav.scp"
    recordings = data.tables["wav.scp"]
    if named == "segments":
        path = data.directory / "segments"
        used = set()
        for key, row in data.tables["segments"].items():
            recording = data.recording_of(key)
            used.add(recording)
            if recording not in recordings:
                yield TableFault(path, row.line, f"recording {recording!r} is not in wav.scp", "disagreement")
        for key in [key for key in recordings if key not in used]:
            message = f"recording {key!r} is not in segments"
            yield TableFault(data.directory / "wav.scp", recordings[key].line, message, "disagreement")
    for name in OF_UTTERANCES:
        if name in data.tables and name != named:
            yield from _differences(data, "utterance", named, name)
    for name in OF_RECORDINGS[1:]:
        if name in data.tables:
            yield from _differences(data, "recording", "wav.scp", name)
    if "utt2spk" in data.tables:
        speakers = {row.value: row for row in reversed(data.tables["utt2spk"].values())}
        for name in OF_SPEAKERS:
            table = data.tables.get(name)
            if table is None:
                continue
            for key in [key for key in speakers if key not in table]:
                message = f"speaker {key!r} is not in {name}"
                yield TableFault(data.directory / "utt2spk", speakers[key].line, message, "disagreement")
            for key in [key for key in table if key not in speakers]:
                yield TableFault(
                    data.directory / name,
                    table[key].line,
                    f"speaker {key!r} is not in utt2spk",
                    "disagreement",
                )


def _differences(data: DataTables, what: str, one: str, other: str) -> Iterator[TableFault]:
    """Ids that are in one of two tables only."""
    for here, there in ((one, other), (other, one)):
        for key, row in data.tables[here].items():
            if key not in data.tables[there]:
                yield TableFault(
                    data.directory / here, row.line, f"{what} {key!r} is not in {there}", "disagreement"
                )

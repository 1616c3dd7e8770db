"""Several data directories in one."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from sdpn.data.directories.tables import DataTables, read_sound_tables, write_new_directory
from sdpn.errors import InputError


class CombinedDirectory(NamedTuple):
    """What `combine_data_dirs` wrote.

    Attributes:
        num_utterances: utterances of the new directory.
        shared_speakers: speakers that are in several directories, and are one speaker in the new one.
        left_out: tables that not all directories have.
        not_copied: other files of the directories, which are not in the new one.
    """

    num_utterances: int
    shared_speakers: list[str]
    left_out: list[str]
    not_copied: list[str]


def combine_data_dirs(
    directories: Sequence[str | os.PathLike[str]], out: str | os.PathLike[str]
) -> CombinedDirectory:
    """Write one data directory with all utterances of several, as ``utils/combine_data.sh`` of Kaldi does.

    An utterance id that two directories share is refused, and so is a recording or a speaker of which they
    say different things. Where only some have ``segments``, recordings of the others become segments from 0
    to their end. Paths become absolute.

    Args:
        directories: the data directories, without faults but the order of lines.
        out: the new one.

    Raises:
        InputError: a directory has a fault, two share an id, or ``out`` exists.
    """
    parts = [read_sound_tables(Path(directory)) for directory in directories]
    if not parts:
        raise InputError("no data directories are given")
    in_segments = any("segments" in part.tables for part in parts)
    given = [_values(part, in_segments=in_segments) for part in parts]
    every = dict.fromkeys(name for tables in given for name in tables)
    shared = [name for name in every if all(name in tables for tables in given)]
    combined: dict[str, dict[str, str]] = {name: {} for name in shared}
    named = "segments" if in_segments else "wav.scp"
    origin: dict[str, Path] = {}
    for part, tables in zip(parts, given, strict=True):
        for key in tables[named]:
            if key in origin:
                raise InputError(
                    f"utterance {key!r} is also in {origin[key]}",
                    path=part.directory / named,
                    line=part.utterances[key].line,
                    hint="make ids unique, for example with the corpus as prefix",
                )
            origin[key] = part.directory
        for name in shared:
            rows = combined[name]
            for key, value in tables[name].items():
                if rows.setdefault(key, value) != value:
                    raise InputError(
                        f"{key!r} is {value!r} here, and {rows[key]!r} in another directory",
                        path=part.directory / name,
                        line=part.tables[name][key].line,
                        hint="make ids unique, for example with the corpus as prefix",
                    )
    write_new_directory(Path(out), combined)
    speakers: set[str] = set()
    again: set[str] = set()
    for part in parts:
        of_part = set(part.speaker_of.values())
        again |= speakers & of_part
        speakers |= of_part
    others = {f"{part.directory}/{name}": None for part in parts for name in part.others}
    return CombinedDirectory(
        len(combined[named]), sorted(again), [name for name in every if name not in shared], list(others)
    )


def _values(part: DataTables, *, in_segments: bool) -> dict[str, dict[str, str]]:
    tables = part.part(part.utterances)
    if in_segments and "segments" not in tables:
        tables["segments"] = {key: f"{key} 0 -1" for key in part.utterances}
    return tables

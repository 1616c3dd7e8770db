"""A data directory without what is wrong in it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

from sdpn.data.directories.tables import (
    OF_RECORDINGS,
    OF_SPEAKERS,
    OF_UTTERANCES,
    DataTables,
    read_tables,
    write_new_directory,
)
from sdpn.errors import InputError


class FixedDirectory(NamedTuple):
    """What `fix_data_dir` did.

    Attributes:
        num_utterances: utterances that are left.
        dropped: a line on each row that was dropped, with its file, line and reason.
        sorted: names of the tables that were not in C-locale order.
        not_copied: other files of the directory, which are not in the new one.
    """

    num_utterances: int
    dropped: list[str]
    sorted: list[str]
    not_copied: list[str]


def fix_data_dir(
    directory: str | os.PathLike[str], out: str | os.PathLike[str], *, check_files: bool = True
) -> FixedDirectory:
    """Write a data directory with the utterances that are sound and in all tables, in C-locale order.

    As ``utils/fix_data_dir.sh`` of Kaldi, but into a new directory. Of repeated ids the first row stays.
    ``spk2utt`` is written anew, and ``utt2spk`` is made of it where there is none. Paths become absolute.

    Args:
        directory: the data directory.
        out: the new one.
        check_files: also drop recordings whose audio file does not exist.

    Raises:
        InputError: as `sdpn.data.directories.validate.validate_data_dir`; no utterance is left; ``out``
            exists or cannot be written.
    """
    data = read_tables(Path(directory), check_files=check_files)
    missing = _missing(data)
    kept = [key for key in data.utterances if key not in missing]
    if not kept:
        first = next((fault for fault in data.faults if fault.kind != "order"), None)
        raise InputError(
            "no utterance is in all tables" + ("" if first is None else f"; the first fault is {first}"),
            path=directory,
        )
    tables = data.part(kept)
    write_new_directory(Path(out), tables)
    unsorted = [fault.path.name for fault in data.faults if fault.kind == "order"]
    return FixedDirectory(len(kept), _dropped(data, tables, missing), unsorted, data.others)


def _missing(data: DataTables) -> dict[str, str]:
    """Utterances that cannot stay, and why."""
    tables, speaker_of = data.tables, data.speaker_of
    of_utterances = {name: tables[name] for name in OF_UTTERANCES if name in tables}
    if "segments" not in tables:
        of_utterances["wav.scp"] = tables["wav.scp"]
    missing = {}
    for key in {key: None for table in of_utterances.values() for key in table}:
        absent = [name for name, table in of_utterances.items() if key not in table]
        if key in data.utterances:
            recording = data.recording_of(key)
            absent += [name for name in OF_RECORDINGS if recording not in tables.get(name, {recording})]
        if key in speaker_of:
            speaker = speaker_of[key]
            absent += [name for name in OF_SPEAKERS if speaker not in tables.get(name, {speaker})]
        if absent:
            missing[key] = f"it is not in {' and '.join(dict.fromkeys(absent))}"
    return missing


def _dropped(data: DataTables, tables: dict[str, dict[str, str]], missing: dict[str, str]) -> list[str]:
    """Every row that is in the old directory and not in the new one."""
    lines = [str(fault) for fault in data.faults if fault.kind == "row"]
    for name, table in data.tables.items():
        for key, row in table.items():
            if key not in tables[name]:
                why = missing.get(key, "it has no utterance that is left")
                lines.append(f"{data.directory / name}:{row.line}: {key!r} is dropped: {why}")
    return lines

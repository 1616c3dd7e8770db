"""A data directory in several, for as many processes."""

from __future__ import annotations

import heapq
import os
from itertools import pairwise
from pathlib import Path
from typing import Literal, NamedTuple

from sdpn.data.directories.tables import DataTables, read_sound_tables, write_tables
from sdpn.errors import InputError
from sdpn.io.atomic import atomic_directory, check_writable


class SplitDirectory(NamedTuple):
    """What `split_data_dir` wrote.

    Attributes:
        parts: the new data directories.
        num_utterances: utterances of each.
        not_copied: other files of the directory, which are not in the new ones.
    """

    parts: list[Path]
    num_utterances: list[int]
    not_copied: list[str]


def split_data_dir(
    directory: str | os.PathLike[str],
    out: str | os.PathLike[str],
    num_parts: int,
    *,
    by: Literal["speaker", "utterance"] = "speaker",
) -> SplitDirectory:
    """Write a data directory as ``out/1``, ``out/2``, ..., as ``utils/split_data.sh`` of Kaldi does.

    By speaker, all utterances of a speaker are in one part; the speaker with most utterances is placed first,
    each in the part that is smallest so far. By utterance, parts are runs of ids in C-locale order, whose
    sizes differ by one at most. Paths become absolute. The folder ``out`` appears when it is whole.

    Args:
        directory: the data directory, without faults but the order of lines.
        out: the folder of the parts.
        num_parts: how many, each of which gets something.
        by: what is kept together.

    Raises:
        InputError: the directory has a fault, there are fewer speakers or utterances than parts, there is no
            utt2spk to split by, or ``out`` exists.
    """
    if num_parts < 1:
        raise InputError(f"{num_parts} parts are asked for", hint="expected at least 1")
    data = read_sound_tables(Path(directory))
    chosen = _by_speaker(data, num_parts) if by == "speaker" else _by_utterance(data, num_parts)
    out = Path(out)
    check_writable(out, "new")
    with atomic_directory(out) as folder:
        for number, keys in enumerate(chosen, start=1):
            (folder / str(number)).mkdir()
            write_tables(folder / str(number), data.part(keys))
    parts = [out / str(number) for number in range(1, num_parts + 1)]
    return SplitDirectory(parts, [len(keys) for keys in chosen], data.others)


def _by_utterance(data: DataTables, num_parts: int) -> list[list[str]]:
    keys = sorted(data.utterances, key=str.encode)
    if len(keys) < num_parts:
        raise InputError(f"{num_parts} parts are asked for, of {len(keys)} utterances", path=data.directory)
    bounds = [index * len(keys) // num_parts for index in range(num_parts + 1)]
    return [keys[first:last] for first, last in pairwise(bounds)]


def _by_speaker(data: DataTables, num_parts: int) -> list[list[str]]:
    if "utt2spk" not in data.tables:
        raise InputError(
            "has no utt2spk, which says the speakers", path=data.directory, hint="split by utterance"
        )
    by_speaker: dict[str, list[str]] = {}
    for key, speaker in data.speaker_of.items():
        by_speaker.setdefault(speaker, []).append(key)
    if len(by_speaker) < num_parts:
        raise InputError(
            f"{num_parts} parts are asked for, of {len(by_speaker)} speakers",
            path=data.directory,
            hint="ask for fewer, or split by utterance",
        )
    chosen: list[list[str]] = [[] for _ in range(num_parts)]
    sizes = [(0, number) for number in range(num_parts)]
    for speaker in sorted(by_speaker, key=lambda name: (-len(by_speaker[name]), name.encode())):
        _, number = sizes[0]
        chosen[number] += by_speaker[speaker]
        heapq.heapreplace(sizes, (len(chosen[number]), number))
    return chosen

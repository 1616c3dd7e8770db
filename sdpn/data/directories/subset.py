"""A part of a data directory: some utterances, or all of some speakers."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from sdpn.data.directories.tables import DataTables, read_sound_tables, write_new_directory
from sdpn.errors import InputError
from sdpn.io.kaldi import iterate_data_dir
from sdpn.io.text import parse_seconds

#: Which utterances are taken, where a number of them is asked for.
Which = Literal["spread", "first", "last", "shortest", "random"]


class DataSubset(NamedTuple):
    """What `subset_data_dir` took.

    Attributes:
        num_utterances: utterances of the new directory.
        num_speakers: its speakers; 0 where they are unknown.
        not_copied: other files of the directory, which are not in the new one.
    """

    num_utterances: int
    num_speakers: int
    not_copied: list[str]


def subset_data_dir(
    directory: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    utterances: int | Iterable[str] | None = None,
    speakers: int | Iterable[str] | None = None,
    per_speaker: int | None = None,
    choose: Which = "spread",
    seed: int = 0,
) -> DataSubset:
    """Write a part of a data directory as a new one, as ``utils/subset_data_dir.sh`` of Kaldi does.

    Exactly one of ``utterances``, ``speakers`` and ``per_speaker`` says what is taken. Paths become absolute.

    Args:
        directory: the data directory, without faults but the order of lines.
        out: the new one.
        utterances: how many, or their ids.
        speakers: how many, drawn at random, or their ids; all of their utterances are taken.
        per_speaker: at most so many utterances of each speaker.
        choose: which of the utterances (of a speaker) are taken, in C-locale order of ids: spread evenly, the
            first, the last, the shortest, or random ones.
        seed: of random choices.

    Raises:
        InputError: the directory has a fault, there are fewer than asked for, an id is unknown, there are no
            speakers, an utterance whose length matters cannot be read, or ``out`` exists.
    """
    if sum(given is not None for given in (utterances, speakers, per_speaker)) != 1:
        raise InputError(
            "a subset is given by utterances, by speakers or by a number per speaker: one of them"
        )
    data = read_sound_tables(Path(directory))
    keys = sorted(data.utterances, key=str.encode)
    rng = np.random.default_rng(seed)
    if isinstance(utterances, int):
        chosen = _choose(data, keys, utterances, choose, rng)
    elif utterances is not None:
        chosen = _known(utterances, keys, "utterance", data)
    else:
        by_speaker = _by_speaker(data, keys)
        names = sorted(by_speaker, key=str.encode)
        if per_speaker is not None:
            chosen = [
                key
                for name in names
                for key in _choose(
                    data, by_speaker[name], min(per_speaker, len(by_speaker[name])), choose, rng
                )
            ]
        else:
            taken = (
                _choose(data, names, speakers, "random", rng, what="speakers")
                if isinstance(speakers, int)
                else _known(speakers or (), names, "speaker", data)
            )
            chosen = [key for name in taken for key in by_speaker[name]]
    if not chosen:
        raise InputError("nothing is asked for", path=directory)
    tables = data.part(chosen)
    write_new_directory(Path(out), tables)
    return DataSubset(len(set(chosen)), len(set(tables.get("utt2spk", {}).values())), data.others)


def _choose(
    data: DataTables,
    keys: list[str],
    count: int,
    choose: Which,
    rng: np.random.Generator,
    *,
    what: str = "utterances",
) -> list[str]:
    if not 0 < count <= len(keys):
        raise InputError(f"{count} {what} are asked for, of {len(keys)}", path=data.directory)
    if choose == "first":
        return keys[:count]
    if choose == "last":
        return keys[-count:]
    if choose == "random":
        return [keys[index] for index in rng.choice(len(keys), count, replace=False)]
    if choose == "shortest":
        lengths = _lengths(data, keys)
        return sorted(keys, key=lambda key: (lengths[key], key.encode()))[:count]
    return [keys[index * len(keys) // count] for index in range(count)]


def _lengths(data: DataTables, keys: list[str]) -> dict[str, float]:
    """Lengths by one measure for all: utt2dur, utt2num_frames, or else the audio."""
    for name in ("utt2dur", "utt2num_frames"):
        if name in data.tables:
            table = data.tables[name]
            return {
                key: parse_seconds(
                    table[key].value, "length", path=data.directory / name, line=table[key].line
                )
                for key in keys
            }
    wanted = set(keys)
    return {
        utterance.id: float(utterance.num_samples())
        for utterance in iterate_data_dir(data.directory, speakers=False)
        if utterance.id in wanted
    }


def _known(ids: Iterable[str], known: list[str], what: str, data: DataTables) -> list[str]:
    ids = list(ids)
    unknown = sorted(set(ids) - set(known))
    if unknown:
        raise InputError(
            f"{what} {unknown[0]!r} of the list is not there ({len(unknown)} such)", path=data.directory
        )
    return ids


def _by_speaker(data: DataTables, keys: list[str]) -> dict[str, list[str]]:
    """Utterances of each speaker.

    Raises:
        InputError: the directory does not tell.
    """
    speaker_of = data.speaker_of
    if not speaker_of:
        raise InputError("has no utt2spk, which says the speakers", path=data.directory)
    found: dict[str, list[str]] = {}
    for key in keys:
        found.setdefault(speaker_of[key], []).append(key)
    return found

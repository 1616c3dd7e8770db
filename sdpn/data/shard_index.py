"""Tar shards that others wrote, such as webdataset's, as a data directory: their audio stays where it is.

Random access needs to know where each recording begins. One pass over the headers of the shards finds that,
and writes the tables of a pack (`sdpn.io.shards`) into a folder with links to the shards. What is wrong with
a set of shards is found here, before any work: one that is missing in the numbering, one that is there twice
or cut off, two that share an utterance.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import tarfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec

from sdpn.errors import InputError
from sdpn.io.atomic import atomic_directory
from sdpn.io.corpus import SUFFIXES, as_word
from sdpn.io.json_text import parse_json
from sdpn.io.packed_text import DistinctKeys, PackedText
from sdpn.io.parsing import parsing
from sdpn.io.shards import MANIFEST, PackManifest

#: In webdataset, a sample is the files that share their name up to the first dot after the last slash.
_SAMPLE = re.compile(r"((?:.*/)?[^./][^.]*)\.([^/]*)", re.DOTALL)
#: A shard's number is the last one in its name.
_NUMBERED = re.compile(r"(.*?)(\d+)([^\d]*\.tar)")
#: Largest description of a sample that is read.
_MOST_JSON = 1 << 20
#: Shards in one list that a message names.
_NAMED = 5


class IndexedShards(NamedTuple):
    """What was found in shards.

    Attributes:
        num_utterances: recordings.
        num_speakers: speakers that the shards name.
        sizes: number of recordings of each shard, by its name.
        num_bytes: size of all shards.
        skipped: a line for everything that was left out.
    """

    num_utterances: int
    num_speakers: int
    sizes: dict[str, int]
    num_bytes: int
    skipped: list[str]


class _Sample(NamedTuple):
    """A recording of a shard: its id, where its bytes begin, and its speaker."""

    id: str
    offset: int
    speaker: str | None


def index_shards(
    folders: Sequence[Path],
    out: Path,
    *,
    skip_bad: bool = False,
    on_progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> IndexedShards:
    """Make a data directory of tar shards without copying them.

    Args:
        folders: folders with ``*.tar``, each file a shard.
        out: a new folder for ``wav.scp``, ``utt2spk`` where the shards name speakers, ``pack.json``, and
            links to the shards.
        skip_bad: leave out samples without audio and numbers without a shard; else they are an error.
        on_progress: called with (shards done, of all).

    Raises:
        InputError: there are no shards, one is missing, twice there, damaged or truncated, two have one name
            or share an utterance, or ``out`` exists already.
    """
    if out.exists():
        raise InputError("exists already", path=out, hint="name a new folder")
    shards, skipped = _find(folders, skip_bad=skip_bad)
    known = DistinctKeys()
    ids_of: dict[str, PackedText] = {}
    sizes: dict[str, int] = {}
    speakers: set[str] = set()
    signature = hashlib.sha256()
    with atomic_directory(out) as folder:
        with (
            open(folder / "wav.scp", "w", encoding="utf-8", errors="surrogateescape") as scp,
            open(folder / "utt2spk", "w", encoding="utf-8", errors="surrogateescape") as utt2spk,
        ):
            for done, shard in enumerate(shards.values()):
                on_progress(done, len(shards))
                samples = list(_samples(shard, skipped, skip_bad=skip_bad))
                ids = [sample.id for sample in samples]
                again = known.add(ids)
                if again is not None:
                    raise _twice(ids, again, shard, ids_of, shards)
                ids_of[shard.name] = PackedText(ids)
                sizes[shard.name] = len(samples)
                for sample in samples:
                    scp.write(f"{sample.id} {shard.name}:{sample.offset}\n")
                    signature.update(f"{sample}\n".encode("utf-8", "surrogateescape"))
                    if sample.speaker is not None:
                        speakers.add(sample.speaker)
                        utt2spk.write(f"{sample.id} {sample.speaker}\n")
                (folder / shard.name).symlink_to(os.path.abspath(shard))
        on_progress(len(shards), len(shards))
        if not speakers:
            (folder / "utt2spk").unlink()
        count = sum(sizes.values())
        if not count:
            raise InputError("the shards hold no recordings", path=folders[0])
        manifest = PackManifest(
            signature=signature.hexdigest(),
            num_utterances=count,
            num_skipped=len(skipped),
            shards={name: path.stat().st_size for name, path in shards.items()},
        )
        text = json.dumps(msgspec.to_builtins(manifest), indent=2)
        (folder / MANIFEST).write_text(f"{text}\n", encoding="utf-8")
    return IndexedShards(count, len(speakers), sizes, sum(manifest.shards.values()), skipped)


def uneven(sizes: dict[str, int]) -> str | None:
    """A line on shards of unequal size; None if the smallest of all but the last is half the largest or more.

    The last shard of a set has what was left. Unequal shards are no fault here: the order of the utterances
    is one for all processes, none of which has shards of its own.
    """
    names = sorted(sizes)
    smallest = min(names[:-1] or names, key=sizes.__getitem__)
    largest = max(names, key=sizes.__getitem__)
    if 2 * sizes[smallest] >= sizes[largest]:
        return None
    low, high = f"{sizes[smallest]} utterances ({smallest})", f"{sizes[largest]} ({largest})"
    return f"shards of unequal size: from {low} to {high}"


def _find(folders: Sequence[Path], *, skip_bad: bool) -> tuple[dict[str, Path], list[str]]:
    """The shards of all folders by name, and a line for each that is missing."""
    shards: dict[str, Path] = {}
    missing: list[str] = []
    for folder in folders:
        if not folder.is_dir():
            raise InputError("is not a folder of tar shards", path=folder)
        found = sorted(path for path in folder.glob("*.tar") if not path.name.startswith("."))
        if not found:
            packed = sorted(folder.glob("*.tar.*")) + sorted(folder.glob("*.tgz"))
            raise InputError(
                "has no tar shards (*.tar)"
                + (
                    f"; {packed[0].name} is compressed, and has to be read from its beginning"
                    if packed
                    else ""
                ),
                path=folder,
                hint="unpack them to plain tar files: gunzip, or zstd -d" if packed else None,
            )
        for path in found:
            if path.name in shards:
                raise InputError(
                    f"has the same name as {shards[path.name]}", path=path, hint="rename one of the shards"
                )
            shards[path.name] = path
        absent = _absent(found)
        if absent and not skip_bad:
            rest = f" and {len(absent) - _NAMED} more" if len(absent) > _NAMED else ""
            raise InputError(
                f"these shards are missing: {', '.join(absent[:_NAMED])}{rest}",
                path=folder,
                hint="copy them again, or go on without them: --skip-bad",
            )
        missing += [f"{folder / name}: this shard is missing" for name in absent]
    return shards, missing


def _absent(found: Sequence[Path]) -> list[str]:
    """Names that are missing between the lowest and the highest number of a kind."""
    series: dict[tuple[str, str], dict[int, str]] = {}
    for path in found:
        if (match := _NUMBERED.fullmatch(path.name)) is not None:
            series.setdefault((match[1], match[3]), {})[int(match[2])] = match[2]
    absent = []
    for (head, tail), numbers in sorted(series.items()):
        width = max(map(len, numbers.values()))
        if max(numbers) - min(numbers) < 10 * len(numbers):  # else they count something else, such as dates
            absent += [
                f"{head}{number:0{width}}{tail}"
                for number in range(min(numbers), max(numbers))
                if number not in numbers
            ]
    return absent


def _samples(shard: Path, skipped: list[str], *, skip_bad: bool) -> Iterator[_Sample]:
    """The recordings of a shard.

    Raises:
        InputError: it is no tar file, damaged or truncated, or a sample has no recording or several.
    """
    with parsing(shard, "is not a valid tar shard", hint="copy the shard again"):
        with tarfile.open(shard, "r:") as tar:
            size = shard.stat().st_size
            name: str | None = None
            members: list[tuple[str, tarfile.TarInfo]] = []
            for member in tar:
                tar.members = []  # type: ignore[attr-defined]  # of which it would keep a list
                if member.offset_data + member.size > size:
                    raise InputError(
                        f"is truncated: {member.name} ends at byte {member.offset_data + member.size}, "
                        f"the file at {size}",
                        path=shard,
                        hint="copy the shard again",
                    )
                match = _SAMPLE.fullmatch(member.name)
                if not member.isreg() or match is None:
                    continue
                if match[1] != name:
                    if name is not None:
                        yield from _sample(tar, name, members, shard, skipped, skip_bad=skip_bad)
                    name, members = match[1], []
                members.append((match[2], member))
            if name is not None:
                yield from _sample(tar, name, members, shard, skipped, skip_bad=skip_bad)
            if size < tar.offset + tarfile.BLOCKSIZE:
                raise InputError(
                    f"is truncated: it stops at byte {size} without the end of an archive",
                    path=shard,
                    hint="copy the shard again",
                )


def _sample(
    tar: tarfile.TarFile,
    name: str,
    members: Sequence[tuple[str, tarfile.TarInfo]],
    shard: Path,
    skipped: list[str],
    *,
    skip_bad: bool,
) -> Iterator[_Sample]:
    sounds = [
        member for extension, member in members if f".{extension.rpartition('.')[2].lower()}" in SUFFIXES
    ]
    if len(sounds) != 1:
        problem = f"sample {name!r} has {len(sounds) or 'no'} recordings; expected one"
        if not skip_bad:
            raise InputError(problem, path=shard, hint="leave such samples out with --skip-bad")
        skipped.append(f"{shard}: {problem}")
        return
    about = {}
    for extension, member in members:
        if extension == "json" and member.size <= _MOST_JSON:
            stream = tar.extractfile(member)
            assert stream is not None
            text = stream.read().decode("utf-8", "surrogateescape")
            about = parse_json(text, f"description of sample {name!r}", path=shard)
    key, speaker = about.get("id", name), about.get("speaker")
    if "segments" in about:
        raise InputError(
            f"recording {name!r} has segments, which only the tables beside the shards hold",
            path=shard,
            hint=f"use the folder as it is: --data {shard.parent}",
        )
    yield _Sample(
        as_word(str(key)).replace("/", "-"),
        sounds[0].offset_data,
        None if speaker is None else as_word(str(speaker)),
    )


def _twice(
    ids: Sequence[str], again: int, shard: Path, ids_of: dict[str, PackedText], shards: dict[str, Path]
) -> InputError:
    """The error for an utterance that occurred before."""
    key = ids[again]
    other = next((name for name, held in ids_of.items() if key in held), None)
    if other is None:
        return InputError(f"holds the utterance {key!r} twice", path=shard)
    if list(ids_of[other]) == list(ids):
        return InputError(
            f"holds the same utterances as {shards[other]}: is one shard there twice?",
            path=shard,
            hint="remove one of them",
        )
    return InputError(f"holds the utterance {key!r}, which is also in {shards[other]}", path=shard)

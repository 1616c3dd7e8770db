"""One split of a diarization corpus -> a validated Kaldi data directory with its reference.

    OUT/wav.scp           a row for each recording
    OUT/audio/            the files, with the names of the recordings: links, or one channel as FLAC
    OUT/reference.rttm    of all recordings
    OUT/reference.uem     regions to score, where the corpus has them or they are whole recordings

local/prepare_<corpus>.py of each recipe finds what belongs to a split in the layout of its corpus, and `run`
does the rest: every file is opened, and numbers are compared with the published ones, unless --no_counts.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import soundfile

from sdpn.errors import InputError
from sdpn.io.atomic import atomic_directory
from sdpn.io.audio import info, open_audio
from sdpn.io.corpus import find_audio
from sdpn.io.header_check import require_audio
from sdpn.io.kaldi import Utterance, write_data_dir
from sdpn.io.rttm import Turn, read_rttms, write_rttms
from sdpn.io.text import numbered_lines
from sdpn.io.uem import read_uem, write_uem

#: Seconds that are copied at once.
_BLOCK_S = 60


@dataclass(frozen=True, kw_only=True)
class Split:
    """What belongs to a split.

    Attributes:
        audio: file of each recording.
        reference: turns by recording; one without speech may be missing.
        regions: start and end of what is scored, in seconds, by recording; None scores whole recordings.
        count: published number of recordings; None is not known.
        channel: channel to take, counted from 0; None takes files as they are.
        whole: write a UEM of whole recordings where there are no regions.
    """

    audio: Mapping[str, Path]
    reference: Mapping[str, Sequence[Turn]]
    regions: Mapping[str, Sequence[tuple[float, float]]] | None = None
    count: int | None = None
    channel: int | None = None
    whole: bool = True


def run(
    description: str | None,
    add_arguments: Callable[[argparse.ArgumentParser], None],
    find: Callable[[argparse.Namespace], Split],
    argv: Sequence[str] | None = None,
) -> None:
    """Command line of a preparation.

    Args:
        description: of the layout.
        add_arguments: declares where the corpus is.
        find: finds the split ``args.split``, and raises an InputError where something is missing.
        argv: its words.
    """
    parser = argparse.ArgumentParser(
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--split", choices=("dev", "test"), required=True)
    parser.add_argument("--out", type=Path, required=True, help="folder to make; an old one is replaced")
    add_arguments(parser)
    parser.add_argument("--no_counts", action="store_true", help="it is a part of the corpus")
    parser.add_argument("--nj", type=int, default=2, help="threads that open files; default 2")
    args = parser.parse_args(argv)
    with atomic_directory(args.out) as folder:
        said = write_split(
            find(args), folder, args.out.absolute(), num_threads=args.nj, counts=not args.no_counts
        )
        print(f"{args.split}: {said}", flush=True)


def write_split(split: Split, folder: Path, final: Path, *, num_threads: int, counts: bool) -> str:
    """Write a data directory; returns what it is in a line.

    Args:
        split: what belongs to it.
        folder: where it is written.
        final: what its name will be.
        num_threads: files opened at once.
        counts: compare with the published number.

    Raises:
        InputError: a number is not the published one, a region is missing, or a file is truncated.
    """
    wanted = sorted(split.audio)
    if counts and split.count is not None and len(wanted) != split.count:
        raise InputError(
            f"{len(wanted)} recordings, expected {split.count}",
            path=_common(split.audio.values()),
            hint="is something missing? --no_counts takes it as it is",
        )
    if not wanted:
        raise InputError(f"the split {final.name} has no recordings")
    regions = split.regions
    if regions is not None and (missing := [key for key in wanted if not regions.get(key)]):
        raise InputError(f"recording {missing[0]!r} has no region to score ({len(missing)} of {len(wanted)})")
    require_audio(list(split.audio.values()), num_threads)
    # commands that are given files name recordings after them: these have the names of the reference
    (folder / "audio").mkdir()

    def place(key: str) -> Path:
        source = split.audio[key]
        if split.channel is None:
            (folder / "audio" / f"{key}{source.suffix}").symlink_to(source.resolve())
            return Path("audio", key + source.suffix)
        _copy_channel(source, folder / "audio" / f"{key}.flac", split.channel)
        return Path("audio", f"{key}.flac")

    with ThreadPoolExecutor(num_threads) as pool:
        files = dict(zip(wanted, pool.map(place, wanted), strict=True))
    write_data_dir(folder, (Utterance(key, final / file) for key, file in files.items()))
    turns = [turn for key in wanted for turn in split.reference.get(key, [])]
    if not turns:
        raise InputError(f"the reference of the split {final.name} has no turns")
    write_rttms(folder / "reference.rttm", turns)
    if regions is None and split.whole:
        regions = {key: [(0.0, _length_s(folder / file))] for key, file in files.items()}
    if regions is not None:
        write_uem(folder / "reference.uem", {key: list(regions[key]) for key in wanted})
    return f"{len(wanted)} recordings, {len({(turn.recording, turn.speaker) for turn in turns})} speakers"


def recordings_below(
    folders: Path | Iterable[Path],
    wanted: Iterable[str],
    key_of: Callable[[str], str | None] = lambda stem: stem,
    *,
    named: str = "{}.*",
) -> dict[str, Path]:
    """Audio of the recordings that are wanted, at any depth.

    Args:
        folders: where to look.
        wanted: recording ids.
        key_of: recording id of a file name without suffix; None for a file of something else.
        named: how a file is called, for the error.

    Raises:
        InputError: a folder does not exist, or a recording has no audio or two files.
    """
    wanted = set(wanted)
    found: dict[str, Path] = {}
    folders = [folders] if isinstance(folders, Path) else list(folders)
    for folder in folders:
        for path in find_audio(require_folder(folder)):
            key = key_of(path.stem)
            if key is None or key not in wanted:
                continue
            if key in found:
                raise InputError(f"is recording {key!r}, which {found[key]} is, too", path=path)
            found[key] = path
    missing = wanted - found.keys()
    if missing:
        raise InputError(
            f"{len(missing)} of {len(wanted)} recordings have no audio, such as {min(missing)!r}",
            path=folders[0],
            hint=f"expected {named.format(min(missing))} at any depth",
        )
    return found


def read_reference(place: Path, pattern: str = "*.rttm") -> dict[str, list[Turn]]:
    """Turns of an RTTM file, or of all in a folder.

    Raises:
        InputError: there is none, or a line is malformed.
    """
    files = [place] if place.is_file() else sorted(place.glob(pattern))
    if not files:
        raise InputError(f"there are no {pattern}", path=place, hint="is this the folder of the references?")
    return read_rttms(files)


def read_regions(place: Path) -> dict[str, list[tuple[float, float]]]:
    """Regions of a UEM file, or of all in a folder.

    Raises:
        InputError: there is none, a line is malformed, or two files are of one recording.
    """
    files = [place] if place.is_file() else sorted(place.glob("*.uem"))
    if not files:
        raise InputError("there are no *.uem", path=place, hint="is this the folder of the regions?")
    regions: dict[str, list[tuple[float, float]]] = {}
    for path in files:
        for key, spans in read_uem(path).items():
            if key in regions:
                raise InputError(f"recording {key!r} is in another UEM, too", path=path)
            regions[key] = spans
    return regions


def read_list(path: Path) -> list[str]:
    """First words of lines: recording ids, each once; '#' begins a comment.

    Raises:
        InputError: an id is there twice.
    """
    found: dict[str, int] = {}
    for number, line in numbered_lines(path):
        if line.startswith("#"):
            continue
        key = line.split()[0]
        if key in found:
            raise InputError(f"{key!r} is in line {found[key]}, too", path=path, line=number)
        found[key] = number
    return list(found)


def require_folder(folder: Path) -> Path:
    """The folder.

    Raises:
        InputError: it does not exist.
    """
    if not folder.is_dir():
        raise InputError("no such folder", path=folder, hint="is a part of the corpus missing?")
    return folder


def require_reference(
    wanted: Sequence[str], reference: Mapping[str, Sequence[Turn]], known: Iterable[str] = (), *, path: Path
) -> None:
    """Check that all recordings are in the reference.

    Args:
        wanted: recordings.
        reference: turns by recording.
        known: recordings that need no turns, such as those with regions: silence has no line of RTTM.
        path: for the error.

    Raises:
        InputError: some are not.
    """
    unknown = set(wanted) - reference.keys() - set(known)
    if unknown:
        raise InputError(
            f"{len(unknown)} of {len(wanted)} recordings have no reference, such as {min(unknown)!r}",
            path=path,
        )


def renamed(turns: Iterable[Turn], recording: str) -> list[Turn]:
    """Turns of another recording id."""
    return [replace(turn, recording=recording) for turn in turns]


def _copy_channel(source: Path, target: Path, channel: int) -> None:
    """Write a channel as 16-bit FLAC at the rate of the file.

    Raises:
        InputError: there is no such channel, or the file ends early.
    """
    rate_hz = info(source).rate_hz
    with open_audio(source, channel=channel, rate_hz=rate_hz) as audio:
        with soundfile.SoundFile(target, "w", rate_hz, 1, "PCM_16", format="FLAC") as out:
            for block in audio.blocks(_BLOCK_S):
                out.write(np.clip(np.rint(block * 32768), -32768, 32767).astype(np.int16))


def _length_s(path: Path) -> float:
    return info(path).duration_s


def _common(paths: Iterable[Path]) -> Path | None:
    parents = {path.parent for path in paths}
    return min(parents) if parents else None

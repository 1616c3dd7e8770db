#!/usr/bin/env python3
"""Turn copies of VoxCeleb1 and 2 into validated Kaldi data directories.

    VOX1/{dev,test}/wav/idXXXXX/VIDEO/NNNNN.wav     VOX2/dev/aac/idXXXXX/VIDEO/NNNNN.m4a
    MUSAN/{noise,music,speech}/                     RIRS/

    OUT/train            VoxCeleb2 dev: training speech. Training does not use its utt2spk
    OUT/vox1             the utterances of VoxCeleb1 that trials name
    OUT/vox1/trials_{O,E,H}
    OUT/{noise,music}    of MUSAN
    OUT/rir              of RIRS

Instead of wav and aac, folders m4a and flac are read as well, and speakers right below dev and test. Ids are
idXXXXX-VIDEO-NNNNN. Numbers of speakers and utterances are compared with the published ones, unless
--no_counts says that this is a part of it.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from sdpn.cli.script import script
from sdpn.errors import InputError
from sdpn.io.atomic import atomic_directory, atomic_write_text
from sdpn.io.corpus import SUFFIXES, as_word, find_audio
from sdpn.io.header_check import require_audio
from sdpn.io.kaldi import Utterance, write_data_dir
from sdpn.io.trials import read_trials

#: Published numbers of speakers and utterances (arXiv 1706.08612, 1806.05622, and their pages).
COUNTS = {"vox1 dev": (1211, 148_642), "vox1 test": (40, 4_874), "vox2 dev": (5994, 1_092_009)}
#: Cleaned lists of trials: the original test set, all speakers (extended), one nationality and sex (hard).
TRIALS = {"O": "veri_test2.txt", "E": "list_test_all2.txt", "H": "list_test_hard2.txt"}

_KINDS = ("wav", "flac", "m4a", "aac")
_SPEAKER = re.compile(r"id\d{5}")


class Corpus(NamedTuple):
    """A part of VoxCeleb."""

    name: str
    folder: Path
    utterances: list[Utterance]


def read_corpus(name: str, root: Path, *, counts: bool) -> Corpus:
    """Find the utterances of ``root/dev`` or ``root/test``.

    Args:
        name: as in `COUNTS`.
        root: the copy.
        counts: compare with the published numbers.

    Raises:
        InputError: the part is missing, has another layout, lacks something, or has a file without contents.
    """
    part = name.split()[1]
    folder = root / part
    found = [folder / kind for kind in _KINDS if (folder / kind).is_dir()]
    if len(found) > 1:
        raise InputError(
            f"{part} is there as {' and '.join(path.name for path in found)}",
            path=folder,
            hint="give one of them",
        )
    folder = found[0] if found else folder
    if not folder.is_dir():
        raise InputError(
            f"{name} is missing: no such folder",
            path=folder,
            hint=f"expected {root}/{part}/{'aac' if name == 'vox2 dev' else 'wav'}/idXXXXX/VIDEO/NNNNN.*",
        )
    utterances = list(_utterances(folder))
    speakers = {utterance.speaker for utterance in utterances}
    if not utterances:
        raise InputError(f"{name} has no utterances", path=folder, hint="expected idXXXXX/VIDEO/NNNNN.*")
    if counts and (len(speakers), len(utterances)) != COUNTS[name]:
        raise InputError(
            f"{name} has {len(speakers):,} speakers and {len(utterances):,} utterances, expected "
            f"{COUNTS[name][0]:,} and {COUNTS[name][1]:,}",
            path=folder,
            hint="is an archive missing, or not wholly unpacked? --no_counts takes it as it is",
        )
    return Corpus(name, folder, utterances)


def _utterances(folder: Path) -> Iterator[Utterance]:
    seen: dict[str, str] = {}
    for speaker in _sorted(folder):
        if not _SPEAKER.fullmatch(speaker.name):
            raise InputError("is not a speaker's folder, idXXXXX", path=speaker.path)
        for video in _sorted(speaker):
            for file in _sorted(video):
                stem, suffix = os.path.splitext(file.name)
                if suffix.lower() not in SUFFIXES:
                    raise InputError("is not audio", path=file.path, hint="remove it")
                key = f"{speaker.name}-{as_word(video.name)}-{stem}"
                if key in seen:
                    raise InputError(f"has the id {key!r}, which {seen[key]} has, too", path=file.path)
                if not file.stat().st_size:
                    raise InputError("is empty", path=file.path, hint="unpack it again")
                seen[key] = file.path
                yield Utterance(key, Path(file.path), speaker=speaker.name)


def _sorted(folder: Path | os.DirEntry[str]) -> list[os.DirEntry[str]]:
    try:
        return sorted(
            (item for item in os.scandir(folder) if item.name[0] != "."), key=lambda item: item.name
        )
    except NotADirectoryError:
        raise InputError(
            "is a file, where a folder is expected: idXXXXX/VIDEO/NNNNN.*", path=folder
        ) from None


def write_trials(path: Path, out: Path, known: dict[str, Utterance]) -> list[Utterance]:
    """Write trials with our ids.

    Returns:
        the utterances in them.

    Raises:
        InputError: they are malformed, or name an utterance that is not there.
    """
    trials = read_trials(path)
    ids = [os.path.splitext(name)[0].replace("/", "-") for name in trials.ids]
    missing = [name for name, key in zip(trials.ids, ids, strict=True) if key not in known]
    if missing:
        raise InputError(
            f"{len(missing)} of the {len(ids)} utterances are not in VoxCeleb1, such as {min(missing)!r}",
            path=path,
        )
    names = np.array(ids, dtype=object)
    rows = zip(trials.is_target.tolist(), names[trials.first], names[trials.second], strict=True)
    atomic_write_text(out, "".join(f"{int(target)} {first} {second}\n" for target, first, second in rows))
    return [known[key] for key in ids]


def prepare(out: Path, args: argparse.Namespace) -> None:
    """Write every data directory, and print what each holds."""
    parts = [("vox2 dev", args.vox2), ("vox1 dev", args.vox1), ("vox1 test", args.vox1)]
    corpora = [read_corpus(name, root, counts=not args.no_counts) for name, root in parts]
    owner: dict[str, Corpus] = {}
    for corpus in corpora:
        for utterance in corpus.utterances:
            speaker = str(utterance.speaker)
            other = owner.setdefault(speaker, corpus)
            if other is not corpus:
                raise InputError(
                    f"speaker {speaker} is also in {other.folder}: training and test must not share speakers",
                    path=corpus.folder / speaker,
                )
    for corpus in corpora:
        if not args.skip_headers:
            require_audio([utterance.path for utterance in corpus.utterances], args.nj)
        speakers = {utterance.speaker for utterance in corpus.utterances}
        print(f"{corpus.name}: {len(speakers):,} speakers, {len(corpus.utterances):,} utterances", flush=True)
    train, *tests = corpora
    write_data_dir(out / "train", train.utterances)
    known = {utterance.id: utterance for corpus in tests for utterance in corpus.utterances}
    (out / "vox1").mkdir(parents=True)
    used: dict[str, Utterance] = {}
    for name, file in TRIALS.items():
        named = write_trials(args.trials / file, out / "vox1" / f"trials_{name}", known)
        used |= {utterance.id: utterance for utterance in named}
    write_data_dir(out / "vox1", used.values())
    for kind, folder in (
        ("noise", args.musan and args.musan / "noise"),
        ("music", args.musan and args.musan / "music"),
        ("rir", args.rirs),
    ):
        if folder is not None:
            sounds = [
                Utterance("-".join(map(as_word, path.relative_to(folder).parts)), path.resolve())
                for path in find_audio(folder)
            ]
            write_data_dir(out / kind, sounds)
            print(f"{kind}: {len(sounds):,} files", flush=True)


@script
def main(argv: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--out", type=Path, required=True, help="folder to make; an old one is replaced")
    for name, what in (("vox1", "VoxCeleb1"), ("vox2", "VoxCeleb2"), ("trials", "trial lists")):
        parser.add_argument(f"--{name}", type=Path, required=True, metavar="DIR", help=what)
    parser.add_argument("--musan", type=Path, metavar="DIR")
    parser.add_argument("--rirs", type=Path, metavar="DIR")
    parser.add_argument("--no_counts", action="store_true", help="it is a part of the corpora")
    parser.add_argument("--skip_headers", action="store_true", help="do not open every file")
    parser.add_argument("--nj", type=int, default=2, help="threads that open files; default 2")
    args = parser.parse_args(argv)
    with atomic_directory(args.out) as folder:
        prepare(folder, args)


if __name__ == "__main__":
    sys.exit(main())

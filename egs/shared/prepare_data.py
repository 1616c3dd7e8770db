#!/usr/bin/env python3
"""Turn corpus folders into validated Kaldi data directories.

    OUT/train      from every --corpus: DIR/<speaker>/**/<utterance>.{wav,flac,opus,ogg,mp3}
    OUT/unlabelled from every --unlabelled: audio at any depth, without speakers
    OUT/dev        from --dev, in the same layout, with a copy of --trials
    OUT/meetings   from --meetings: audio, reference.rttm and optionally reference.uem
    OUT/noise      from --noise: audio at any depth
    OUT/rir        from --rir: audio at any depth

Training ids are <corpus>-<speaker>-<utterance>, speakers <corpus>-<folder>: a folder of the same name in two
corpora is two people. With --without_benchmark, the speakers, noises and rooms that 'sdpn benchmark' tests on
(sdpn/benchmark/held_out.py) are left out of train, noise and rir. Dev ids are whatever the trials call the
files: the file stem, or the path below --dev with or without its suffix. Every file's header is read; files
that are empty or unreadable are named.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from sdpn.benchmark.held_out import is_held_out_sound, is_held_out_speaker
from sdpn.cli.script import script
from sdpn.errors import InputError
from sdpn.io import audio
from sdpn.io.atomic import atomic_directory
from sdpn.io.corpus import as_word, corpus_names, find_audio, find_speakers
from sdpn.io.kaldi import Utterance, write_data_dir
from sdpn.io.rttm import read_rttm
from sdpn.io.trial_corpus import utterances_of_trials
from sdpn.io.uem import read_uem

#: More bad files than this are only counted.
_MOST_NAMED = 20


def total_hours(files: Sequence[Path], num_threads: int) -> float:
    """Read the header of every file.

    Returns:
        their total length in hours.

    Raises:
        InputError: files are empty or unreadable; each is named on stderr before.
    """

    def measure(path: Path) -> float | InputError:
        try:
            return audio.info(path).duration_s
        except InputError as error:
            return error

    with ThreadPoolExecutor(num_threads) as pool:
        found = list(pool.map(measure, files))
    bad = [error for error in found if isinstance(error, InputError)]
    for error in bad[:_MOST_NAMED]:
        print(f"prepare_data.py: {error}", file=sys.stderr)
    if len(bad) > 1:
        raise InputError(
            f"{len(bad)} of {len(files)} audio files cannot be used, the first is {bad[0].path}",
            hint="mend or remove them",
        )
    if bad:
        raise InputError(f"cannot be used: {bad[0].message}", path=bad[0].path, hint="mend or remove it")
    return sum(length for length in found if not isinstance(length, InputError)) / 3600


def training_utterances(
    folders: Sequence[Path], *, without_benchmark: bool = False
) -> dict[str, list[Utterance]]:
    """Utterances of folder-per-speaker corpora by corpus, maybe without the speakers of the benchmark.

    Raises:
        InputError: a corpus is missing or empty, or an audio file lies in no speaker's folder.
    """
    name_of = dict(zip(folders, corpus_names(folders), strict=True))
    found: dict[str, list[Utterance]] = {name: [] for name in name_of.values()}
    for person, files in find_speakers(folders).items():
        for file in files:
            if not (without_benchmark and is_held_out_speaker(file.corpus.resolve(), file.name.parts[0])):
                key = "-".join([person, *map(as_word, file.name.with_suffix("").parts[1:])])
                found[name_of[file.corpus]].append(Utterance(key, file.path.resolve(), speaker=person))
    return found


def unlabelled_utterances(folders: Sequence[Path]) -> dict[str, list[Utterance]]:
    """All audio of some folders by folder; nobody says who speaks.

    Raises:
        InputError: a folder is missing, empty or given twice.
    """
    return {
        name: [
            Utterance(
                "-".join([name, *map(as_word, path.relative_to(folder).with_suffix("").parts)]),
                path.resolve(),
            )
            for path in find_audio(folder)
        ]
        for folder, name in zip(folders, corpus_names(folders), strict=True)
    }


def meeting_recordings(folder: Path) -> list[Utterance]:
    """The recordings of a folder, each checked to have a reference.

    Raises:
        InputError: reference.rttm is missing, or it and the audio do not belong together.
    """
    reference = folder / "reference.rttm"
    if folder.is_dir() and not reference.is_file():
        raise InputError("contains no reference.rttm", path=folder)
    recordings = {path.stem: path for path in find_audio(folder)}
    known = set(read_rttm(reference))
    extra = known - recordings.keys()
    if extra:
        raise InputError(
            f"{len(extra)} recordings have no audio beside it, such as {min(extra)!r}", path=reference
        )
    uem = folder / "reference.uem"
    # a recording without speech has no line in an RTTM, but one in the UEM
    unknown = recordings.keys() - known - (set(read_uem(uem)) if uem.is_file() else set())
    if unknown:
        raise InputError("is in neither reference.rttm nor reference.uem", path=recordings[min(unknown)])
    return [Utterance(key, path.resolve()) for key, path in recordings.items()]


def prepare(out: Path, args: argparse.Namespace) -> None:
    """Write every data directory that was asked for, and print what each holds."""
    by_corpus = training_utterances(args.corpus, without_benchmark=args.without_benchmark)
    train = [utterance for utterances in by_corpus.values() for utterance in utterances]
    for part, found in (("train", by_corpus), ("unlabelled", unlabelled_utterances(args.unlabelled))):
        if args.apart:
            for name, utterances in found.items():
                _write(out / part / name, utterances, args.nj)
        elif found:
            _write(out / part, [one for utterances in found.values() for one in utterances], args.nj)
    if args.dev is not None:
        dev = utterances_of_trials(args.dev, args.trials)
        shared = {utterance.path for utterance in train} & {utterance.path for utterance in dev}
        if shared:
            raise InputError(
                "is in the training data and in --dev, whose speakers must be unseen", path=min(shared)
            )
        _write(out / "dev", dev, args.nj)
        shutil.copyfile(args.trials, out / "dev" / "trials")
    if args.meetings is not None:
        _write(out / "meetings", meeting_recordings(args.meetings), args.nj)
        for name in ("reference.rttm", "reference.uem"):
            if (args.meetings / name).is_file():
                shutil.copyfile(args.meetings / name, out / "meetings" / name)
    for kind, folder in (("noise", args.noise), ("rir", args.rir)):
        if folder is not None:
            # the extension stays, as one room may be there as .wav and .flac
            sounds = [
                Utterance("-".join(map(as_word, path.relative_to(folder).parts)), path.resolve())
                for path in find_audio(folder)
                if not (args.without_benchmark and is_held_out_sound(path))
            ]
            if not sounds:
                raise InputError("all of it is held out for the benchmark", path=folder)
            _write(out / kind, sounds, args.nj)


@script
def main(argv: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--out", type=Path, required=True, help="folder to make; an old one is replaced")
    parser.add_argument(
        "--corpus", type=Path, action="append", required=True, metavar="DIR", help="may be repeated"
    )
    parser.add_argument(
        "--unlabelled", type=Path, action="append", default=[], metavar="DIR", help="may be repeated"
    )
    parser.add_argument(
        "--apart",
        action="store_true",
        help="a data directory for each corpus: OUT/train/NAME, OUT/unlabelled/NAME",
    )
    parser.add_argument("--dev", type=Path, metavar="DIR", help="speakers that are in no --corpus")
    parser.add_argument("--trials", type=Path, metavar="FILE", help="verification trials on --dev")
    parser.add_argument("--meetings", type=Path, metavar="DIR")
    parser.add_argument("--noise", type=Path, metavar="DIR")
    parser.add_argument("--rir", type=Path, metavar="DIR")
    parser.add_argument(
        "--without_benchmark", action="store_true", help="leave out what 'sdpn benchmark' tests on"
    )
    parser.add_argument("--nj", type=int, default=2, help="threads that read headers; default 2")
    args = parser.parse_args(argv)
    if (args.dev is None) != (args.trials is None):
        raise InputError("--dev and --trials go together")
    with atomic_directory(args.out) as folder:
        prepare(folder, args)


def _write(folder: Path, utterances: Sequence[Utterance], num_threads: int) -> None:
    hours = total_hours([utterance.path for utterance in utterances], num_threads)
    write_data_dir(folder, utterances)
    speakers = {utterance.speaker for utterance in utterances} - {None}
    people = f", {len(speakers)} speakers" if speakers else ""
    print(f"{folder.name}: {len(utterances)} files{people}, {hours:.2f} h", flush=True)


if __name__ == "__main__":
    sys.exit(main())

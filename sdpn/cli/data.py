"""``sdpn data``: Kaldi data directories as a whole."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sdpn.cli.numbers import at_least
from sdpn.errors import InputError
from sdpn.io.atomic import OutputKind

DESCRIPTION = """\
Validate, fix, divide and combine Kaldi data directories, with the meaning of Kaldi's utils/*.sh.

WHAT is one of
  validate   name every fault with its file and line; exit code 1 if there is one
  fix        sort, drop what is not in all tables, and say what was dropped
  subset     some utterances, or all of some speakers
  combine    several directories as one; a shared utterance id is refused
  split      OUT/1, OUT/2, ...: equal parts, by speaker or by utterance

DIR is never changed: all but 'validate' write OUT, which must not exist, and is whole or absent.
Tables are those that Kaldi's scripts know (wav.scp, segments, utt2spk, text, feats.scp, reco2dur, spk2gender,
...); other files are named and not copied. Paths become absolute, and audio stays where it is.
"""

EXAMPLE = """\
  sdpn data validate data/train
  sdpn data fix data/train --out data/fixed
  sdpn data subset data/train --num 1000 --out data/small
  sdpn data subset data/train --spk-list speakers.txt --out data/some
  sdpn data combine data/vox1 data/vox2 --out data/both
  sdpn data split data/train --into 8 --out data/split8
"""

OUTPUTS: dict[str, OutputKind] = {"out": "new"}

#: Options that say what a subset is.
_SUBSETS = ("num", "first", "last", "shortest", "random", "per_speaker", "speakers", "utt_list", "spk_list")
#: Options that each kind of work takes, beside DIR.
_TAKES = {
    "validate": {"no_files"},
    "fix": {"out", "no_files"},
    "subset": {"out", *_SUBSETS},
    "combine": {"out"},
    "split": {"out", "into", "by"},
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``sdpn data``."""
    parser.add_argument("what", choices=_TAKES, metavar="WHAT", help=", ".join(_TAKES))
    parser.add_argument(
        "directories",
        type=Path,
        nargs="+",
        metavar="DIR",
        help="Kaldi data directory; 'combine' takes several",
    )
    parser.add_argument(
        "--out", type=Path, metavar="OUT", help="the new data directory, or for 'split' its folder"
    )
    parser.add_argument(
        "--no-files",
        action="store_true",
        help="validate and fix: do not ask whether the audio files of wav.scp exist",
    )
    subset = parser.add_argument_group("subset, one of").add_mutually_exclusive_group()
    for name, what in (
        ("num", "N utterances, spread evenly over the sorted ids"),
        ("first", "the first N utterances"),
        ("last", "the last N utterances"),
        ("shortest", "the N shortest utterances, by utt2dur, utt2num_frames or else the audio"),
        ("random", "N random utterances"),
        ("per-speaker", "at most N utterances of each speaker, spread evenly"),
        ("speakers", "all utterances of N random speakers"),
    ):
        subset.add_argument(f"--{name}", type=at_least(1), metavar="N", help=what)
    subset.add_argument(
        "--utt-list", type=Path, metavar="FILE", help="utterances: the first word of each line"
    )
    subset.add_argument("--spk-list", type=Path, metavar="FILE", help="speakers: the first word of each line")
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="random seed (default: 0)")
    split = parser.add_argument_group("split")
    split.add_argument("--into", type=at_least(1), metavar="N", help="number of parts")
    split.add_argument(
        "--by", choices=("speaker", "utterance"), help="what is kept together (default: speaker)"
    )


def only_reads(args: argparse.Namespace) -> bool:
    """Whether no data directory is written."""
    return bool(args.what == "validate")


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Do the work, and say what was done.

    Raises:
        InputError: options that make no sense together, or as the functions of `sdpn.data.directories`.
    """
    _refuse_other_options(args)
    if args.what == "combine":
        return _combine(args)
    if len(args.directories) > 1:
        raise InputError(f"'data {args.what}' takes one directory", path=args.directories[1])
    work = {"validate": _validate, "fix": _fix, "subset": _subset, "split": _split}[args.what]
    return work(args)


def exit_code(args: argparse.Namespace, results: dict[str, Any]) -> int:
    """1 where a directory was found to have faults."""
    return int(args.what == "validate" and bool(results["faults"]))


def _refuse_other_options(args: argparse.Namespace) -> None:
    for name in sorted(set().union(*_TAKES.values()) - _TAKES[args.what]):
        if getattr(args, name) not in (None, False):
            takers = ", ".join(what for what, takes in _TAKES.items() if name in takes)
            raise InputError(
                f"--{name.replace('_', '-')} is not for 'data {args.what}'", hint=f"it is for {takers}"
            )
    if "out" in _TAKES[args.what] and args.out is None:
        raise InputError(f"'data {args.what}' needs --out OUT", hint="a directory that does not exist yet")


def _validate(args: argparse.Namespace) -> dict[str, Any]:
    from sdpn.data.directories.validate import validate_data_dir

    (directory,) = args.directories
    faults = validate_data_dir(directory, check_files=not args.no_files)
    for fault in faults:
        print(fault)
    print(f"{directory}: {_counted(len(faults), 'fault') if faults else 'valid'}")
    return {
        "faults": [
            {"file": fault.path.name, "line": fault.line, "message": fault.message} for fault in faults
        ]
    }


def _fix(args: argparse.Namespace) -> dict[str, Any]:
    from sdpn.data.directories.fix import fix_data_dir

    fixed = fix_data_dir(args.directories[0], args.out, check_files=not args.no_files)
    for line in fixed.dropped:
        print(line)
    if fixed.sorted:
        print(f"sorted: {', '.join(fixed.sorted)}")
    _say_not_copied(fixed.not_copied)
    print(
        f"{args.out}: {_counted(fixed.num_utterances, 'utterance')}; "
        f"{_counted(len(fixed.dropped), 'line')} dropped"
    )
    return fixed._asdict()


def _subset(args: argparse.Namespace) -> dict[str, Any]:
    from sdpn.data.directories.subset import subset_data_dir

    asked: dict[str, Any] = {
        "num": {"utterances": args.num},
        "first": {"utterances": args.first, "choose": "first"},
        "last": {"utterances": args.last, "choose": "last"},
        "shortest": {"utterances": args.shortest, "choose": "shortest"},
        "random": {"utterances": args.random, "choose": "random"},
        "per_speaker": {"per_speaker": args.per_speaker},
        "speakers": {"speakers": args.speakers},
        "utt_list": {"utterances": args.utt_list and _first_words(args.utt_list)},
        "spk_list": {"speakers": args.spk_list and _first_words(args.spk_list)},
    }
    chosen = [name for name in _SUBSETS if getattr(args, name) is not None]
    if not chosen:
        options = ", ".join(f"--{name.replace('_', '-')}" for name in _SUBSETS)
        raise InputError("what is the subset?", hint=f"one of {options}")
    done = subset_data_dir(args.directories[0], args.out, seed=args.seed, **asked[chosen[0]])
    _say_not_copied(done.not_copied)
    speakers = f", {_counted(done.num_speakers, 'speaker')}" if done.num_speakers else ""
    print(f"{args.out}: {_counted(done.num_utterances, 'utterance')}{speakers}")
    return done._asdict()


def _combine(args: argparse.Namespace) -> dict[str, Any]:
    from sdpn.data.directories.combine import combine_data_dirs

    done = combine_data_dirs(args.directories, args.out)
    if done.shared_speakers:
        print(
            f"one speaker in the result: {_counted(len(done.shared_speakers), 'speaker')} in several "
            f"directories, such as {done.shared_speakers[0]!r}"
        )
    if done.left_out:
        print(f"left out, since not all directories have it: {', '.join(done.left_out)}")
    _say_not_copied(done.not_copied)
    print(f"{args.out}: {_counted(done.num_utterances, 'utterance')}")
    return done._asdict()


def _split(args: argparse.Namespace) -> dict[str, Any]:
    from sdpn.data.directories.split import split_data_dir

    if args.into is None:
        raise InputError("'data split' needs --into N, the number of parts")
    done = split_data_dir(args.directories[0], args.out, args.into, by=args.by or "speaker")
    _say_not_copied(done.not_copied)
    for part, count in zip(done.parts, done.num_utterances, strict=True):
        print(f"{part}: {_counted(count, 'utterance')}")
    return {**done._asdict(), "parts": [str(part) for part in done.parts]}


def _first_words(path: Path) -> list[str]:
    from sdpn.io.text import numbered_lines

    return [line.split()[0] for _, line in numbered_lines(path)]


def _say_not_copied(names: Sequence[str]) -> None:
    if names:
        more = f" and {len(names) - 5} more" if len(names) > 5 else ""
        print(f"not copied: {', '.join(names[:5])}{more}")


def _counted(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"

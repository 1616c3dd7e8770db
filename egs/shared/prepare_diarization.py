#!/usr/bin/env python3
"""One split of a diarization corpus -> a validated Kaldi data directory with its reference.

    OUT/wav.scp           a row for each recording
    OUT/audio/            links to the files, with the names of the recordings
    OUT/reference.rttm    of all recordings
    OUT/reference.uem     regions to score, where the corpus has them

Recordings are those of --list, or else of the reference. Audio is looked for at any depth below --audio; its
name without suffix, and without --ending, is the id. Every file is opened.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from sdpn.cli.script import script
from sdpn.errors import InputError
from sdpn.io.atomic import atomic_directory
from sdpn.io.corpus import find_audio
from sdpn.io.header_check import require_audio
from sdpn.io.kaldi import Utterance, write_data_dir
from sdpn.io.rttm import read_rttms, write_rttms
from sdpn.io.text import numbered_lines
from sdpn.io.uem import read_uem, write_uem


def recordings_below(folder: Path, ending: str, wanted: set[str]) -> dict[str, Path]:
    """Audio of the recordings that are wanted.

    Raises:
        InputError: a recording has no audio or two files, or a file is truncated or no audio.
    """
    found: dict[str, Path] = {}
    for path in find_audio(folder):
        if not path.stem.endswith(ending):
            continue
        key = path.stem.removesuffix(ending)
        if key not in wanted:
            continue
        if key in found:
            raise InputError(f"is recording {key!r}, which {found[key]} is, too", path=path)
        found[key] = path
    missing = wanted - found.keys()
    if missing:
        raise InputError(
            f"{len(missing)} of {len(wanted)} recordings have no audio, such as {min(missing)!r}",
            path=folder,
            hint=f"expected {min(missing)}{ending}.* at any depth",
        )
    return found


def prepare(out: Path, args: argparse.Namespace) -> str:
    """Write the split; returns what it is in a line.

    Raises:
        InputError: something is missing or damaged.
    """
    rttms = [args.rttm] if args.rttm.is_file() else sorted(args.rttm.glob("*.rttm"))
    if not rttms:
        raise InputError("there are no *.rttm", path=args.rttm, hint="is this the folder of the references?")
    reference = read_rttms(rttms)
    regions: dict[str, list[tuple[float, float]]] = {}
    if args.uem is not None:
        uems = [args.uem] if args.uem.is_file() else sorted(args.uem.glob("*.uem"))
        for path in uems:
            for key, spans in read_uem(path).items():
                if key in regions:
                    raise InputError(f"recording {key!r} is in another UEM, too", path=path)
                regions[key] = spans
    wanted = set(reference)
    if args.list is not None:
        wanted = {line.split()[0] for _, line in numbered_lines(args.list)}
        unknown = wanted - reference.keys() - regions.keys()  # without speech there is no line of RTTM
        if unknown:
            raise InputError(
                f"{len(unknown)} of {len(wanted)} recordings have no reference, such as {min(unknown)!r}",
                path=args.list,
            )
    if args.uem is not None and wanted - regions.keys():
        raise InputError(f"recording {min(wanted - regions.keys())!r} has no region to score", path=args.uem)
    if args.count is not None and len(wanted) != args.count:
        raise InputError(
            f"{len(wanted)} recordings, expected {args.count}",
            path=args.list or args.rttm,
            hint="is something missing? --no_counts takes it as it is",
        )
    found = recordings_below(args.audio, args.ending, wanted)
    require_audio(list(found.values()), args.nj)
    # commands that are given files name recordings after them: links have the names of the reference
    (out / "audio").mkdir()
    links = {key: Path("audio", key + path.suffix) for key, path in found.items()}
    for key, link in links.items():
        (out / link).symlink_to(found[key].resolve())
    write_data_dir(out, (Utterance(key, args.out.absolute() / link) for key, link in links.items()))
    write_rttms(out / "reference.rttm", [turn for key in sorted(wanted) for turn in reference.get(key, [])])
    if args.uem is not None:
        write_uem(out / "reference.uem", {key: regions[key] for key in sorted(wanted)})
    speakers = {(key, turn.speaker) for key in wanted for turn in reference.get(key, [])}
    return f"{len(wanted)} recordings, {len(speakers)} speakers"


@script
def main(argv: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--out", type=Path, required=True, help="folder to make; an old one is replaced")
    parser.add_argument("--audio", type=Path, required=True, metavar="DIR")
    parser.add_argument("--rttm", type=Path, required=True, metavar="DIR|FILE", help="the reference")
    parser.add_argument("--uem", type=Path, metavar="DIR|FILE", help="regions to score")
    parser.add_argument("--list", type=Path, metavar="FILE", help="recordings of the split, one a line")
    parser.add_argument("--ending", default="", help="end of the names of audio files, such as .Mix-Headset")
    parser.add_argument("--count", type=int, metavar="N", help="number of recordings that must be there")
    parser.add_argument("--nj", type=int, default=2, help="threads that open files; default 2")
    args = parser.parse_args(argv)
    with atomic_directory(args.out) as folder:
        print(f"{args.out.name}: {prepare(folder, args)}", flush=True)


if __name__ == "__main__":
    sys.exit(main())

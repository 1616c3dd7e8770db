"""``sdpn enroll``: voiceprints of known people."""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sdpn.cli.audio_arguments import add_audio_arguments
from sdpn.cli.model_arguments import (
    add_model_arguments,
    add_precision_argument,
    add_runtime_argument,
    load_for_runtime,
)
from sdpn.cli.people_arguments import add_people_arguments
from sdpn.cli.progress import Meter
from sdpn.errors import InputError
from sdpn.io.atomic import OutputKind

if TYPE_CHECKING:
    from sdpn.people.enroll import Enroller
    from sdpn.people.voiceprint import Voiceprint

DESCRIPTION = """\
Enroll people: a folder of voiceprints, by which 'sdpn diarize --people FOLDER' names speakers.

Each recording must hold the speech of that person alone, at least 1 s and better 10 s or more, in conditions
like those to come. Silence, recordings with two voices, and recordings of somebody else than the person's
others are refused. Recordings of somebody who is enrolled already are added. Any name on one line will do.

Voiceprints belong to one model; --renew makes them again with another, from the recordings that they name.
They are data about people: --delete removes a person's.
"""

EXAMPLE = """\
  sdpn enroll --name "Anna Lee" --people people/ anna1.wav anna2.m4a
  sdpn diarize --people people/ --out out/ meeting.wav
  sdpn enroll --people people/ --list
  sdpn enroll --people people/ --rename "Anna Lee" "Anna Lee-Smith"
  sdpn enroll --people people/ --delete "Anna Lee-Smith"
  sdpn enroll --people people/ --renew --model models/mine
"""

OUTPUTS: dict[str, OutputKind] = {"people": "folder"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``sdpn enroll``."""
    parser.add_argument("audio", nargs="*", type=Path, metavar="AUDIO", help="recordings of the person")
    add_people_arguments(parser, required=True)
    actions = parser.add_mutually_exclusive_group(required=True)
    actions.add_argument("--name", metavar="NAME", help="enroll this person")
    actions.add_argument("--list", action="store_true", help="list the people")
    actions.add_argument("--rename", nargs=2, metavar=("OLD", "NEW"), help="give a person another name")
    actions.add_argument("--delete", metavar="NAME", help="remove a person")
    actions.add_argument(
        "--renew", action="store_true", help="make all voiceprints again, from their recordings"
    )
    add_model_arguments(parser)
    add_runtime_argument(parser)
    add_precision_argument(parser)
    add_audio_arguments(parser, separate=False, skip_bad=False)


def only_reads(args: argparse.Namespace) -> bool:
    """``--list`` needs no folder that can be written."""
    return bool(args.list)


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Enroll, list, rename, delete or renew, and print.

    Raises:
        InputError: as `sdpn.people.enroll` and `sdpn.people.voiceprint.PeopleFolder`, or options
            that make no sense together.
    """
    from sdpn.people.enroll import enroll_person, renew_people
    from sdpn.people.voiceprint import PeopleFolder, checked_name

    folder = PeopleFolder(args.people)
    if args.name is None and args.audio:
        raise InputError("AUDIO is enrolled under --name NAME")
    if args.list:
        return _listed(folder.read())
    if args.rename is not None:
        folder.rename(*args.rename)
        print(f"{args.rename[0]} is {args.rename[1]} now")
        return {"renamed": args.rename}
    if args.delete is not None:
        folder.delete(args.delete)
        print(f"{args.delete} is removed")
        return {"deleted": args.delete}
    if args.renew:
        meter = Meter(quiet=args.quiet, unit="recordings")
        try:
            return _listed(
                renew_people(_enroller(args), folder, on_recording=partial(meter.show, "renewing"))
            )
        finally:
            meter.finish()
    if not args.audio:
        raise InputError("no recordings are given", hint=f"sdpn enroll --name {args.name!r} AUDIO...")
    checked_name(args.name)  # before the model is loaded
    meter = Meter(quiet=args.quiet, unit="recordings")
    try:
        person = enroll_person(
            _enroller(args),
            folder,
            args.name,
            args.audio,
            channel=args.channel,
            on_recording=partial(meter.show, "enrolling"),
        )
    finally:
        meter.finish()
    return _listed([person])


def _enroller(args: argparse.Namespace) -> Enroller:
    from sdpn import __version__
    from sdpn.diarization.pipeline import Diarizer
    from sdpn.people.back_end import back_end_for
    from sdpn.people.enroll import Enroller
    from sdpn.pretrained import model_name, model_path

    model = load_for_runtime(args)
    digest = model.weights_digest
    path = model_path(args.model)
    back_end = back_end_for(path, digest, args.back_end)
    made_with = {"model": model_name(path), "format": args.format, "sdpn": __version__}
    return Enroller(model, Diarizer(model), back_end, model=digest, made_with=made_with)


def _listed(people: list[Voiceprint]) -> dict[str, Any]:
    for person in people:
        count = len(person.recordings)
        print(
            f"{person.name}: {count} recording{'s' if count > 1 else ''}, {person.speech_s:.1f} s of speech, "
            f"{person.made_with.get('model')}"
        )
    return {
        "people": [
            {
                "name": person.name,
                "speech_s": person.speech_s,
                "model": person.model,
                "recordings": [one.audio for one in person.recordings],
            }
            for person in people
        ]
    }

"""Entry point of ``sdpn``: finds the subcommand, and turns every outcome into an exit code.

Start-up is a feature: ``sdpn --help`` imports nothing heavy, and a subcommand imports what it needs
inside its ``run``. Each subcommand module offers

- ``DESCRIPTION`` and ``EXAMPLE``: what ``--help`` teaches,
- ``add_arguments(parser)``,
- ``OUTPUTS``: the options that name what is written, and what that is (`sdpn.io.atomic.OutputKind`); before
  the work each is asked whether it can be written, and no two may be one file,
- ``run(args) -> dict``: does the work, prints for people, and returns what ``--json`` stores,
- ``exit_code(args, results) -> int``, only where it is not always 0: what the results mean to a script,
- ``OPTIONS_ANYWHERE = True``, only where options may stand between the positional arguments, too.

A ``ValueError`` or a plain bug shows its traceback; an `sdpn.errors.InputError`, or what the system refuses
on the way (an ``OSError``), is one line and exit code 2.
"""

from __future__ import annotations

import argparse
import importlib
import io
import json
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sdpn import __version__
from sdpn.cli.outputs import check_outputs
from sdpn.errors import InputError

#: Subcommand -> one line for ``sdpn --help``. The module is ``sdpn.cli.<subcommand>``.
COMMANDS = {
    "train": "learn speaker embeddings from unlabelled speech",
    "adapt": "make a model fit unlabelled recordings of your own, if that makes it better",
    "extract": "write the embeddings of a Kaldi data directory to ark/scp",
    "compare": "say how alike the voices of two recordings are, and whether they are one",
    "backend": "learn from unlabelled recordings to score pairs better than by the cosine",
    "verify": "score verification trials: EER, minDCF, Cllr, with intervals",
    "diarize": "find who spoke when in recordings, as RTTM",
    "cluster": "find the speakers among embeddings of windows, as RTTM",
    "kmeans": "cluster millions of embeddings, chunk by chunk",
    "simulate": "make conversations with a known answer from single utterances",
    "drift": "say from checkpoints which prototypes move, and whether they are being trained",
    "score": "compare RTTM files with references: DER and its parts, JER, with intervals",
    "report": "turn an experiment folder into one offline HTML page",
    "models": "list the encoders with their parameters and cost",
    "convert": "write a model of another toolkit as a model folder, or any as an ONNX graph",
}

_EPILOG = """\
A run from recordings to a report:
  sdpn train   --config conf/mini.yaml --data data/train --out exp/mini
  sdpn extract --model exp/mini/model --data data/dev --out exp/mini/embeddings
  sdpn verify  --trials data/dev/trials --embeddings exp/mini/embeddings/embeddings.scp
  sdpn diarize --model exp/mini/model --out exp/mini/rttm meeting.wav
  sdpn score   --ref meeting.ref.rttm --hyp exp/mini/rttm/meeting.rttm
  sdpn report  exp/mini
  sdpn drift   exp/mini
A model that fits recordings of your own, without labels, and scores of voices that do:
  sdpn adapt   --data recordings/ --out models/mine
  sdpn backend --model models/mine --data data/mine
From embeddings of windows, whoever made them, to speakers:
  sdpn cluster --method vbx --embeddings xvectors.ark --segments segments --out exp/xvectors
Millions of embeddings to clusters, in chunks that do not fit in memory together:
  sdpn kmeans --clusters 1024 --out exp/kmeans embeddings/*.scp
What others trained (3D-Speaker, WeSpeaker, SpeechBrain), wherever there is a --model:
  sdpn extract --model campplus.bin --format 3dspeaker --data data/dev --out exp/campplus
  sdpn convert --model voxceleb_resnet34/ --out models/resnet34
One voice or two:
  sdpn compare --model exp/mini/model a.wav b.wav
Which encoders there are, and what they cost:
  sdpn models
Conversations with a known answer, to measure on:
  sdpn simulate --corpus corpora/speakers --out exp/conversations --num 24

'sdpn COMMAND --help' explains a command.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``sdpn`` with ``argv`` (default: the process's own) and return the exit code."""
    argv = list(sys.argv[1:] if argv is None else argv)
    # torch's OpenMP threads spin while they wait for each other: beside a busy process on each of two cores
    # a training step took 17 times as long, 2.6 times when they sleep instead; alone it makes no difference
    # (tools/benchmarks/busy_machine.py). It is read when torch is loaded, so it has to be set before.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # names of files need not be UTF-8
    parser = argparse.ArgumentParser(
        prog="sdpn",
        usage="sdpn COMMAND [options]",
        description="Speaker embeddings without labels, and who spoke when.\n\ncommands:\n"
        + "\n".join(f"  {name:<9} {summary}" for name, summary in COMMANDS.items()),
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"sdpn {__version__}")
    parser.add_argument("command", nargs="?", choices=COMMANDS, help=argparse.SUPPRESS, metavar="COMMAND")
    name = f"sdpn {argv[0]}" if argv and argv[0] in COMMANDS else "sdpn"
    try:
        try:
            args = parser.parse_args(argv[:1])
            if args.command is None:
                parser.print_help()
            code = 2 if args.command is None else _run(args.command, argv[1:])
        except SystemExit:  # --help, --version
            _flush_output()
            raise
        _flush_output()  # here what keeps it from being written can still be told
        return code
    except BrokenPipeError:  # the reader of our output (head, less) has gone
        _discard_output()
        return 1
    except (InputError, OSError) as error:
        if "--debug" in argv:
            raise
        _discard_output()
        print(f"{name}: error: {_one_line(str(_explained(error)))}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"{name}: interrupted", file=sys.stderr)
        return 130


def make_parser(name: str) -> argparse.ArgumentParser:
    """The parser of a subcommand."""
    module = importlib.import_module(f"sdpn.cli.{name}")
    parser = argparse.ArgumentParser(
        prog=f"sdpn {name}",
        description=module.DESCRIPTION,
        epilog=f"example:\n{module.EXAMPLE}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    module.add_arguments(parser)
    common = parser.add_argument_group("common options")
    common.add_argument("--json", type=Path, metavar="FILE", help="also write the results here as JSON")
    common.add_argument("--debug", action="store_true", help="show the traceback of an error")
    common.add_argument("--quiet", action="store_true", help="no progress and no information, only results")
    return parser


def _run(name: str, argv: list[str]) -> int:
    module = importlib.import_module(f"sdpn.cli.{name}")
    parser = make_parser(name)
    parse = parser.parse_intermixed_args if hasattr(module, "OPTIONS_ANYWHERE") else parser.parse_args
    args = parse(argv)
    logging.basicConfig(
        level=logging.WARNING if args.quiet else logging.INFO,
        format="%(levelname)s: %(message)s",
        stream=sys.stderr,
    )
    check_outputs(args, {**module.OUTPUTS, "json": "file"})
    results = module.run(args)
    if args.json is not None:
        _write_json(args.json, name, argv, args, results)
    return module.exit_code(args, results) if hasattr(module, "exit_code") else 0


def _explained(error: InputError | OSError) -> InputError:
    """What the system refused, in the user's terms; a writer names its file, which leaves what is printed."""
    if isinstance(error, InputError):
        return error
    why = error.strerror or str(error)
    if error.filename is None:
        return InputError(f"the output cannot be written ({why})")
    return InputError(f"cannot be used ({why})", path=os.fsdecode(error.filename))


def _one_line(text: str) -> str:
    """Text on one line; characters that would move the cursor or hide something are shown as escapes."""
    line = " ".join(text.splitlines())
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode()
        for character in line
    )


def _flush_output() -> None:
    if sys.stdout is not None:  # it is None where the caller has closed it
        sys.stdout.flush()


def _discard_output() -> None:
    """Let what is left of a standard output that takes no more go nowhere; Python flushes it at exit."""
    try:
        _flush_output()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _write_json(
    path: Path, name: str, argv: list[str], args: argparse.Namespace, results: dict[str, Any]
) -> None:
    from sdpn.io.atomic import atomic_write_text

    document = {
        "schema": f"sdpn.{name}/1",
        "command": ["sdpn", name, *argv],
        "configuration": {
            key: value for key, value in vars(args).items() if key not in ("json", "debug", "quiet")
        },
        "results": results,
    }
    atomic_write_text(path, json.dumps(document, indent=2, default=_plain, allow_nan=False) + "\n")


def _plain(value: Any) -> Any:
    """NumPy numbers as numbers, paths as text; anything else is a bug that shows."""
    if isinstance(value, Path):
        return str(value)
    if hasattr(value, "item"):
        return value.item()
    raise TypeError(f"{value!r} cannot stand in a JSON document")


if __name__ == "__main__":
    sys.exit(main())

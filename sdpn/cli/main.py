"""Entry point of ``sdpn``: runs the subcommand and converts its outcome to an exit code.

Start-up must be fast: ``sdpn --help`` imports nothing heavy, and a subcommand imports its dependencies inside
its ``run``. Each subcommand module offers

- ``DESCRIPTION`` and ``EXAMPLE``: shown by ``--help``,
- ``add_arguments(parser)``,
- ``OUTPUTS``: the options that name what is written, and what that is (`sdpn.io.atomic.OutputKind`); before
  the work each is asked whether it can be written, and no two may be one file,
- ``run(args) -> dict``: does the work, prints for people, and returns what ``--json`` stores,
- ``only_reads(args) -> bool``, only where some options make it write none of its ``OUTPUTS``,
- ``exit_code(args, results) -> int``, only if it is not always 0,
- ``settings() -> Sections``, only where it has settings (``section.key=value``, `sdpn.cli.settings`); ``run``
  finds those that were given in ``args.settings``.

A bug (any other exception, such as ``ValueError``) shows its traceback; an `sdpn.errors.InputError` or a
system error (``OSError``) gives one line and exit code 2.
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
from types import ModuleType
from typing import Any

from sdpn import __version__
from sdpn.cli.outputs import check_outputs
from sdpn.cli.settings import SettingsParser, split_settings
from sdpn.errors import InputError
from sdpn.memory import is_out_of_memory
from sdpn.stopping import Stop, ends_on_signals

#: Subcommand -> one line for ``sdpn --help``; `command_module` has its module.
COMMANDS = {
    "train": "train a speaker embedding network on unlabelled speech",
    "adapt": "adapt a model to your own unlabelled recordings, if that improves it",
    "extract": "extract embeddings of utterances or recordings as Kaldi ark/scp",
    "compare": "compare the speakers of two recordings: score and decision",
    "backend": "train a scoring back end (PLDA, AS-norm) on unlabelled recordings",
    "pseudo-label": "cluster an unlabelled corpus into pseudo-labels to train on",
    "verify": "score verification trials: EER, minDCF and Cllr, with confidence intervals",
    "diarize": "find out who spoke when, as RTTM, JSON, subtitles or annotation tiers",
    "enroll": "enroll people, to name speakers with 'sdpn diarize --people'",
    "words": "attach speakers to the words of a speech recogniser",
    "edit": "correct who spoke when, and let the corrections propagate",
    "link": "find the same people across recordings",
    "verify-receipt": "repeat a diarization from its receipt, and compare",
    "tune": "choose a clusterer's settings on recordings with references",
    "cluster": "cluster window embeddings into speakers, as RTTM",
    "kmeans": "cluster millions of embeddings with mini-batch k-means",
    "simulate": "simulate conversations, with references, from single utterances",
    "degrade": "copy a corpus with noise, reverberation or telephone band added, to test on",
    "pack": "pack a training corpus into a few large files, to copy and to train from",
    "drift": "check from checkpoints whether the prototypes are being trained",
    "benchmark": "measure models on unseen speakers in every condition, with intervals",
    "score": "score RTTM files against references: DER, JER, with confidence intervals",
    "report": "summarise an experiment folder in one offline HTML page",
    "models": "list the encoders, their parameters and compute",
    "convert": "convert a model of another toolkit to a model folder, or any model to ONNX",
}

_EPILOG = """\
From recordings to a report:
  sdpn train   --config conf/mini.yaml --data data/train --out exp/mini
  sdpn extract --model exp/mini/model --data data/dev --out exp/mini/embeddings
  sdpn verify  --trials data/dev/trials --embeddings exp/mini/embeddings/embeddings.scp
  sdpn diarize --model exp/mini/model --out exp/mini/rttm meeting.wav
  sdpn score   --ref meeting.ref.rttm --hyp exp/mini/rttm/meeting.rttm
  sdpn report  exp/mini
  sdpn drift   exp/mini
Write subtitles and everything known, and check later that it can be repeated:
  sdpn diarize --out out/ --to json,srt meeting.wav
  sdpn verify-receipt out/meeting.json
Name the people whose voices are known:
  sdpn enroll --name Anna --people people/ anna.wav
  sdpn diarize --people people/ --out out/ meeting.wav
Attach speakers to the words of a recogniser, correct turns, and find people across recordings:
  sdpn words   --asr whisper/meeting.json --turns out/meeting.json --out out/
  sdpn edit    out/meeting.json --is 83.5 "Anna Lee" --same speaker01 speaker03 --out corrected/
  sdpn link    out/ --out linked/
Adapt a model, and its scoring back end, to your own unlabelled recordings:
  sdpn adapt   --data recordings/ --out models/mine
  sdpn backend --model models/mine --data data/mine
Choose settings of the clustering on your own recordings with references:
  sdpn tune    --ref dev.rttm --out exp/tuned dev/*.flac
  sdpn diarize --config exp/tuned/settings.yaml --out exp/mini/rttm meeting.wav
Diarize from window embeddings computed by any toolkit:
  sdpn cluster --method vbx --embeddings xvectors.ark --segments segments --out exp/xvectors
Cluster millions of embeddings that do not fit in memory:
  sdpn kmeans --clusters 1024 --out exp/kmeans embeddings/*.scp
Use pretrained models of other toolkits (3D-Speaker, WeSpeaker, SpeechBrain) with any --model:
  sdpn extract --model campplus.bin --format 3dspeaker --data data/dev --out exp/campplus
  sdpn convert --model voxceleb_resnet34/ --out models/resnet34
Verify whether two recordings have the same speaker:
  sdpn compare --model exp/mini/model a.wav b.wav
List the encoders and their cost:
  sdpn models
Simulate conversations with references, for evaluation:
  sdpn simulate --corpus corpora/speakers --out exp/conversations --num 24
Degrade a corpus with noise and reverberation:
  sdpn degrade --data data/dev --noise data/noise --rir data/rir --out data/dev_noisy
Compare models on unseen speakers, in every condition:
  sdpn benchmark --data corpora --model exp/mini/model --model campplus.bin --out exp/benchmark
Pack a corpus of many small files, and train from the pack:
  sdpn pack    --data data/train --out packs/train
  sdpn train   --config conf/mini.yaml --data packs/train --out exp/mini
Train a second stage on pseudo-labels:
  sdpn pseudo-label --model exp/mini/model --data data/train --out exp/labels
  sdpn train   --config conf/pseudo.yaml --data data/train --out exp/second --objective pseudo \\
    --labels exp/labels --init exp/mini/model

Run 'sdpn COMMAND --help' for the options of a command.
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
        + "\n".join(f"  {name:<13} {summary}" for name, summary in COMMANDS.items()),
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
            with ends_on_signals():
                code = 2 if args.command is None else _run(args.command, argv[1:])
        except SystemExit:  # --help, --version
            _flush_output()
            raise
        _flush_output()  # here a write error can still be reported
        return code
    except BrokenPipeError:  # the reader of our output (head, less) has gone
        _discard_output()
        return 1
    except (InputError, OSError, MemoryError, RuntimeError) as error:
        explained = _explained(error)
        if explained is None or "--debug" in argv:
            raise
        _discard_output()
        print(f"{name}: error: {_one_line(str(explained))}", file=sys.stderr)
        return 2
    except Stop as stop:
        print(f"{name}: {stop}", file=sys.stderr)
        return 128 + stop.signal_number
    except KeyboardInterrupt:
        print(f"{name}: interrupted", file=sys.stderr)
        return 130


def command_module(name: str) -> ModuleType:
    """The module of a subcommand: ``sdpn.cli.<subcommand>``, with ``_`` for ``-``."""
    return importlib.import_module(f"sdpn.cli.{name.replace('-', '_')}")


def make_parser(name: str) -> argparse.ArgumentParser:
    """The parser of a subcommand."""
    module = command_module(name)
    parser = SettingsParser(
        prog=f"sdpn {name}",
        description=module.DESCRIPTION,
        epilog=f"example:\n{module.EXAMPLE}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    module.add_arguments(parser)
    common = parser.add_argument_group("common options")
    common.add_argument("--json", type=Path, metavar="FILE", help="also write the results to FILE as JSON")
    common.add_argument("--debug", action="store_true", help="show the traceback of an error")
    common.add_argument("--quiet", action="store_true", help="print results only, no progress and no log")
    if hasattr(module, "settings"):
        parser.sections = module.settings
    return parser


def _run(name: str, argv: list[str]) -> int:
    module = command_module(name)
    parser = make_parser(name)
    args = argparse.Namespace()
    words = argv
    if hasattr(module, "settings"):
        words, args.settings = split_settings(parser, argv)
    args = parser.parse_intermixed_args(words, args)
    logging.basicConfig(
        level=logging.WARNING if args.quiet else logging.INFO,
        format="%(levelname)s: %(message)s",
        stream=sys.stderr,
    )
    writes = not (hasattr(module, "only_reads") and module.only_reads(args))
    check_outputs(args, {**(module.OUTPUTS if writes else {}), "json": "file"})
    results = module.run(args)
    if args.json is not None:
        _write_json(args.json, name, argv, args, results)
    return module.exit_code(args, results) if hasattr(module, "exit_code") else 0


def _explained(error: BaseException) -> InputError | None:
    """The error of the system in the user's terms; one without a file name concerns standard output.

    None where it is a bug of ours.
    """
    if isinstance(error, InputError):
        return error
    if is_out_of_memory(error):
        reason = str(error) or type(error).__name__
        return InputError(f"ran out of memory ({reason[:200]})")
    if not isinstance(error, OSError):
        return None
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
    """Redirect remaining output for a closed standard output to the null device; Python flushes at exit."""
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
    raise TypeError(f"{value!r} cannot be written to JSON")


if __name__ == "__main__":
    sys.exit(main())

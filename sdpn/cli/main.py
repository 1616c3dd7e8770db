"""Entry point of ``sdpn``: runs the subcommand and converts its outcome to an exit code.

Start-up must be fast: ``sdpn --help`` imports nothing heavy (`sdpn.cli.commands`).

A bug (any other exception, such as ``ValueError``) shows its traceback; an `sdpn.errors.InputError` or a
system error (``OSError``) gives one line and exit code 2.
"""

from __future__ import annotations

import argparse
import io
import json
import logging
import os
import platform
import sys
from collections.abc import Sequence
from itertools import takewhile
from pathlib import Path
from typing import Any

from sdpn import __version__
from sdpn.cli.commands import COMMANDS
from sdpn.cli.error_line import OneLineParser, error_line
from sdpn.cli.outputs import check_outputs
from sdpn.cli.parse import did_you_mean, parse_command
from sdpn.errors import InputError
from sdpn.memory import is_out_of_memory, peak_memory_mb
from sdpn.stopping import Stop, ends_on_signals

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
  sdpn diarize --out out/ --format json,srt meeting.wav
  sdpn verify-receipt out/meeting.json
Name the people whose voices are known:
  sdpn enroll --name Anna --people people/ anna.wav
  sdpn diarize --people people/ --out out/ meeting.wav
Attach speakers to the words of a recogniser, correct turns, and find people across recordings:
  sdpn words   --asr whisper/meeting.json --turns out/meeting.json --out out/
  sdpn edit    out/meeting.json --is 83.5 "Anna Lee" --same speaker01 speaker03 --out corrected/
  sdpn link    out/ --out linked/
Train a model further with speaker labels, and see what that brings on other speakers:
  sdpn finetune --model small --data data/train --test data/test --out exp/mine
Adapt a model, and its scoring back end, to your own unlabelled recordings:
  sdpn adapt   --data recordings/ --out models/mine
  sdpn backend --model models/mine --data data/mine
Choose settings of the clustering on your own recordings with references:
  sdpn tune    --ref dev.rttm --out exp/tuned dev/*.flac
  sdpn diarize --config exp/tuned/settings.yaml --out exp/mini/rttm meeting.wav
Search the settings of a training, cross-validate it, and measure models together or pruned:
  sdpn search  --try optimizer.lr=0.001,0.01 --dev data/dev --out exp/rates -- train --data data/train
  sdpn cross-validate --data data/train --out exp/folds -- train --objective supervised
  sdpn ensemble --model exp/a/model --model exp/b/model --data data/dev --fit data/fit --out exp/both
  sdpn prune   --model exp/mini/model --data data/dev --out exp/pruned
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
See what the network hears in a recording, and what each of its layers knows:
  sdpn explain utterance a.wav --out exp/a
  sdpn explain layers --data data/dev --out exp/layers
Simulate conversations with references, for evaluation:
  sdpn simulate --corpus corpora/speakers --out exp/conversations --num 24
Degrade a corpus with noise and reverberation:
  sdpn degrade --data data/dev --noise data/noise --rir data/rir --out data/dev_noisy
Compare models on unseen speakers, in every condition:
  sdpn benchmark --data corpora --model exp/mini/model --model campplus.bin --out exp/benchmark
Diarize over HTTP, on this computer alone:
  sdpn serve   --out service
Fix a Kaldi data directory, and name what was dropped:
  sdpn data    fix data/train --out data/fixed
Run a command as batch jobs: here, or as an array of Slurm:
  sdpn batch   --jobs 8 --executor slurm --partition cpu -- extract --data data/train --out exp/embeddings
Pack a corpus of many small files, and train from the pack:
  sdpn pack    --data data/train --out packs/train
  sdpn train   --config conf/mini.yaml --data packs/train --out exp/mini
Average the last checkpoints of a run:
  sdpn average exp/mini --checkpoints 10 --out exp/mini/average
Train a second stage on pseudo-labels:
  sdpn pseudo-label --model exp/mini/model --data data/train --out exp/labels
  sdpn train   --config conf/pseudo.yaml --data data/train --out exp/second --objective pseudo \\
    --labels exp/labels --init exp/mini/model

Run 'sdpn help COMMAND' (or 'sdpn COMMAND --help') for the options of a command, 'sdpn config COMMAND' for its
settings. Complete commands, options and settings with TAB in bash:
  eval "$(sdpn completion bash)"
"""


_log = logging.getLogger("sdpn")

#: Options that change what is shown, not what is computed.
_NOT_OF_THE_WORK = ("json", "debug", "quiet", "verbose")

#: Options that may be given before the command, too.
_BEFORE_OR_AFTER = ("--debug", "--quiet", "--verbose")


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``sdpn`` with ``argv`` (default: the process's own) and return the exit code."""
    argv = list(sys.argv[1:] if argv is None else argv)
    # torch's OpenMP threads spin while they wait for each other: beside a busy process on each of two cores
    # a training step took 17 times as long, 2.6 times when they sleep instead; alone it makes no difference
    # (tools/benchmarks/busy_machine.py). It is read when torch is loaded, so it has to be set before.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # names of files need not be UTF-8
    if "_ARGCOMPLETE" in os.environ:  # a shell asks for completions, see 'sdpn completion'
        from sdpn.cli.completion import complete

        complete()
    if argv[:1] == ["help"]:
        argv = [*argv[1:2], "--help"]
    leading = list(takewhile(_BEFORE_OR_AFTER.__contains__, argv))
    if argv[len(leading) :][:1] and argv[len(leading)] in COMMANDS:
        argv = [argv[len(leading)], *leading, *argv[len(leading) + 1 :]]
    parser = OneLineParser(
        prog="sdpn",
        usage="sdpn COMMAND [options]",
        description="Speaker embeddings without labels, and who spoke when.\n\ncommands:\n"
        + "\n".join(f"  {name:<14} {summary}" for name, summary in COMMANDS.items()),
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("-V", "--version", action="version", version=f"sdpn {__version__}")
    parser.add_argument("command", nargs="?", help=argparse.SUPPRESS, metavar="COMMAND")
    name = f"sdpn {argv[0]}" if argv and argv[0] in COMMANDS else "sdpn"
    try:
        try:
            args = parser.parse_args(argv[:1])
            if args.command is None:
                parser.print_help()
            elif args.command not in COMMANDS:
                raise InputError(
                    f"unknown command {args.command!r}{did_you_mean(args.command, COMMANDS)}",
                    hint="'sdpn --help' lists them",
                )
            with ends_on_signals():
                code = 2 if args.command is None else run_command(args.command, argv[1:])
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
        print(f"{name}: error: {error_line(str(explained))}", file=sys.stderr)
        return 2
    except Stop as stop:
        print(f"{name}: {stop}", file=sys.stderr)
        return 128 + stop.signal_number
    except KeyboardInterrupt:
        print(f"{name}: interrupted", file=sys.stderr)
        return 130


def run_command(name: str, argv: list[str]) -> int:
    """Run a command with the words after its name; returns its exit code.

    Raises:
        InputError: as the command does.
    """
    module, args = parse_command(name, argv)
    logging.basicConfig(
        level=logging.WARNING if args.quiet else logging.INFO,
        format="%(levelname)s: %(message)s",
        stream=sys.stderr,
    )
    if args.verbose:
        logging.getLogger("sdpn").setLevel(logging.DEBUG)
        _log.debug("sdpn %s, Python %s on %s", __version__, platform.python_version(), platform.platform())
    writes = not (hasattr(module, "only_reads") and module.only_reads(args))
    check_outputs(args, {**(module.OUTPUTS if writes else {}), "json": "file"})
    try:
        results = module.run(args)
    finally:
        _log_usage()
    if args.json is not None:
        _write_json(args.json, name, argv, args, results)
    return module.exit_code(args, results) if hasattr(module, "exit_code") else 0


def _log_usage() -> None:
    """Log what the command took, with ``--verbose``."""
    if not _log.isEnabledFor(logging.DEBUG):
        return

    times = os.times()
    _log.debug(
        "%.1f s of CPU in this process, %.1f s in others, %.0f MB of memory at most",
        times.user + times.system,
        times.children_user + times.children_system,
        peak_memory_mb() or float("nan"),
    )


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
        "configuration": {key: value for key, value in vars(args).items() if key not in _NOT_OF_THE_WORK},
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

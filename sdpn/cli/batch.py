"""``sdpn batch``: a command as batch jobs, and the merge of their shards."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from sdpn.batch.executor import EXECUTORS, BatchSettings
from sdpn.cli.commands import COMMANDS, command_module, make_parser
from sdpn.cli.numbers import at_least
from sdpn.cli.progress import Meter
from sdpn.cli.settings import split_settings
from sdpn.cli.shard_arguments import file_stamp
from sdpn.errors import InputError
from sdpn.io.atomic import OutputKind
from sdpn.threads import usable_threads

DESCRIPTION = """\
Run a command as an array of batch jobs, through submitit, and merge what they wrote. The words after -- are
those of 'sdpn extract', 'sdpn diarize', 'sdpn kmeans --with' or 'sdpn link', without --shard and --merge.

  --executor local   all jobs at once, as processes of this machine
  --executor slurm   a job array; --out must be on a disk that all nodes share

Each job does one shard, and is queued again where it was when its time ends. When all have ended, --merge
checks that nothing is missing or there twice, and writes what the command without shards would have written.

A shard that fails is named with its last message and its log; the same command then repeats only those that
are not finished. A stopped 'sdpn batch' cancels its jobs. Until all is merged, records and logs are in
OUT/.batch.

Exit code: that of the merge; 2 if shards failed.
"""

EXAMPLE = """\
  sdpn batch --jobs 8 -- extract --model campplus.bin --format 3dspeaker --data data/train --out exp/campplus
  sdpn batch --jobs 40 --executor slurm --partition cpu --threads 4 --memory-gb 8 --minutes 240 \\
    -- diarize --format json --embeddings --out out/ archive/
  sdpn batch --jobs 4 --executor slurm --gpus 1 --slurm account=speech \\
    -- extract --data data/train --out exp/train
  sdpn batch --jobs 8 -- link out/ --out linked/
"""

OUTPUTS: dict[str, OutputKind] = {}

AFTER_DASHES = "words"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``sdpn batch``."""
    parser.usage = "sdpn batch [options] -- COMMAND ..."
    parser.add_argument(
        "--jobs", type=at_least(1), default=1, metavar="N", help="number of shards, each a job (default: 1)"
    )
    parser.add_argument("--force", action="store_true", help="run finished shards again, too")
    add_executor_arguments(parser)


def add_executor_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare who runs the jobs, and what each gets; also for the scripts of recipes."""
    parser.add_argument(
        "--executor", choices=EXECUTORS, default="local", help="who runs the jobs (default: local)"
    )
    each = parser.add_argument_group("what each job gets")
    each.add_argument(
        "--threads",
        type=at_least(1),
        metavar="N",
        help="threads; with slurm, cores (default: with local, the cores divided by the jobs; with slurm, 1)",
    )
    each.add_argument(
        "--gpus",
        type=at_least(0),
        default=0,
        metavar="N",
        help="GPUs; with local, without any none is seen (default: 0)",
    )
    each.add_argument(
        "--minutes",
        type=at_least(1),
        metavar="N",
        help="time limit, after which a job is queued again (default: none; with slurm, 60)",
    )
    slurm = parser.add_argument_group("with --executor slurm")
    slurm.add_argument("--partition", metavar="P", help="partition")
    slurm.add_argument("--memory-gb", type=at_least(1), metavar="N", help="memory of a job")
    slurm.add_argument("--at-once", type=at_least(1), metavar="N", help="most jobs that run at the same time")
    slurm.add_argument(
        "--slurm",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="another option of sbatch, such as account=speech; repeatable",
    )


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Run the shards, then the merge.

    Raises:
        InputError: an option is wrong, or as `sdpn.batch.array.run_array` and the merge.
    """
    from sdpn.batch.array import forget_array, run_array

    if not args.words:
        raise InputError(
            "which command?", hint="give it after --, such as 'sdpn batch --jobs 4 -- extract ...'"
        )
    name, *words = args.words
    if name not in COMMANDS or not hasattr(command_module(name), "shard_work"):
        can = [command for command in COMMANDS if hasattr(command_module(command), "shard_work")]
        raise InputError(f"'{name}' has no shards", hint=f"those that have: {', '.join(can)}")
    module = command_module(name)
    inner = _parsed(name, words)
    for option in ("shard", "merge"):
        if getattr(inner, option):
            raise InputError(f"--{option} is what 'sdpn batch' gives itself", hint="drop it")
    settings = executor_settings(args, args.jobs)
    work, given = module.shard_work(inner), _given_files(inner)
    meter = Meter(quiet=args.quiet, unit="jobs")
    try:
        done = run_array(
            [name, *_without_json(words), "--quiet"],
            inner.out,
            lambda shard: [*given, *items] if (items := work(shard)) else [],
            args.jobs,
            settings,
            force=args.force,
            on_progress=partial(meter.show, "batch"),
        )
    finally:
        meter.finish()
    before = f", {len(done.before)} finished before" if done.before else ""
    empty = f", {len(done.empty)} without work" if done.empty else ""
    print(f"{name}: {len(done.ran)} of {done.num_shards} shards run{before}{empty}", flush=True)
    from sdpn.cli.main import run_command

    code = run_command(name, [*words, "--merge"])
    if code == 0:
        forget_array(name, inner.out)
    return {**done.to_dict(), "command": name, "code": code}


def executor_settings(args: argparse.Namespace, jobs: int) -> BatchSettings:
    """What the options of `add_executor_arguments` say.

    Raises:
        InputError: they exclude each other.
    """
    threads = args.threads
    if threads is None:
        threads = max(1, usable_threads() // jobs) if args.executor == "local" else 1
    return BatchSettings(
        executor=args.executor,
        threads=threads,
        gpus=args.gpus,
        minutes=args.minutes,
        memory_gb=args.memory_gb,
        partition=args.partition,
        at_once=args.at_once,
        slurm=_slurm(args.slurm),
    )


def exit_code(args: argparse.Namespace, results: dict[str, Any]) -> int:  # noqa: ARG001
    """That of the merge."""
    return int(results["code"])


def _parsed(name: str, words: Sequence[str]) -> argparse.Namespace:
    """The options of the inner command.

    Raises:
        InputError: one does not exist, or there is no output.
    """
    parser = make_parser(name)
    args = argparse.Namespace()
    rest = list(words)
    if hasattr(command_module(name), "settings"):
        rest, args.settings = split_settings(parser, rest)
    args = parser.parse_intermixed_args(rest, args)
    if args.out is None:
        raise InputError(f"'{name}' needs --out DIR")
    return args


def _given_files(args: argparse.Namespace) -> list[str]:
    """Stamps of what all shards depend on: files that options name, and those in a folder, as of a model."""
    lines = []
    for name, value in sorted(vars(args).items()):
        if isinstance(value, Path) and name not in ("out", "json", "data"):
            files = sorted(value.iterdir()) if value.is_dir() else [value]
            lines += [f"{name} {file_stamp(path)}" for path in files if path.is_file()]
    return lines


def _without_json(words: Sequence[str]) -> list[str]:
    """Words without ``--json FILE`` and loudness, which are the merge's."""
    kept: list[str] = []
    skip = False
    for word in words:
        if skip:
            skip = False
        elif word == "--json":
            skip = True
        elif not word.startswith("--json=") and word not in ("--quiet", "--verbose"):
            kept.append(word)
    return kept


def _slurm(given: Sequence[str]) -> dict[str, str]:
    options = {}
    for text in given:
        key, equals, value = text.partition("=")
        if not (key and equals):
            raise InputError(f"--slurm {text!r} is not KEY=VALUE", hint="such as --slurm account=speech")
        options[key.lstrip("-")] = value
    return options

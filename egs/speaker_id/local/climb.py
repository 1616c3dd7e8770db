#!/usr/bin/env python3
"""The rungs of the ladder as batch jobs: local/ladder.py, some of its rungs in each, run as cmd.sh says.

    local/climb.py --jobs 4 --executor local -- --data exp/mels --out exp/ladder --rung conf/01_mean.yaml ...

The words after -- are those of ladder.py. The time of a step of every rung is measured first, by one process,
not beside the jobs, since it decides how many steps each run has. What is finished is not run again.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import ladder

from sdpn.batch.array import forget_array, run_array
from sdpn.cli.batch import add_executor_arguments, executor_settings
from sdpn.cli.numbers import at_least
from sdpn.cli.script import script
from sdpn.errors import InputError

#: What records and logs are named after.
_NAME = "ladder"


@script
def climb(args: argparse.Namespace, words: Sequence[str]) -> int:
    """Measure, then run the jobs.

    Raises:
        InputError: jobs failed; they are named with their logs.
    """
    if {"--shard", "--only_times"} & set(words):
        raise InputError("--shard and --only_times are what climb.py gives itself", hint="drop them")
    inner = ladder.make_parser().parse_args(words)
    if code := ladder.main([*words, "--only_times"]):
        return code
    settings = executor_settings(args, args.jobs)
    run_array(
        list(words),
        inner.out,
        lambda shard: [str(rung) for rung in shard.of(inner.rung)],
        args.jobs,
        settings,
        name=_NAME,
        program=[str(Path(ladder.__file__).resolve())],
    )
    forget_array(_NAME, inner.out)
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; returns the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--jobs", type=at_least(1), required=True, metavar="N")
    add_executor_arguments(parser)
    parser.add_argument("words", nargs="+", metavar="-- WORDS", help="of ladder.py")
    args = parser.parse_args(argv)
    return climb(args, args.words)


if __name__ == "__main__":
    sys.exit(main())

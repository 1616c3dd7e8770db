"""The options of commands whose work several processes can share, and what ``sdpn batch`` asks of them."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeAlias

from sdpn.errors import InputError
from sdpn.extraction.shard import Shard, parse_shard

#: A line for each item of a shard, with what it depends on.
ShardWork: TypeAlias = Callable[[Shard], Sequence[str]]


def add_shard_arguments(parser: argparse.ArgumentParser, merge: str) -> None:
    """Add ``--shard`` and ``--merge``.

    Args:
        parser: of the command.
        merge: what ``--merge`` does.
    """
    group = parser.add_argument_group("several processes (see sdpn batch)")
    group.add_argument(
        "--shard", metavar="I/N", help="only every N-th item, starting with number I, counted from 0"
    )
    group.add_argument("--merge", action="store_true", help=merge)


def parsed_shard(args: argparse.Namespace) -> Shard | None:
    """The shard of ``--shard``; None without it.

    Raises:
        InputError: it is malformed, or given together with ``--merge``.
    """
    if args.shard is None:
        return None
    if args.merge:
        raise InputError("--merge is for all shards together", hint="drop --shard")
    return parse_shard(args.shard)


def file_stamp(path: Path) -> str:
    """Path, size and time of a file: changed when it is another one.

    Raises:
        InputError: there is no such file.
    """
    try:
        status = os.stat(path)
    except OSError as error:
        raise InputError(f"cannot be used ({error.strerror})", path=path) from error
    return f"{os.path.realpath(path)} {status.st_size} {status.st_mtime_ns}"

"""Options of the clusterer, shared by the commands that cluster: ``--method``, ``--threshold``, settings."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sdpn.errors import InputError


@contextmanager
def quiet_clusterers() -> Iterator[None]:
    """Only warnings of clusterers, which otherwise log every recording."""
    clusterers = logging.getLogger("sdpn.clustering")
    level = clusterers.level
    clusterers.setLevel(logging.WARNING)
    try:
        yield
    finally:
        clusterers.setLevel(level)


def add_diarization_clusterer(
    parser: argparse.ArgumentParser, *, why: str = "the best on conversations of training speakers"
) -> None:
    """Declare the clusterer of the commands that diarize recordings; ``why`` it is the default one."""
    add_clusterer_arguments(
        parser,
        default="merging",
        why=why,
        threshold="for ahc the model's calibrated threshold, for vbx one estimated from each recording",
        takes_file=True,
    )


def add_clusterer_arguments(
    parser: argparse.ArgumentParser,
    *,
    default: str,
    why: str,
    threshold: str | None,
    takes_file: bool = False,
) -> None:
    """Declare ``--method``, ``--threshold`` and ``--config``.

    Args:
        parser: of a command.
        default: name of the clusterer that is used otherwise.
        why: why it is that one.
        threshold: what ``--threshold`` is otherwise; None for a command without it.
        takes_file: whether a file may hold method and settings. ``--method`` is None then unless it is given.
    """
    from sdpn.clustering.registry import CLUSTERERS

    group = parser.add_argument_group("clustering")
    group.add_argument(
        "--method",
        choices=tuple(CLUSTERERS),
        default=None if takes_file else default,
        help=f"clusterer (default: {default}, {why})",
    )
    if takes_file:
        group.add_argument(
            "--config",
            type=Path,
            metavar="YAML",
            help="method and settings, such as settings.yaml of sdpn tune; options and settings of the "
            "command line have precedence",
        )
    if threshold is None:
        return
    group.add_argument(
        "--threshold",
        type=float,
        metavar="T",
        help="merge clusters whose mean similarity reaches T: in ahc, and in the AHC that initialises vbx "
        "and consensus; higher values give more speakers; short for METHOD.threshold=T "
        f"(default: {threshold})",
    )


def clusterer_settings(args: argparse.Namespace, settings: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """The settings of the chosen clusterer.

    Args:
        args: with what `add_clusterer_arguments` and `add_count_arguments` declare.
        settings: keys (``METHOD.field``, or ``field`` for that of the chosen method) and values.

    Raises:
        InputError: a setting of another method, or a threshold that has no effect or is given twice.
    """
    from sdpn.clustering.registry import CLUSTERERS, takes

    found: dict[str, Any] = {}
    for key, value in settings:
        method, _, field = key.rpartition(".")
        if method not in ("", args.method):
            raise InputError(f"{key} has no effect with --method {args.method}")
        found[field] = value
    if args.threshold is None:
        return found
    if not takes(args.method, "threshold"):
        users = ", ".join(method for method in CLUSTERERS if takes(method, "threshold"))
        raise InputError(f"{args.method} has no threshold", hint=f"methods with a threshold: {users}")
    if "threshold" in found:
        raise InputError("--threshold and threshold=... contradict each other")
    return {**found, "threshold": args.threshold}

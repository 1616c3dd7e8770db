"""Options for the number of speakers, shared by all commands that cluster."""

from __future__ import annotations

import argparse

from sdpn.errors import InputError


def add_count_arguments(parser: argparse.ArgumentParser) -> argparse._ArgumentGroup:
    """Declare ``--num-speakers``, ``--min-speakers`` and ``--max-speakers``; returns their group."""
    counts = parser.add_argument_group("number of speakers (default: estimated)")
    counts.add_argument(
        "--num-speakers",
        type=int,
        metavar="N",
        help="exactly N in every recording; whoever is not heard apart gets a single window, with a warning",
    )
    counts.add_argument("--min-speakers", type=int, metavar="A", help="at least A (default: 1)")
    counts.add_argument("--max-speakers", type=int, metavar="B", help="at most B (default: no limit)")
    return counts


def check_count_arguments(args: argparse.Namespace) -> None:
    """Reject counts that contradict each other or cannot be satisfied by any recording.

    Raises:
        InputError: a number together with bounds, a count below 1, or a minimum above the maximum.
    """
    from sdpn.clustering.base import check_counts

    if args.num_speakers is not None and (args.min_speakers is not None or args.max_speakers is not None):
        raise InputError(
            "--num-speakers contradicts --min-speakers and --max-speakers",
            hint="give either the number or the bounds",
        )
    check_counts(
        num_speakers=args.num_speakers,
        min_speakers=1 if args.min_speakers is None else args.min_speakers,
        max_speakers=args.max_speakers,
    )

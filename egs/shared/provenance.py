"""What a table of results says of where they come from: code, machine, seeds."""

from __future__ import annotations

from collections.abc import Iterable

from sdpn.cli.script import commit_of, machine_kind


def origin(seeds: Iterable[object]) -> str:
    """A line on commit, machine and seeds.

    Args:
        seeds: of the results; each is named once.
    """
    named = ", ".join(dict.fromkeys(map(str, seeds)))
    return f"Commit {commit_of(__file__)}, on {machine_kind()}. Seed {named or 'not known'}."

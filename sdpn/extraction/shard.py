"""Shards: the share of the utterances that one of several processes embeds."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from sdpn.errors import InputError

T = TypeVar("T")


@dataclass(frozen=True)
class Shard:
    """One of several shares of the utterances.

    Attributes:
        index: index of the shard, from 0.
        count: number of shards.
    """

    index: int = 0
    count: int = 1

    def __str__(self) -> str:
        """Format for file names."""
        return f"{self.index}-of-{self.count}"

    def of(self, items: Sequence[T]) -> list[T]:
        """Every ``count``-th item: similar items are often neighbours, so that shards are balanced."""
        return list(items[self.index :: self.count])


def parse_shard(text: str) -> Shard:
    """Parse ``i/n``.

    Raises:
        InputError: the text is malformed.
    """
    index, slash, count = text.partition("/")
    if not (slash and index.isdecimal() and count.isdecimal() and int(index) < int(count)):
        raise InputError(
            f"--shard {text!r} is not a valid shard",
            hint="expected i/n with i from 0 to n-1, such as 0/4, 1/4, 2/4 and 3/4",
        )
    return Shard(int(index), int(count))


def find_shard(named: str | None, environment: Mapping[str, str] = os.environ) -> Shard:
    """The shard given by name, or by torchrun's environment; else all utterances.

    Args:
        named: ``i/n`` or None.
        environment: environment variables, with ``RANK`` and ``WORLD_SIZE`` under torchrun. Processes do not
            communicate, so that ``torch.distributed`` is not needed.

    Raises:
        InputError: the name is malformed, or given under torchrun.
    """
    world = environment.get("WORLD_SIZE", "1")
    if named is None:
        return Shard() if world == "1" else parse_shard(f"{environment.get('RANK', '')}/{world}")
    if world != "1":
        raise InputError(
            "--shard cannot be combined with torchrun, which distributes the work itself",
            hint="use only one of them",
        )
    return parse_shard(named)

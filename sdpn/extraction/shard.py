"""Which of several processes this is, and which utterances are its own."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from sdpn.errors import InputError

T = TypeVar("T")


@dataclass(frozen=True)
class Shard:
    """One of several parts of the work.

    Attributes:
        index: its number, from 0.
        count: how many there are.
    """

    index: int = 0
    count: int = 1

    def __str__(self) -> str:
        """As in names of files."""
        return f"{self.index}-of-{self.count}"

    def of(self, items: Sequence[T]) -> list[T]:
        """Every ``count``-th item: neighbours in a table are often alike, so that the shards are too."""
        return list(items[self.index :: self.count])


def parse_shard(text: str) -> Shard:
    """Parse ``i/n``.

    Raises:
        InputError: it is something else.
    """
    index, slash, count = text.partition("/")
    if not (slash and index.isdecimal() and count.isdecimal() and int(index) < int(count)):
        raise InputError(
            f"--shard {text!r} is not a valid shard",
            hint="expected i/n with i from 0 to n-1, such as 0/4, 1/4, 2/4 and 3/4",
        )
    return Shard(int(index), int(count))


def find_shard(named: str | None, environment: Mapping[str, str] = os.environ) -> Shard:
    """The shard that was named, or that torchrun gave this process; else all of the work.

    Args:
        named: ``i/n`` or None.
        environment: with ``RANK`` and ``WORLD_SIZE`` under torchrun. The processes need not talk to each
            other, and so nothing of ``torch.distributed`` is set up.

    Raises:
        InputError: the name is malformed, or there are both.
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

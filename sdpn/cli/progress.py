"""Progress for people: a bar on a terminal, a plain line now and then everywhere else."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")

#: Seconds between two lines where there is no terminal.
_LINE_EVERY_S = 15.0


def track(items: Iterable[T], *, description: str, total: int, quiet: bool = False) -> Iterator[T]:
    """Yield ``items``, showing on stderr how far the work is.

    Args:
        items: what is worked on.
        description: what is being done, such as "embedding".
        total: number of items.
        quiet: show nothing.
    """
    if quiet:
        yield from items
    elif sys.stderr.isatty():
        from tqdm import tqdm

        yield from tqdm(items, desc=description, total=total, file=sys.stderr)
    else:
        started = last = time.monotonic()
        for done, item in enumerate(items, start=1):
            yield item
            now = time.monotonic()
            if done == total or now - last >= _LINE_EVERY_S:
                last = now
                print(f"{description}: {done}/{total} in {now - started:.0f} s", file=sys.stderr, flush=True)

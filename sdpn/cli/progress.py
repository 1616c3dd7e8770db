"""Progress display: a bar on a terminal, otherwise a plain line now and then."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

T = TypeVar("T")

#: Seconds between two lines where there is no terminal.
_LINE_EVERY_S = 15.0


def track(items: Iterable[T], *, description: str, total: int, quiet: bool = False) -> Iterator[T]:
    """Yield ``items``, showing the progress on stderr.

    Args:
        items: the items.
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


class Meter:
    """The same for work that reports its own progress, stage after stage.

    Args:
        quiet: show nothing.
        unit: unit of progress, such as "min of audio".
    """

    def __init__(self, *, quiet: bool = False, unit: str = "") -> None:
        self._quiet = quiet
        self._unit = f" {unit}" if unit else ""
        self._stage: str | None = None
        self._bar: Any = None
        self._line = ""
        self._started = self._last = time.monotonic()

    def show(self, stage: str, done: float, total: float | None, note: str = "") -> None:
        """Report ``done`` of ``total`` (None: unknown); a new ``stage`` starts a new bar."""
        if self._quiet:
            return
        if stage != self._stage:
            self.close()
            self._stage = stage
            if sys.stderr.isatty():
                from tqdm import tqdm

                self._bar = tqdm(
                    desc=stage,
                    total=total,
                    file=sys.stderr,
                    leave=False,
                    unit=self._unit or "it",
                    unit_scale=not self._unit,
                )
        if self._bar is not None:
            self._bar.set_postfix_str(note, refresh=False)
            self._bar.update(done - self._bar.n)
            if done == total:
                self._bar.refresh()
            return
        now = time.monotonic()
        of = "" if total is None else f"/{total}"
        self._line = f"{stage}: {done}{of}{self._unit} in {now - self._started:.0f} s" + (
            f", {note}" if note else ""
        )
        if now - self._last >= _LINE_EVERY_S:
            self._last = now
            self._write()

    def close(self) -> None:
        """Remove the bar."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def finish(self) -> None:
        """As `close`, and without a terminal print the last line unless it was printed already."""
        self.close()
        if self._line:
            self._write()

    def _write(self) -> None:
        print(self._line, file=sys.stderr, flush=True)
        self._line = ""

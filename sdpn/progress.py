"""How long work tells its caller how far it is."""

from __future__ import annotations

from collections.abc import Callable

#: Called with what is done, how much of it, and of how much.
Report = Callable[[str, int, int], None]


def unreported(stage: str, done: int, total: int) -> None:
    """Tell nobody: a `Report`."""

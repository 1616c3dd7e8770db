"""Files that turn out to be unreadable while a run goes on: skipped and counted, as long as they are few."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import NamedTuple

from sdpn.errors import InputError

_log = logging.getLogger(__name__)

#: Files that are named when a run stops.
_NAMED = 3


class Fault(NamedTuple):
    """What is wrong with a file.

    Attributes:
        path: the file.
        problem: one line that names it.
    """

    path: str
    problem: str


class TooManyBadFiles(InputError):
    """Not one file, but the data as a whole cannot be used."""


class BadFiles:
    """The files of a run that could not be used.

    Args:
        num_files: audio files of the training data.
        max_share: share of them that may be bad.
    """

    def __init__(self, num_files: int, max_share: float) -> None:
        self._num_files = num_files
        self._max_share = max_share
        self._problems: dict[str, str] = {}

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self._problems)

    @property
    def problems(self) -> list[str]:
        """A line for each, in the order in which they were met."""
        return list(self._problems.values())

    def state(self) -> dict[str, str]:
        """What a continued run needs to go on counting: the line of each file."""
        return dict(self._problems)

    def restore(self, state: dict[str, str]) -> None:
        """Take over what `state` gave: these files are counted, and are not named again."""
        self._problems = dict(state)

    def add(self, faults: Iterable[Fault], *, log: bool = False) -> None:
        """Count files that have not been counted yet, and log them.

        Raises:
            TooManyBadFiles: there are more bad files than may be.
        """
        for fault in faults:
            if fault.path in self._problems:
                continue
            self._problems[fault.path] = fault.problem
            if log:
                _log.warning("skipped: %s", fault.problem)
        if len(self) > self._max_share * self._num_files:
            more = f"; and {len(self) - _NAMED} more" if len(self) > _NAMED else ""
            raise TooManyBadFiles(
                f"{len(self)} of {self._num_files} audio files cannot be used, more than a share of "
                f"training.max_bad_share={self._max_share:g}: {'; '.join(self.problems[:_NAMED])}{more}",
                hint="repair the files or raise the share, and start the same command again",
            )

"""Files that turn out to be unreadable during training: skipped and counted, up to a maximum share."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import NamedTuple

from sdpn.errors import InputError

_log = logging.getLogger(__name__)

#: Number of bad files listed when a run stops.
_NAMED = 3


class Fault(NamedTuple):
    """A bad file.

    Attributes:
        path: the file.
        problem: one line with the file and its problem.
    """

    path: str
    problem: str


class TooManyBadFiles(InputError):
    """More files are unreadable than ``training.max_bad_share`` allows."""


class BadFiles:
    """The bad files of a run.

    Args:
        num_files: number of audio files of the training data.
        max_share: maximum share of bad files.
    """

    def __init__(self, num_files: int, max_share: float) -> None:
        self._num_files = num_files
        self._max_share = max_share
        self._problems: dict[str, str] = {}

    def __len__(self) -> int:
        """Return the number of bad files."""
        return len(self._problems)

    @property
    def problems(self) -> list[str]:
        """One line for each bad file, in the order of occurrence."""
        return list(self._problems.values())

    def state(self) -> dict[str, str]:
        """State for resuming: the problem of each bad file."""
        return dict(self._problems)

    def restore(self, state: dict[str, str]) -> None:
        """Restore the result of `state`; these files are counted, but not reported again."""
        self._problems = dict(state)

    def add(self, faults: Iterable[Fault], *, log: bool = False) -> None:
        """Count and log bad files that are new.

        Raises:
            TooManyBadFiles: their share exceeds the maximum.
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

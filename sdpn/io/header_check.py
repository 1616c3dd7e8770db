"""Many audio files opened before any work: those that are truncated or no audio are named at once."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from sdpn.errors import InputError
from sdpn.io.audio import open_audio

_log = logging.getLogger(__name__)

#: More bad files than this are only counted.
_MOST_NAMED = 20
#: Files that are handed to the threads together: a million need not wait in a queue.
_AT_ONCE = 4096


def require_audio(paths: Sequence[Path], num_threads: int) -> None:
    """Open every file, without decoding it.

    Args:
        paths: the files.
        num_threads: how many are opened at once.

    Raises:
        InputError: files are missing, truncated or no audio; the first of several is named, and warnings name
            them all, up to twenty.
    """

    def problem(path: Path) -> InputError | None:
        try:
            with open_audio(path):
                return None
        except InputError as error:
            return error

    bad: list[InputError] = []
    with ThreadPoolExecutor(num_threads) as pool:
        for first in range(0, len(paths), _AT_ONCE):
            bad += filter(None, pool.map(problem, paths[first : first + _AT_ONCE]))
    if len(bad) == 1:
        raise bad[0]
    if bad:
        for error in bad[:_MOST_NAMED]:
            _log.warning("%s", error)
        raise InputError(f"{len(bad)} of {len(paths)} audio files cannot be used; the first: {bad[0]}")

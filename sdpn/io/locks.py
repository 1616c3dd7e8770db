"""Locks on files, where the system and the file system have them.

Some network file systems have none, and neither does Windows in this form: avoiding conflicts is then up to
the user.
"""

from __future__ import annotations

import logging
from typing import IO, Any

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

_log = logging.getLogger(__name__)


def lock_file(stream: IO[Any], *, wait: bool) -> None:
    """Lock an open file until it is closed; processes that inherit it hold the lock, too.

    Raises:
        BlockingIOError: another process holds the lock, and ``wait`` is false.
    """
    if fcntl is None:
        return
    try:
        fcntl.flock(stream, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise
    except OSError as error:
        _log.debug("%s cannot be locked (%s)", stream.name, error.strerror)


def lock_for_process(descriptor: int) -> None:
    """Lock an open file for this process alone: its children do not hold the lock, and its end releases it.

    Raises:
        BlockingIOError: another process holds the lock.
        PermissionError: the same on some systems.
    """
    if fcntl is not None:
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)

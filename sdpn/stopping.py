"""Signals that ask a process to stop: Ctrl-C, a hang-up, the end of a job.

A stopped command ends with one line (`ends_on_signals`), in loops after saving their state
(`collects_signals`). Signals that were already ignored stay ignored.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

#: Those that the system has: Windows lacks the last two. Clusters announce the end of a job by SIGUSR1.
STOPPING = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1") if hasattr(signal, name)
)
#: Minimum time to a second Ctrl-C in seconds: a process may receive a signal twice at once, its own and that
#: of its group, as from timeout(1).
_SAME_S = 0.2


class Stop(BaseException):
    """The process was stopped by a signal. Like `KeyboardInterrupt`, it is not an `Exception`."""

    def __init__(self, signal_number: int) -> None:
        self.signal_number = signal_number
        super().__init__(f"stopped by {signal.Signals(signal_number).name}")


@contextmanager
def ends_on_signals() -> Iterator[None]:
    """Raise `Stop` on a signal, so that incomplete outputs are removed; main thread only."""

    def end(number: int, _frame: FrameType | None) -> None:
        raise Stop(number)

    with _handled_by(end):
        yield


@contextmanager
def collects_signals() -> Iterator[list[int]]:
    """Yield a list of received signals, for loops that stop at a convenient point; main thread only.

    A second Ctrl-C raises `Stop` immediately.
    """
    received: list[int] = []
    interrupted_at = -_SAME_S

    def collect(number: int, _frame: FrameType | None) -> None:
        nonlocal interrupted_at
        received.append(number)
        if number == signal.SIGINT:
            now = time.monotonic()
            if received.count(signal.SIGINT) > 1 and now - interrupted_at >= _SAME_S:
                raise Stop(number)
            interrupted_at = now

    with _handled_by(collect):
        yield received


@contextmanager
def inherited_without_signals() -> Iterator[None]:
    """Block signals: processes started in the block never receive any; see `obeys_its_parent`."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows, where signals do not reach other processes
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, STOPPING)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def obeys_its_parent() -> None:
    """Let only the parent end this process, by SIGTERM; for processes started by `inherited_without_signals`.

    Otherwise a parent that terminates its children before exiting would wait forever.
    """
    if not hasattr(signal, "pthread_sigmask"):
        return
    if not hasattr(signal, "sigwaitinfo"):  # macOS does not report the sender of a signal
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])
        return

    def wait_for_signals() -> None:
        while signal.sigwaitinfo([signal.SIGTERM]).si_pid != os.getppid():
            continue
        os._exit(0)

    threading.Thread(target=wait_for_signals, name="obeys its parent", daemon=True).start()


@contextmanager
def _handled_by(handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():  # Python lets no other thread set handlers
        yield
        return
    before = {
        number: signal.signal(number, handler)
        for number in STOPPING
        if signal.getsignal(number) is not signal.SIG_IGN
    }
    try:
        yield
    finally:
        for number, earlier in before.items():
            # None: a handler that was not set from Python
            signal.signal(number, signal.SIG_DFL if earlier is None else earlier)

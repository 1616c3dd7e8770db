"""The processes of a service: started, watched, started again."""

from __future__ import annotations

import logging
import multiprocessing
import secrets
import threading
import time
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess

from sdpn.errors import InputError
from sdpn.service.folder import ServiceFolder
from sdpn.service.jobs import JobQueue
from sdpn.service.limits import Limits
from sdpn.service.model import ServiceModel
from sdpn.service.worker import run_worker
from sdpn.stopping import inherited_without_signals

_log = logging.getLogger(__name__)

#: Processes are looked after this often, and old results twice a minute.
_EVERY_S, _TIDY_S = 0.25, 30.0

#: A process that has died is started again after this time at least.
_PAUSE_S = 2.0

#: Time for a process to end by itself.
_END_S = 5.0


class Workers:
    """The processes that diarize, and the thread that looks after them.

    Args:
        folder: of the service.
        queue: its queue.
        model: the model.
        limits: the limits.
        number: of processes.
    """

    def __init__(
        self, folder: ServiceFolder, queue: JobQueue, model: ServiceModel, limits: Limits, number: int
    ) -> None:
        self._folder, self._queue, self._model, self._limits = folder, queue, model, limits
        self._number = number
        self._running: dict[str, tuple[BaseProcess, Connection]] = {}
        self._ready: set[str] = set()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._look_after, name="looks after workers", daemon=True)

    @property
    def num_ready(self) -> int:
        """Number of processes that have a model."""
        return len(self._ready)

    def start(self) -> None:
        """Start the processes, and wait until the model is loaded.

        Raises:
            InputError: it cannot be loaded.
        """
        for _ in range(self._number):
            self._start_one()
        try:
            for name, (_, told) in self._running.items():
                try:
                    error = told.recv()
                except EOFError:
                    raise InputError("the process that diarizes has died while it loaded the model") from None
                if error is not None:
                    raise error
                self._ready.add(name)
        except BaseException:
            self.stop()
            raise
        self._thread.start()

    def stop(self) -> None:
        """End the processes; what they were doing is done again by the next service."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()
        for process, _ in self._running.values():
            end(process)
        self._running.clear()
        self._ready.clear()

    def _start_one(self) -> None:
        name = secrets.token_hex(8)
        self._running[name] = start_process(
            run_worker,
            name,
            self._folder.path,
            self._model,
            self._limits,
            self._number,
            _log.getEffectiveLevel(),
        )

    def _look_after(self) -> None:
        tidied = 0.0
        while not self._stop.wait(_EVERY_S):
            try:
                for name in list(self._running):
                    self._check(name)
                if time.monotonic() - tidied > _TIDY_S:
                    tidied = time.monotonic()
                    self._expire()
            except Exception:  # a full disk, for example: the service goes on, and says so
                _log.exception("the service could not look after its processes; it tries again")
                self._stop.wait(_PAUSE_S)

    def _check(self, name: str) -> None:
        process, told = self._running[name]
        if name not in self._ready and told.poll():
            try:
                error = told.recv()
            except EOFError:
                error = None  # it has died, see below
            else:
                if error is None:
                    self._ready.add(name)
                else:
                    _log.error("%s", error)
        if process.is_alive():
            return
        _log.error("a process that diarizes has died (exit code %s); another is started", process.exitcode)
        self._ready.discard(name)
        del self._running[name]
        process.close()
        told.close()
        for job_id in self._queue.give_back(attempts=self._limits.attempts, worker=name):
            self._folder.remove_upload(job_id)
        self._stop.wait(_PAUSE_S)
        if not self._stop.is_set():
            self._start_one()

    def _expire(self) -> None:
        for job_id in self._queue.expired(self._limits.keep_s):
            self._folder.remove_results(job_id)
            self._folder.remove_upload(job_id)  # of one that was cancelled while its process died
            self._queue.remove(job_id)


def start_process(target: object, *arguments: object) -> tuple[BaseProcess, Connection]:
    """Start a process anew, without what this one has in memory.

    Args:
        target: called with the other end of the connection, and then the arguments.
        arguments: what it needs.

    Returns:
        the process, and the connection to it.
    """
    spawn = multiprocessing.get_context("spawn")
    ours, theirs = spawn.Pipe()
    process = spawn.Process(target=target, args=(theirs, *arguments), daemon=True)  # type: ignore[arg-type]
    with inherited_without_signals():
        process.start()
    theirs.close()
    return process, ours


def end(process: BaseProcess) -> None:
    """End a process."""
    process.terminate()
    process.join(_END_S)
    if process.is_alive():
        process.kill()
        process.join()

"""The process that diarizes: it loads the model once, takes jobs, and ends with its service."""

from __future__ import annotations

import logging
import multiprocessing
import os
import threading
import time
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from sdpn.errors import InputError
from sdpn.memory import is_out_of_memory
from sdpn.service.folder import ServiceFolder
from sdpn.service.jobs import Job, JobQueue
from sdpn.service.limits import Limits
from sdpn.service.model import ServiceModel
from sdpn.stopping import obeys_its_parent

_log = logging.getLogger(__name__)

#: Processes that diarize yield to the one that answers requests, by this much (nice).
_NICENESS = 10

#: The queue is asked for a job, and told of progress, after this time in seconds.
_EVERY_S = 0.2


class _NotOurs(Exception):
    """The job was cancelled, or removed."""


def ends_with_its_parent() -> None:
    """End this process at once when the server is gone, however it ended: another may be in its place."""
    obeys_its_parent()
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, name="ends with its parent", daemon=True).start()


def log_as_the_server(level: int) -> None:
    """Log in this process as the server does."""
    logging.basicConfig(level=level, format="%(levelname)s: %(message)s")


def run_worker(
    told: Connection,
    name: str,
    folder: Path,
    model: ServiceModel,
    limits: Limits,
    num_workers: int,
    log_level: int,
) -> None:
    """Take jobs until the server is gone; the target of a process.

    Args:
        told: gets one message: None when the model is loaded, or the error.
        name: of this process, of which no other has the same.
        folder: of the service.
        model: the model.
        limits: the limits.
        num_workers: processes that share the processor.
        log_level: of the server.
    """
    ends_with_its_parent()
    log_as_the_server(log_level)
    if hasattr(os, "nice"):  # Windows has none
        os.nice(_NICENESS)
    try:
        diarizer, origin = model.diarizer()
    except InputError as error:
        told.send(error)
        return
    if num_workers > 1:
        _share_cores(num_workers)
    told.send(None)
    place = ServiceFolder(folder)
    queue = JobQueue(place.queue)
    while True:
        job = queue.take(name)
        if job is None:
            time.sleep(_EVERY_S)
        else:
            _work(job, name, queue, place, diarizer, origin, limits)


def _share_cores(num_workers: int) -> None:
    import torch

    from sdpn.threads import usable_threads

    torch.set_num_threads(max(1, usable_threads() // num_workers))


def _work(
    job: Job,
    worker: str,
    queue: JobQueue,
    place: ServiceFolder,
    diarizer: Any,
    origin: dict[str, Any],
    limits: Limits,
) -> None:
    from sdpn.service.diarize_job import diarize_job

    last = 0.0

    def progress(done_s: float, total_s: float | None) -> None:
        nonlocal last
        if (now := time.monotonic()) - last >= _EVERY_S:
            last = now
            if not queue.progress(job.id, worker, done_s, total_s):
                raise _NotOurs

    upload, results = place.upload(job.id), place.results(job.id)
    error: str | None = None
    summary = None
    try:
        summary = diarize_job(
            diarizer, job, upload, results, origin=origin, most_s=limits.recording_s, progress=progress
        )
    except _NotOurs:
        pass
    except InputError as problem:
        error = told_to_clients(problem, upload)
    except Exception as problem:
        if is_out_of_memory(problem):
            error = "there is not enough memory for it"
        else:
            _log.exception("a job failed by a fault of sdpn")
            error = "it failed by a fault of the service, which is in its log"
    if not queue.finish(job.id, worker, error=error, summary=summary):
        now = queue.find(job.id)
        if now is not None and now.state != "cancelled":
            return  # the next service has it, and its files
        place.remove_results(job.id)
    place.remove_upload(job.id)


def told_to_clients(error: InputError, upload: Path) -> str:
    """An error in a client's words: without paths of the server."""
    hint = "" if error.hint is None else f" ({error.hint})"
    return f"{error.message}{hint}".replace(str(upload), "the upload")

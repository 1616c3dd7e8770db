"""A command as an array of shards: those that are not finished are run, and those that fail are named."""

from __future__ import annotations

import hashlib
import json
import shutil
import signal
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sdpn import __version__
from sdpn.batch.executor import BatchSettings, make_executor
from sdpn.batch.job import SDPN, ShardJob
from sdpn.errors import InputError
from sdpn.extraction.shard import Shard
from sdpn.io.atomic import explained
from sdpn.io.json_text import read_json
from sdpn.io.locks import lock_file

#: Folder of records and logs, in the output of the command.
FOLDER = ".batch"

#: Shards that an error names.
_NAMED = 8

#: Seconds between two looks at the jobs.
_POLL_S = 0.2


@dataclass(frozen=True, kw_only=True)
class FinishedArray:
    """What `run_array` did.

    Attributes:
        num_shards: shards of the array.
        ran: shards that were run now.
        before: shards that were finished before.
        empty: shards without any work, which are not run.
        incomplete: shards that ended with exit code 1: single items failed, the others are done. They are
            repeated by the next call.
    """

    num_shards: int
    ran: list[str]
    before: list[str]
    empty: list[str]
    incomplete: list[str]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON."""
        return dict(vars(self))


def run_array(
    command: Sequence[str],
    out: Path,
    work: Callable[[Shard], Sequence[str]],
    num_shards: int,
    settings: BatchSettings = BatchSettings(),  # noqa: B008 - frozen
    *,
    force: bool = False,
    name: str | None = None,
    program: Sequence[str] = SDPN,
    on_progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> FinishedArray:
    """Run ``sdpn COMMAND --shard I/N`` for every shard that is not finished, as batch jobs.

    Records of finished shards are in ``OUT/.batch``, with what each depended on: a shard is repeated when its
    work has changed. The merge, which checks that nothing is missing, is the caller's.

    Args:
        command: words after ``sdpn``, without ``--shard``.
        out: output folder of the command; of Slurm, on a disk that all nodes share.
        work: a line for each item of a shard, with what it depends on; a shard without any is not run.
        num_shards: number of shards, each of which is a job.
        settings: who runs them, and what each gets.
        force: run finished shards again, too.
        name: what records and logs are named after; None takes the first word.
        program: what Python runs instead of ``sdpn``, such as a script.
        on_progress: called with the jobs that have ended, and all.

    Raises:
        InputError: shards failed (they are named, with the last message and the log of each), another array
            is at work on the output, or the executor is not there.
    """
    if num_shards < 1:
        raise InputError(f"{num_shards} shards are asked for", hint="expected at least 1")
    name = name or command[0]
    folder = out / FOLDER / name
    with ExitStack() as stack:
        with explained(folder):
            folder.mkdir(parents=True, exist_ok=True)
            lock = stack.enter_context(open(folder / "lock", "a"))
        try:
            lock_file(lock, wait=False)
        except BlockingIOError:
            raise InputError(
                f"another 'sdpn batch ... {name}' is at work on this output",
                path=out,
                hint="wait for it, or use another --out",
            ) from None
        shards = [Shard(index, num_shards) for index in range(num_shards)]
        jobs: dict[str, ShardJob] = {}
        before, empty = [], []
        for shard in shards:
            items = work(shard)
            number = f"{shard.index}/{shard.count}"
            job = ShardJob(
                [*command, "--shard", number],
                folder / f"{shard}.json",
                _digest([__version__, *command], items),
                settings.threads,
                program,
            )
            if not items:
                empty.append(number)
            elif not force and _is_finished(job):
                before.append(number)
            else:
                job.record.unlink(missing_ok=True)
                jobs[number] = job
        incomplete = _run(jobs, folder / "logs", settings, on_progress) if jobs else []
    return FinishedArray(
        num_shards=num_shards, ran=list(jobs), before=before, empty=empty, incomplete=incomplete
    )


def forget_array(name: str, out: Path) -> None:
    """Remove records and logs of a command whose shards are merged: merges may remove what shards wrote."""
    shutil.rmtree(out / FOLDER / name)
    with suppress(OSError):  # of another command
        (out / FOLDER).rmdir()


def _digest(command: Sequence[str], items: Sequence[str]) -> str:
    return hashlib.sha256(json.dumps([list(command), list(items)]).encode()).hexdigest()


def _is_finished(job: ShardJob) -> bool:
    try:
        record = read_json(job.record, "record of a finished shard")
    except (InputError, FileNotFoundError):
        return False  # an unreadable record counts as unfinished
    return isinstance(record, dict) and record.get("work") == job.work


def _run(
    jobs: dict[str, ShardJob],
    logs: Path,
    settings: BatchSettings,
    on_progress: Callable[[int, int], None],
) -> list[str]:
    """Run jobs to their end; returns the shards with exit code 1.

    Raises:
        InputError: jobs failed.
    """
    if logs.exists():
        shutil.rmtree(logs)  # submitit names files after process ids, which come again
    executor = make_executor(logs, settings)
    from submitit.helpers import as_completed

    submitted = _submit(executor, list(jobs.values()), settings)
    shard_of = {job.job_id: number for number, job in zip(jobs, submitted, strict=True)}
    incomplete, failed = [], []
    try:
        for done, job in enumerate(as_completed(submitted, poll_frequency=_POLL_S), start=1):
            number = shard_of[job.job_id]
            problem = _problem(job)
            if problem == "incomplete":
                incomplete.append(number)
            elif problem is not None:
                failed.append((number, problem, job.paths.stderr))
            on_progress(done, len(jobs))
    finally:
        for job in submitted:  # where this process is stopped, so are they; those that have ended ignore it
            if not job.done():
                job.cancel(check=False)
    order = list(jobs)
    failed.sort(key=lambda each: order.index(each[0]))
    if failed:
        reasons = "; ".join(f"shard {number}: {why} (log: {log})" for number, why, log in failed[:_NAMED])
        more = f"; and {len(failed) - _NAMED} more" if failed[_NAMED:] else ""
        raise InputError(
            f"{len(failed)} of {len(jobs)} shards failed: {reasons}{more}",
            hint="the same command runs only these again",
        )
    return sorted(incomplete, key=order.index)


def _submit(executor: Any, jobs: Sequence[ShardJob], settings: BatchSettings) -> list[Any]:
    """Submit all jobs: to Slurm as one array, here one by one, each with GPUs of its own."""
    if settings.executor == "slurm":
        with executor.batch():
            return [executor.submit(job) for job in jobs]
    submitted = []
    for index, job in enumerate(jobs):
        if settings.gpus:
            first = index * settings.gpus
            executor.update_parameters(visible_gpus=list(range(first, first + settings.gpus)))
        submitted.append(executor.submit(job))
    return submitted


def _problem(job: Any) -> str | None:
    """Why a job failed, ``incomplete`` for exit code 1, or None."""
    from submitit.core.utils import UncompletedJobError

    try:
        code = job.result()
    except UncompletedJobError:
        return f"its job ended without a result ({job.state})"
    if code in (0, 1):
        return "incomplete" if code else None
    if code < 0:
        return f"ended by {signal.Signals(-code).name}"
    said = (job.stderr() or "").splitlines()
    lines = [line for line in said if line.startswith("sdpn") or ": error: " in line]
    return lines[-1] if lines else f"ended with exit code {code}"

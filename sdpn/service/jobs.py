"""The jobs of a service: a queue on disk, which survives the end of every process.

One SQLite file, shared by the server and the processes that diarize. A job that a process has taken and not
finished is queued again when the process is gone. In write-ahead mode SQLite loses nothing when processes are
killed.
"""

from __future__ import annotations

import json
import secrets
import sqlite3
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from sdpn.errors import InputError

#: States of a job. A job that is done, failed or cancelled never changes again.
State = Literal["queued", "running", "done", "failed", "cancelled"]

_UNFINISHED = ("queued", "running")

_TABLE = """
create table if not exists jobs (
    number integer primary key autoincrement,
    id text not null unique,
    state text not null,
    name text not null,
    options text not null,
    bytes integer not null,
    created_at real not null,
    started_at real,
    finished_at real,
    done_s real not null default 0,
    total_s real,
    attempts integer not null default 0,
    worker text,
    error text,
    summary text
);
create index if not exists by_state on jobs (state, number);
pragma user_version = 1;
"""


@dataclass(frozen=True, kw_only=True)
class JobOptions:
    """How a job is diarized, and what is written.

    Attributes:
        formats: of turns, see `sdpn.formats.registry.TURN_FORMATS`.
        report: whether a page is made.
        num_speakers: exact number of speakers.
        min_speakers: minimum number of speakers.
        max_speakers: maximum number of speakers.
        channel: channel to read; "separate" for the speakers of each; None is the mean of all.
        speaker_embeddings: whether the JSON document has them.
    """

    formats: Sequence[str] = ("rttm", "json")
    report: bool = False
    num_speakers: int | None = None
    min_speakers: int | None = None
    max_speakers: int | None = None
    channel: int | Literal["separate"] | None = None
    speaker_embeddings: bool = False


@dataclass(frozen=True, kw_only=True)
class Job:
    """A job, as it stands.

    Attributes:
        id: its id, which cannot be guessed.
        state: see `State`.
        name: name of the recording.
        options: how it is diarized.
        bytes: size of the upload.
        created_at: time in seconds since 1970; likewise ``started_at`` and ``finished_at``.
        started_at: None before.
        finished_at: None before.
        done_s: seconds of audio that have been processed.
        total_s: of so many; None where that is not known yet.
        attempts: processes that have taken it.
        position: its place in the queue from 1; None unless it is queued.
        error: why it failed.
        summary: what was found; None before.
    """

    id: str
    state: State
    name: str
    options: JobOptions
    bytes: int
    created_at: float
    started_at: float | None
    finished_at: float | None
    done_s: float
    total_s: float | None
    attempts: int
    position: int | None
    error: str | None
    summary: dict[str, Any] | None

    @property
    def is_finished(self) -> bool:
        """Whether it will never change again."""
        return self.state not in _UNFINISHED


class JobQueue:
    """The jobs of a service. Threads may share it; each process opens its own.

    Args:
        path: the SQLite file.

    Raises:
        InputError: it is damaged, or cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        # readers have a connection of their own, since a change may wait for the disk, or another process
        self._lock, self._reading_lock = threading.Lock(), threading.Lock()
        try:
            self._database = _connect(path)
            self._database.execute("pragma journal_mode = wal")
            self._database.execute("pragma synchronous = normal")
            self._database.executescript(_TABLE)
            self._reading = _connect(path)
        except sqlite3.Error as error:
            raise InputError(
                f"is no queue of jobs that can be used ({error})",
                path=path,
                hint="choose another folder, or remove the file with all jobs in it",
            ) from error

    def close(self) -> None:
        """Close the file."""
        with self._lock, self._reading_lock:
            self._reading.close()
            self._database.close()

    @contextmanager
    def _changing(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            self._database.execute("begin immediate")
            try:
                yield self._database
            except BaseException:
                self._database.execute("rollback")
                raise
            self._database.execute("commit")

    def _rows(self, query: str, values: Sequence[Any] = ()) -> list[sqlite3.Row]:
        with self._reading_lock:
            return self._reading.execute(query, values).fetchall()

    def add(self, job_id: str, *, name: str, options: JobOptions, size: int) -> Job:
        """Queue a job, last."""
        with self._changing() as database:
            database.execute(
                "insert into jobs (id, state, name, options, bytes, created_at)"
                " values (?, 'queued', ?, ?, ?, ?)",
                (job_id, name, json.dumps(asdict(options)), size, time.time()),
            )
        job = self.find(job_id)
        assert job is not None
        return job

    def find(self, job_id: str) -> Job | None:
        """A job by its id."""
        rows = self._rows(f"{_SELECT} where id = ?", (job_id,))
        return _job(rows[0]) if rows else None

    def latest(self, most: int, state: str | None = None) -> list[Job]:
        """The jobs that came last, the latest first."""
        where, values = ("", ()) if state is None else ("where state = ?", (state,))
        return [
            _job(row)
            for row in self._rows(f"{_SELECT} {where} order by number desc limit ?", (*values, most))
        ]

    def counts(self) -> dict[str, int]:
        """Number of jobs in each state."""
        rows = self._rows("select state, count(*) as number from jobs group by state")
        return {**dict.fromkeys(get_args(State), 0), **{row["state"]: row["number"] for row in rows}}

    def take(self, worker: str) -> Job | None:
        """Take the first job that waits; None if there is none.

        Args:
            worker: name of the process, of which no other has the same.
        """
        if not self._rows("select 1 from jobs where state = 'queued' limit 1"):
            return None  # without locking the file, since this is asked several times a second
        with self._changing() as database:
            row = database.execute(
                "select id from jobs where state = 'queued' order by number limit 1"
            ).fetchone()
            if row is None:
                return None
            database.execute(
                "update jobs set state = 'running', worker = ?, started_at = ?, attempts = attempts + 1,"
                " done_s = 0, total_s = null where id = ?",
                (worker, time.time(), row["id"]),
            )
        return self.find(row["id"])

    def progress(self, job_id: str, worker: str, done_s: float, total_s: float | None) -> bool:
        """Note how far a job is; returns whether it is still this process's."""
        with self._changing() as database:
            return (
                database.execute(
                    "update jobs set done_s = ?, total_s = ?"
                    " where id = ? and worker = ? and state = 'running'",
                    (done_s, total_s, job_id, worker),
                ).rowcount
                == 1
            )

    def finish(
        self, job_id: str, worker: str, *, error: str | None = None, summary: Mapping[str, Any] | None = None
    ) -> bool:
        """Note that a job is done, or failed with an error; returns whether it was still this process's."""
        with self._changing() as database:
            return (
                database.execute(
                    "update jobs set state = ?, finished_at = ?, error = ?, summary = ?, worker = null"
                    " where id = ? and worker = ? and state = 'running'",
                    (
                        "done" if error is None else "failed",
                        time.time(),
                        error,
                        None if summary is None else json.dumps(summary),
                        job_id,
                        worker,
                    ),
                ).rowcount
                == 1
            )

    def cancel(self, job_id: str) -> bool:
        """Cancel a job; returns whether it was unfinished. A process that has it notices at its next step."""
        with self._changing() as database:
            return (
                database.execute(
                    "update jobs set state = 'cancelled', finished_at = ?, worker = null"
                    " where id = ? and state in ('queued', 'running')",
                    (time.time(), job_id),
                ).rowcount
                == 1
            )

    def remove(self, job_id: str) -> None:
        """Forget a job."""
        with self._changing() as database:
            database.execute("delete from jobs where id = ?", (job_id,))

    def give_back(self, *, attempts: int, worker: str | None = None) -> list[str]:
        """Queue the jobs of processes that are gone again, in their old places.

        Args:
            attempts: a job that so many processes have died of has failed.
            worker: the process that has died; None if all are gone because the service was killed, which is
                no fault of its jobs.

        Returns:
            ids of the jobs that failed.
        """
        with self._changing() as database:
            if worker is None:
                database.execute(
                    "update jobs set state = 'queued', worker = null, attempts = attempts - 1"
                    " where state = 'running'"
                )
                return []
            died = "the process that diarized it has died" + (f", {attempts} times" if attempts > 1 else "")
            failed = database.execute(
                "select id from jobs where state = 'running' and worker = ? and attempts >= ?",
                (worker, attempts),
            ).fetchall()
            database.execute(
                "update jobs set state = 'failed', error = ?, finished_at = ?, worker = null"
                " where state = 'running' and worker = ? and attempts >= ?",
                (died, time.time(), worker, attempts),
            )
            database.execute(
                "update jobs set state = 'queued', worker = null where state = 'running' and worker = ?",
                (worker,),
            )
            return [row["id"] for row in failed]

    def expired(self, keep_s: float) -> list[str]:
        """Ids of the jobs that were finished longer ago than ``keep_s`` seconds."""
        rows = self._rows("select id from jobs where finished_at < ?", (time.time() - keep_s,))
        return [row["id"] for row in rows]

    def ids(self, *, unfinished: bool = False) -> set[str]:
        """Ids of all jobs, or of the unfinished ones."""
        where = "where state in ('queued', 'running')" if unfinished else ""
        return {row["id"] for row in self._rows(f"select id from jobs {where}")}


_SELECT = """
select *, case when state = 'queued'
    then (select count(*) from jobs as before where before.state = 'queued' and before.number <= jobs.number)
    end as position
from jobs
"""


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=30, isolation_level=None, check_same_thread=False)
    connection.row_factory = sqlite3.Row
    return connection


def new_id() -> str:
    """An id that cannot be guessed, of letters, digits, - and _."""
    return secrets.token_urlsafe(16)


def _job(row: sqlite3.Row) -> Job:
    values = {name: row[name] for name in row.keys() if name in Job.__dataclass_fields__}  # noqa: SIM118
    options = json.loads(row["options"])
    summary = None if row["summary"] is None else json.loads(row["summary"])
    return Job(**{**values, "options": JobOptions(**options), "summary": summary})

"""The queue on disk."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from sdpn.errors import InputError
from sdpn.service.folder import ServiceFolder
from sdpn.service.jobs import JobOptions, JobQueue, new_id


@pytest.fixture
def queue(tmp_path: Path) -> JobQueue:
    return JobQueue(tmp_path / "queue.sqlite")


def added(queue: JobQueue, number: int) -> list[str]:
    return [queue.add(new_id(), name=f"{k}.wav", options=JobOptions(), size=k).id for k in range(number)]


def test_options_and_places_are_kept(queue: JobQueue, tmp_path: Path) -> None:
    options = JobOptions(formats=["json", "srt"], report=True, max_speakers=3, channel="separate")
    job = queue.add("x", name="'; drop table jobs; --", options=options, size=7)
    assert job.state == "queued" and job.position == 1 and not job.is_finished
    second = queue.add("y", name="y", options=JobOptions(), size=1)
    assert second.position == 2
    queue.close()
    again = JobQueue(tmp_path / "queue.sqlite")
    found = again.find("x")
    assert found == job and found is not None and found.options == options
    assert again.find("z") is None


def test_first_come_first_served_each_once(queue: JobQueue, tmp_path: Path) -> None:
    """Workers in competition, each with a connection of its own, like the processes."""
    ids = added(queue, 60)
    taken: list[list[str]] = [[] for _ in range(4)]

    def work(number: int) -> None:
        own = JobQueue(tmp_path / "queue.sqlite")
        while (job := own.take(f"w{number}")) is not None:
            taken[number].append(job.id)
            assert own.finish(job.id, f"w{number}", summary={"number": number})
        own.close()

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(job_id for each in taken for job_id in each) == sorted(ids)
    assert all(each == sorted(each, key=ids.index) for each in taken)
    assert queue.counts() == {"queued": 0, "running": 0, "done": 60, "failed": 0, "cancelled": 0}


def test_progress_and_results_count_only_from_the_process_that_has_the_job(queue: JobQueue) -> None:
    (job_id,) = added(queue, 1)
    job = queue.take("a")
    assert job is not None and job.state == "running" and job.attempts == 1 and job.position is None
    assert queue.progress(job_id, "a", 3.0, 10.0) and not queue.progress(job_id, "b", 9.0, 10.0)
    assert not queue.finish(job_id, "b", error="no")
    assert queue.finish(job_id, "a", summary={"num_turns": 2})
    done = queue.find(job_id)
    assert done is not None and (done.state, done.done_s, done.summary) == ("done", 3.0, {"num_turns": 2})
    assert not queue.cancel(job_id) and not queue.progress(job_id, "a", 1.0, None)


def test_jobs_of_dead_processes_keep_their_places(queue: JobQueue) -> None:
    ids = added(queue, 3)
    assert queue.take("a") and queue.take("b")
    assert queue.give_back(attempts=2, worker="a") == []
    first = queue.find(ids[0])
    assert first is not None and (first.state, first.position, first.attempts) == ("queued", 1, 1)
    taken = queue.take("c")
    assert taken is not None and taken.id == ids[0]
    assert queue.give_back(attempts=2, worker="c") == [ids[0]], "two processes have died of it"
    failed = queue.find(ids[0])
    assert failed is not None and failed.state == "failed" and "died, 2 times" in (failed.error or "")
    assert queue.give_back(attempts=2) == []  # the service was killed, which is no fault of the job
    second = queue.find(ids[1])
    assert second is not None and (second.state, second.attempts) == ("queued", 0)


def test_reading_does_not_wait_for_a_change(queue: JobQueue) -> None:
    """Of this process or another: a health check must not stand behind a disk that is busy."""
    (job_id,) = added(queue, 1)
    with queue._changing() as database:
        database.execute("update jobs set state = 'failed'")
        asking = threading.Thread(target=lambda: found.append(queue.counts()["queued"]))
        found: list[int] = []
        asking.start()
        asking.join(10)
        assert found == [1]
    job = queue.find(job_id)
    assert job is not None and job.state == "failed"


def test_cancelled_jobs_are_not_taken(queue: JobQueue) -> None:
    ids = added(queue, 2)
    assert queue.cancel(ids[0]) and not queue.cancel(ids[0]) and not queue.cancel("unknown")
    job = queue.take("a")
    assert job is not None and job.id == ids[1]
    assert queue.cancel(ids[1])
    assert not queue.progress(ids[1], "a", 1.0, 2.0), "the process hears of it"
    assert not queue.finish(ids[1], "a", summary={})
    assert queue.take("a") is None


def test_old_jobs_expire(queue: JobQueue) -> None:
    finished, waiting = added(queue, 2)
    assert queue.take("a")
    queue.finish(finished, "a", error="it is no audio")
    assert queue.expired(60.0) == []
    time.sleep(0.02)
    assert queue.expired(0.01) == [finished]
    queue.remove(finished)
    assert queue.ids() == {waiting}


def test_a_damaged_queue_is_refused(tmp_path: Path) -> None:
    (tmp_path / "queue.sqlite").write_bytes(b"this is no database" * 100)
    with pytest.raises(InputError, match="is no queue of jobs"):
        JobQueue(tmp_path / "queue.sqlite")


def test_what_no_job_needs_is_deleted_at_the_start(tmp_path: Path) -> None:
    folder = ServiceFolder(tmp_path / "out")
    with folder.locked():
        queue = JobQueue(folder.queue)
        done, waiting = added(queue, 2)
        queue.take("a")
        queue.finish(done, "a", summary={})
        for job_id in (done, waiting, "unknown"):
            folder.upload(job_id).write_bytes(b"x")
            folder.results(job_id).mkdir()
        folder.arriving("half").write_bytes(b"x")
        folder.tidy(queue)
        assert [file.name for file in (folder.path / "uploads").iterdir()] == [waiting]
        assert {file.name for file in (folder.path / "results").iterdir()} == {done, waiting}
        with pytest.raises(InputError, match="another service"), ServiceFolder(tmp_path / "out").locked():
            pass
    with ServiceFolder(tmp_path / "out").locked():  # it is free again
        pass

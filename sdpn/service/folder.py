"""The folder of a service: its queue, uploads that wait, results. Names in it are ids, never a client's."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from sdpn.errors import InputError
from sdpn.formats.registry import TURN_FORMATS
from sdpn.io.atomic import explained
from sdpn.io.locks import lock_file
from sdpn.report.recording_page import SOUND_SUFFIX
from sdpn.service.jobs import JobQueue

#: Name of every file of results, before its suffix: the page of a long recording finds its audio by it.
_STEM = "recording"

#: What a job can give besides turns, and its file.
_OTHERS = {"report": f"{_STEM}.html", "audio": f"{_STEM}{SOUND_SUFFIX}"}

#: Files of results by name.
RESULT_FILES = {**{name: f"{_STEM}{kind.suffix}" for name, kind in TURN_FORMATS.items()}, **_OTHERS}


class ServiceFolder:
    """The folder of a service.

    Args:
        path: the folder.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.queue = path / "queue.sqlite"
        self._uploads, self._results = path / "uploads", path / "results"

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Make the folder, and keep it from other services.

        Raises:
            InputError: another service has it, or it cannot be made.
        """
        with explained(self.path):
            for folder in (self.path, self._uploads, self._results):
                folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            stream = open(self.path / "lock", "w")  # noqa: SIM115
        with stream:
            try:
                lock_file(stream, wait=False)
            except BlockingIOError:
                raise InputError(
                    "another service is using this folder", path=self.path, hint="choose another folder"
                ) from None
            yield

    def arriving(self, job_id: str) -> Path:
        """File of an upload that is not complete."""
        return self._uploads / f"{job_id}.part"

    def upload(self, job_id: str) -> Path:
        """File of an upload."""
        return self._uploads / job_id

    def results(self, job_id: str) -> Path:
        """Folder of a job's results."""
        return self._results / job_id

    def found(self, job_id: str) -> dict[str, Path]:
        """The results of a job that are there, by name."""
        files = {name: self.results(job_id) / file for name, file in RESULT_FILES.items()}
        return {name: file for name, file in files.items() if file.is_file()}

    def remove_upload(self, job_id: str) -> None:
        """Delete an upload, complete or not."""
        for file in (self.upload(job_id), self.arriving(job_id)):
            file.unlink(missing_ok=True)

    def remove_results(self, job_id: str) -> None:
        """Delete the results of a job."""
        shutil.rmtree(self.results(job_id), ignore_errors=True)

    def tidy(self, queue: JobQueue) -> None:
        """Delete what no job needs: uploads that broke off or are done with, results of unknown jobs.

        For the start of a service, when nothing is being written.
        """
        waiting, known = queue.ids(unfinished=True), queue.ids()
        for file in self._uploads.iterdir():
            if file.name not in waiting:
                file.unlink()
        for folder in self._results.iterdir():
            if folder.name not in known:
                with suppress(NotADirectoryError):
                    shutil.rmtree(folder)

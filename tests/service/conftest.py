"""A real service in a process of its own, and short recordings."""

from __future__ import annotations

import os
import queue
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import soundfile

from tests.conftest import ROOT

TOKEN = "a-token-that-is-long-enough"
AS_CLIENT = {"Authorization": f"Bearer {TOKEN}"}

#: A service starts, and a job is done, within this time in seconds, also on a busy machine.
PATIENCE_S = 240.0


class Client:
    """Somebody who uses a service.

    Args:
        url: of the service.
        token: of the service; None for none.
    """

    def __init__(self, url: str, *, token: str | None = None) -> None:
        self.url = url
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        self.client = httpx.Client(base_url=url, headers=headers, timeout=60, trust_env=False)

    def post(self, content: Any, **query: Any) -> httpx.Response:
        """Upload a recording as the body."""
        return self.client.post("/jobs", content=content, params=query)

    def queued(self, path: Path, **query: Any) -> str:
        """Upload a recording; returns the id of its job."""
        response = self.post(path.read_bytes(), **{"name": path.name, **query})
        assert response.status_code == 202, response.text
        return str(response.json()["id"])

    def job(self, job_id: str) -> dict[str, Any]:
        """A job as it stands."""
        response = self.client.get(f"/jobs/{job_id}")
        assert response.status_code == 200, response.text
        found: dict[str, Any] = response.json()
        return found

    def finished(self, job_id: str) -> dict[str, Any]:
        """A job when it is finished."""
        return wait_for(lambda: self._if_finished(job_id))

    def _if_finished(self, job_id: str) -> dict[str, Any] | None:
        job = self.job(job_id)
        return job if job["state"] in ("done", "failed", "cancelled") else None

    def result(self, job_id: str, name: str) -> httpx.Response:
        """A result of a job."""
        return self.client.get(f"/jobs/{job_id}/results/{name}")


class Service(Client):
    """``sdpn serve`` in a process.

    Args:
        out: its folder.
        options: of the command, besides ``--out`` and ``--port``.
        token: of the service; None for none.
    """

    def __init__(self, out: Path, *options: str, token: str | None = TOKEN, port: int = 0) -> None:
        self.out = out
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        environment.pop("SDPN_TOKEN", None)
        if token is not None:
            environment["SDPN_TOKEN"] = token
        self.process = subprocess.Popen(
            [sys.executable, "-m", "sdpn", "serve", "--out", str(out), "--port", str(port), *options],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.log: list[str] = []
        assert self.process.stderr is not None
        self._reading = threading.Thread(
            target=lambda: self.log.extend(self.process.stderr or ()), daemon=True
        )
        self._reading.start()
        super().__init__(self._started(), token=token)

    def _started(self) -> str:
        lines: queue.Queue[str] = queue.Queue()
        assert self.process.stdout is not None
        stdout = self.process.stdout
        threading.Thread(target=lambda: lines.put(stdout.readline()), daemon=True).start()
        line = lines.get(timeout=PATIENCE_S)
        found = re.match(r"serving at (http://\S+)", line)
        assert found is not None, (line, self.log)
        return found[1]

    def kill(self) -> None:
        """As ``kill -9``."""
        self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        """As Ctrl-C; returns the exit code."""
        self.client.close()
        self.process.send_signal(signal.SIGINT)
        try:
            return self.process.wait(30)
        finally:
            if self.process.poll() is None:
                self.kill()

    def files(self) -> set[str]:
        """Files of uploads, complete or not."""
        return {file.name for file in (self.out / "uploads").iterdir()}


def wait_for(ask: Callable[[], Any]) -> Any:
    """Ask until the answer is true."""
    until = time.monotonic() + PATIENCE_S
    while time.monotonic() < until:
        answer = ask()
        if answer:
            return answer
        time.sleep(0.05)
    raise AssertionError("it took too long")


@lru_cache(maxsize=1)
def _conversation() -> np.ndarray:
    """Two synthetic voices in turns, a few seconds of speech (S,) at 16 kHz."""
    sys.path.append(str(ROOT / "egs" / "mini" / "local"))  # the recipes' scripts are no package
    from espeak import Synthesiser, Voice

    synthesiser, pause_S = Synthesiser(), np.zeros(8000, np.float32)
    said = [
        ("The river was high this morning, and nobody crossed it.", Voice(variant="m3", pitch=20)),
        ("Then we shall go over the bridge by the mill.", Voice(variant="f2", pitch=80)),
    ]
    return np.concatenate(
        [part for text, voice in said for part in (synthesiser.speak(text, voice), pause_S)]
    )


def talk(path: Path, seconds: float) -> Path:
    """Write a recording of two voices in turns."""
    soundfile.write(path, np.resize(_conversation(), round(seconds * 16000)), 16000)
    return path


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service with a token and narrow limits: 2 MB, half a minute, two streams, a second and a half."""
    running = Service(
        tmp_path_factory.mktemp("service") / "out",
        *("--model", "small", "--max-mb", "2", "--max-minutes", "0.5", "--max-streams", "2"),
        *("--idle-seconds", "1.5"),
    )
    yield running
    code = running.stop()
    assert code == 130, running.log
    assert not any("Traceback" in line for line in running.log), "".join(running.log)


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight seconds."""
    return talk(tmp_path_factory.mktemp("recording") / "talk.wav", 8.0)

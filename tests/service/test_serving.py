"""A service from its start to its end: addresses, folders, kill -9, signals."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import httpx
import pytest

from sdpn.cli.main import main
from tests.service.conftest import PATIENCE_S, Service, talk, wait_for

#: Jobs that may wait in the service without a token.
WAITING = 20


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service without a token; a signal ends all its processes at once."""
    options = ("--model", "small", "--jobs", "2", "--max-waiting", str(WAITING))
    service = Service(tmp_path_factory.mktemp("plain") / "out", *options, token=None)
    yield service
    children = _children(service.process.pid)
    assert len(children) >= 2
    service.process.send_signal(signal.SIGTERM)
    assert service.process.wait(30) == 128 + signal.SIGTERM, service.log
    wait_for(lambda: not any(Path(f"/proc/{child}/cmdline").exists() for child in children))
    assert not any("Traceback" in line for line in service.log), service.log


@pytest.mark.slow
def test_a_full_queue_survives_kill_9(tmp_path: Path) -> None:
    first = Service(tmp_path / "out", "--model", "small")
    recordings = [talk(tmp_path / f"talk{number}.wav", 8.0 + number) for number in range(4)]
    ids = [first.queued(path) for path in recordings]
    wait_for(lambda: first.job(ids[0])["state"] != "queued")
    half = socket.create_connection(("127.0.0.1", int(first.url.rpartition(":")[2])))
    half.sendall(b"POST /jobs HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer a-token-that-is-long-enough\r\n")
    half.sendall(b"Content-Length: 100\r\n\r\nRIFF")
    wait_for(lambda: any(file.endswith(".part") for file in first.files()))
    first.kill()
    half.close()
    second = Service(tmp_path / "out", "--model", "small")
    try:
        assert not any(file.endswith(".part") for file in second.files())
        for number, job_id in enumerate(ids):
            job = second.finished(job_id)
            assert job["state"] == "done", job
            assert job["summary"]["duration_s"] == 8.0 + number
            assert second.result(job_id, "rttm").text.startswith(f"SPEAKER talk{number} ")
        wait_for(lambda: second.files() == set())
        assert sorted(path.name for path in (tmp_path / "out" / "results").iterdir()) == sorted(ids)
    finally:
        second.stop()


def _children(pid: int) -> list[int]:
    """Processes that a process has started, and those have."""
    if not Path("/proc/self/stat").exists():
        pytest.skip("there is no /proc")
    parents = {}
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it has ended meanwhile
            parents[int(process.name)] = int((process / "stat").read_text().rpartition(")")[2].split()[1])
    found = [pid]
    for parent in found:
        found += [child for child, of in parents.items() if of == parent]
    return found[1:]


@pytest.mark.slow
def test_a_job_whose_process_dies_is_tried_again(tmp_path: Path) -> None:
    service = Service(tmp_path / "out", "--model", "small")
    try:
        job_id = service.queued(talk(tmp_path / "long.wav", 60.0))
        wait_for(lambda: service.job(job_id)["state"] == "running")
        for child in _children(service.process.pid):
            if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes():
                subprocess.run(["kill", "-9", str(child)], check=True)
        job = service.finished(job_id)
        assert job["state"] == "done", job
    finally:
        service.stop()


def refused(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """What ``sdpn serve`` says when it cannot start."""
    assert main(["serve", *words]) == 2
    captured = capsys.readouterr()
    assert captured.err.count("\n") == 1 and "Traceback" not in captured.err and not captured.out
    return captured.err


@pytest.mark.slow
def test_uploads_at_the_same_time(plain: Service, tmp_path: Path) -> None:
    """None is lost or mistaken for another, and the service answers others meanwhile."""
    recordings = [talk(tmp_path / f"talk{number}.wav", 2.0 + number / 10) for number in range(16)]
    done = threading.Event()
    waited_s: list[float] = []

    def ask() -> None:
        while not done.is_set():
            began = time.perf_counter()
            assert httpx.get(f"{plain.url}/health", trust_env=False).status_code == 200
            waited_s.append(time.perf_counter() - began)
            time.sleep(0.02)

    def upload(path: Path) -> str:  # in small pieces, as from a slow line
        pieces = (path.read_bytes()[first : first + 4096] for first in range(0, path.stat().st_size, 4096))
        sent = httpx.post(f"{plain.url}/jobs?name={path.name}", content=pieces, timeout=60, trust_env=False)
        assert sent.status_code == 202, sent.text
        return str(sent.json()["id"])

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        with ThreadPoolExecutor(len(recordings)) as threads:
            ids = list(threads.map(upload, recordings))
        for number, job_id in enumerate(ids):
            job = plain.finished(job_id)
            assert (job["state"], job["name"]) == ("done", f"talk{number}.wav"), job
            assert job["summary"]["duration_s"] == pytest.approx(2.0 + number / 10)
    finally:
        done.set()
        asking.join()
    assert len(waited_s) > 10 and sorted(waited_s)[len(waited_s) // 2] < 0.5
    wait_for(lambda: not plain.files())
    for job_id in ids:
        plain.client.delete(f"/jobs/{job_id}")


@pytest.fixture
def busy(plain: Service, tmp_path: Path) -> Iterator[list[str]]:
    """Ids of two jobs of twenty minutes that both processes are at, which takes far longer than a test."""
    long = talk(tmp_path / "long.flac", 1200.0)
    running = [plain.queued(long) for _ in range(2)]
    wait_for(lambda: [plain.job(job_id)["state"] for job_id in running] == ["running"] * 2)
    yield running
    for job_id in running:
        plain.client.delete(f"/jobs/{job_id}")


def test_no_more_jobs_wait_than_may(plain: Service, busy: list[str]) -> None:
    """Also if all come at once; who is refused hears when to come back, and nothing of it is kept."""

    def upload(_: int) -> httpx.Response:
        return httpx.post(f"{plain.url}/jobs", content=b"no audio", timeout=60, trust_env=False)

    with ThreadPoolExecutor(40) as threads:
        answers = list(threads.map(upload, range(40)))
    accepted = [answer.json()["id"] for answer in answers if answer.status_code == 202]
    refused = [answer for answer in answers if answer.status_code != 202]
    assert len(accepted) <= WAITING
    while (answer := upload(0)).status_code == 202:
        accepted.append(answer.json()["id"])
    assert len(accepted) == WAITING
    for one in (*refused, answer):
        assert one.status_code == 503 and one.headers["retry-after"] == "30"
        assert one.json()["detail"] == "too many jobs wait already"
    assert plain.files() == {*accepted, *busy}
    for job_id in accepted:
        assert plain.client.delete(f"/jobs/{job_id}").status_code == 204


def test_cancelling(plain: Service, busy: list[str], tmp_path: Path) -> None:
    running, short = busy, talk(tmp_path / "short.wav", 8.0)
    first, second, third = (plain.queued(short) for _ in range(3))
    assert [plain.job(job_id)["position"] for job_id in (first, second, third)] == [1, 2, 3]

    def cancel(job_id: str) -> tuple[int, str]:
        answer = plain.client.post(f"/jobs/{job_id}/cancel")
        return answer.status_code, answer.json().get("state") or answer.json()["detail"]

    assert cancel(second) == (200, "cancelled")
    assert cancel(second) == (409, "the job is cancelled already")
    assert second not in plain.files()
    assert [plain.job(job_id)["position"] for job_id in (first, second, third)] == [1, None, 2]
    assert cancel("unknown")[0] == 404
    for job_id in running:
        assert cancel(job_id) == (200, "cancelled")
    assert plain.finished(first)["state"] == plain.finished(third)["state"] == "done"
    wait_for(lambda: not plain.files())
    for job_id in (*running, second):
        assert plain.job(job_id)["state"] == "cancelled" and plain.job(job_id)["results"] == {}
        assert not (plain.out / "results" / job_id).exists()
    assert cancel(first) == (409, "the job is done already")
    for job_id in (first, second, third):
        assert plain.client.delete(f"/jobs/{job_id}").status_code == 204
        assert plain.client.get(f"/jobs/{job_id}").status_code == 404
        assert not (plain.out / "results" / job_id).exists()


def test_two_services_on_one_port(plain: Service, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    port = plain.url.rpartition(":")[2]
    said = refused(capsys, "--out", str(tmp_path / "other"), "--port", port)
    assert f"cannot listen on 127.0.0.1, port {port}" in said and "another --port" in said
    assert not (tmp_path / "other").exists()
    assert plain.client.get("/health").json()["status"] == "ok"


def test_two_services_in_one_folder(plain: Service, capsys: pytest.CaptureFixture[str]) -> None:
    assert "another service is using this folder" in refused(capsys, "--out", str(plain.out), "--port", "0")


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
def test_other_machines_need_a_token(
    host: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SDPN_TOKEN", raising=False)
    said = refused(capsys, "--out", str(tmp_path / "out"), "--port", "0", "--host", host)
    assert "lets other machines in, and there is no token" in said and "--token-file" in said
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("--host", "no such host"), "there is no address"),
        (("--host", ""), "there is no address"),
        (("--max-mb", "0"), "--max-mb is 0"),
        (("--max-minutes", "nan"), "--max-minutes is nan"),
        (("--keep-hours", "-1"), "--keep-hours is -1"),
        (("--token-file", "missing"), "missing"),
        (("--token-file", "short"), "has a token of 5 characters; expected at least 16"),
        (("--token-file", "spaces"), "other characters than visible ASCII"),
        (("--model", "damaged"), "damaged"),
        (("--out", "a-file"), "a-file"),
    ],
)
def test_wrong_options(
    words: tuple[str, str],
    why: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SDPN_TOKEN", raising=False)
    Path("short").write_text("short\n")
    Path("spaces").write_text("a token with spaces in it\n")
    Path("damaged").mkdir()
    Path("a-file").touch()
    out = () if "--out" in words else ("--out", "out")
    assert why in refused(capsys, *out, "--port", "0", *words)


@pytest.mark.parametrize("port", ["65536", "-1", "http", "٣"])
def test_no_port(port: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["serve", "--out", "out", f"--port={port}"])
    assert ended.value.code == 2 and "expected a port from 0 to 65535" in capsys.readouterr().err


def test_without_a_token_only_this_machine_is_served_under_its_own_name(plain: Service) -> None:
    assert plain.client.get("/jobs").json() == []
    rebound = httpx.get(f"{plain.url}/jobs", headers={"Host": "evil.example"}, trust_env=False)
    assert rebound.status_code == 403 and "another name" in rebound.json()["detail"]
    from_a_page = plain.client.post("/jobs", headers={"Origin": "null"}, content=b"x")
    assert from_a_page.status_code == 403
    port = plain.url.rpartition(":")[2]
    assert httpx.get(f"http://localhost:{port}/health", trust_env=False).status_code == 200


def test_help_without_fastapi(tmp_path: Path) -> None:
    code = (
        "import sys; sys.modules['fastapi'] = None; from sdpn.cli.main import main;"
        f"sys.exit(main(['serve', '--out', {str(tmp_path / 'out')!r}, '--port', '0']))"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=PATIENCE_S)
    assert ended.returncode == 2 and "pip install 'sdpn[serve]'" in ended.stderr
    assert ended.stderr.count("\n") == 1

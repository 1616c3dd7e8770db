"""A service from its start to its end: addresses, folders, kill -9, signals."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import httpx
import pytest

from sdpn.cli.main import main
from tests.service.conftest import PATIENCE_S, Service, talk, wait_for


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service without a token; a signal ends all its processes at once."""
    service = Service(tmp_path_factory.mktemp("plain") / "out", "--model", "small", "--jobs", "2", token=None)
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

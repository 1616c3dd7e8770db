"""Jobs over HTTP: a real client against a real service."""

from __future__ import annotations

import gzip
import io
import json
import socket
import tarfile
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import numpy as np
import pytest
import soundfile

from sdpn.cli.main import main
from sdpn.formats.registry import TURN_FORMATS
from tests.browser import opened
from tests.service.conftest import AS_CLIENT, Service, wait_for

HOSTILE = [
    "../../../etc/passwd",
    "..\\..\\boot.ini",
    "<script>alert(1)</script>.wav",
    "a\x00b\r\nX-Evil: 1.wav",
    "/",
    "..",
    ".wav",
    " ",
    "x" * 900,
    "Zoë & 李 \u202e.wav",
    "CON",
    "'; drop table jobs; --",
]


def raw(service: Service) -> socket.socket:
    """A connection on which anything can be sent."""
    address = urlsplit(service.url)
    return socket.create_connection((address.hostname, address.port), timeout=30)


def head(*lines: str) -> bytes:
    """The beginning of an upload."""
    fixed = ("POST /jobs HTTP/1.1", "Host: localhost", f"Authorization: {AS_CLIENT['Authorization']}")
    return "\r\n".join((*fixed, *lines, "", "")).encode()


def answer(connection: socket.socket) -> bytes:
    """All that comes until the other side closes, or stops for a while."""
    received = b""
    try:
        while data := connection.recv(65536):
            received += data
            if b'{"detail"' in received:
                break
    except (TimeoutError, ConnectionResetError):
        pass
    return received


def test_results_are_those_of_the_command(service: Service, recording: Path, tmp_path: Path) -> None:
    job_id = service.queued(recording, format=",".join(TURN_FORMATS), report=True, max_speakers=3)
    job = service.finished(job_id)
    assert job["state"] == "done" and job["error"] is None and job["progress"]["share"] == 1.0
    assert job["results"].keys() == {*TURN_FORMATS, "report"}
    words = ["--model", "small", "--format", ",".join(TURN_FORMATS), "--max-speakers", "3", "--quiet"]
    assert main(["diarize", str(recording), "--out", str(tmp_path), *words]) == 0
    for name, kind in TURN_FORMATS.items():
        ours, theirs = service.result(job_id, name), tmp_path / f"talk{kind.suffix}"
        assert ours.status_code == 200 and ours.headers["x-content-type-options"] == "nosniff"
        assert f'filename="talk{kind.suffix}"' in ours.headers["content-disposition"]
        if name == "json":
            document, expected = ours.json(), json.loads(theirs.read_text())
            assert document["audio"] == "talk.wav"
            for key in ("recording", "turns", "speakers", "exclusive_turns", "settings", "count_posteriors"):
                assert document[key] == expected[key]
            assert document["receipt"]["result_sha256"] == expected["receipt"]["result_sha256"]
            assert document["receipt"]["audio"] == expected["receipt"]["audio"]
            assert str(service.out) not in ours.text and str(Path.home()) not in ours.text
        elif name != "elan":  # which has the time of writing
            assert ours.content == theirs.read_bytes(), name
    assert job["summary"]["num_turns"] == len(document["turns"]) > 0
    assert job_id not in service.files(), "the recording is deleted with its job"


def test_the_page_opens_in_a_browser(service: Service, recording: Path, tmp_path: Path) -> None:
    job_id = service.queued(recording, report=True)
    service.finished(job_id)
    page = service.result(job_id, "report")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    (tmp_path / "page.html").write_bytes(page.content)
    with opened(tmp_path / "page.html") as browser:
        browser.wait_for_selector("#play:not([disabled])")


def test_a_form_is_an_upload_too(service: Service, recording: Path) -> None:
    sent = service.client.post(
        "/jobs?format=csv",
        files={"file": ("from a form.wav", recording.read_bytes())},
        data={"format": "srt,rttm", "num_speakers": "1"},
    )
    assert sent.status_code == 202, sent.text
    assert sent.headers["location"] == f"/jobs/{sent.json()['id']}"
    job = service.finished(sent.json()["id"])
    assert job["name"] == "from a form.wav" and job["results"].keys() == {"srt", "rttm"}
    rttm = service.result(job["id"], "rttm").text
    assert {line.split()[1] for line in rttm.splitlines()} == {"from_a_form"}
    assert {line.split()[7] for line in rttm.splitlines()} == {"speaker00"}


@pytest.mark.parametrize(
    ("form", "why"),
    [
        (b"--b\r\nContent-Disposition: form-data; name=file; filename=a.wav\r\n\r\nRIFF", "breaks off"),
        (b"no form at all", "damaged"),
        (b'--b\r\nContent-Disposition: form-data; name="format"\r\n\r\nrttm\r\n--b--\r\n', "has 0 files"),
        (
            b'--b\r\nContent-Disposition: form-data; name="format"\r\n\r\n' + b"x" * 2000 + b"\r\n--b--",
            "longer",
        ),
        (
            b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\nx\r\n' * 2
            + b"--b--\r\n",
            "several files",
        ),
        (
            b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\nx\r\n'
            b'--b\r\nContent-Disposition: form-data; name="path"\r\n\r\n/etc/passwd\r\n--b--\r\n',
            "path: Extra inputs",
        ),
    ],
)
def test_damaged_forms(service: Service, form: bytes, why: str) -> None:
    before = service.files()
    sent = service.client.post(
        "/jobs", content=form, headers={"Content-Type": "multipart/form-data; boundary=b"}
    )
    assert sent.status_code == 422 and why in sent.json()["detail"]
    assert service.files() <= before


@pytest.mark.parametrize(
    ("query", "why"),
    [
        ({"format": "docx"}, "unknown format of turns 'docx'"),
        ({"format": ""}, "unknown format of turns ''"),
        ({"num_speakers": 0}, "num_speakers: Input should be greater"),
        ({"num_speakers": 2, "max_speakers": 3}, "contradicts"),
        ({"min_speakers": 4, "max_speakers": 3}, "min_speakers is 4"),
        ({"channel": "left"}, "channel: String should match"),
        ({"format": "rttm", "embeddings": True}, "--format json"),
        ({"path": "/etc/passwd"}, "path: Extra inputs"),
    ],
)
def test_wrong_options(service: Service, recording: Path, query: dict[str, object], why: str) -> None:
    refused = service.post(recording.read_bytes(), **query)
    assert refused.status_code == 422 and why in refused.json()["detail"], refused.text


def test_a_body_of_ten_gigabytes_is_refused_before_it_is_read(service: Service) -> None:
    with raw(service) as connection:
        connection.sendall(head("Content-Length: 10000000000"))
        assert b" 413 " in answer(connection)


def test_ten_gigabytes_that_nobody_declared(service: Service) -> None:
    """They are counted while they come, and the client hears why it has to stop."""
    before, sent = service.files(), 0

    def endless() -> Iterator[bytes]:
        nonlocal sent
        while sent < 10_000_000_000:
            sent += 65536
            yield b"\x01" * 65536

    refused = service.client.post("/jobs", content=endless())
    assert refused.status_code == 413 and "larger than 2 MB" in refused.json()["detail"]
    assert sent < 100_000_000
    assert service.files() <= before


def test_a_refused_client_cannot_go_on_sending(service: Service) -> None:
    """Whatever it was refused for; only a small body is read to its end, and the connection kept."""
    sent = 0

    def endless() -> Iterator[bytes]:
        nonlocal sent
        while sent < 10_000_000_000:
            sent += 65536
            yield b"\x01" * 65536

    wrong = {"Authorization": "Bearer wrong"}
    for path, headers, status in (
        ("/jobs", wrong, 401),
        ("/jobs?format=docx", {}, 422),
        ("/nothing", {}, 404),
    ):
        sent = 0
        refused = service.client.post(path, content=endless(), headers=headers)
        assert refused.status_code == status and refused.headers["connection"] == "close"
        assert sent < 100_000_000
    assert "connection" not in service.client.post("/nothing", content=b"x").headers


def test_a_form_of_ten_gigabytes(service: Service) -> None:
    sent = 0

    def form() -> Iterator[bytes]:
        nonlocal sent
        yield b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\n'
        while sent < 10_000_000_000:
            sent += 65536
            yield b"\x01" * 65536

    kind = {"Content-Type": "multipart/form-data; boundary=b"}
    assert service.client.post("/jobs", content=form(), headers=kind).status_code == 413
    assert sent < 100_000_000


def test_an_upload_that_stops_half_way_leaves_nothing(service: Service, recording: Path) -> None:
    before, jobs = service.files(), len(service.client.get("/jobs").json())
    content = recording.read_bytes()
    with raw(service) as connection:
        connection.sendall(head(f"Content-Length: {len(content)}") + content[: len(content) // 2])
        wait_for(lambda: service.files() - before)
    wait_for(lambda: service.files() <= before)
    assert len(service.client.get("/jobs").json()) == jobs


def test_an_upload_that_only_pauses_for_ever_is_given_up(service: Service) -> None:
    before = service.files()
    with raw(service) as connection:
        connection.sendall(head("Content-Length: 1000") + b"RIFF")
        started = time.monotonic()
        assert b" 408 " in answer(connection)
        assert time.monotonic() - started < 20
    assert service.files() <= before


def archives() -> dict[str, bytes]:
    """Archives, among them a bomb: 20 kB that would be 20 MB."""
    zipped, tarred = io.BytesIO(), io.BytesIO()
    with zipfile.ZipFile(zipped, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.wav", bytes(20_000_000))
    with tarfile.open(fileobj=tarred, mode="w") as tar:
        info = tarfile.TarInfo("a.wav")
        info.size = 100
        tar.addfile(info, io.BytesIO(bytes(100)))
    return {"zip": zipped.getvalue(), "gzip": gzip.compress(bytes(20_000_000)), "tar": tarred.getvalue()}


@pytest.mark.parametrize("kind", ["zip", "gzip", "tar"])
def test_archives_are_not_unpacked(service: Service, kind: str) -> None:
    content = archives()[kind]
    refused = service.post(content)
    assert refused.status_code == 415 and "are not unpacked" in refused.json()["detail"]
    assert service.client.post("/jobs", files={"file": ("a.wav", content)}).status_code == 415
    in_small_pieces = service.post(content[at : at + 100] for at in range(0, len(content), 100))
    assert in_small_pieces.status_code == 415


def test_a_compressed_body_is_refused(service: Service, recording: Path) -> None:
    refused = service.client.post(
        "/jobs", content=gzip.compress(recording.read_bytes()), headers={"Content-Encoding": "gzip"}
    )
    assert refused.status_code == 415 and "Content-Encoding" in refused.json()["detail"]


def test_small_files_with_long_recordings_are_stopped_by_the_decoder(
    service: Service, tmp_path: Path
) -> None:
    """Hours of silence in a few kilobytes, whose header says so, or does not."""
    with soundfile.SoundFile(tmp_path / "long.flac", "w", 16000, 1) as file:
        for _ in range(40):
            file.write(np.zeros(16000 * 60))
    content = (tmp_path / "long.flac").read_bytes()
    assert len(content) < 200_000
    streamed = bytearray(content)  # as an encoder on a pipe writes it: without its length
    streamed[21] &= 0xF0
    streamed[22:26] = bytes(4)
    for upload in (content, bytes(streamed)):
        job = service.finished(service.post(upload).json()["id"])
        assert job["state"] == "failed" and "is too long: at least" in job["error"], job


@pytest.mark.parametrize("content", [b"x", b"this is no audio" * 100, b"RIFF\x00\x00\x00\x00WAVE"])
def test_what_is_no_audio_fails_without_a_path(service: Service, content: bytes) -> None:
    sent = service.post(content)
    assert sent.status_code == 202
    job = service.finished(sent.json()["id"])
    assert job["state"] == "failed" and job["error"] and job["results"] == {}
    assert "/" not in job["error"] and job["id"] not in job["error"]
    assert service.result(job["id"], "rttm").status_code == 404


def test_nothing_is_refused(service: Service) -> None:
    assert service.post(b"").status_code == 422


@pytest.mark.parametrize("name", HOSTILE)
def test_names_are_only_names(service: Service, name: str) -> None:
    sent = service.client.post("/jobs", content=b"no audio", params={"name": name})
    assert sent.status_code == 202, sent.text
    shown = sent.json()["name"]
    assert shown and not set("/\\\x00\r\n<>") & set(shown) and len(shown) <= 120
    assert shown not in ("..", ".")


def test_a_name_with_markup_in_every_result(service: Service, recording: Path) -> None:
    job_id = service.queued(
        recording, name="<img src=x onerror=alert(1)> & co.wav", format="elan,json", report=True
    )
    service.finished(job_id)
    for result in ("elan", "report"):
        assert "<img src=x" not in service.result(job_id, result).text
    assert "\n" not in service.result(job_id, "json").headers["content-disposition"]


@pytest.mark.parametrize(
    "path",
    [
        "/jobs/..%2f..%2fqueue.sqlite",
        "/jobs/../queue.sqlite",
        "/jobs/{id}/results/..%2f..%2f..%2fqueue.sqlite",
        "/jobs/{id}/results/%2fetc%2fpasswd",
        "/jobs/{id}/results/recording.sqlite",
        "/jobs/{id}/results/rttm%00.json",
        "/docs/..%2fapp.py",
        "/docs/swagger-ui.NOTICE",
        "/static/../../etc/passwd",
        "//etc/passwd",
    ],
)
def test_no_path_of_the_server_can_be_read(service: Service, recording: Path, path: str) -> None:
    job_id = service.queued(recording)
    with raw(service) as connection:  # a client would tidy the path
        connection.sendall(head().replace(b"POST /jobs", b"GET " + path.format(id=job_id).encode()))
        assert b" 404 " in answer(connection)
    service.client.delete(f"/jobs/{job_id}")


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": ""},
        {"Authorization": "Bearer wrong-token-of-length"},
        {"Authorization": "Basic eDp5"},
        {"Authorization": AS_CLIENT["Authorization"][:-1]},
        {"Authorization": "Bearer"},
    ],
)
@pytest.mark.parametrize("path", ["/jobs", "/jobs/x", "/jobs/x/results/rttm"])
def test_a_wrong_token(service: Service, headers: dict[str, str], path: str) -> None:
    for refused in (
        httpx.get(service.url + path, headers=headers, trust_env=False),
        httpx.post(service.url + "/jobs", headers=headers, content=b"x" * 100, trust_env=False),
    ):
        assert refused.status_code == 401 and refused.headers["www-authenticate"] == "Bearer"


def test_a_token_in_the_address_is_none(service: Service) -> None:
    token = AS_CLIENT["Authorization"].split()[1]
    refused = httpx.get(f"{service.url}/jobs", params={"token": token}, trust_env=False)
    assert refused.status_code == 401


def test_health_needs_no_token_and_tells_no_names(service: Service) -> None:
    health = httpx.get(f"{service.url}/health", trust_env=False).json()
    assert health["status"] == "ok" and health.keys() == {"status", "version", "workers", "queued", "running"}


def test_pages_of_other_sites_are_refused(service: Service) -> None:
    refused = service.client.get("/jobs", headers={"Origin": "https://evil.example"})
    assert refused.status_code == 403
    assert service.client.get("/jobs", headers={"Origin": service.url}).status_code == 200


def test_the_list_can_be_narrowed(service: Service, recording: Path) -> None:
    job_id = service.queued(recording)
    service.finished(job_id)
    assert service.client.get("/jobs", params={"most": 1}).json()[0]["id"] == job_id
    assert {job["state"] for job in service.client.get("/jobs", params={"state": "done"}).json()} == {"done"}
    assert service.client.get("/jobs", params={"state": "lost"}).status_code == 422
    assert service.client.get("/jobs", params={"most": 10**9}).status_code == 422


def test_the_interface_is_described_offline(service: Service) -> None:
    paths = httpx.get(f"{service.url}/openapi.json", trust_env=False).json()["paths"]
    assert set(paths) == {
        "/health",
        "/jobs",
        "/jobs/{job_id}",
        "/jobs/{job_id}/cancel",
        "/jobs/{job_id}/results/{result}",
    }
    plain = httpx.get(f"{service.url}/docs/swagger-ui.css", headers={"Accept-Encoding": ""}, trust_env=False)
    assert "content-encoding" not in plain.headers and plain.text.startswith(".swagger-ui")
    with opened(service.url) as page:  # any request to elsewhere, and any word on the console, fails
        page.wait_for_selector(".opblock-summary-path")
        assert "/jobs/{job_id}/cancel" in page.inner_text("body").replace("\u200b", "")

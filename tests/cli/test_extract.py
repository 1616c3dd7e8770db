"""``sdpn extract`` as a command: tables, shards, resumption after a kill, and every kind of bad audio."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

from sdpn.cli.main import main
from sdpn.features.log_mel import FeatureConfig
from sdpn.io.kaldi import Utterance, read_segments, read_vectors, write_data_dir
from sdpn.models.ecapa import Ecapa, EcapaConfig
from sdpn.models.folder import ModelFolder, save_model
from tests.training.torchrun import torchrun


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    config = EcapaConfig(channels=16, aggregation_channels=24, embedding_dim=12, bottleneck=8)
    path = tmp_path_factory.mktemp("model") / "model"
    save_model(path, ModelFolder(Ecapa(config, 80).eval(), config, FeatureConfig()))
    return path


def _noise(seconds: float, seed: int = 0) -> np.ndarray:
    return 0.1 * np.random.default_rng(seed).standard_normal(round(seconds * 16000))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24 utterances of different lengths."""
    folder = tmp_path_factory.mktemp("data with space")
    utterances = []
    for index in range(24):
        soundfile.write(folder / f"{index:02}.wav", _noise(0.5 + 0.1 * index, index), 16000)
        utterances.append(Utterance(f"u{index:02}", folder / f"{index:02}.wav"))
    write_data_dir(folder, utterances)
    return folder


@pytest.fixture
def extract(model: Path, tmp_path: Path) -> Callable[..., tuple[int, dict[str, Any]]]:
    """Run the command; returns its exit code and its results."""

    def run(data: Path, out: str, *options: str) -> tuple[int, dict[str, Any]]:
        path = tmp_path / "results.json"
        path.unlink(missing_ok=True)
        arguments = ["--model", str(model), "--data", str(data), "--out", str(tmp_path / out), "--quiet"]
        code = main(["extract", *arguments, "--precision", "fp32", "--json", str(path), *options])
        return code, json.loads(path.read_text())["results"] if path.exists() else {}

    return run


def _lowest_cosine(one: Path, other: Path) -> float:
    a, b = (read_vectors(folder / "embeddings.scp") for folder in (one, other))
    assert list(a) == list(b)
    return min(float(a[key] @ b[key] / np.linalg.norm(a[key]) / np.linalg.norm(b[key])) for key in a)


def test_batch_sizes_and_shards_give_one_answer(extract: Any, data: Path, tmp_path: Path) -> None:
    code, results = extract(data, "1", "--batch-size", "1", "--npz")
    assert code == 0 and results["merged"] and results["num_embeddings"] == 24
    assert list(read_vectors(tmp_path / "1/embeddings.scp")) == [f"u{index:02}" for index in range(24)]
    with np.load(tmp_path / "1/embeddings.npz") as arrays:
        np.testing.assert_array_equal(
            arrays["embeddings"], np.stack(list(read_vectors(tmp_path / "1/embeddings.ark").values()))
        )
    assert extract(data, "32", "--batch-size", "32", "--threads", "2")[0] == 0
    assert _lowest_cosine(tmp_path / "1", tmp_path / "32") > 0.9999
    for shard in (2, 0, 3):
        code, results = extract(data, "4", "--shard", f"{shard}/4")
        assert code == 0 and not results["merged"]
        assert not list((tmp_path / "4").glob("embeddings*"))
    assert extract(data, "4", "--merge")[0] == 2  # a shard is missing
    code, results = extract(data, "4", "--shard", "1/4")
    assert results["merged"] and _lowest_cosine(tmp_path / "1", tmp_path / "4") > 0.9999
    assert sorted(path.name for path in (tmp_path / "4").iterdir()) == [
        "embeddings.ark",
        "embeddings.scp",
        "progress",
    ]


def test_torchrun_shares_the_work_out(
    extract: Any, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    for rank in ("1", "0"):
        monkeypatch.setenv("RANK", rank)
        code, results = extract(data, "out")
        assert code == 0 and results["num_embedded_now"] == 12
    assert len(read_vectors(tmp_path / "out/embeddings.scp")) == 24
    assert not torch.distributed.is_initialized()


def test_under_torchrun_a_bad_file_does_not_kill_the_others(
    extract: Any, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "wav.scp").write_text(f"bad {tmp_path / 'none.wav'}\n" + (data / "wav.scp").read_text())
    monkeypatch.setenv("WORLD_SIZE", "2")
    for rank, code in (("0", 0), ("1", 1)):  # the bad one is of rank 0; the last one merges, and reports it
        monkeypatch.setenv("RANK", rank)
        assert extract(folder, "out")[0] == code
    monkeypatch.delenv("WORLD_SIZE")
    assert extract(folder, "shards", "--shard", "0/2")[0] == 1


def test_finished_utterances_are_not_embedded_again(extract: Any, data: Path, tmp_path: Path) -> None:
    extract(data, "out", "--shard", "0/2")
    code, results = extract(data, "out")  # as one process, where there were two
    assert code == 0 and results["num_embedded_now"] == 12
    before = (tmp_path / "out/embeddings.ark").stat().st_mtime_ns
    code, results = extract(data, "out")
    assert code == 0 and results["num_embedded_now"] == 0 and results["num_embeddings"] == 24
    assert (tmp_path / "out/embeddings.ark").stat().st_mtime_ns == before


def test_killed_at_any_moment_it_goes_on(extract: Any, model: Path, tmp_path: Path) -> None:
    folder = tmp_path / "many"
    folder.mkdir()
    soundfile.write(folder / "a.wav", _noise(2.0), 16000)
    write_data_dir(folder, [Utterance(f"u{index:04}", folder / "a.wav") for index in range(600)])
    out = tmp_path / "killed"
    command = ["extract", "--model", str(model), "--data", str(folder), "--out", str(out), "--quiet"]
    process = subprocess.Popen(
        [sys.executable, "-m", "sdpn.cli.main", *command, "--precision", "fp32", "--batch-size", "1"],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    index = out / "progress/0-of-1.index"
    deadline = time.monotonic() + 60
    while not (index.exists() and index.read_bytes().count(b"\n") > 20):
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.002)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert sorted(path.name for path in out.iterdir()) == [
        "progress"
    ]  # nothing half-written to be taken for whole
    finished = index.read_bytes().count(b"\n")
    assert 20 < finished < 600
    code, results = extract(folder, "killed")
    assert code == 0 and results["num_embedded_now"] == 600 - finished
    rows = np.stack(list(read_vectors(out / "embeddings.scp").values()))
    assert rows.shape == (600, 12)
    np.testing.assert_allclose(rows, rows[:1].repeat(600, 0), atol=1e-4)  # it is 600 times the same


#: The command, in whose first start rank 1 is killed as soon as it has embedded something.
_KILLED = """
import os, signal, sys, threading, time
from pathlib import Path
from sdpn.cli.main import main

index, noted = Path(sys.argv[1]), Path(sys.argv[2])
rank, start = os.environ["RANK"], os.environ["TORCHELASTIC_RESTART_COUNT"]

def die():
    while not (index.exists() and index.read_bytes().count(b"\\n") > 5):
        time.sleep(0.001)
    noted.write_bytes(index.read_bytes())
    os.kill(os.getpid(), signal.SIGKILL)

if (rank, start) == ("1", "0"):
    threading.Thread(target=die, daemon=True).start()
sys.exit(main([*sys.argv[3:], "--json", str(noted.parent / f"rank-{rank}-start-{start}.json")]))
"""


@pytest.mark.slow
def test_torchrun_restarts_what_was_killed(extract: Any, model: Path, tmp_path: Path) -> None:
    folder = tmp_path / "many"
    folder.mkdir()
    utterances = []
    for index in range(300):
        soundfile.write(folder / f"{index:03}.wav", _noise(1.0 + index / 300, index), 16000)
        utterances.append(Utterance(f"u{index:03}", folder / f"{index:03}.wav"))
    write_data_dir(folder, utterances)
    script, out, noted = tmp_path / "killed.py", tmp_path / "out", tmp_path / "noted"
    script.write_text(_KILLED)
    command = ["extract", "--model", str(model), "--data", str(folder), "--out", str(out), "--quiet"]
    command += ["--precision", "fp32", "--batch-size", "1"]
    index = out / "progress/1-of-2.index"
    done = torchrun(2, str(script), str(index), str(noted), *command, max_restarts=1)
    assert done.returncode == 0, done.stderr[-3000:]
    finished = noted.read_bytes().count(b"\n")
    assert 5 < finished < 150 and not (tmp_path / "rank-1-start-0.json").exists()
    again = json.loads((tmp_path / "rank-1-start-1.json").read_text())["results"]
    assert 0 < again["num_embedded_now"] <= 150 - finished  # what was there was not embedded again
    assert extract(folder, "alone", "--batch-size", "1")[0] == 0
    assert _lowest_cosine(out, tmp_path / "alone") > 0.9999


@pytest.mark.parametrize("segmented", [False, True])
def test_windows_come_with_their_times(extract: Any, data: Path, tmp_path: Path, segmented: bool) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "wav.scp").write_text((data / "wav.scp").read_text())
    if segmented:
        (folder / "segments").write_text("late u20 0.5 2.0\n")
    code, results = extract(folder, "out", "--windows", "1.0/0.5")
    assert code == 0
    vectors, times = read_vectors(tmp_path / "out/embeddings.scp"), read_segments(tmp_path / "out/segments")
    assert [segment.id for segment in times] == list(vectors) and len(times) == results["num_embeddings"]
    if segmented:
        assert [tuple(segment) for segment in times] == [
            ("late-000000", "u20", 0.5, 1.5, None),
            ("late-000001", "u20", 1.0, 2.0, None),
        ]
    else:
        own = [segment for segment in times if segment.recording == "u20"]  # of 2.5 s
        assert [(segment.start_s, segment.end_s) for segment in own] == [
            (0, 1),
            (0.5, 1.5),
            (1, 2),
            (1.5, 2.5),
        ]


def _broken(path: Path, kind: str) -> None:
    """Put something in the place of an audio file."""
    path.unlink(missing_ok=True)
    wave = _noise(2.0)
    if kind == "empty":
        path.write_bytes(b"")
    elif kind == "header only":
        soundfile.write(path, np.zeros(0), 16000)
    elif kind == "truncated":
        soundfile.write(path, wave, 16000)
        path.write_bytes(path.read_bytes()[:5000])
    elif kind == "no audio":
        path.write_text("Dear Sir or Madam,\n" * 100)
    elif kind == "folder":
        path.mkdir()
    elif kind in ("NaN", "infinite"):
        wave[100] = np.nan if kind == "NaN" else np.inf
        soundfile.write(path, wave, 16000, subtype="FLOAT")


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("missing", "no such audio file"),
        ("empty", "the audio file is empty"),
        ("header only", "contains no samples"),
        ("truncated", "is truncated"),
        ("no audio", "is not readable audio"),
        ("folder", "is a folder"),
        ("NaN", "contains 1 NaN or infinite samples"),
        ("infinite", "contains 1 NaN or infinite samples"),
    ],
)
def test_a_bad_file_is_listed_and_the_others_are_embedded(
    extract: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: str, words: str
) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    for name in ("a", "b", "c"):
        soundfile.write(folder / f"{name}.wav", _noise(1.0), 16000)
    write_data_dir(folder, [Utterance(name, folder / f"{name}.wav") for name in ("a", "b", "c")])
    _broken(folder / "b.wav", kind)
    code, results = extract(folder, "out")
    assert code == 1 and results["num_failed"] == 1
    assert list(read_vectors(tmp_path / "out/embeddings.scp")) == ["a", "c"]
    printed = capsys.readouterr().err
    listed = (tmp_path / "out/failed.txt").read_text()
    for text in (printed, listed):
        assert words in text and str(folder / "b.wav") in text and "Traceback" not in text
    assert listed.startswith("b ") and listed.count("\n") == 1
    if kind != "folder":  # the file is mended: only that one is left to do
        _broken(folder / "b.wav", "nothing")
        soundfile.write(folder / "b.wav", _noise(1.0), 16000)
        code, results = extract(folder, "out")
        assert code == 0 and results["num_embedded_now"] == 1
        assert list(read_vectors(tmp_path / "out/embeddings.scp")) == ["a", "b", "c"]
        assert not (tmp_path / "out/failed.txt").exists()


@pytest.mark.parametrize(
    ("rate_hz", "channels", "seconds"), [(8000, 1, 2.0), (44100, 2, 2.0), (48000, 3, 2.0), (16000, 2, 0.01)]
)
def test_other_rates_channels_and_very_short_files_are_embedded(
    extract: Any, tmp_path: Path, model: Path, rate_hz: int, channels: int, seconds: float
) -> None:
    import sdpn

    folder = tmp_path / "data"
    folder.mkdir()
    wave = 0.1 * np.random.default_rng(0).standard_normal((round(seconds * rate_hz), channels))
    soundfile.write(folder / "a.wav", wave, rate_hz, subtype="FLOAT")
    write_data_dir(folder, [Utterance("a", folder / "a.wav")])
    assert extract(folder, "out")[0] == 0
    expected = sdpn.load_model(model).embed(wave.mean(axis=1).astype(np.float32), rate_hz)
    np.testing.assert_allclose(read_vectors(tmp_path / "out/embeddings.scp")["a"], expected, atol=1e-4)


def test_nothing_but_bad_files(extract: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "wav.scp").write_text("a a.wav\nb b.wav\n")
    assert extract(folder, "out")[0] == 2
    assert "none of the 2 utterances could be embedded" in capsys.readouterr().err
    assert not (tmp_path / "out/embeddings.scp").exists()


def test_two_utterances_with_one_id(extract: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "wav.scp").write_text("a a.wav\nb b.wav\na c.wav\n")
    assert extract(folder, "out")[0] == 2
    error = capsys.readouterr().err
    assert f"{folder / 'wav.scp'}:3: id 'a' occurs a second time (first on line 1)" in error
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--shard", "4/4"], "expected i/n"),
        (["--windows", "1/2"], "such as 1.5/0.75"),
        (["--device", "tpu"], "expected cpu, cuda or cuda:N"),
        (["--device", "cuda:99"], "is not available"),
        (["--merge"], "nothing has been extracted"),
    ],
)
def test_options_that_make_no_sense(
    extract: Any, data: Path, capsys: pytest.CaptureFixture[str], options: list[str], words: str
) -> None:
    assert extract(data, "out", *options)[0] == 2
    assert words in capsys.readouterr().err


def test_another_model_does_not_go_on_where_one_has_stopped(
    extract: Any, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert extract(data, "out", "--shard", "0/2")[0] == 0
    config = EcapaConfig(channels=16, aggregation_channels=24, embedding_dim=12, bottleneck=8)
    other = tmp_path / "other"
    save_model(other, ModelFolder(Ecapa(config, 80).eval(), config, FeatureConfig()))
    out = tmp_path / "out"
    code = main(["extract", "--model", str(other), "--data", str(data), "--out", str(out), "--quiet"])
    assert code == 2 and "contains embeddings with another model" in capsys.readouterr().err


def test_an_incomplete_model_is_refused(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "m").mkdir()
    code = main(
        ["extract", "--model", str(tmp_path / "m"), "--data", str(data), "--out", str(tmp_path / "e")]
    )
    message = capsys.readouterr().err
    assert code == 2 and "not a model folder of a supported format" in message and "sdpn: a folder" in message

"""``sdpn explain``: every explanation from the command line, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

from sdpn.cli.main import main
from sdpn.io.rttm import Turn, write_rttm
from tests.explain.conftest import tiny_folder, voice, write_voices  # noqa: F401 - a fixture
from tests.interop.published_weights import resnet


def explained(out: Path, *words: object) -> dict[str, Any]:
    """Run a command; returns its results."""
    document = out / "results.json"
    arguments = [str(word) for word in words]
    assert main(["explain", *arguments, "--out", str(out), "--quiet", "--json", str(document)]) == 0
    assert (out / "index.html").is_file()
    found: dict[str, Any] = json.loads(document.read_text())["results"]
    return found


def refused(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    """Run a command that must fail; returns its one line."""
    assert main(["explain", *(str(word) for word in words), "--quiet"]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    return lines[0]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five voices of two utterances."""
    folder = tmp_path_factory.mktemp("explain") / "data"
    write_voices(folder, range(5), 2, seconds=1.6)
    return folder


def test_utterance_and_its_questions(tiny_folder: Path, data: Path, tmp_path: Path) -> None:  # noqa: F811
    model = ("--model", tiny_folder)
    words = (
        "utterance",
        data / "v0-0.wav",
        *model,
        "--maps",
        "cam,grad-cam",
        "--layer",
        "stem",
        "--attention",
    )
    found = explained(tmp_path / "a", *words, "--tensorboard", tmp_path / "board")
    assert found["methods"].keys() == {"cam", "grad-cam"} and found["score"] == pytest.approx(1, abs=1e-3)
    assert found["attention"].keys() == {"pooling"}
    assert any((tmp_path / "board").iterdir())
    speaker = explained(
        tmp_path / "b", "utterance", "v0-0", "--data", data, "--speaker", "v0", *model, "--maps", "cam"
    )
    assert speaker["target"] == "speaker v0"
    prototype = explained(
        tmp_path / "c", "utterance", data / "v0-0.wav", "--prototype", 3, *model, "--maps", "cam"
    )
    assert prototype["target"] == "assignment to prototype 3" and prototype["score"] < 0


def test_pair_of_one_file(tiny_folder: Path, tmp_path: Path) -> None:  # noqa: F811
    soundfile.write(tmp_path / "long.wav", np.concatenate([voice(0, 1, 0), voice(1, 1, 1)]), 16000)
    path = tmp_path / "long.wav"
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts" / "wav.scp").write_text(f"long {path}\n")
    (tmp_path / "parts" / "segments").write_text("one long 0.0 1.0\ntwo long 1.0 2.0\n")
    words = ("--model", tiny_folder, "--maps", "cam")
    found = explained(tmp_path / "out", "pair", "one", "two", "--data", tmp_path / "parts", *words)
    assert found["first"]["score"] == pytest.approx(found["score"], abs=1e-4)
    assert found["second"]["score"] == pytest.approx(found["score"], abs=1e-4)


@pytest.mark.slow
def test_prototype_layers_and_compare(tiny_folder: Path, data: Path, tmp_path: Path) -> None:  # noqa: F811
    model = ("--data", data, "--model", tiny_folder)
    assert explained(tmp_path / "a", "prototype", *model)["number"] == 12
    probes = explained(tmp_path / "b", "layers", *model)["probes"]
    assert {"SNR", "energy", "duration"} & probes.keys() == {"SNR", "energy"}  # all are equally long
    methods = explained(tmp_path / "c", "compare", *model, "--pairs", 2, "--maps", "cam,eigen-cam")["methods"]
    assert methods["cam"]["localisation"]["count"] == 2
    both = explained(tmp_path / "d", "compare", *model, "--against", tiny_folder, "--maps", "cam")
    assert both["cosine_agreement"] == pytest.approx(1) and both["map_agreement"]["mean"] == pytest.approx(1)
    np.testing.assert_allclose(np.diag(both["cka"]), 1, atol=1e-3)
    assert not any(move["won"] for move in both["prototypes"]["moves"])


def test_trials_and_confusions(tiny_folder: Path, data: Path, tmp_path: Path) -> None:  # noqa: F811
    names = [f"v{kind}-{number}" for kind in range(5) for number in range(2)]
    pairs = [(a, b) for a in names for b in names if a < b]
    (tmp_path / "trials").write_text(
        "".join(f"{int(a[:2] != b[:2])} {a} {b}\n" for a, b in pairs)
    )  # all wrong
    words = ("--data", data, "--model", tiny_folder, "--worst", 1, "--maps", "cam")
    found = explained(tmp_path / "a", "trials", "--trials", tmp_path / "trials", *words)
    assert 0 < found["eer"] < 1
    assert sum("explained" in one for one in found["errors"]) == 2
    assert (tmp_path / "a" / "error-2.html").is_file() and found["groups"]
    assert len((tmp_path / "a" / "errors.csv").read_text().splitlines()) == 1 + len(found["errors"])
    soundfile.write(tmp_path / "m.wav", np.concatenate([voice(0, 2, 0), voice(1, 2, 1)]), 16000)
    truth, guess = [(0, 2, "a"), (2, 4, "b")], [(0, 2.9, "x"), (2.9, 4, "y")]
    for name, turns in (("ref", truth), ("hyp", guess)):
        write_rttm(tmp_path / f"{name}.rttm", "m", [Turn("m", s, e - s, who) for s, e, who in turns])
    words = ("--ref", tmp_path / "ref.rttm", "--hyp", tmp_path / "hyp.rttm", "--model", tiny_folder)
    (one,) = explained(tmp_path / "b", "trials", tmp_path / "m.wav", *words, "--maps", "cam")["confusions"]
    assert (one["speaker"], one["taken_for"]) == ("b", "a")
    assert one["end_s"] - one["start_s"] == pytest.approx(0.9)


def test_bad_input_is_one_line(
    tiny_folder: Path,  # noqa: F811
    data: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    wav = data / "v0-0.wav"
    soundfile.write(tmp_path / "silent.wav", np.zeros(16000), 16000)
    base = ("--model", tiny_folder, "--out", tmp_path / "out")
    cases: list[tuple[tuple[object, ...], str]] = [
        (
            ("utterance", wav, "--layer", "nonsense", *base),
            "has no layer 'nonsense' (expected one of: 0 stem.0",
        ),
        (("utterance", tmp_path / "silent.wav", *base), "silent is silent"),
        (("utterance", *base), "takes one recording, found 0"),
        (("utterance", wav, "--trials", wav, *base), "--trials is not for 'explain utterance'"),
        (("utterance", wav, "--prototype", 99, *base), "there is no prototype 99"),
        (("utterance", wav, "--maps", "nonsense", *base), "there is no method 'nonsense'"),
        (("utterance", "stranger", "--data", data, *base), "has no utterance 'stranger'"),
        (("utterance", "v0-0", "--data", data, "--speaker", "nobody", *base), "no utterance of 'nobody'"),
        (("pair", wav, wav, *base), "are the same recording"),
        (("layers", *base), "needs --data DIR"),
        (("trials", *base), "needs --trials FILE with --data DIR, or --ref and --hyp"),
        (("compare", *base), "needs one --data DIR"),
    ]
    for words, expected in cases:
        assert expected in refused(capsys, *words), words
    assert not (tmp_path / "out" / "index.html").exists()


@pytest.mark.parametrize("seconds", [0.2, 1.0, pytest.param(600.0, marks=pytest.mark.slow)])
def test_any_length(tiny_folder: Path, seconds: float, tmp_path: Path) -> None:  # noqa: F811
    soundfile.write(tmp_path / "a.wav", voice(0, seconds, 0), 16000)
    found = explained(tmp_path / "out", "utterance", tmp_path / "a.wav", "--model", tiny_folder)
    assert found["duration_s"] == pytest.approx(seconds, abs=0.01)
    assert (tmp_path / "out" / "index.html").stat().st_size < 8_000_000


def test_models_of_other_toolkits(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save(resnet(), tmp_path / "resnet.pt")
    soundfile.write(tmp_path / "a.wav", voice(0, 1.0, 0), 16000)
    words = ("utterance", tmp_path / "a.wav", "--model", tmp_path / "resnet.pt", "--format", "3dspeaker")
    found = explained(tmp_path / "out", *words, "--maps", "cam,occlusion")
    assert found["attention"] == {} and np.isfinite(found["score"])
    assert np.load(tmp_path / "out" / "maps.npz")["cam"].shape[0] == 80  # its layers keep bands
    line = refused(capsys, *words, "--attention", "--out", tmp_path / "none")
    assert "the network has no attention over time" in line
    line = refused(capsys, "prototype", "--data", tmp_path, *words[2:], "--out", tmp_path / "none")
    assert "has no prototypes to explain" in line


@pytest.mark.slow
def test_graphs_are_refused(
    tiny_folder: Path,  # noqa: F811
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    graph = tmp_path / "m.onnx"
    assert main(["convert", "--model", str(tiny_folder), "--to", "onnx", "--out", str(graph), "--quiet"]) == 0
    soundfile.write(tmp_path / "a.wav", voice(0, 1.0, 0), 16000)
    capsys.readouterr()
    line = refused(capsys, "utterance", tmp_path / "a.wav", "--model", graph, "--out", tmp_path / "out")
    assert "the model is a graph, which has neither layers nor gradients" in line

"""Receipts: a diarization is repeated bit for bit, and every difference is found."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

from sdpn.cli.main import main
from sdpn.errors import InputError
from sdpn.features.log_mel import FeatureConfig
from sdpn.models.ecapa import Ecapa, EcapaConfig
from sdpn.models.folder import ModelFolder, save_model
from sdpn.pretrained import SHIPPED
from sdpn.receipt import verify_receipt


def save_untrained(path: Path, seed: int) -> Path:
    torch.manual_seed(seed)
    config = EcapaConfig(channels=32, aggregation_channels=64, embedding_dim=24, bottleneck=8)
    save_model(path, ModelFolder(Ecapa(config, 80).eval(), config, FeatureConfig()))
    return path


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_untrained(tmp_path_factory.mktemp("untrained") / "model", 0)


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    """Noise of two colours, and a reference that takes it for speech."""
    rng = np.random.default_rng(0)
    white = rng.normal(scale=0.05, size=48000)
    brown = np.convolve(rng.normal(scale=0.05, size=48000), np.ones(16) / 4, mode="same")
    soundfile.write(tmp_path / "m.wav", np.stack([np.concatenate([white, brown])] * 2, axis=1), 16000)
    (tmp_path / "speech.rttm").write_text("SPEAKER m 1 0.5 5.0 <NA> <NA> A <NA> <NA>\n")
    return tmp_path / "m.wav"


def document_of(recording: Path, model: Path, *options: object) -> Path:
    out = recording.parent / "out"
    words = ["diarize", "--model", model, "--out", out, "--format", "json", *options, recording]
    assert main([*map(str, words), "--quiet"]) == 0
    return out / "m.json"


def differing(check: Any) -> list[str]:
    return [line.what for line in check.lines if not line.same]


@pytest.mark.parametrize(
    "options",
    [
        ("--reference-speech", "speech.rttm", "--num-speakers", 2, "--embeddings"),
        ("--channel", "separate", "--max-speakers", 3, "--method", "ahc", "ahc.threshold=0.9"),
        ("--channel", 1, "window_s=2", "vad.threshold=0.1", "merging.start=0.7"),
    ],
)
def test_the_same_again(options: tuple[object, ...], recording: Path, model: Path) -> None:
    words = [str(recording.parent / word) if word == "speech.rttm" else word for word in options]
    path = document_of(recording, model, *words)
    document = json.loads(path.read_text())
    if "--num-speakers" in options:
        assert len(document["speakers"]) == 2 and len(document["speakers"][0]["embedding"]) == 24
    check = verify_receipt(path)
    assert check.repeated and differing(check) == [] and check.differing == []
    assert main(["verify-receipt", str(path), "--quiet"]) == 0


def test_real_speech_with_the_included_model(shared_data: Path, tmp_path: Path) -> None:
    clip = shared_data / "ami_excerpt" / "trn09.flac"
    words = ("diarize", clip, "--out", tmp_path, "--format", "json", "--embeddings", "--quiet")
    assert main(list(map(str, words))) == 0
    assert json.loads((tmp_path / "trn09.json").read_text())["receipt"]["model"]["path"] == SHIPPED.name
    assert verify_receipt(tmp_path / "trn09.json").repeated


def test_an_edited_document(recording: Path, model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    speech = recording.parent / "speech.rttm"
    path = document_of(recording, model, "--reference-speech", speech)
    document = json.loads(path.read_text())
    document["turns"][0]["speaker"] = "somebody else"
    path.write_text(json.dumps(document))
    check = verify_receipt(path)
    assert differing(check) == ["file"] and check.differing == ["turns"] and not check.repeated
    capsys.readouterr()
    assert main(["verify-receipt", str(path), "--quiet"]) == 1
    printed = capsys.readouterr().out
    assert "document as written       DIFFERENT" in printed and "NOT repeated" in printed
    document["settings"]["window_s"] = 3.0  # not what it was made with
    path.write_text(json.dumps(document))
    assert "result" in differing(verify_receipt(path))


def test_other_audio_and_another_model(recording: Path, model: Path, tmp_path: Path) -> None:
    speech = tmp_path / "speech.rttm"
    path = document_of(recording, model, "--reference-speech", speech, "--embeddings")
    other = save_untrained(tmp_path / "other", 1)
    check = verify_receipt(path, model=other)
    assert differing(check) == ["model", "result"] and not check.repeated
    samples, rate_hz = soundfile.read(recording)
    soundfile.write(tmp_path / "copy.flac", samples, rate_hz)
    check = verify_receipt(path, audio=tmp_path / "copy.flac")
    assert differing(check) == ["audio"] and check.repeated  # the same samples in another file
    soundfile.write(recording, samples[:, ::-1][::-1], rate_hz)
    assert differing(verify_receipt(path)) == ["audio", "result"]
    recording.unlink()
    with pytest.raises(InputError, match=r"m\.wav: no such audio file .*--audio FILE if it has moved"):
        verify_receipt(path)


def damaged(change: Callable[[dict[str, Any]], object]) -> Callable[[Path], None]:
    def apply(path: Path) -> None:
        document = json.loads(path.read_text())
        change(document)
        path.write_text(json.dumps(document))

    return apply


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda path: path.unlink(), "no such file"),
        (lambda path: path.write_text("SPEAKER m 1 0 1"), "is not a valid JSON document of 'sdpn diarize"),
        (lambda path: path.write_text("{}"), "its schema is None, not 'sdpn.turns/1'"),
        (damaged(lambda document: document.pop("receipt")), "has no receipt"),
        (damaged(lambda document: document.update(receipt=3)), "has a damaged receipt"),
        (
            damaged(lambda document: document["receipt"].pop("model")),
            "has a damaged receipt .'model' is missing",
        ),
        (
            damaged(lambda document: document["receipt"].pop("result_keys")),
            r"was written by an older version of sdpn \(.*verify it with that version, or diarize again",
        ),
        (damaged(lambda document: document.pop("settings")), "'settings' is missing"),
        (damaged(lambda document: document["receipt"]["options"].pop("channel")), "'channel' is missing"),
        (damaged(lambda document: document["settings"].update(method="magic")), "'magic'"),
        (damaged(lambda document: document["settings"].update(window_s="long")), "'window_s' is 'long'"),
        (damaged(lambda document: document.update(audio=None)), "standard input.*--audio FILE"),
        (damaged(lambda document: document.update(audio=["a"])), "has a damaged receipt"),
    ],
)
def test_documents_that_are_none(
    damage: Callable[[Path], object], message: str, recording: Path, model: Path
) -> None:
    path = document_of(recording, model)
    damage(path)
    with pytest.raises(InputError, match=message) as raised:
        verify_receipt(path)
    assert str(raised.value).startswith(str(path))

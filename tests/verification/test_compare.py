"""Two recordings compared: the command and the library agree."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

import sdpn
from sdpn.cli.main import main
from sdpn.errors import InputError
from sdpn.io.kaldi import read_data_dir
from sdpn.pretrained import SHIPPED
from sdpn.verification.compare import compare
from sdpn.verification.storage import read_back_end


@pytest.fixture(scope="module")
def pair(voices: Path) -> list[Path]:
    return [utterance.path for utterance in read_data_dir(voices)[:2]]


@pytest.mark.parametrize(
    ("options", "arguments"),
    [
        ([], {}),
        (["--false-alarms", "0.1"], {"false_alarms": 0.1}),
        (["--threshold", "3"], {"threshold": 3.0}),
    ],
)
def test_the_command_is_the_library(
    options: list[str], arguments: dict[str, float], pair: list[Path], tmp_path: Path
) -> None:
    assert main(["compare", *options, *map(str, pair), "--json", str(tmp_path / "json")]) == 0
    results = json.loads((tmp_path / "json").read_text())["results"]
    back_end = read_back_end(SHIPPED)
    found = compare(sdpn.load_model(), *pair, back_end=back_end, **arguments)
    for key in ("score", "cosine", "strangers_reaching", "threshold", "same_speaker"):
        assert results[key] == getattr(found, key), key
    assert found.threshold == arguments.get(
        "threshold", back_end.threshold(arguments.get("false_alarms", 0.05))
    )


def test_the_cosine_and_its_calibration(pair: list[Path]) -> None:
    model = sdpn.load_model()
    first, second = (embedding / np.linalg.norm(embedding) for embedding in model.embed(pair))
    model.calibration = {"ahc_threshold": 0.3}
    found = compare(model, *pair)
    assert found.score == found.cosine == pytest.approx(float(first @ second), abs=1e-6)
    assert (found.threshold, found.source, found.strangers_reaching) == (0.3, "ahc_threshold", None)
    model.calibration = {"ahc_threshold": 0.3, "verification_threshold": found.score}
    assert compare(model, *pair).same_speaker
    model.calibration = {}
    assert compare(model, *pair).same_speaker is None


def test_what_cannot_decide_is_refused(pair: list[Path]) -> None:
    model, back_end = sdpn.load_model(), read_back_end(SHIPPED)
    with pytest.raises(InputError, match="not a cosine"):
        compare(model, *pair, threshold=1.5)
    with pytest.raises(InputError, match="needs a back end"):
        compare(model, *pair, false_alarms=0.1)
    for wrong in (0.0, 1.0, float("nan")):
        with pytest.raises(InputError, match="not a rate"):
            compare(model, *pair, back_end=back_end, false_alarms=wrong)
    with pytest.raises(InputError, match="exclude each other"):
        compare(model, *pair, back_end=back_end, false_alarms=0.1, threshold=1.0)


def test_silence_is_nobody(pair: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    soundfile.write(tmp_path / "silent.wav", np.zeros(32000), 16000)
    for words in ([pair[0], tmp_path / "silent.wav"], [tmp_path / "silent.wav", pair[0]]):
        assert main(["compare", *map(str, words)]) == 2
        assert f"{tmp_path / 'silent.wav'}: is silent" in capsys.readouterr().err
    with pytest.raises(InputError, match="is silent"):
        compare(sdpn.load_model(), pair[0], (np.zeros(32000, np.float32), 16000))

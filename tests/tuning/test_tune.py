"""Trials on recordings with references: figures by hand, a run that stops, and what is refused."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import yaml

import sdpn
from sdpn.cli.main import main
from sdpn.clustering.merging import Merging
from sdpn.clustering.registry import CLUSTERERS
from sdpn.diarization.pipeline import DiarizationConfig, Diarizer, EmbeddedRecording
from sdpn.errors import InputError
from sdpn.io import audio
from sdpn.io.rttm import Turn, from_annotation
from sdpn.metrics.diarization import score_recordings
from sdpn.tuning.grid import USUAL, combinations, parse_grid
from sdpn.tuning.trials import Trial, read_trials_table
from sdpn.tuning.tune import tune


@dataclass
class Pitch:
    """Embeds a window by the frequency of its hum: each is another direction."""

    calibration: dict[str, float] = field(default_factory=dict)
    calls: int = 0

    def embed_windows(self, wave_S: np.ndarray, windows_N2: np.ndarray) -> np.ndarray:
        self.calls += 1
        rows = []
        for start, end in windows_N2:
            part = wave_S[round(start * 16000) : round(end * 16000)]
            spectrum = np.abs(np.fft.rfft(part * np.hanning(len(part)), 16000))[:1000]
            rows.append(spectrum.reshape(100, 10).sum(axis=1) + 0.01)
        return np.array(rows, dtype=np.float32)


class Told(Diarizer):
    """Knows where the hums are: no detector takes them for speech."""

    def __init__(self, model: Pitch, reference: dict[str, list[Turn]]) -> None:
        super().__init__(model, config=DiarizationConfig(method="ahc"))
        self._reference = reference

    def embed(self, audio: Any, **options: Any) -> EmbeddedRecording:
        turns = self._reference[Path(audio).stem]
        return super().embed(audio, speech=[(turn.onset_s, turn.end_s) for turn in turns], **options)


def hums(path: Path, *pitches: float) -> list[Turn]:
    """A recording of hums of 6 s with pauses, one for each speaker; its reference."""
    pieces, turns, at_s = [], [], 0.0
    rng = np.random.default_rng(0)
    for number, pitch in enumerate(pitches):
        times = np.arange(6 * 16000) / 16000
        voice = sum(np.sin(2 * np.pi * pitch * k * times) / k for k in range(1, 4))
        voice = voice * (1 + 0.5 * np.sin(2 * np.pi * 4 * times)) + 0.01 * rng.normal(size=len(times))
        pieces += [0.1 * voice, 0.0005 * rng.normal(size=16000)]
        turns.append(Turn(path.stem, at_s, 6.0, f"s{number}"))
        at_s += 7.0
    soundfile.write(path, np.concatenate(pieces), 16000)
    return turns


@pytest.fixture
def material(tmp_path: Path) -> dict[str, Any]:
    reference = {
        "a": hums(tmp_path / "a.wav", 110, 230, 370),
        "b": hums(tmp_path / "b.wav", 130, 310),
        "c": hums(tmp_path / "c.wav", 150, 270, 420),
    }
    return {"audio_of": {name: tmp_path / f"{name}.wav" for name in reference}, "reference": reference}


def run(material: dict[str, Any], out: Path, model: Pitch, grid: dict[str, list[object]], **more: Any) -> Any:
    return tune(Told(model, material["reference"]), grid=grid, out=out, made_with={}, **material, **more)


def test_figures_are_those_of_diarizing_and_scoring(shared_data: Path, tmp_path: Path) -> None:
    """Two speakers take turns; the threshold -1 gives one, 0.9 more."""
    speakers = sorted((shared_data / "speechocean762" / "train").iterdir())
    audio_of, reference = {}, {}
    for number in range(2):
        pieces, turns, at_s = [], [], 0.0
        for turn in range(6):
            who = speakers[2 * number + turn % 2]
            wave = audio.read(sorted(who.iterdir())[turn])
            turns.append(Turn(f"r{number}", at_s, len(wave) / 16000, who.name))
            at_s += len(wave) / 16000
            pieces.append(wave)
        audio_of[f"r{number}"], reference[f"r{number}"] = tmp_path / f"r{number}.wav", turns
        soundfile.write(tmp_path / f"r{number}.wav", np.concatenate(pieces), 16000)
    model, out = sdpn.load_model(), tmp_path / "out"
    tuned = tune(
        Diarizer(model, config=DiarizationConfig(method="ahc")),
        audio_of,
        reference,
        {"threshold": [-1.0, 0.9]},
        out,
        made_with={},
    )
    assert [trial.settings for trial in tuned.trials] == [{}, {"threshold": -1.0}, {"threshold": 0.9}]
    for trial in tuned.trials[1:]:
        diarizer = Diarizer(model, config=DiarizationConfig(method="ahc", settings=trial.settings))
        found = {name: from_annotation(diarizer(path), name) for name, path in audio_of.items()}
        scores = score_recordings(reference, found)
        assert trial.error_s == pytest.approx([score.components.error_s for score in scores])
        assert trial.total_s == pytest.approx([score.components.total_s for score in scores])
    assert tuned.trials[1].counts == (1, 1)
    assert min(tuned.trials[2].counts) > 1
    assert tuned.best.error_rate() == min(trial.error_rate() for trial in tuned.trials)
    assert tuned.num_speakers == [2, 2]
    chosen = yaml.safe_load((out / "settings.yaml").read_text())
    assert chosen == {"method": "ahc", **({"ahc": tuned.best.settings} if tuned.best.settings else {})}


def test_left_out_by_hand() -> None:
    """Each recording is scored with what is best on the other two."""
    from sdpn.tuning.tune import _left_out

    first = Trial({}, (1.0, 4.0, 4.0), (10.0, 10.0, 10.0), (1, 1, 1))
    second = Trial({"x": 1}, (3.0, 2.0, 2.0), (10.0, 10.0, 10.0), (1, 1, 1))
    # without the first 8 or 4, so the second trial: 3; without the second, or third, 5 or 5, so the first: 4
    assert _left_out([first, second]) == pytest.approx((3 + 4 + 4) / 30)


def test_a_stopped_run_goes_on(material: dict[str, Any], tmp_path: Path) -> None:
    grid: dict[str, list[object]] = {"threshold": [0.2, 0.8]}
    whole = run(material, tmp_path / "whole", Pitch(), grid)
    out = tmp_path / "out"

    class Killed(Exception):
        pass

    def kill(what: str, number: int, _of: int) -> None:
        if what == "trying" and number == 2:
            raise Killed

    with pytest.raises(Killed):
        run(material, out, Pitch(), grid, on_progress=kill)
    assert len((out / "trials.jsonl").read_text().splitlines()) == 3  # the head and two trials
    assert not (out / "settings.yaml").exists()
    tried = []
    again = run(material, out, Pitch(), grid, on_progress=lambda what, *_: tried.append(what))
    assert tried.count("trying") == 1
    assert again == whole
    for name in ("trials.jsonl", "settings.yaml"):
        assert (out / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    model = Pitch()
    assert run(material, out, model, grid) == whole
    assert model.calls == 0  # nothing was left to try
    with pytest.raises(InputError, match="of other data, another model, or another command"):
        run(material, out, Pitch(), grid, collar_s=0.25)
    assert len(run(material, out, Pitch(), {"threshold": [0.3]}, collar_s=0.25, force=True).trials) == 2


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"schema": "sdpn.tune-trials/1", "made_from": "x"}\n{"a": 1}\n', "\0"]
)
def test_a_damaged_table(text: str, tmp_path: Path) -> None:
    path = tmp_path / "trials.jsonl"
    path.write_text(text)
    with pytest.raises(InputError, match="trial"):
        read_trials_table(path, "x", Trial.of)


def test_one_recording_is_refused(material: dict[str, Any], tmp_path: Path) -> None:
    material["audio_of"] = {"a": material["audio_of"]["a"]}
    with pytest.raises(InputError, match="1 recording is too little to tune on"):
        run(material, tmp_path / "out", Pitch(), {"threshold": [0.5]})
    assert not (tmp_path / "out").exists()


def test_few_recordings_are_warned_of(
    material: dict[str, Any], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run(material, tmp_path / "out", Pitch(), {"threshold": [0.5]})
    assert "3 recordings are few" in caplog.text


def test_a_recording_without_a_reference(material: dict[str, Any], tmp_path: Path) -> None:
    material["reference"] = {**material["reference"], "b": []}
    with pytest.raises(InputError, match="no turn of recording 'b'"):
        run(material, tmp_path / "out", Pitch(), {"threshold": [0.5]})


def test_grids() -> None:
    assert parse_grid(["fa=0.1,0.25", "vbx.fb=5"], "vbx") == {"fa": [0.1, 0.25], "fb": [5]}
    assert combinations("vbx", {"fa": [0.1, 0.2], "fb": [1, 2.0]}) == [
        {},
        {"fa": 0.1, "fb": 1},
        {"fa": 0.1, "fb": 2.0},
        {"fa": 0.2, "fb": 1},
        {"fa": 0.2, "fb": 2.0},
    ]
    assert combinations("merging", {"start": [Merging().start, 0.5]}) == [{}, {"start": 0.5}]
    assert USUAL.keys() == CLUSTERERS.keys()
    for method, grid in USUAL.items():
        assert len(combinations(method, grid)) > 3


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["fa"], "cannot parse --try"),
        (["=1"], "cannot parse --try"),
        (["fa="], "cannot parse --try"),
        (["ahc.threshold=1"], "no effect with --method vbx"),
        (["fa=1", "vbx.fa=2"], "given twice"),
        (["fa=x"], "'fa' is 'x'"),
        (["fb=-1"], "fb is -1"),
        (["fc=1"], "unknown key 'fc'"),
        (["fa=" + ",".join(map(str, range(1, 1003)))], "too many"),
    ],
)
def test_grids_that_are_refused(words: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        combinations("vbx", parse_grid(words, "vbx"))


def test_diarize_takes_the_choice(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The file has method, clusterer's and pipeline's settings; the command line has precedence."""
    hums(tmp_path / "a.wav", 110, 230)
    chosen = tmp_path / "settings.yaml"
    chosen.write_text(yaml.safe_dump({"method": "vbx", "vbx": {"fa": 0.2, "fb": 3.0}, "window_s": 2.0}))
    results = tmp_path / "results.json"

    def diarize(*more: object) -> int:
        words = [
            "diarize",
            "--quiet",
            "--out",
            tmp_path / "out",
            "--config",
            chosen,
            *more,
            tmp_path / "a.wav",
        ]
        return main([str(word) for word in (*words, "--json", results)])

    assert diarize("vbx.fa=0.4") == 0
    settings = json.loads(results.read_text())["results"]["settings"]
    assert settings["method"] == "vbx"
    assert (settings["vbx"]["fa"], settings["vbx"]["fb"], settings["window_s"]) == (0.4, 3.0, 2.0)
    for text, message in (
        ("method: vby", "unknown clusterer 'vby'"),
        ("method: ahc\nvbx: {fa: 0.2}", "has settings of vbx, but the method is ahc"),
        ("vbx: {fa: 0.2}", "has settings of vbx, but the method is merging"),
        ("method: vbx\nvbx: {fa: x}", "'fa' is 'x'"),
        ("method: vbx\nvbx: 3", "expected a section"),
        ("windows: 3", "unknown key 'windows'"),
        ("method: [vbx]", "unknown clusterer"),
        ("- 1", "settings.yaml"),
    ):
        chosen.write_text(text)
        assert diarize() == 2
        error = capsys.readouterr().err
        assert message in error
        assert "Traceback" not in error

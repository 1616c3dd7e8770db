"""egs/distill: voices that nobody has, and the recipe as a whole."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from scipy.signal import lfilter

from sdpn.features.log_mel import FeatureConfig
from sdpn.io.kaldi import read_data_dir, write_data_dir
from sdpn.models.ecapa import EcapaConfig
from sdpn.models.folder import ModelFolder, read_model, save_model
from sdpn.models.pretraining import Pretraining
from sdpn.models.registry import build_encoder
from tests.recipes.running import run_recipe, stages

#: Resonances of a neutral vowel in Hz: a tube of 17.5 cm.
_FORMANTS_HZ = (500.0, 1500.0, 2500.0, 3500.0)


def _vowel(pitch_hz: float, duration_s: float = 1.0) -> np.ndarray:
    """A pulse train through resonators."""
    samples_T = np.zeros(round(16000 * duration_s))
    samples_T[:: round(16000 / pitch_hz)] = 1.0
    for formant_hz in _FORMANTS_HZ:
        radius, angle = np.exp(-np.pi * 80 / 16000), 2 * np.pi * formant_hz / 16000
        samples_T = lfilter([1.0], [1.0, -2 * radius * np.cos(angle), radius**2], samples_T)
    return 0.3 * samples_T / np.abs(samples_T).max()


def _pitch_hz(samples_T: np.ndarray) -> float:
    """By the peak of the autocorrelation between 60 and 500 Hz."""
    middle_T = samples_T[4000:12000]
    correlation = np.correlate(middle_T, middle_T, "full")[len(middle_T) - 1 :]
    lag = 32 + int(correlation[32:266].argmax())
    return 16000 / lag


def _formants_hz(samples_T: np.ndarray) -> np.ndarray:
    """Peaks of the spectrum, smoothed over three harmonics."""
    windowed = samples_T[4000:12000] * np.hanning(8000)
    power = np.abs(np.fft.rfft(windowed, 16000)) ** 2  # bins of 1 Hz
    smooth = np.convolve(power, np.hanning(301), "same")
    peaks = [k for k in range(200, 4500) if smooth[k] == smooth[max(0, k - 300) : k + 300].max()]
    return np.array(peaks[:4], dtype=float)


@pytest.mark.parametrize(("formants", "pitch"), [(1.15, 1.0), (0.87, 1.0), (1.0, 1.3), (1.1, 0.8)])
def test_formants_and_pitch_move_as_asked(formants: float, pitch: float) -> None:
    pytest.importorskip("parselmouth", reason="needs praat-parselmouth")
    from other_voices import other_voice

    vowel_T = _vowel(100.0)
    moved_T = other_voice(vowel_T, formants, pitch)
    assert moved_T.shape == vowel_T.shape and moved_T.dtype == np.float32 and np.abs(moved_T).max() <= 1
    assert _pitch_hz(moved_T) / _pitch_hz(vowel_T) == pytest.approx(pitch, rel=0.03)
    before, after = _formants_hz(vowel_T), _formants_hz(moved_T)
    assert after[:3] / before[:3] == pytest.approx(formants, rel=0.06)


def test_voices_depend_on_the_utterance_alone_and_are_kept(voices: Path, tmp_path: Path) -> None:
    pytest.importorskip("parselmouth", reason="needs praat-parselmouth")
    import other_voices

    few = read_data_dir(voices)[:3]
    for name, part in (("all", few), ("one", few[1:2])):
        write_data_dir(tmp_path / name, part)
        words = ["--data", str(tmp_path / name), "--out", str(tmp_path / f"of-{name}"), "--nj", "1"]
        assert other_voices.main(words) == 0
    made = {one.id: one.path for one in read_data_dir(tmp_path / "of-all")}
    assert list(made) == [f"{one.id}-voice1" for one in few]
    (alone,) = read_data_dir(tmp_path / "of-one")
    assert alone.path.read_bytes() == made[alone.id].read_bytes()
    for before in few:
        original_T, rate_hz = soundfile.read(before.path)
        moved_T, rate_moved_hz = soundfile.read(made[f"{before.id}-voice1"])
        assert rate_hz == rate_moved_hz == 16000 and len(moved_T) == len(original_T)
        assert np.abs(moved_T - original_T).max() > 0.01
    # interrupted before the last utterance: the others are not made again
    times = {key: path.stat().st_mtime_ns for key, path in made.items()}
    made[f"{few[2].id}-voice1"].unlink()
    (tmp_path / "of-all/wav.scp").unlink()
    assert (
        other_voices.main(["--data", str(tmp_path / "all"), "--out", str(tmp_path / "of-all"), "--nj", "1"])
        == 0
    )
    again = {one.id: one.path.stat().st_mtime_ns for one in read_data_dir(tmp_path / "of-all")}
    assert [key for key in made if again[key] != times[key]] == [f"{few[2].id}-voice1"]
    assert (
        other_voices.main(["--data", str(voices), "--out", str(tmp_path / "no"), "--formants", "1.2", "0.9"])
        == 2
    )


def test_speakers_by_name(voices: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import hold_speakers

    (tmp_path / "names").write_text("voice1\nvoice4\n")
    words = ["--data", str(voices), "--out", str(tmp_path / "out"), "--names", str(tmp_path / "names")]
    assert hold_speakers.main(words) == 0
    folder = tmp_path / "out/hold" / voices.name
    held = read_data_dir(folder)
    assert {one.speaker for one in held} == {"voice1", "voice4"}
    trials = [line.split() for line in (folder / "trials").read_text().splitlines()]
    speaker_of = {one.id: one.speaker for one in held}
    assert {kind for kind, *_ in trials} == {"0", "1"}
    assert all((speaker_of[one] == speaker_of[other]) == (kind == "1") for kind, one, other in trials)
    assert hold_speakers.main([*words, "--data", str(voices)]) == 2
    assert "two data directories have the same name" in capsys.readouterr().err
    drawn = ["--data", str(voices), "--out", str(tmp_path / "drawn"), "--speakers", "2", "--prefix"]
    assert hold_speakers.main([*drawn, "voice"]) == 0
    assert hold_speakers.main([*drawn, "voice1"]) == 2  # one alone
    (tmp_path / "names").write_text("voice1\nnobody\n")
    assert hold_speakers.main(words) == 2
    assert "1 of the speakers to hold out are in no --data, such as 'nobody'" in capsys.readouterr().err


@pytest.mark.slow  # the stages of the recipe one after the other, 40 s
def test_recipe(voices: Path, tmp_path: Path) -> None:
    pytest.importorskip("parselmouth", reason="needs praat-parselmouth")
    for one in read_data_dir(voices):
        folder = tmp_path / "corpus" / str(one.speaker)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / one.path.name).symlink_to(one.path)
    teacher, start = (_model(tmp_path / name, seed) for seed, name in enumerate(("teacher", "start")))
    (tmp_path / "config.yaml").write_text(
        "objective: distill\ncrops:\n  num_local: 1\n  local_s: 0.5\naugmentation:\n  preset: none\n"
        "training:\n  steps: 3\n  batch_size: 4\n  workers: 0\ndistill:\n  num_prototypes: 4\n"
    )
    corpus, exp = tmp_path / "corpus", tmp_path / "exp"
    options = ["--corpus", corpus, "--unlabelled", corpus / "voice0", "--hold", 2, "--nj", 1, "--exp", exp]
    options += ["--teacher", teacher, "--start", start, "--config", tmp_path / "config.yaml"]
    words = [str(option) for option in options]
    done = run_recipe("distill/run.sh", *words, timeout_s=300)
    assert stages(done, "done") == ["0", "1", "2", "3", "4"]
    assert "the better of student and mean: " in done.stdout
    assert read_model(exp / "model").encoder.embedding_dim == 12
    held = {one.id for one in read_data_dir(exp / "parts/hold/corpus")}
    taught = (exp / "voices/1/wav.scp").read_text().split()[::2]
    assert len(held) == 8 and len(taught) == 16 + 4
    assert not any(key.startswith(tuple(held)) for key in taught)
    again = run_recipe("distill/run.sh", *words, timeout_s=100)
    assert stages(again, "up to date") == ["0", "1", "2", "3", "4"]


def _model(path: Path, seed: int) -> Path:
    torch.manual_seed(seed)
    config = EcapaConfig(channels=16, aggregation_channels=24, embedding_dim=12, bottleneck=8)
    model = ModelFolder(build_encoder(config, 80).eval(), config, FeatureConfig())
    save_model(path, model, pretraining=Pretraining({}, torch.randn(4, 12)))
    return path

"""Numbers of utterances against speech whose noise, level and pitch are known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from sdpn.explain.utterance_facts import measure_facts
from sdpn.io.kaldi import Utterance


def test_noise_that_is_added_is_measured(shared_data: Path, tmp_path: Path) -> None:
    speech = sorted((shared_data / "speechocean762" / "train" / "0001").glob("*.opus"))[0]
    wave, rate = soundfile.read(speech)
    rng = np.random.default_rng(0)
    (clean,) = measure_facts([Utterance("clean", speech)])["level_db"]
    utterances = []
    for snr_db in (0, 10, 20):
        noise = rng.standard_normal(len(wave)) * 10 ** ((clean - snr_db) / 20)
        soundfile.write(tmp_path / f"{snr_db}.wav", wave + noise, rate, subtype="FLOAT")
        utterances.append(Utterance(str(snr_db), tmp_path / f"{snr_db}.wav"))
    found = measure_facts(utterances)
    np.testing.assert_allclose(found["snr_db"], [0, 10, 20], atol=2.5)
    np.testing.assert_allclose(found["duration_s"], len(wave) / rate)


def test_level_and_pitch_follow_the_samples(shared_data: Path, tmp_path: Path) -> None:
    speech = sorted((shared_data / "speechocean762" / "train" / "0001").glob("*.opus"))[0]
    wave, rate = soundfile.read(speech)
    soundfile.write(tmp_path / "quiet.wav", wave / 2, rate, subtype="FLOAT")
    # played faster: the pitch rises with the rate
    soundfile.write(tmp_path / "fast.wav", wave, round(rate * 1.1), subtype="FLOAT")
    soundfile.write(tmp_path / "silence.wav", np.zeros(rate), rate)
    files = [speech, *(tmp_path / f"{name}.wav" for name in ("quiet", "fast", "silence"))]
    found = measure_facts([Utterance(file.stem, file) for file in files])
    assert found["level_db"][0] - found["level_db"][1] == pytest.approx(6.02, abs=0.2)
    assert found["snr_db"][0] == pytest.approx(found["snr_db"][1], abs=0.5)
    assert found["pitch_hz"][2] / found["pitch_hz"][0] == pytest.approx(1.1, abs=0.04)
    assert found["duration_s"][3] == 1.0 and found["speech_s"][3] == 0
    assert all(np.isnan(found[name][3]) for name in ("level_db", "snr_db", "pitch_hz"))

"""Audio of speakers and turns: the very samples of the recording, none twice and none left out."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
import soundfile

from sdpn.errors import InputError
from sdpn.formats.cut import cut_audio
from sdpn.formats.who_spoke_when import WhoSpokeWhen
from sdpn.io.rttm import Turn

TURNS = [
    Turn("m", 0.1, 0.4, "Anna/Lee"),
    Turn("m", 0.5, 0.25, "speaker01"),
    Turn("m", 0.6, 0.3, "Anna/Lee"),  # overlaps
]


def spoken(audio: Path | None, channel: int | str = "mix") -> WhoSpokeWhen:
    return WhoSpokeWhen(
        recording="m",
        audio=audio,
        duration_s=1.0,
        turns=TURNS,
        exclusive=TURNS,
        details={"count_posteriors": [{"channel": channel, "posterior": None}]},
    )


@pytest.mark.parametrize(
    ("name", "subtype", "expected"),
    [
        ("a.wav", "PCM_16", "PCM_16"),
        ("a.flac", "PCM_24", "PCM_24"),
        ("a.wav", "FLOAT", "FLOAT"),
        ("a.wav", "ULAW", "PCM_16"),
    ],
)
def test_the_very_samples(name: str, subtype: str, expected: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    wave = np.clip(rng.normal(scale=0.4, size=(44100, 2)), -1, 1 - 2**-15)
    soundfile.write(tmp_path / name, wave, 44100, subtype)
    kind = "float32" if expected == "FLOAT" else "int32"
    stored, _ = soundfile.read(tmp_path / name, dtype=kind)  # independent of our decoder
    cut_audio(tmp_path / "m.cut", spoken(tmp_path / name))
    edges = [(4410, 22050), (22050, 33075), (26460, 39690)]
    names = ["1.Anna_Lee.wav", "2.speaker01.wav", "3.Anna_Lee.wav"]
    for (start, end), file in zip(edges, names, strict=True):
        found, rate_hz = soundfile.read(tmp_path / "m.cut/turns" / file, dtype=kind)
        assert rate_hz == 44100 and soundfile.info(tmp_path / "m.cut/turns" / file).subtype == expected
        np.testing.assert_array_equal(found, stored[start:end])
    anna, _ = soundfile.read(tmp_path / "m.cut/speakers/Anna_Lee.wav", dtype=kind)
    np.testing.assert_array_equal(anna, np.concatenate([stored[4410:22050], stored[26460:39690]]))
    rows = list(csv.DictReader((tmp_path / "m.cut/turns.csv").read_text().splitlines()))
    assert [row["file"] for row in rows] == [f"turns/{file}" for file in names]
    assert rows[0]["speaker"] == "Anna/Lee" and rows[2]["start_s"] == "0.600"


def test_a_channel_of_its_own(tmp_path: Path) -> None:
    wave = np.stack([np.arange(16000), -np.arange(16000)], axis=1).astype(np.int16)
    soundfile.write(tmp_path / "a.wav", wave, 16000)
    cut_audio(tmp_path / "m.cut", spoken(tmp_path / "a.wav", channel=0))
    found, _ = soundfile.read(tmp_path / "m.cut/turns/1.Anna_Lee.wav", dtype="int16")
    np.testing.assert_array_equal(found, wave[1600:8000, 0])


def test_standard_input_cannot_be_read_again(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="standard input"):
        cut_audio(tmp_path / "m.cut", spoken(None))
    assert not (tmp_path / "m.cut").exists()

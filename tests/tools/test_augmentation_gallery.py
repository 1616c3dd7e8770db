"""tools/augmentation_gallery.py measures and writes what it documents."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import soundfile

from sdpn.augmentation.rooms import simulate_room
from sdpn.io.kaldi import Utterance, write_data_dir

SCRIPT = Path(__file__).resolve().parents[2] / "tools" / "augmentation_gallery.py"
spec = importlib.util.spec_from_file_location("augmentation_gallery", SCRIPT)
assert spec is not None
assert spec.loader is not None
gallery = importlib.util.module_from_spec(spec)
spec.loader.exec_module(gallery)


@pytest.mark.parametrize("rt60_s", [0.15, 0.3, 0.6])
def test_decay_of_a_room_of_known_decay(rt60_s: float) -> None:
    room = simulate_room(rt60_s, np.random.default_rng(0))
    assert gallery._decay_s(room) == pytest.approx(rt60_s, rel=0.08)


@pytest.mark.slow
def test_pictures_sounds_and_tables(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rng = np.random.default_rng(0)
    for name in ("data", "noise", "rir"):
        (tmp_path / name).mkdir()
        soundfile.write(tmp_path / name / "a.wav", rng.standard_normal(64000) * 0.1, 16000)
        write_data_dir(tmp_path / name, [Utterance("a", tmp_path / name / "a.wav")])
    folders = [text for name in ("data", "noise", "rir") for text in (f"--{name}", str(tmp_path / name))]
    assert gallery.main([*folders, "--out", str(tmp_path / "out")]) == 0
    table = capsys.readouterr().out
    for preset in ("default", "published", "all"):
        assert f"\n{preset}\n" in table
        assert (tmp_path / "out" / f"augmentation_{preset}.png").stat().st_size > 10_000
        assert len(list((tmp_path / "out" / preset).glob("*.flac"))) == 20
    assert gallery.main([*folders[:2], "--noise", str(tmp_path), *folders[4:], "--out", str(tmp_path)]) == 2
    assert "wav.scp" in capsys.readouterr().err

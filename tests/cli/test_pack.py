"""``sdpn pack`` as a command: what it says, and that a pack trains as the directory does."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from sdpn.cli.main import main
from tests.conftest import TINY, write_noise


def _losses(data: Path, out: Path, *settings: str) -> list[float]:
    arguments = ["train", "--data", str(data), "--out", str(out), "--quiet", *TINY, "training.steps=6"]
    assert main([*arguments, "training.log_every=1", *settings]) == 0
    events = EventAccumulator(str(out / "tensorboard")).Reload()
    return [event.value for event in events.Scalars("loss/total")]


@pytest.mark.parametrize("settings", [["training.workers=0", "training.cache_mb=0"], ["training.workers=1"]])
def test_a_pack_trains_as_the_directory_does(voices: Path, tmp_path: Path, settings: list[str]) -> None:
    assert main(["pack", "--data", str(voices), "--out", str(tmp_path / "pack"), "--quiet"]) == 0
    losses = _losses(voices, tmp_path / "a", *settings)
    assert len(losses) == 6 and losses == _losses(tmp_path / "pack", tmp_path / "b", *settings)
    names = ("model/model.safetensors", "model/pretraining.safetensors")
    assert all((tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes() for name in names)


def test_a_run_goes_on_from_the_pack(
    voices: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What identifies a run is its utterances, not where they lie."""
    _losses(voices, tmp_path / "exp", "training.workers=0")
    assert main(["pack", "--data", str(voices), "--out", str(tmp_path / "pack"), "--quiet"]) == 0
    capsys.readouterr()
    _losses(tmp_path / "pack", tmp_path / "exp", "training.workers=0")  # all steps are done: nothing changes
    assert "another run" not in capsys.readouterr().err


def test_what_it_says(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = write_noise(tmp_path / "data", 4)
    (data / "2.wav").write_bytes(b"")
    arguments = ["pack", "--data", str(data), "--out", str(tmp_path / "pack")]
    assert main(arguments) == 2
    (line,) = (line for line in capsys.readouterr().err.splitlines() if "error" in line)
    assert line == f"sdpn pack: error: {data / '2.wav'}: the audio file is empty (0 bytes)"
    assert main([*arguments, "--skip-bad", "--json", str(tmp_path / "x.json")]) == 0
    said = capsys.readouterr()
    assert said.out.splitlines()[0].startswith("left out: u2: ")
    assert said.out.splitlines()[1].startswith("3 utterances, 0.1 MB in 1 shard: ")
    results = json.loads((tmp_path / "x.json").read_text())["results"]
    assert results["num_utterances"] == 3 and len(results["skipped"]) == 1


def test_options_that_make_no_sense(tmp_path: Path) -> None:
    for size in ("0", "-1", "1.5", "nan"):
        with pytest.raises(SystemExit):
            main(["pack", "--data", "x", "--out", str(tmp_path / "pack"), "--shard-mb", size])
    assert main(["pack", "--data", str(tmp_path), "--out", str(tmp_path / "pack")]) == 2

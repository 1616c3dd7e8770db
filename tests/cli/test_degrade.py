"""``sdpn degrade``: the same utterances and trials, other samples; the library makes the same ones."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from sdpn.augmentation.conditions import noise_at, telephone
from sdpn.augmentation.degrade import degrade
from sdpn.cli.main import main
from sdpn.io.kaldi import Utterance, read_data_dir, write_data_dir


@pytest.fixture
def noise(tmp_path: Path) -> Path:
    soundfile.write(tmp_path / "n.wav", 0.1 * np.random.default_rng(0).normal(size=8000), 16000)
    write_data_dir(tmp_path / "noise", [Utterance("n", tmp_path / "n.wav")])
    return tmp_path / "noise"


def run(*arguments: object) -> int:
    return main(["degrade", *map(str, arguments), "--quiet"])


def test_a_copy_in_noise(voices: Path, noise: Path, tmp_path: Path) -> None:
    out, document = tmp_path / "out", tmp_path / "results.json"
    command = ("--data", voices, "--noise", noise, "--snr", 10, 10, "--out", out, "--json", document)
    assert run(*command) == 0
    assert run(*command) == 0  # an older copy is replaced
    before, after = read_data_dir(voices), read_data_dir(out)
    assert [(one.id, one.speaker) for one in before] == [(one.id, one.speaker) for one in after]
    assert (out / "trials").read_text() == (voices / "trials").read_text()
    clips = [entry.read() for entry in read_data_dir(noise)]
    done = degrade(before, noise_at(clips, (10.0, 10.0)), tmp_path / "library")
    for clean, noisy, again in zip(before, after, read_data_dir(tmp_path / "library"), strict=True):
        assert np.array_equal(noisy.read(), again.read())
        added = noisy.read() - clean.read()
        ratio = 10 * np.log10(np.mean(clean.read() ** 2) / np.mean(added**2))
        assert ratio == pytest.approx(10, abs=0.1)
    results = json.loads(document.read_text())["results"]
    assert results == {**done._asdict(), "data": str(out)}
    seconds = sum(len(one.read()) for one in before) / 16000
    assert (done.num_utterances, done.duration_s) == (len(before), pytest.approx(seconds))


def test_rooms_come_before_noise_and_the_telephone_last(voices: Path, tmp_path: Path) -> None:
    assert run("--data", voices, "--telephone", "--out", tmp_path / "out") == 0
    rng = np.random.default_rng(0)
    for clean, narrow in zip(read_data_dir(voices), read_data_dir(tmp_path / "out"), strict=True):
        expected = telephone(clean.read(), rng)
        assert narrow.read() == pytest.approx(expected / max(1.0, np.abs(expected).max()), abs=1e-4)


def test_ids_need_not_be_names_of_files(voices: Path, tmp_path: Path) -> None:
    path = read_data_dir(voices)[0].path
    write_data_dir(tmp_path / "data", [Utterance("id10270/x6uYqmx31kE/00001.wav", path)])
    assert run("--data", tmp_path / "data", "--telephone", "--out", tmp_path / "out") == 0
    (copied,) = read_data_dir(tmp_path / "out")
    assert copied.id == "id10270/x6uYqmx31kE/00001.wav" and len(copied.read())


def test_what_is_refused(
    voices: Path, noise: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = tmp_path / "kept"
    kept.mkdir()
    (kept / "thesis.tex").write_text("years of work")
    (tmp_path / "bad.wav").write_text("no audio")
    write_data_dir(tmp_path / "bad", [Utterance("b", tmp_path / "bad.wav")])
    for options, message in (
        (["--out", tmp_path / "out"], "nothing to do"),
        (["--noise", noise, "--snr", 15, 5, "--out", tmp_path / "out"], "--snr 15 5 is not a range"),
        (["--noise", noise, "--snr", "nan", 5, "--out", tmp_path / "out"], "is not a range"),
        (["--telephone", "--out", kept], "contains something other than a degraded copy"),
        (["--telephone", "--out", voices], "--out would replace --data"),
        (["--telephone", "--out", voices.parent], "--out would replace --data"),
        (["--noise", tmp_path / "none", "--out", tmp_path / "out"], "none"),
        (["--noise", tmp_path / "bad", "--out", tmp_path / "out"], "bad.wav"),
    ):
        assert run("--data", voices, *options) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert message in line, line
    assert (kept / "thesis.tex").is_file() and not (tmp_path / "out").exists()
    assert run("--data", tmp_path / "bad", "--telephone", "--out", tmp_path / "out") == 2
    assert "bad.wav" in capsys.readouterr().err and not (tmp_path / "out").exists()

"""egs/ami and egs/voxconverse on corpora of their official layout, made of what is there of them."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import prepare_diarization
import pytest
import soundfile

from sdpn.io.kaldi import read_table
from sdpn.io.rttm import Turn, read_rttm, read_rttms, write_rttm
from sdpn.io.uem import read_uem, write_uem
from tests.conftest import ROOT
from tests.recipes.running import run_recipe, stages

MEETINGS = {"dev": ("ES2011a", "IS1008a"), "test": ("EN2002a", "ES2004a")}


def recipe(corpus: str, *args: str, code: int = 0) -> subprocess.CompletedProcess[str]:
    """Run it."""
    return run_recipe(f"{corpus}/run.sh", *args, timeout_s=500, code=code)


def write_ami(folder: Path, clips: dict[str, tuple[Path, list[Turn], float]]) -> list[str]:
    """The layout of AMI and its setup, with the clips as meetings; returns the options of the recipe."""
    setup = folder / "AMI-diarization-setup"
    (setup / "lists").mkdir(parents=True)
    for part, meetings in MEETINGS.items():
        (setup / f"lists/{part}.meetings.txt").write_text("".join(f"{name}\n" for name in meetings))
        for name in meetings:
            clip, turns, length_s = clips[name]
            audio = folder / f"amicorpus/{name}/audio/{name}.Mix-Headset{clip.suffix}"
            audio.parent.mkdir(parents=True)
            shutil.copy(clip, audio)
            shutil.copy(clip, audio.with_name(f"{name}.Array1-01{clip.suffix}"))
            moved = [replace(turn, recording=name) for turn in turns]
            write_rttm(setup / f"only_words/rttms/{part}/{name}.rttm", name, moved)
            write_uem(setup / f"uems/{part}/{name}.uem", {name: [(0.0, length_s)]})
    return ["--audio", str(folder / "amicorpus"), "--setup", str(setup)]


@pytest.fixture
def ami(tmp_path: Path) -> tuple[Path, list[str]]:
    """Hums of 6 s."""
    clips = {}
    for number, name in enumerate((*MEETINGS["dev"], *MEETINGS["test"])):
        path = tmp_path / f"{name}.wav"
        times_s = np.arange(6 * 16000) / 16000
        soundfile.write(path, 0.1 * np.sin(2 * np.pi * (200 + 50 * number) * times_s), 16000)
        clips[name] = (path, [Turn(name, 0.5, 2.0, "FEE041"), Turn(name, 2.0, 3.0, "MEE043")], 6.0)
    return tmp_path / "corpus", write_ami(tmp_path / "corpus", clips)


def test_ami_data(ami: tuple[Path, list[str]], tmp_path: Path) -> None:
    _, options = ami
    given = [*options, "--exp", str(tmp_path / "exp"), "--no_counts", "--stop_stage", "0"]
    run = recipe("ami", *given)
    assert stages(run, "done") == ["0"] and "test: 2 recordings, 4 speakers" in run.stdout
    data = tmp_path / "exp/data"
    for part, meetings in MEETINGS.items():
        found = read_table(data / part / "wav.scp")
        assert found.keys() == set(meetings)
        assert all(
            str(Path(path).resolve()).endswith(f"{name}/audio/{name}.Mix-Headset.wav")
            for name, path in found.items()
        )
        assert read_rttm(data / part / "reference.rttm").keys() == set(meetings)
        assert read_uem(data / part / "reference.uem") == {name: [(0.0, 6.0)] for name in meetings}
    distant = recipe("ami", *given, "--microphone", "Array1-01")
    assert stages(distant, "done") == ["0"]
    assert (data / "dev/audio/ES2011a.wav").resolve().name == "ES2011a.Array1-01.wav"


@pytest.mark.slow
def test_ami_on_real_meetings(shared_data: Path, tmp_path: Path) -> None:
    excerpt = shared_data / "ami_excerpt"
    reference, regions = read_rttm(excerpt / "reference.rttm"), read_uem(excerpt / "reference.uem")
    names = (*MEETINGS["dev"], *MEETINGS["test"])
    clips = {}
    for name, clip in zip(names, ("trn00", "trn04", "dev00", "dev01"), strict=True):
        clips[name] = (excerpt / f"{clip}.flac", reference[clip], regions[clip][0][1])
    options = write_ami(tmp_path / "corpus", clips)
    given = [*options, "--exp", str(tmp_path / "exp"), "--no_counts", "--try", "start=0.5,0.8"]
    run = recipe("ami", *given)
    assert stages(run, "done") == ["0", "1", "2", "3", "4"]
    ders = {}
    for path in (tmp_path / "exp/results").glob("*.json"):
        total = json.loads(path.read_text())["results"]["total"]
        ders[path.name] = total["der"]
        assert 0 < total["der"] < 1
    assert len(ders) == 6
    # a collar and no overlap leave out what is hard
    assert ders["score.default.collar-250-single.json"] < ders["score.default.collar-0.json"]
    text = (tmp_path / "exp/RESULTS.md").read_text()
    assert f"| sdpn, defaults | {100 * ders['score.default.collar-0.json']:.1f} |" in text
    assert stages(recipe("ami", *given), "done") == []


def test_voxconverse_data_of_real_references(shared_data: Path, tmp_path: Path) -> None:
    references = sorted((shared_data / "voxconverse_rttm").glob("*.rttm"))
    assert len(references) == 216
    for part, files in (("dev", references[:2]), ("test", references[2:5])):
        (tmp_path / f"git/{part}").mkdir(parents=True)
        (tmp_path / f"{part}/voxconverse_{part}_wav").mkdir(parents=True)
        for file in files:
            shutil.copy(file, tmp_path / "git" / part)
            wav = tmp_path / f"{part}/voxconverse_{part}_wav" / f"{file.stem}.wav"
            soundfile.write(wav, np.zeros(16000), 16000)
    options = ["--dev_audio", str(tmp_path / "dev"), "--test_audio", str(tmp_path / "test")]
    options += ["--references", str(tmp_path / "git"), "--exp", str(tmp_path / "exp"), "--stop_stage", "0"]
    refused = recipe("voxconverse", *options, code=2)
    assert "2 recordings, expected 216" in refused.stderr
    assert stages(recipe("voxconverse", *options, "--no_counts"), "done") == ["0"]
    written = read_rttm(tmp_path / "exp/data/test/reference.rttm")
    assert written == read_rttms(references[2:5])
    assert not (tmp_path / "exp/data/test/reference.uem").exists()


SPOILT: dict[str, tuple[Callable[[Path], object], str]] = {
    "no audio": (
        lambda at: shutil.rmtree(at / "amicorpus/ES2004a"),
        "1 of 2 recordings have no audio, such as 'ES2004a' (expected ES2004a.Mix-Headset.* at any depth)",
    ),
    "truncated audio": (
        lambda at: cut(at / "amicorpus/ES2004a/audio/ES2004a.Mix-Headset.wav"),
        "ES2004a.Mix-Headset.wav: ",
    ),
    "two files": (
        lambda at: shutil.copytree(at / "amicorpus/ES2004a", at / "amicorpus/copy"),
        "is recording 'ES2004a', which",
    ),
    "no reference": (
        lambda at: [
            (at / "AMI-diarization-setup" / name).unlink()
            for name in ("only_words/rttms/test/ES2004a.rttm", "uems/test/ES2004a.uem")
        ],
        "1 of 2 recordings have no reference, such as 'ES2004a'",
    ),
    "no region": (
        lambda at: (at / "AMI-diarization-setup/uems/test/ES2004a.uem").unlink(),
        "recording 'ES2004a' has no region to score",
    ),
    "no references": (
        lambda at: [path.unlink() for path in (at / "AMI-diarization-setup/only_words/rttms/test").iterdir()],
        "there are no *.rttm",
    ),
}


def cut(path: Path) -> None:
    """Keep two thirds of a file."""
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])


@pytest.mark.parametrize("what", SPOILT)
def test_a_spoilt_corpus_is_refused(
    ami: tuple[Path, list[str]], what: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spoil, message = SPOILT[what]
    spoil(ami[0])
    setup = ami[0] / "AMI-diarization-setup"
    options = ["--audio", str(ami[0] / "amicorpus"), "--ending", ".Mix-Headset"]
    options += ["--list", str(setup / "lists/test.meetings.txt"), "--uem", str(setup / "uems/test")]
    options += ["--rttm", str(setup / "only_words/rttms/test"), "--out", str(tmp_path / "out")]
    assert prepare_diarization.main(options) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("corpus", "title", "peers"),
    [("ami", "AMI, Array1-01", "peers.Array1-01.txt"), ("voxconverse", "VoxConverse", "peers.txt")],
)
def test_the_page_is_the_table_without_results(
    corpus: str, title: str, peers: str, capsys: pytest.CaptureFixture[str]
) -> None:
    import diarization_table

    folder = ROOT / "egs" / corpus
    assert diarization_table.main(["--title", title, "--peers", str(folder / peers)]) == 0
    assert capsys.readouterr().out == (folder / "RESULTS.md").read_text()


@pytest.mark.parametrize(
    ("corpus", "args", "message"),
    [
        ("ami", [], "give --audio and --setup"),
        ("ami", ["--audio", "/no/such", "--setup", "."], "no such folder: /no/such"),
        ("voxconverse", ["--dev_audio", "."], "give --dev_audio, --test_audio and --references"),
    ],
)
def test_bad_options_are_one_clear_line(corpus: str, args: list[str], message: str) -> None:
    done = recipe(corpus, *args, code=2)
    assert (
        done.stderr.startswith("run.sh: error: ") and message in done.stderr and done.stderr.count("\n") == 1
    )

"""The diarization recipes on corpora of their official layouts, made of what is there of them, or made up."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import prepare_aishell4
import prepare_alimeeting
import prepare_ami
import prepare_callhome
import prepare_dihard3
import prepare_msdwild
import pytest
import soundfile

from sdpn.io import audio
from sdpn.io.kaldi import read_table
from sdpn.io.rttm import Turn, read_rttm, read_rttms, write_rttm
from sdpn.io.uem import read_uem, write_uem
from tests.conftest import ROOT
from tests.recipes.diarization_corpora import NAMES, Clip, hum, write_corpus
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
    run = recipe("ami", *given, "--jobs", "2")
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
    assert f"| sdpn, defaults | {100 * ders['score.default.collar-0.json']:.1f} [" in text
    assert text.splitlines()[-1].startswith("Commit ") and text.rstrip().endswith("Seed 0.")
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
    options = ["--audio", str(ami[0] / "amicorpus"), "--setup", str(setup), "--split", "test", "--no_counts"]
    assert prepare_ami.main([*options, "--out", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("corpus", "title", "peers"),
    [
        ("ami", "AMI, Array1-01", "peers.Array1-01.txt"),
        ("voxconverse", "VoxConverse", "peers.txt"),
        ("aishell4", "AISHELL-4, channel 1", "peers.txt"),
        ("alimeeting", "AliMeeting, far field, channel 1", "peers.txt"),
        ("callhome", "CALLHOME, part 2", "peers.txt"),
        ("dihard3", "DIHARD III, full", "peers.full.txt"),
        ("msdwild", "MSDWild, few.val", "peers.few.txt"),
    ],
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
        ("ami", [], "give --audio --setup (see --help)"),
        ("callhome", ["--corpus", "."], "give --corpus --key --sublists"),
        (
            "dihard3",
            ["--dev", ".", "--eval", ".", "--partition", "half"],
            "--partition is full or core, not 'half'",
        ),
        (
            "msdwild",
            ["--audio", ".", "--rttms", ".", "--speakers", "x"],
            "--speakers is few or many, not 'x'",
        ),
        ("aishell4", ["--corpus", ".", "--dev_list", "/no"], "no such file: /no"),
        ("alimeeting", ["--corpus", ".", "--jobs", "0"], "--jobs must be at least 1"),
        ("ami", ["--audio", "/no/such", "--setup", "."], "no such folder: /no/such"),
        ("voxconverse", ["--dev_audio", "."], "give --dev_audio --test_audio --references"),
    ],
)
def test_bad_options_are_one_clear_line(corpus: str, args: list[str], message: str) -> None:
    done = recipe(corpus, *args, code=2)
    assert (
        done.stderr.startswith("run.sh: error: ") and message in done.stderr and done.stderr.count("\n") == 1
    )


MODULES = {
    "aishell4": prepare_aishell4,
    "alimeeting": prepare_alimeeting,
    "callhome": prepare_callhome,
    "dihard3": prepare_dihard3,
    "msdwild": prepare_msdwild,
}


def prepared(corpus: str, options: list[str], out: Path, split: str = "test", *more: str) -> int:
    """Run local/prepare_<corpus>.py."""
    return MODULES[corpus].main([*options, "--split", split, "--out", str(out), *(more or ("--no_counts",))])


@pytest.mark.parametrize("corpus", MODULES)
def test_splits_of_a_generated_corpus(corpus: str, tmp_path: Path) -> None:
    options = write_corpus(corpus, tmp_path / "corpus")
    for split, names, first in (("dev", NAMES[corpus][0], 0), ("test", NAMES[corpus][1], 2)):
        out = tmp_path / split
        assert prepared(corpus, options, out, split) == 0
        wavs = read_table(out / "wav.scp")
        assert wavs.keys() == set(names)
        turns = read_rttm(out / "reference.rttm")
        for number, name in enumerate(names):
            assert [(one.onset_s, one.duration_s) for one in turns[name]] == [(0.25, 1.0), (1.25, 1.5)]
            assert [one.speaker for one in turns[name]] == ["A", "B"]
            wave_S = audio.read(wavs[name])
            # of arrays, the first channel and nothing else
            assert len(wave_S) == 48000 and np.abs(wave_S - hum(first + number).wave_S).max() < 0.01
        assert read_uem(out / "reference.uem") == {name: [(0.0, 3.0)] for name in names}


def test_the_channel_is_copied_bit_for_bit(tmp_path: Path) -> None:
    options = write_corpus("aishell4", tmp_path / "corpus")
    assert prepared("aishell4", options, tmp_path / "test") == 0
    name = NAMES["aishell4"][1][0]
    both = [tmp_path / f"corpus/test/wav/{name}.flac", tmp_path / f"test/audio/{name}.flac"]
    first, second = (soundfile.read(path, dtype="int16", always_2d=True)[0] for path in both)
    assert first.shape[1] == 8 and second.shape[1] == 1
    np.testing.assert_array_equal(first[:, 0], second[:, 0])


def test_published_numbers_are_required(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    expected = {"aishell4": 20, "alimeeting": 20, "callhome": 250, "dihard3": 259, "msdwild": 490}
    for corpus, number in expected.items():
        options = write_corpus(corpus, tmp_path / corpus)
        assert prepared(corpus, options, tmp_path / "out", "test", "--nj", "2") == 2
        assert f"2 recordings, expected {number}" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_partitions(tmp_path: Path) -> None:
    options = write_corpus("dihard3", tmp_path / "dihard3")
    assert prepared("dihard3", [*options, "--partition", "core"], tmp_path / "core") == 0
    assert read_table(tmp_path / "core/wav.scp").keys() == {"DH_EVAL_0001"}
    options = write_corpus("msdwild", tmp_path / "msdwild")
    assert prepared("msdwild", [*options, "--speakers", "many"], tmp_path / "many") == 0
    assert read_table(tmp_path / "many/wav.scp").keys() == {"00002"}


FAULTS: list[tuple[str, Callable[[Path], object], str]] = [
    ("aishell4", lambda at: shutil.rmtree(at / "test"), "test/TextGrid: no such folder (is a part"),
    (
        "aishell4",
        lambda at: shutil.rmtree(at / "test/wav"),
        "test/wav: no such folder (is a part of the corpus missing?)",
    ),
    (
        "aishell4",
        lambda at: shutil.copy(at / "test/wav/L_R003S01C02.flac", at / "test/wav/L_R003S01C02.wav"),
        "is recording 'L_R003S01C02', which",
    ),
    ("aishell4", lambda at: cut(at / "test/wav/L_R003S01C02.flac"), "L_R003S01C02.flac: "),
    (
        "alimeeting",
        lambda at: cut(at / "Test_Ali/Test_Ali_far/textgrid_dir/R8002_M8002.TextGrid"),
        "R8002_M8002.TextGrid: ends before its last interval (unpack the corpus again)",
    ),
    (
        "alimeeting",
        lambda at: (at / "Test_Ali/Test_Ali_far/audio_dir/R8002_M8002_MS801.wav").unlink(),
        "1 of 2 recordings have no audio, such as 'R8002_M8002' (expected R8002_M8002_MS*.wav",
    ),
    (
        "callhome",
        lambda at: (at / "LDC2001S97/sid00sg1/data/iaab.sph").unlink(),
        "expected iaab.sph at any depth",
    ),
    ("callhome", lambda at: cut(at / "LDC2001S97/sid00sg1/data/iaab.sph"), "iaab.sph: "),
    (
        "callhome",
        lambda at: (at / "CALLHOME_sublists/part2/part2_3spks.txt").write_text("iaab\n"),
        "part2_3spks.txt: recording 'iaab' is in part2_2spks.txt, too",
    ),
    ("callhome", lambda at: (at / "sre2000-key/fullref.rttm").unlink(), "there are no *.rttm"),
    (
        "dihard3",
        lambda at: (at / "third_dihard_challenge_eval/data/rttm/DH_EVAL_0002.rttm").unlink(),
        "1 of 2 recordings have no reference, such as 'DH_EVAL_0002'",
    ),
    (
        "dihard3",
        lambda at: shutil.rmtree(at / "third_dihard_challenge_eval/data/uem_scoring/full"),
        "uem_scoring/full/all.uem: there are no *.uem",
    ),
    ("msdwild", lambda at: (at / "rttms/few.val.rttm").unlink(), "few.val.rttm: no such file"),
    ("msdwild", lambda at: (at / "msdwild_wavs/wav/00002.wav").write_bytes(b""), "00002.wav: "),
]


@pytest.mark.parametrize(("corpus", "spoil", "message"), FAULTS)
def test_faults_of_a_corpus_are_named(
    corpus: str,
    spoil: Callable[[Path], object],
    message: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    options = write_corpus(corpus, tmp_path / "corpus")
    spoil(tmp_path / "corpus")
    assert prepared(corpus, options, tmp_path / "out") == 2
    error = capsys.readouterr().err
    assert error.startswith(f"prepare_{corpus}.py: error: ") and message in error and error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def conversation(shared_data: Path) -> Callable[[int], Clip]:
    """Function that makes a conversation of two speakers of speechocean762, with pauses and no overlap."""
    speakers = sorted(path for path in (shared_data / "speechocean762/dev").iterdir() if path.is_dir())

    def make(number: int) -> Clip:
        pieces, turns, at = [], [], 0
        for index in range(6):
            folder = speakers[2 * number + index % 2]
            wave_S = audio.read(sorted(folder.glob("*.opus"))[index])
            turns.append(Turn("x", at / 16000, len(wave_S) / 16000, "AB"[index % 2]))
            pieces += [wave_S, np.zeros(8000, np.float32)]
            at += len(wave_S) + 8000
        return Clip(np.concatenate(pieces), turns)

    return make


def every_stage(corpus: str, clips: Callable[[int], Clip], folder: Path) -> None:
    """All stages of a recipe, by the command line; a second run does nothing."""
    options = write_corpus(corpus, folder / "corpus", clips)
    given = [*options, "--exp", str(folder / "exp"), "--no_counts", "--try", "start=0.5,0.8"]
    run = recipe(corpus, *given)
    assert stages(run, "done") == ["0", "1", "2", "3", "4"]
    results = sorted(path.name for path in (folder / "exp/results").iterdir())
    assert len(results) == (12 if corpus == "dihard3" else 6)
    text = (folder / "exp/RESULTS.md").read_text()
    for name in results:
        _, system, _ = name.split(".", 2)
        found = json.loads((folder / "exp/results" / name).read_text())["results"]
        assert 0 <= found["total"]["der"] < 0.9 and found["total"]["total_s"] > 20
        row = "sdpn, defaults" if system == "default" else "sdpn, tuned on dev"
        assert f"| {row} | {100 * found['total']['der']:.1f}" in text
    assert text.rstrip().endswith("Seed 0.")
    if corpus == "dihard3":  # whose speech is given misses none
        given_speech, own = (
            json.loads((folder / f"exp/results/score.default.collar-0{end}.json").read_text())["results"][
                "total"
            ]
            for end in ("-oracle", "")
        )
        assert given_speech["missed_s"] < own["missed_s"] + 0.01
    assert stages(recipe(corpus, *given), "done") == []


@pytest.mark.slow
def test_without_tuning(shared_data: Path, tmp_path: Path) -> None:
    options = write_corpus("dihard3", tmp_path / "corpus", conversation(shared_data))
    given = [*options, "--exp", str(tmp_path / "exp"), "--no_counts", "--skip_tuning"]
    assert stages(recipe("dihard3", *given), "done") == ["0", "2", "3", "4"]
    assert len(list((tmp_path / "exp/results").iterdir())) == 6
    assert not (tmp_path / "exp/data/dev").exists() and not (tmp_path / "exp/tuned").exists()


@pytest.mark.slow
@pytest.mark.parametrize("corpus", MODULES)
def test_every_stage(corpus: str, shared_data: Path, tmp_path: Path) -> None:
    every_stage(corpus, conversation(shared_data), tmp_path)

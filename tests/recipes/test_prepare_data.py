"""egs/shared/prepare_data.py: corpus folders in many shapes."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import prepare_data
import pytest

from sdpn.io.kaldi import read_data_dir, read_table

Tone = Callable[..., Path]


@pytest.fixture
def corpora(tmp_path: Path, write_tone: Tone) -> Path:
    """Two training corpora that share speaker folder 1447, a dev corpus, meetings, noise and rooms."""
    for name in (
        "alpha/train/1447/a1.wav",
        "alpha/train/1447/a2.flac",
        "alpha/train/0001/b1.ogg",
        "beta/train/1447/x.wav",
        "alpha/dev/0003/d1.wav",
        "alpha/dev/0004/d2.wav",
        "meetings/m1.flac",
        "meetings/m2.flac",
        "noise/rain/r.wav",
        "rir/hall.wav",
    ):
        write_tone(tmp_path / name)
    (tmp_path / "alpha" / "train" / "LICENSE.TXT").write_text("not audio")
    (tmp_path / "trials").write_text("1 d1 d1\n0 d1 d2\n")
    (tmp_path / "meetings" / "reference.rttm").write_text("SPEAKER m1 1 0.1 0.2 <NA> <NA> anna <NA> <NA>\n")
    (tmp_path / "meetings" / "reference.uem").write_text("m1 1 0 0.5\nm2 1 0 0.5\n")
    return tmp_path


def prepare(root: Path, *args: str) -> int:
    """Run the script on ``args``, in which '@' stands for ``root``."""
    return prepare_data.main(["--out", str(root / "out"), *(arg.replace("@", str(root)) for arg in args)])


ALL = (
    *(
        "--corpus",
        "@/alpha/train",
        "--corpus",
        "@/beta/train",
        "--dev",
        "@/alpha/dev",
        "--trials",
        "@/trials",
    ),
    *("--meetings", "@/meetings", "--noise", "@/noise", "--rir", "@/rir"),
)


def test_everything_becomes_a_data_directory(corpora: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert prepare(corpora, *ALL) == 0
    train = read_data_dir(corpora / "out" / "train")
    assert {utterance.id: utterance.speaker for utterance in train} == {
        "alpha-0001-b1": "alpha-0001",
        "alpha-1447-a1": "alpha-1447",
        "alpha-1447-a2": "alpha-1447",
        "beta-1447-x": "beta-1447",  # the same folder name, another person
    }
    assert [utterance.id for utterance in read_data_dir(corpora / "out" / "dev")] == ["d1", "d2"]
    assert (corpora / "out" / "dev" / "trials").read_text() == (corpora / "trials").read_text()
    assert list(read_table(corpora / "out" / "meetings" / "wav.scp")) == ["m1", "m2"]
    assert (corpora / "out" / "meetings" / "reference.uem").is_file()
    assert list(read_table(corpora / "out" / "noise" / "wav.scp")) == ["rain-r.wav"]
    assert list(read_table(corpora / "out" / "rir" / "wav.scp")) == ["hall.wav"]
    # 4 files of 0.5 s are 2 s
    assert "train: 4 files, 3 speakers, 0.00 h" in capsys.readouterr().out


def test_what_the_benchmark_tests_on_is_left_out(tmp_path: Path, write_tone: Tone) -> None:
    for name in ("32", "33"):
        write_tone(tmp_path / "librispeech" / "train" / name / "a.wav")
        write_tone(tmp_path / "mine" / name / "a.wav")
    for name in ("noise/rain/4-1-A", "noise/rain/1-1-A", "rir/cinema-hall", "rir/kitchen"):
        write_tone(tmp_path / f"{name}.wav")
    given = ("--corpus", "@/librispeech/train", "--corpus", "@/mine", "--noise", "@/noise", "--rir", "@/rir")
    assert prepare(tmp_path, *given, "--without_benchmark") == 0
    assert [each.speaker for each in read_data_dir(tmp_path / "out" / "train")] == [
        *("librispeech-33", "mine-32", "mine-33"),
    ]
    assert list(read_table(tmp_path / "out" / "noise" / "wav.scp")) == ["rain-1-1-A.wav"]
    assert list(read_table(tmp_path / "out" / "rir" / "wav.scp")) == ["kitchen.wav"]
    assert prepare(tmp_path, *given) == 0
    assert len(read_data_dir(tmp_path / "out" / "train")) == 4


def test_without_the_benchmarks_noises_there_are_none(
    tmp_path: Path, write_tone: Tone, capsys: pytest.CaptureFixture[str]
) -> None:
    write_tone(tmp_path / "corpus" / "s" / "a.wav")
    write_tone(tmp_path / "noise" / "4-1-A.wav")
    assert prepare(tmp_path, "--corpus", "@/corpus", "--noise", "@/noise", "--without_benchmark") == 2
    assert "all of it is held out for the benchmark" in capsys.readouterr().err


def test_hours_are_counted(tmp_path: Path, write_tone: Tone, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("a", "b"):
        write_tone(tmp_path / "corpus" / "s" / f"{name}.wav", duration_s=36, rate_hz=8000)
    assert prepare(tmp_path, "--corpus", "@/corpus") == 0
    assert "2 files, 1 speakers, 0.02 h" in capsys.readouterr().out


def test_spaces_in_paths_stay_in_the_table_but_not_in_ids(tmp_path: Path, write_tone: Tone) -> None:
    path = write_tone(tmp_path / "my speech" / "John Smith" / "take one.wav")
    assert prepare(tmp_path, "--corpus", "@/my speech") == 0
    (utterance,) = read_data_dir(tmp_path / "out" / "train")
    assert utterance.id == "my_speech-John_Smith-take_one"
    assert utterance.speaker == "my_speech-John_Smith"
    assert utterance.path == path.resolve()


def test_deeper_folders_count_as_their_speaker(tmp_path: Path, write_tone: Tone) -> None:
    for session in ("one", "two"):
        write_tone(tmp_path / "vox" / "id1" / session / "00001.wav")
    assert prepare(tmp_path, "--corpus", "@/vox") == 0
    utterances = read_data_dir(tmp_path / "out" / "train")
    assert [utterance.id for utterance in utterances] == ["vox-id1-one-00001", "vox-id1-two-00001"]
    assert {utterance.speaker for utterance in utterances} == {"vox-id1"}


def test_hidden_files_are_left_out(tmp_path: Path, write_tone: Tone) -> None:
    wave = write_tone(tmp_path / "c" / "s" / "a.wav")
    (wave.parent / "._a.wav").write_bytes(b"resource fork")
    assert prepare(tmp_path, "--corpus", "@/c") == 0
    assert len(read_data_dir(tmp_path / "out" / "train")) == 1


@pytest.mark.parametrize(
    ("line", "naming"),
    [
        ("1 0003/d1 0004/d2", ["0003/d1", "0004/d2"]),
        ("1 0003/d1.wav 0004/d2.wav", ["0003/d1.wav", "0004/d2.wav"]),
        ("d1 d2 nontarget", ["d1", "d2"]),
    ],
)
def test_dev_ids_are_what_the_trials_say(corpora: Path, line: str, naming: list[str]) -> None:
    (corpora / "trials").write_text(line + "\n")
    assert prepare(corpora, *ALL) == 0
    assert [utterance.id for utterance in read_data_dir(corpora / "out" / "dev")] == naming


@pytest.mark.parametrize(
    ("break_it", "message"),
    [
        (lambda root: shutil.rmtree(root / "beta" / "train"), "{root}/beta/train: no such folder"),
        (
            lambda root: (root / "beta" / "train" / "1447" / "x.wav").unlink(),
            "{root}/beta/train: contains no file with an audio suffix",
        ),
        (
            lambda root: (root / "alpha" / "train" / "1447" / "a1.wav").write_bytes(b""),
            "{root}/alpha/train/1447/a1.wav: cannot be used: the audio file is empty (0 bytes)",
        ),
        (
            lambda root: (root / "alpha" / "train" / "1447" / "a2.flac").write_bytes(b"no audio"),
            "{root}/alpha/train/1447/a2.flac: cannot be used: its header has a sampling rate of 0 Hz",
        ),
        (
            lambda root: (root / "rir" / "hall.wav").write_bytes(b"RIFF"),
            "{root}/rir/hall.wav: cannot be used",
        ),
        (
            lambda root: shutil.copy(root / "rir" / "hall.wav", root / "beta" / "train" / "y.wav"),
            "{root}/beta/train/y.wav: is not in a speaker folder",
        ),
        (
            lambda root: shutil.copy(
                root / "rir" / "hall.wav", root / "alpha" / "train" / "1447" / "a1.flac"
            ),
            "'alpha-1447-a1' occurs twice",
        ),
        (
            lambda root: (root / "trials").write_text("1 d1 d9\n"),
            "1 of the 2 utterances in the trials are not in {root}/alpha/dev, such as 'd9'",
        ),
        (
            lambda root: shutil.copy(
                root / "alpha" / "dev" / "0003" / "d1.wav", root / "alpha" / "dev" / "0004" / "d1.wav"
            ),
            "the trial id 'd1' matches more than one file",
        ),
        (
            lambda root: (root / "meetings" / "reference.rttm").unlink(),
            "{root}/meetings: contains no reference.rttm",
        ),
        (
            lambda root: (root / "meetings" / "reference.uem").unlink(),
            "{root}/meetings/m2.flac: is in neither reference.rttm nor reference.uem",
        ),
        (
            lambda root: (root / "meetings" / "m1.flac").unlink(),
            "1 recordings have no audio beside it, such as 'm1'",
        ),
        (
            lambda root: (root / "meetings" / "reference.rttm").write_text("SPEAKER m1 1\n"),
            "reference.rttm:1:",
        ),
    ],
)
def test_bad_input_is_named_in_one_line(
    corpora: Path,
    break_it: Callable[[Path], object],
    message: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    break_it(corpora)
    assert prepare(corpora, *ALL) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("prepare_data.py: error: ")
    assert message.format(root=corpora) in error
    assert not (corpora / "out").exists()


def test_every_bad_file_is_named(corpora: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("a1.wav", "a2.flac"):
        (corpora / "alpha" / "train" / "1447" / name).write_bytes(b"")
    assert prepare(corpora, *ALL) == 2
    *named, last = capsys.readouterr().err.strip().splitlines()
    assert [Path(line.split(": ")[1]).name for line in named] == ["a1.wav", "a2.flac"]
    assert "2 of 4 audio files cannot be used" in last


def test_training_on_dev_is_refused(corpora: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert prepare(corpora, *ALL, "--corpus", "@/alpha/dev") == 2
    assert "whose speakers must be unseen" in capsys.readouterr().err


def test_a_corpus_given_twice_is_refused(corpora: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert prepare(corpora, "--corpus", "@/beta/train", "--corpus", "@/beta/../beta/train") == 2
    assert "is given twice" in capsys.readouterr().err


def test_a_failed_run_keeps_the_former_directories(corpora: Path) -> None:
    assert prepare(corpora, *ALL) == 0
    (corpora / "beta" / "train" / "1447" / "x.wav").write_bytes(b"")
    assert prepare(corpora, *ALL) == 2
    assert len(read_data_dir(corpora / "out" / "train")) == 4


def test_the_shared_corpora(shared_data: Path, tmp_path: Path) -> None:
    args = [
        *("--corpus", str(shared_data / "speechocean762" / "train")),
        *("--corpus", str(shared_data / "librispeech_excerpt" / "train")),
        *("--dev", str(shared_data / "speechocean762" / "dev")),
        *("--trials", str(shared_data / "speechocean762" / "dev_trials")),
        *("--meetings", str(shared_data / "ami_excerpt")),
    ]
    assert prepare(tmp_path, *args) == 0
    train = read_data_dir(tmp_path / "out" / "train")
    assert len(train) == 2751
    assert len({utterance.speaker for utterance in train}) == 376  # figures of the data's own README
    assert len(read_data_dir(tmp_path / "out" / "dev")) == 1260
    assert len(read_data_dir(tmp_path / "out" / "meetings")) == 12


def test_corpora_apart_and_speech_of_unknown_speakers(corpora: Path) -> None:
    words = ["--corpus", "@/alpha/train", "--corpus", "@/beta/train", "--unlabelled", "@/noise", "--apart"]
    assert prepare(corpora, *words) == 0
    together = [one.id for name in ("alpha", "beta") for one in read_data_dir(corpora / "out/train" / name)]
    unknown = read_data_dir(corpora / "out/unlabelled/noise")
    assert unknown and all(one.speaker is None and one.id.startswith("noise-") for one in unknown)
    assert prepare(corpora, *words[:4]) == 0
    assert sorted(together) == sorted(one.id for one in read_data_dir(corpora / "out/train"))
    assert not (corpora / "out/unlabelled").exists()

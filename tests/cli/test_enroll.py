"""``sdpn enroll`` and ``sdpn diarize --people`` on real speech, with the model in the package."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from sdpn.cli.main import main
from sdpn.errors import InputError
from sdpn.io import audio
from sdpn.io.rttm import read_rttm
from sdpn.people.voiceprint import PeopleFolder
from sdpn.receipt import verify_receipt
from tests.people.test_voiceprint import person

RATE_HZ = 16000


def clips(shared_data: Path, speaker: int) -> list[Path]:
    """Sentences of one of the dev speakers."""
    folders = sorted(path for path in (shared_data / "speechocean762/dev").iterdir() if path.is_dir())
    return sorted(folders[speaker].glob("*.opus"))


def joined(path: Path, parts: Sequence[Path]) -> Path:
    soundfile.write(path, np.concatenate([audio.read(part) for part in parts]), RATE_HZ)
    return path


def enroll(*words: object) -> int:
    return main(["enroll", *map(str, words), "--quiet"])


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory, shared_data: Path) -> Path:
    """Five people with two recordings each."""
    folder = tmp_path_factory.mktemp("enrolled")
    for number, name in enumerate(["Anna Lee", "Bo/../<b>", "名前 🙂", "D" * 300, "Eve"]):
        found = clips(shared_data, number)
        recordings = [joined(folder / f"{number}{part}.wav", found[4 * part :][:4]) for part in (0, 1)]
        assert enroll("--people", folder / "people", "--name", name, *recordings) == 0
    return folder / "people"


@pytest.fixture(scope="module")
def anna(tmp_path_factory: pytest.TempPathFactory, shared_data: Path) -> Path:
    """Recordings of two speakers, the first of whom is enrolled as Anna in ``people``."""
    folder = tmp_path_factory.mktemp("anna")
    for name, who in (("anna", 8), ("other", 15)):
        joined(folder / f"{name}.wav", clips(shared_data, who)[:4])
    assert enroll("--people", folder / "people", "--name", "Anna", folder / "anna.wav") == 0
    return folder


def test_a_known_person_and_a_stranger(anna: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    words = ["diarize", anna / "anna.wav", anna / "other.wav", "--people", anna / "people"]
    words += ["--out", tmp_path, "--num-speakers", "1", "--format", "rttm,json"]
    assert main([*map(str, words), "--quiet"]) == 0
    for recording, name in (("anna", "Anna"), ("other", "unknown00")):
        turns = read_rttm(tmp_path / f"{recording}.rttm")[recording]
        assert {turn.speaker for turn in turns} == {name}
        (speaker,) = json.loads((tmp_path / f"{recording}.json").read_text())["speakers"]
        assert speaker["identity"]["nearest"] == "Anna"
    assert "the limit of false alarms comes from the back end's training speech alone" in caplog.text


@pytest.mark.slow
def test_turns_carry_names(
    people: Path, shared_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two of the people and a stranger; five people with a few sentences each need a generous rate."""
    parts = [(0, 8), (2, 8), (20, 8)]
    meeting = joined(
        tmp_path / "meeting.wav",
        [part for who, first in parts for part in clips(shared_data, who)[first : first + 6]],
    )
    out = tmp_path / "out"
    words = [
        "diarize",
        meeting,
        "--people",
        people,
        "--out",
        out,
        "--format",
        "rttm,json",
        "--num-speakers",
        3,
    ]
    words += ["--false-alarms", 0.3]
    assert main([*map(str, words), "--quiet"]) == 0
    document = json.loads((out / "meeting.json").read_text())
    names = [speaker["speaker"] for speaker in document["speakers"]]
    assert names == ["Anna Lee", "名前 🙂", "unknown00"]
    rttm = {turn.speaker for turn in read_rttm(out / "meeting.rttm")["meeting"]}
    assert rttm == {"Anna_Lee", "名前_🙂", "unknown00"}
    for speaker in document["speakers"]:
        identity = speaker["identity"]
        assert (identity["score"] >= identity["threshold"]) == (identity["name"] is not None)
    assert document["people"]["false_alarms"] == 0.3 and document["people"]["num_people"] == 5
    assert document["people"]["warnings"] == []
    check = verify_receipt(out / "meeting.json")
    assert check.repeated and all(line.same for line in check.lines)
    assert "people" in [line.what for line in check.lines]
    # over a telephone, people may go unrecognised, and that is said
    from sdpn.augmentation.conditions import telephone

    call = telephone(audio.read(meeting), np.random.default_rng(0))
    soundfile.write(tmp_path / "call.wav", call, RATE_HZ)
    words[1] = tmp_path / "call.wav"
    assert main([*map(str, words), "--quiet"]) == 0
    (warning,) = json.loads((out / "call.json").read_text())["people"]["warnings"]
    assert "its band ends at" in warning and "a telephone's" in warning
    # who is deleted is unknown, and what was finished is not any more
    copy = tmp_path / "fewer"
    shutil.copytree(people, copy)
    capsys.readouterr()
    assert enroll("--people", copy, "--delete", "Anna Lee") == 0
    words[1], words[3] = meeting, copy
    assert main([*map(str, words), "--quiet"]) == 0
    document = json.loads((out / "meeting.json").read_text())
    assert "Anna Lee" not in [one["speaker"] for one in document["speakers"]]
    assert document["people"]["num_people"] == 4


def wave(kind: str) -> np.ndarray:
    times = np.arange(8 * RATE_HZ) / RATE_HZ
    if kind == "music":
        return sum(0.05 * np.sin(2 * np.pi * hz * times) for hz in (220.0, 277.2, 329.6, 440.0))  # type: ignore[return-value]
    return (
        np.zeros(len(times))
        if kind == "silence"
        else 0.05 * np.random.default_rng(0).standard_normal(len(times))
    )


@pytest.mark.parametrize("kind", ["silence", "noise", "music"])
def test_what_is_no_speech(kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    soundfile.write(tmp_path / "a.wav", wave(kind), RATE_HZ)
    assert enroll("--people", tmp_path / "people", "--name", "Anna", tmp_path / "a.wav") == 2
    assert (
        f"{tmp_path}/a.wav: has 0.0 s of speech; an enrolment needs at least 1 s" in capsys.readouterr().err
    )
    assert not (tmp_path / "people").exists()


def test_two_people(anna: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one, other = anna / "anna.wav", anna / "other.wav"
    both = joined(tmp_path / "both.wav", [one, other])
    assert enroll("--people", tmp_path / "p", "--name", "Anna", both) == 2
    assert f"{both}: has two voices" in capsys.readouterr().err
    assert not (tmp_path / "p").exists()
    before = PeopleFolder(anna / "people").find("Anna")
    assert before is not None
    assert enroll("--people", anna / "people", "--name", "Anna", other) == 2
    assert "has another voice than the other recordings of 'Anna'" in capsys.readouterr().err
    assert enroll("--people", anna / "people", "--name", "Not Anna", one) == 2
    assert f"{one}: is enrolled as 'Anna' already" in capsys.readouterr().err
    (after,) = PeopleFolder(anna / "people").read()
    assert (after.name, len(after.recordings)) == ("Anna", 1)


def test_who_may_be_somebody_else(
    shared_data: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Two speakers who are not so far apart that the second is refused."""
    first, second = (joined(tmp_path / f"{who}.wav", clips(shared_data, who)[:3]) for who in (0, 5))
    words = ["enroll", "--people", str(tmp_path / "people"), "--name", "Anna", str(first)]
    assert main(words) == 0
    assert "is unlike" not in caplog.text
    assert main([*words[:-1], str(second)]) == 0
    assert f"{second}: is unlike the other recordings of 'Anna'" in caplog.text


@pytest.mark.slow
def test_voiceprints_of_another_model(
    people: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A model with the weights of the included one moved a little, and its back end."""
    from safetensors.torch import load_file, save_file

    from sdpn.models.weights import weights_digest
    from sdpn.pretrained import SHIPPED
    from sdpn.verification.storage import read_back_end, write_back_end

    other = tmp_path / "other"
    shutil.copytree(SHIPPED, other)
    weights = load_file(other / "model.safetensors")
    key = next(name for name in weights if name.endswith("weight") and weights[name].ndim > 1)
    save_file({**weights, key: weights[key] * 1.01}, other / "model.safetensors")
    import dataclasses

    import sdpn

    digest = weights_digest(sdpn.load_model(other).encoder)
    write_back_end(other / "back_end.safetensors", dataclasses.replace(read_back_end(SHIPPED), model=digest))
    copy = tmp_path / "people"
    shutil.copytree(people, copy)
    sound = tmp_path / "a.wav"
    soundfile.write(sound, wave("noise"), RATE_HZ)
    words = ["diarize", sound, "--people", copy, "--model", other, "--out", tmp_path / "out", "--quiet"]
    assert main(list(map(str, words))) == 2
    error = capsys.readouterr().err
    assert "was made with fast" in error
    assert f"sdpn enroll --people {copy} --renew --model {other}" in error
    moved = PeopleFolder(copy).find("Eve")
    assert moved is not None
    assert enroll("--people", copy, "--renew", "--model", other) == 0
    assert main(list(map(str, words))) == 0
    assert {person.model for person in PeopleFolder(copy).read()} == {digest}
    renewed = PeopleFolder(copy).find("Eve")
    assert renewed is not None and [one.audio for one in renewed.recordings] == [
        one.audio for one in moved.recordings
    ]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--name", "Anna"], "no recordings are given"),
        (["--list", "a.wav"], "AUDIO is enrolled under --name NAME"),
        (["--name", "a\nb", "a.wav"], "control characters"),
        (["--name", "unknown", "a.wav"], "speakers whom nobody knows"),
        (["--name", "Anna", "nowhere.wav"], "nowhere.wav: no such audio file"),
        (["--delete", "Anna"], "no such folder of people"),
        (["--renew"], "no such folder of people"),
        (["--name", "Anna", "--back-end", "b.safetensors", "a.wav"], "b.safetensors: no such back end"),
    ],
)
def test_options_that_make_no_sense(
    words: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert enroll("--people", tmp_path / "people", *words) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--false-alarms", "0.01"], "--back-end and --false-alarms need --people"),
        (["--people", "nowhere"], "nowhere: no such folder of people"),
        (["--people", "nowhere", "-"], "standard input can be read only once"),
    ],
)
def test_options_of_diarize(
    words: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    soundfile.write(tmp_path / "a.wav", wave("noise"), RATE_HZ)
    given: list[Any] = ["diarize", tmp_path / "a.wav", "--out", tmp_path / "out", "--quiet", *words]
    assert main(list(map(str, given))) == 2
    assert message in capsys.readouterr().err


def test_listing_and_renaming(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = PeopleFolder(tmp_path / "people")
    for name in ("Anna Lee", "名前 🙂", "D" * 300, "Eve"):
        folder.write(person(name, 1, 2))
    assert enroll("--people", folder.path, "--rename", "Eve", "Eva") == 0
    assert enroll("--people", folder.path, "--delete", "Anna Lee") == 0
    capsys.readouterr()
    assert enroll("--people", folder.path, "--list", "--json", tmp_path / "list.json") == 0
    assert "Eva: 2 recordings, 8.0 s of speech, small" in capsys.readouterr().out
    names = [one["name"] for one in json.loads((tmp_path / "list.json").read_text())["results"]["people"]]
    assert names == sorted(["名前 🙂", "D" * 300, "Eva"])


def test_a_list_needs_no_folder_that_can_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A folder that others own may be read: root, as whom tests often run, may write everywhere."""
    folder = PeopleFolder(tmp_path / "people")
    folder.write(person("Anna Lee", 1))

    def refuse(path: Path, _kind: str) -> None:
        raise InputError("is read-only", path=path)

    monkeypatch.setattr("sdpn.cli.outputs.check_writable", refuse)
    assert enroll("--people", folder.path, "--list") == 0
    assert "Anna Lee" in capsys.readouterr().out
    assert enroll("--people", folder.path, "--delete", "Anna Lee") == 2
    assert "people: is read-only" in capsys.readouterr().err

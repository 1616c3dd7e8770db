"""Voiceprints on disk: any name, and nothing that is damaged."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdpn.errors import InputError
from sdpn.people.voiceprint import (
    EnrolledRecording,
    PeopleFolder,
    RecordingConditions,
    Voiceprint,
    checked_name,
)

NAMES = [
    "Anna",
    "Anna Lee",
    "a/b/../c",
    "..",
    "名前 🙂",
    "x" * 300,
    "<b>&\"'",
    "-n",
    "*",
    "CON",
    "unknown man",
]


def recording(seed: int, *, sha256: str | None = None) -> EnrolledRecording:
    return EnrolledRecording(
        audio=f"/audio/{seed}.wav",
        sha256=sha256 or f"{seed:064x}",
        channel=None,
        speech_s=4.0,
        conditions=RecordingConditions(snr_db=30.0, bandwidth_hz=8000.0),
        embedding_D=np.random.default_rng(seed).standard_normal(6).astype(np.float32),
    )


def person(name: str, *seeds: int) -> Voiceprint:
    return Voiceprint(
        name=name, model="0123", made_with={"model": "small"}, recordings=[recording(seed) for seed in seeds]
    )


@pytest.mark.parametrize("name", NAMES)
def test_any_name_is_kept(name: str, tmp_path: Path) -> None:
    folder = PeopleFolder(tmp_path / "people")
    folder.write(person(name, 1, 2))
    (found,) = folder.read()
    assert found.name == name and found.speech_s == 8.0
    np.testing.assert_array_equal(found.recordings[1].embedding_D, recording(2).embedding_D)  # bit for bit
    (file,) = (tmp_path / "people").iterdir()
    assert len(file.name) < 60 and list(tmp_path.iterdir()) == [tmp_path / "people"]
    folder.rename(name, "somebody")
    assert [one.name for one in folder.read()] == ["somebody"] and folder.find(name) is None
    folder.delete("somebody")
    assert list((tmp_path / "people").iterdir()) == []


def test_two_spellings_of_one_name_are_one_person(tmp_path: Path) -> None:
    folder = PeopleFolder(tmp_path)
    folder.write(person(checked_name("Zoe\u0308"), 1))
    assert folder.find("Zo\u00eb") is not None


@pytest.mark.parametrize(
    "name",
    [
        *("", " ", "a\nb", "a\tb", " a", "a\u2028b", "a\x00b", "\udc80", "y" * 1001),
        *("unknown", "Unknown07", "speaker00", "SPEAKER"),
    ],
)
def test_names_that_are_none(name: str) -> None:
    with pytest.raises(InputError, match="the name"):
        checked_name(name)


@given(st.text())
def test_a_name_is_refused_or_kept(name: str) -> None:
    try:
        kept = checked_name(name)
    except InputError:
        return
    assert checked_name(kept) == kept and "\n" not in kept


def test_adding_recordings() -> None:
    before = person("Anna", 1, 2)
    again = recording(7, sha256=before.recordings[0].sha256)
    after = before.with_recordings([again, recording(3)])
    assert [one.audio for one in after.recordings] == ["/audio/2.wav", "/audio/7.wav", "/audio/3.wav"]
    mean_D = np.mean([one.embedding_D.astype(np.float64) for one in after.recordings], axis=0)
    np.testing.assert_allclose(after.embedding_D, mean_D)


def test_a_folder_of_nobody(tmp_path: Path) -> None:
    for path, message in ((tmp_path / "none", "no such folder of people"), (tmp_path, "no voiceprints")):
        with pytest.raises(InputError, match=rf"{message}.*sdpn enroll --name NAME"):
            PeopleFolder(path).read()
    folder = PeopleFolder(tmp_path)
    folder.write(person("Anna", 1))
    folder.write(person("Bo", 2))
    with pytest.raises(InputError, match=r"holds nobody named 'Anne' \(it holds 'Anna', 'Bo'\)"):
        folder.delete("Anne")
    with pytest.raises(InputError, match="already holds a person named 'Bo'"):
        folder.rename("Anna", "Bo")
    assert [one.name for one in folder.read()] == ["Anna", "Bo"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda row: row.update(schema="other"), "is not a voiceprint of format"),
        (lambda row: row.update(name="Bo"), "is named after somebody else than 'Bo'"),
        (lambda row: row.update(name="a\nb"), "the name"),
        (lambda row: row.pop("model"), "is a damaged voiceprint .'model' is missing"),
        (lambda row: row.update(recordings=[]), "have no dimensions"),
        (lambda row: row["recordings"][0].update(embedding=[0.0]), "is a damaged voiceprint"),
        (lambda row: row["recordings"][0].update(embedding=["x"]), "is a damaged voiceprint"),
        (lambda row: row["recordings"][0].update(embedding=[1e300] * 6), "is a damaged voiceprint"),
        (lambda row: row["recordings"][0].update(embedding=[1.0]), "its embeddings have"),
        (lambda row: row["recordings"][0].update(speech_s=-1), "is a damaged voiceprint"),
        (lambda row: row["recordings"][0].update(channel="left"), "channel 'left'"),
        (lambda row: row["recordings"][0].update(conditions=None), "is a damaged voiceprint"),
    ],
)
def test_damaged_voiceprints(
    change: Callable[[dict[str, Any]], object], message: str, tmp_path: Path
) -> None:
    folder = PeopleFolder(tmp_path)
    path = folder.write(person("Anna", 1, 2))
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))
    with pytest.raises(InputError, match=message):
        folder.read()

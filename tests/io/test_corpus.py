"""sdpn.io.corpus: folders of audio, and who speaks in them."""

from __future__ import annotations

from pathlib import Path

import pytest

from sdpn.errors import InputError
from sdpn.io.corpus import corpus_names, find_audio, find_speakers


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name in (
        "alpha/train/1447/a.wav",
        "alpha/train/1447/part 2/b.FLAC",
        "alpha/train/anna maria/c.opus",
        "alpha/train/.hidden/d.wav",
        "alpha/train/README.txt",
        "beta/train/1447/e.mp3",
    ):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return tmp_path


def test_speakers_of_several_corpora(root: Path) -> None:
    speakers = find_speakers([root / "alpha" / "train", root / "beta" / "train"])
    assert {name: [str(file.name) for file in files] for name, files in speakers.items()} == {
        "alpha-1447": ["1447/a.wav", "1447/part 2/b.FLAC"],
        "alpha-anna_maria": ["anna maria/c.opus"],
        "beta-1447": ["1447/e.mp3"],
    }
    assert speakers["beta-1447"][0].path == root / "beta" / "train" / "1447" / "e.mp3"


def test_names_of_corpora_are_short_and_unique(tmp_path: Path) -> None:
    assert corpus_names([tmp_path / "vox" / "wav" / "dev"]) == ["vox"]
    assert corpus_names([tmp_path / "a" / "vox", tmp_path / "b" / "vox" / "train"]) == ["a_vox", "b_vox"]
    assert corpus_names([tmp_path / "vox" / "train", tmp_path / "vox" / "dev"]) == ["vox1", "vox2"]


def test_folders_without_speakers(root: Path) -> None:
    (root / "empty").mkdir()
    with pytest.raises(InputError, match=r"empty: contains no file with an audio suffix"):
        find_audio(root / "empty")
    with pytest.raises(InputError, match=r"nowhere: no such folder"):
        find_speakers([root / "nowhere"])
    with pytest.raises(InputError, match=r"a\.wav: is not in a speaker folder"):
        find_speakers([root / "alpha" / "train" / "1447"])
    with pytest.raises(InputError, match="given twice"):
        find_speakers([root / "alpha", root / "beta" / ".." / "alpha"])


def test_links_to_folders_are_followed_but_not_in_circles(tmp_path: Path) -> None:
    (tmp_path / "elsewhere/anna").mkdir(parents=True)
    (tmp_path / "elsewhere/anna/a.wav").touch()
    (tmp_path / "corpus").mkdir()
    (tmp_path / "corpus/anna").symlink_to(tmp_path / "elsewhere/anna")
    (tmp_path / "elsewhere/anna/loop").symlink_to(tmp_path / "elsewhere")
    assert find_audio(tmp_path / "corpus") == [tmp_path / "corpus/anna/a.wav"]

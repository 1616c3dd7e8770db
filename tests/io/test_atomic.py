"""sdpn.io.atomic: whole under the final name, or not there at all."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from sdpn.errors import InputError
from sdpn.io.atomic import atomic_directory, atomic_path, atomic_write_text


class Interrupted(Exception):
    pass


def test_a_file_appears_with_its_whole_content(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "x.txt"
    with atomic_path(path) as temporary:
        assert temporary.suffix == ".txt"
        temporary.write_text("half")
        assert not path.exists()
    assert path.read_text() == "half"
    assert os.listdir(path.parent) == ["x.txt"]


def test_an_interrupted_file_leaves_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "x.txt"
    atomic_write_text(path, "old é")
    with pytest.raises(Interrupted), atomic_path(path) as temporary:
        temporary.write_text("new")
        raise Interrupted
    assert path.read_bytes() == "old é".encode()
    assert os.listdir(tmp_path) == ["x.txt"]


def test_a_block_that_writes_nothing_makes_no_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), atomic_path(tmp_path / "x.txt"):
        pass
    assert os.listdir(tmp_path) == []


def test_a_directory_appears_as_a_whole_and_replaces(tmp_path: Path) -> None:
    path = tmp_path / "model"
    for content in ("one", "two"):
        with atomic_directory(path) as temporary:
            (temporary / "sub").mkdir()
            (temporary / "sub" / content).write_text(content)
        assert os.listdir(path / "sub") == [content]
    assert os.listdir(tmp_path) == ["model"]
    mask = os.umask(0)
    os.umask(mask)
    assert stat.S_IMODE(path.stat().st_mode) == 0o777 & ~mask


def test_an_interrupted_directory_leaves_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "model"
    with atomic_directory(path) as temporary:
        (temporary / "old").touch()
    with pytest.raises(Interrupted), atomic_directory(path) as temporary:
        (temporary / "new").touch()
        raise Interrupted
    assert os.listdir(path) == ["old"]
    assert os.listdir(tmp_path) == ["model"]


def test_a_failed_exchange_brings_the_old_directory_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "model"
    path.mkdir()
    (path / "old").touch()
    replace = os.replace

    def refuse_the_new(source: Path, target: Path) -> None:
        if str(source).endswith(".tmp"):
            raise OSError("no")
        replace(source, target)

    monkeypatch.setattr(os, "replace", refuse_the_new)
    with pytest.raises(OSError, match="no"), atomic_directory(path) as temporary:
        (temporary / "new").touch()
    assert os.listdir(path) == ["old"]
    assert os.listdir(tmp_path) == ["model"]


def test_places_that_cannot_be_written_are_named(tmp_path: Path) -> None:
    file, folder = tmp_path / "file", tmp_path / "folder"
    file.write_text("kept")
    folder.mkdir()
    with pytest.raises(InputError, match=r"cannot be written \(Is a directory") as caught:
        atomic_write_text(folder, "text")
    assert caught.value.path == str(folder)
    with pytest.raises(InputError, match="cannot be written"):
        atomic_write_text(file / "below", "text")
    with pytest.raises(InputError, match=r"cannot be written \(Not a directory"), atomic_directory(file):
        pass
    with pytest.raises(InputError, match=r"cannot be written \(File name too long"):
        atomic_write_text(tmp_path / ("x" * 300), "text")
    assert file.read_text() == "kept"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_folder_is_named(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(InputError, match=r"cannot be written \(Permission denied"):
            atomic_write_text(tmp_path / "x", "text")
    finally:
        tmp_path.chmod(0o700)

"""Atomic outputs: complete under their final name, or absent.

Any reason why they cannot be written (a full disk, a quota, a read-only folder, an invalid name) is an
`InputError` that names the output and what to do. `check_writable` detects most of these before the work.
"""

from __future__ import annotations

import errno
import os
import shutil
import stat
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from sdpn.errors import InputError

#: Kind of an output: a file, a folder for files, a folder that is replaced as a whole, or a path that must
#: not exist yet.
OutputKind = Literal["file", "folder", "whole folder", "new"]

#: System error -> hint.
_HINTS = {
    errno.ENOSPC: "free some space there, or choose a path on another disk",
    errno.EDQUOT: "your quota is used up: free some space, or choose another path",
    errno.EFBIG: "the file size limit is reached: see 'ulimit -f', or choose a path on another disk",
    errno.EROFS: "the file system is read-only: choose another path",
    errno.EACCES: "you have no write permission there: choose another path, or change the permissions",
    errno.EPERM: "you have no write permission there: choose another path, or change the permissions",
    errno.ENAMETOOLONG: "choose a shorter name",
    errno.ENOTDIR: "a file is in the place of a folder: choose another path",
    errno.EISDIR: "it is a folder: choose a file name",
    errno.ENOENT: "nothing can be created there: choose another path",
    errno.EBUSY: "it is in use as working directory or mount point: choose a folder inside it",
}

#: System errors that concern a disk as a whole.
_OF_A_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO)

#: Number of bytes written to test whether a disk has space: more than any file system keeps in a started
#: page.
_QUESTION = b"\0" * (1 << 20)

#: Files there are handles to other files, and must not be replaced.
_DOORS = tuple(map(Path, ("/dev", "/dev/fd", "/proc/self/fd")))


def unwritable(path: str | os.PathLike[str], refusal: OSError) -> InputError:
    """The `InputError` for an output that cannot be written."""
    why = refusal.strerror or str(refusal)
    return InputError(
        f"cannot be written ({why})", path=path, hint=_HINTS.get(refusal.errno or 0, "choose another path")
    )


def check_writable(path: str | os.PathLike[str], kind: OutputKind = "file") -> None:
    """Check before any work whether an output can be written; nothing is left behind.

    Missing parent folders are allowed, since the writers create them.

    Args:
        path: the output.
        kind: kind of the output.

    Raises:
        InputError: it cannot be written: the disk is full, the folder is read-only, a file is in the way, or
            the name is too long.
    """
    path = Path(path)
    with explained(path):
        if kind == "new" and _exists(path):
            raise InputError("already exists", path=path, hint="choose a new path, or move it away")
        if kind == "file":
            _refuse_folder(path)
        else:
            _refuse_file(path)
        if is_stream(path):
            return
        place = Path(os.path.abspath(path))
        missing = [] if kind == "folder" else [place.name]
        place = place if kind == "folder" else place.parent
        while not _exists(place):
            missing.append(place.name)
            place = place.parent
        if any(len(os.fsencode(name)) > _longest_name(place) for name in missing):
            raise _refusal(errno.ENAMETOOLONG)
        with tempfile.TemporaryFile(dir=place, prefix=".sdpn.", suffix=".tmp") as stream:
            stream.write(_QUESTION[:4096])
            stream.flush()
            os.fsync(stream.fileno())


def is_stream(path: Path) -> bool:
    """Whether a path is a device, a pipe or an open file, which takes bytes but must not be replaced."""
    if path.parent in _DOORS:
        return path.exists()
    try:
        mode = path.stat().st_mode
    except OSError:
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


@contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; rename it into place when the block succeeds.

    The temporary name keeps the suffix, since some writers choose a format by it. A device or pipe such as
    ``/dev/stdout`` gets the bytes instead of being replaced.

    Raises:
        InputError: the file cannot be written, or not completely.
    """
    path = Path(path)
    if is_stream(path):
        with _stream_path(path) as temporary:
            yield temporary
        return
    temporary = path.with_name(f".{path.stem[:150]}.{os.getpid()}.tmp{path.suffix}")
    with explained(path):
        _refuse_folder(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.touch()  # an unwritable folder fails before the work,
        temporary.unlink()  # and a block that writes nothing leaves nothing
    try:
        with explained(path, temporary):
            yield temporary
            with open(temporary, "r+b") as stream:  # Windows flushes no file that is only read
                os.fsync(stream.fileno())
            os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def atomic_write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write ``text`` as UTF-8 so that ``path`` never holds only part of it.

    Raises:
        InputError: the file cannot be written, or not completely.
    """
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


@contextmanager
def atomic_directory(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary directory beside ``path``; rename it into place when the block succeeds.

    An existing ``path`` is moved aside first and removed only after the new one is in place.

    Raises:
        InputError: the folder cannot be written, or not completely.
    """
    path = Path(path)
    with explained(path):
        _refuse_file(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{path.name[:150]}.", suffix=".tmp", dir=path.parent))
    try:
        with explained(path, temporary):
            yield temporary
            mask = _umask()
            temporary.chmod(0o777 & ~mask)  # mkdtemp gives 0700, safetensors 0600; a model folder is shared
            for file in temporary.rglob("*"):
                if file.is_file() and not file.is_symlink():  # what a link leads to is another's
                    with open(file, "r+b") as stream:
                        os.fsync(stream.fileno())
                    file.chmod(0o666 & ~mask)
            _move(temporary, path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _move(temporary: Path, path: Path) -> None:
    """Move a folder to ``path``; an existing one is removed afterwards."""
    if not path.exists():
        os.replace(temporary, path)
        return
    old = Path(tempfile.mkdtemp(prefix=f".{path.name[:150]}.", suffix=".old", dir=path.parent))
    try:
        os.replace(path, old / path.name)
        try:
            os.replace(temporary, path)
        except OSError:
            os.replace(old / path.name, path)
            raise
    finally:
        shutil.rmtree(old)


@contextmanager
def _stream_path(path: Path) -> Iterator[Path]:
    """Yield a temporary path whose bytes go to a device or pipe when the block succeeds."""
    with explained(path), tempfile.TemporaryDirectory() as folder:
        temporary = Path(folder, path.name)
        with explained(Path(folder), temporary):
            yield temporary
        sys.stdout.flush()  # earlier output first
        with open(temporary, "rb") as source, open(path, "ab") as stream:
            shutil.copyfileobj(source, stream)


@contextmanager
def explained(path: Path, temporary: Path | None = None) -> Iterator[None]:
    """Turn a system error on writing ``path`` into an `InputError`.

    For files that grow in place and so cannot be written under a temporary name first.

    Args:
        path: the output.
        temporary: where the caller's block writes it; errors unrelated to it are passed on.

    Raises:
        InputError: the system reports an error.
    """
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        if temporary is None:
            refusal = error if isinstance(error, OSError) else None
        else:
            refusal = _refusal_behind(error, temporary)
        if refusal is None:
            raise
        raise unwritable(path, refusal) from error


def _refusal_behind(error: Exception, temporary: Path) -> OSError | None:
    """The system error that made writing ``temporary`` fail, or None for any other error."""
    if isinstance(error, OSError) and error.errno is not None:
        names = [name for name in (error.filename, error.filename2) if isinstance(name, (str, os.PathLike))]
        ours = any(Path(name) == temporary or temporary in Path(name).parents for name in names)
        refused = error.errno in _OF_A_DISK or (ours and not isinstance(error, FileNotFoundError))
        return error if refused else None
    # torch, safetensors, NumPy and libsndfile have their own errors for a full disk: check the disk itself
    files = [file for file in temporary.rglob("*") if file.is_file()] if temporary.is_dir() else [temporary]
    try:
        for file in files:
            with open(file, "ab") as stream:
                stream.write(_QUESTION)
                stream.flush()
                os.fsync(stream.fileno())
    except OSError as refusal:
        return refusal
    return None


def _longest_name(folder: Path) -> int:
    """The most bytes of a file name in a folder."""
    return os.pathconf(folder, "PC_NAME_MAX") if hasattr(os, "pathconf") else 255  # Windows cannot be asked


def _exists(path: Path) -> bool:
    """Whether a path exists; unlike `Path.exists`, it raises where the system cannot tell."""
    try:
        os.stat(path)
    except FileNotFoundError:
        return False
    return True


def _refuse_folder(path: Path) -> None:
    if path.is_dir():
        raise _refusal(errno.EISDIR)


def _refuse_file(path: Path) -> None:
    if _exists(path) and not path.is_dir():
        raise _refusal(errno.ENOTDIR)


def _refusal(number: int) -> OSError:
    return OSError(number, os.strerror(number))


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask

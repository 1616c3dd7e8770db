#!/usr/bin/env python3
"""Download archives, check them against their MD5 sums, and unpack them.

    OUT/archives/      the files as they came; those that are there already are checked and not fetched again
    OUT/<FOLDER>/      what was in them
    OUT/unpacked/      a mark for each archive that is unpacked

The list of files (local/files.txt) has lines FOLDER ARCHIVE MD5 FILE. A FILE without a host is asked for at
--url, a pattern with {file}: VoxCeleb gives addresses to those who register
(https://www.robots.ox.ac.uk/~vgg/data/voxceleb/). Files that were fetched in another way can be put into
OUT/archives. A download that was interrupted is continued where it ended.
"""

from __future__ import annotations

import argparse
import bisect
import hashlib
import io
import shutil
import sys
import tarfile
import urllib.error
import urllib.request
import zipfile
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path
from typing import NamedTuple

from sdpn.cli.script import script
from sdpn.errors import InputError
from sdpn.io.atomic import atomic_write_text, explained
from sdpn.io.text import numbered_lines

_BLOCK = 1 << 20
_TIMEOUT_S = 60


class Item(NamedTuple):
    """A file of the list."""

    folder: str
    archive: str
    md5: str
    file: str

    @property
    def name(self) -> str:
        """Its name in OUT/archives."""
        return self.file.rpartition("/")[2]


def read_list(path: Path) -> list[Item]:
    """Read the list of files.

    Raises:
        InputError: a line has not four fields, or an MD5 is none.
    """
    items = []
    for number, line in numbered_lines(path):
        if line.startswith("#"):
            continue
        fields = line.split()
        if len(fields) != 4 or len(fields[2]) != 32 or not set(fields[2]) <= set("0123456789abcdef"):
            raise InputError(f"expected 'FOLDER ARCHIVE MD5 FILE', found {line!r}", path=path, line=number)
        items.append(Item(*fields))
    return items


def fetch(item: Item, folder: Path, url: str | None) -> Path:
    """The file of an item in a folder, checked; fetched if it is not there.

    Raises:
        InputError: it cannot be fetched, is truncated, or has another MD5.
    """
    path = folder / item.name
    if not path.is_file():
        part = path.with_name(f"{path.name}.part")
        _download(_address(item, url), part)
        try:
            _check(
                part, item.md5, "is removed: run this again, and if the sum differs again, ask its publisher"
            )
        except InputError:
            part.unlink()
            raise
        part.replace(path)
    else:
        _check(path, item.md5, "remove it, and run this again")
    return path


def unpack(parts: Sequence[Path], name: str, folder: Path) -> None:
    """Unpack an archive that is in parts.

    Raises:
        InputError: it is damaged, or its contents cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with explained(folder), _Joined(parts) as stream:
            if name.endswith(".zip"):
                with zipfile.ZipFile(stream) as archive:
                    archive.extractall(folder)
            else:
                with tarfile.open(fileobj=stream) as tar:
                    tar.extractall(folder, filter="data")
    except (zipfile.BadZipFile, tarfile.TarError, EOFError) as error:
        raise InputError(f"cannot be unpacked ({error})", path=parts[0]) from error


class _Joined(io.RawIOBase):
    """Files read as one, without a copy of 70 GB."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self._streams = [open(path, "rb") for path in paths]  # noqa: SIM115 - closed by close
        self._starts = [0, *accumulate(path.stat().st_size for path in paths)]
        self._at = 0

    def seekable(self) -> bool:
        return True

    def readable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = offset + (0, self._at, self._starts[-1])[whence]
        return self._at

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        if self._at >= self._starts[-1]:
            return 0
        index = bisect.bisect_right(self._starts, self._at) - 1
        stream = self._streams[index]
        stream.seek(self._at - self._starts[index])
        count = stream.readinto(buffer)
        self._at += count
        return count

    def close(self) -> None:
        for stream in self._streams:
            stream.close()
        super().close()


@script
def main(argv: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--out", type=Path, required=True, metavar="OUT")
    parser.add_argument("--list", type=Path, default=Path(__file__).with_name("files.txt"), metavar="FILE")
    parser.add_argument(
        "--url", metavar="PATTERN", help="such as 'https://host/voxceleb?key=KEY&file={file}'"
    )
    args = parser.parse_args(argv)
    items = read_list(args.list)
    archives: dict[tuple[str, str], list[Item]] = {}
    for item in items:
        archives.setdefault((item.folder, item.name if item.archive == "-" else item.archive), []).append(
            item
        )
    (args.out / "archives").mkdir(parents=True, exist_ok=True)
    for (folder, name), of_archive in archives.items():
        mark = args.out / "unpacked" / name
        sums = "".join(f"{item.md5} {item.name}\n" for item in of_archive)
        if mark.is_file() and mark.read_text() == sums:
            print(f"{name}: unpacked already")
            continue
        parts = [fetch(item, args.out / "archives", args.url) for item in of_archive]
        if of_archive[0].archive == "-":
            (args.out / folder).mkdir(parents=True, exist_ok=True)
            shutil.copyfile(parts[0], args.out / folder / name)
        else:
            unpack(parts, name, args.out / folder)
        atomic_write_text(mark, sums)
        print(f"{name}: checked and unpacked", flush=True)


def _address(item: Item, url: str | None) -> str:
    if "://" in item.file:
        return item.file
    if url is None or "{file}" not in url:
        raise InputError(
            f"{item.file} is not in OUT/archives, and there is no --url with {{file}} to fetch it from",
            hint="register at https://www.robots.ox.ac.uk/~vgg/data/voxceleb/ for an address",
        )
    return url.replace("{file}", item.file)


def _download(address: str, part: Path) -> None:
    """Fetch ``address``, behind what of it is there.

    Raises:
        InputError: the host refuses, or closes the connection before the end.
    """
    have = part.stat().st_size if part.is_file() else 0
    request = urllib.request.Request(address, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as answer:
            continued = have and getattr(answer, "status", None) == 206
            length = answer.headers.get("Content-Length")
            with explained(part), open(part, "ab" if continued else "wb") as stream:
                shutil.copyfileobj(answer, stream, _BLOCK)
    except urllib.error.HTTPError as error:
        if error.code == 416:  # nothing is behind what is there: it is whole, or wrong, which its sum tells
            return
        raise InputError(
            f"{address}: {error}", hint="is the address right, and your key still valid?"
        ) from error
    except (OSError, ValueError) as error:
        raise InputError(f"{address}: {error}", hint="run this again: it continues where it ended") from error
    expected = None if length is None else int(length) + (have if continued else 0)
    if expected is not None and part.stat().st_size < expected:
        raise InputError(
            f"ends after {part.stat().st_size:,} of {expected:,} bytes",
            path=part,
            hint="run this again: it continues where it ended",
        )


def _check(path: Path, md5: str, hint: str) -> None:
    digest = hashlib.md5(usedforsecurity=False)
    with open(path, "rb") as stream:
        while block := stream.read(_BLOCK):
            digest.update(block)
    if digest.hexdigest() != md5:
        raise InputError(f"has the MD5 {digest.hexdigest()}, expected {md5}", path=path, hint=hint)


if __name__ == "__main__":
    sys.exit(main())

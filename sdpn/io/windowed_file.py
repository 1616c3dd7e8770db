"""A byte range of a file as a file of its own."""

from __future__ import annotations

import io
import os


class WindowedFile(io.RawIOBase):
    """Bytes ``begin`` … ``begin + size - 1`` of a file, optionally with a replaced header.

    Args:
        path: the file.
        begin: where it begins.
        size: how many bytes; no more than there are.
        head: replacement of its first bytes.
        name: of it as a file; by default that of ``path``.
    """

    def __init__(
        self, path: str | os.PathLike[str], begin: int, size: int, head: bytes = b"", name: str | None = None
    ) -> None:
        self.name = os.fspath(path) if name is None else name
        self._stream = open(path, "rb", buffering=0)  # noqa: SIM115
        self._begin, self._size, self._head = begin, size, head
        self._at = 0

    def readable(self) -> bool:
        """True."""
        return True

    def seekable(self) -> bool:
        """True."""
        return True

    def tell(self) -> int:
        """Where the next byte is read."""
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """As of any file."""
        origin = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        self._at = max(0, origin + offset)
        return self._at

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        """Fill ``buffer``, and return how many bytes that took."""
        wanted = max(0, min(len(buffer), self._size - self._at))
        part = self._head[self._at : self._at + wanted]
        if not part:
            self._stream.seek(self._begin + self._at)
            part = self._stream.read(wanted) or b""
        buffer[: len(part)] = part
        self._at += len(part)
        return len(part)

    def close(self) -> None:
        """Close the file."""
        self._stream.close()
        super().close()

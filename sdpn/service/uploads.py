"""Bodies of requests to files, counted while they are read; nothing is kept of one that is refused."""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from fastapi import HTTPException, Request
from python_multipart.exceptions import ParseError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import ClientDisconnect

from sdpn.io.archives import archive_kind
from sdpn.service.limits import Limits

#: Bytes that are written at once, off the thread that answers.
_BLOCK = 1 << 20

#: What may come in a form besides the recording.
_FORM_OVERHEAD, _MOST_FIELDS, _LONGEST_FIELD = 1 << 16, 20, 1000

#: Bytes by which an archive is recognised.
_HEAD = 512


class _File:
    """A file that grows up to a limit."""

    def __init__(self, stream: BinaryIO, most: int) -> None:
        self._stream, self._most = stream, most
        self._pending = bytearray()
        self._head = b""
        self.size = 0

    async def write(self, data: bytes) -> None:
        """Append bytes.

        Raises:
            HTTPException: they are too many, or those of an archive.
        """
        self.size += len(data)
        if self.size > self._most:
            raise too_large(self._most)
        self._pending += data
        if len(self._head) < _HEAD:
            self._head = (self._head + data)[:_HEAD]
            self._check()
        if len(self._pending) >= _BLOCK:
            await self._flush()

    async def finish(self) -> None:
        """Write what is left, to the disk itself.

        Raises:
            HTTPException: there was nothing.
        """
        if not self.size:
            raise HTTPException(422, "the upload is empty")
        await self._flush()
        with _disk():
            await asyncio.to_thread(self._to_disk)

    def _to_disk(self) -> None:
        self._stream.flush()
        os.fsync(self._stream.fileno())

    async def _flush(self) -> None:
        block, self._pending = self._pending, bytearray()
        with _disk():
            await asyncio.to_thread(self._stream.write, block)

    def _check(self) -> None:
        kind = archive_kind(self._head)
        if kind is not None:
            raise HTTPException(
                415, f"the upload is {kind}, and archives are not unpacked; send each recording by itself"
            )


async def receive_upload(
    request: Request, path: Path, limits: Limits
) -> tuple[int, str | None, dict[str, str]]:
    """Write the recording in a request to a file: its whole body, or the file of a form.

    Args:
        request: its body has not been read.
        path: a new file; it is removed if anything fails.
        limits: the limits.

    Returns:
        size in bytes, name of the file in the form or None, and the other fields of the form.

    Raises:
        HTTPException: 413, too large, declared or not; 408, it stopped half-way; 415, an archive or
            compressed; 422, empty or a damaged form; 507, the disk is full.
    """
    if request.headers.get("content-encoding", "identity") != "identity":
        raise HTTPException(415, "the body is compressed (Content-Encoding); send the recording as it is")
    kind, parameters = parse_options_header(request.headers.get("content-type", ""))
    is_form = kind == b"multipart/form-data"
    most = limits.upload_bytes + (_FORM_OVERHEAD if is_form else 0)
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > most:
        raise too_large(limits.upload_bytes)
    chunks = _chunks(request, limits.idle_s)
    try:
        with _disk(), open(path, "xb") as stream:
            file = _File(stream, limits.upload_bytes)
            if is_form:
                name, fields = await _read_form(chunks, parameters.get(b"boundary", b""), file)
            else:
                name, fields = None, {}
                async for chunk in chunks:
                    await file.write(chunk)
            await file.finish()
    except BaseException:
        await asyncio.to_thread(path.unlink, missing_ok=True)  # of a gigabyte, it takes a while
        raise
    return file.size, name, fields


def too_large(most: int) -> HTTPException:
    """The answer to an upload that is too large."""
    return HTTPException(413, f"the upload is larger than {most / 1e6:g} MB, the most that is accepted")


async def _chunks(request: Request, idle_s: float) -> AsyncIterator[bytes]:
    stream = request.stream()
    while True:
        try:
            chunk = await asyncio.wait_for(anext(stream), idle_s)
        except StopAsyncIteration:
            return
        except asyncio.TimeoutError:
            raise HTTPException(
                408, f"nothing has arrived for {idle_s:g} s; the upload is given up"
            ) from None
        except ClientDisconnect:
            raise HTTPException(400, "the upload stopped half-way") from None
        yield chunk


async def _read_form(
    chunks: AsyncIterator[bytes], boundary: bytes, file: _File
) -> tuple[str | None, dict[str, str]]:
    """A form with one file, as it arrives; the parser cuts it, and this keeps the order."""
    form, received = _Form(), 0
    try:
        parser = MultipartParser(boundary, form.callbacks())  # type: ignore[arg-type]
        async for chunk in chunks:
            parser.write(chunk)
            received += len(chunk)
            for data in form.taken():
                await file.write(data)
            if received - file.size > _FORM_OVERHEAD:  # what is no file is kept in memory
                raise HTTPException(413, f"the form has more than {_FORM_OVERHEAD} bytes besides the file")
        parser.finalize()
    except ParseError as error:
        raise HTTPException(422, f"the form is damaged ({error})") from None
    if not form.is_whole:
        raise HTTPException(422, "the form breaks off before its end")
    if form.num_files != 1:
        raise HTTPException(422, f"the form has {form.num_files} files; expected one, named file")
    return form.file_name, form.fields


class _Form:
    """What the parser of a form calls."""

    def __init__(self) -> None:
        self.fields: dict[str, str] = {}
        self.file_name: str | None = None
        self.num_files = 0
        self.is_whole = False
        self._header = self._value = b""
        self._disposition = b""
        self._field: str | None = None
        self._text = b""
        self._file: list[bytes] = []

    def callbacks(self) -> dict[str, object]:
        """The functions by the parser's names."""
        names = (
            "part_begin", "part_data", "part_end", "header_field", "header_value", "header_end",
            "headers_finished", "end",
        )  # fmt: skip
        return {f"on_{name}": getattr(self, f"_on_{name}") for name in names}

    def taken(self) -> Iterator[bytes]:
        """The bytes of the file since the last call."""
        data, self._file = self._file, []
        yield from data

    def _on_part_begin(self) -> None:
        self._header = self._value = self._disposition = self._text = b""
        self._field = None

    def _on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def _on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _on_header_end(self) -> None:
        if self._header.lower() == b"content-disposition":
            self._disposition = self._value
        self._header = self._value = b""

    def _on_headers_finished(self) -> None:
        _, parameters = parse_options_header(self._disposition)
        if b"filename" in parameters or b"filename*" in parameters:
            self.num_files += 1
            if self.num_files > 1:
                raise HTTPException(422, "the form has several files; send each recording by itself")
            self.file_name = parameters.get(b"filename", b"").decode("utf-8", "replace")
        elif len(self.fields) >= _MOST_FIELDS:
            raise HTTPException(422, f"the form has more than {_MOST_FIELDS} fields")
        else:
            self._field = parameters.get(b"name", b"").decode("utf-8", "replace")

    def _on_part_data(self, data: bytes, start: int, end: int) -> None:
        if self._field is None:
            self._file.append(data[start:end])
            return
        self._text += data[start:end]
        if len(self._text) > _LONGEST_FIELD:
            raise HTTPException(422, f"a field of the form is longer than {_LONGEST_FIELD} bytes")

    def _on_part_end(self) -> None:
        if self._field is not None:
            self.fields[self._field] = self._text.decode("utf-8", "replace")

    def _on_end(self) -> None:
        self.is_whole = True


@contextmanager
def _disk() -> Iterator[None]:
    """A full disk is the server's trouble, and said so."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise HTTPException(507, "there is no space left for the upload") from error
        raise

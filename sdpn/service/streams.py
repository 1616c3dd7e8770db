"""Live streams over a websocket: raw samples in, events of `sdpn.streaming.events` out, as they happen.

The client's first message is JSON, ``{"type": "start", "rate_hz": 16000}`` with further fields of
`sdpn.service.stream_process.StreamOptions`, and ``token`` where it cannot send a header. Then come samples,
as binary messages of any length; ``{"type": "gap", "seconds": 2.5}`` where some were lost; and
``{"type": "end"}``, after which the last events are sent and the connection is closed. A fault of the client
is one message ``{"event": "error", "message": ...}``, and the connection is closed.
"""

from __future__ import annotations

import asyncio
import itertools
import json
from typing import Any

from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from sdpn.config import from_dict
from sdpn.errors import InputError
from sdpn.io.json_text import parse_json
from sdpn.service.access import ServiceToken, bearer
from sdpn.service.limits import Limits
from sdpn.service.stream_process import StreamFault, StreamOptions, StreamProcess
from sdpn.streaming.sources import SAMPLE_FORMATS

#: Codes with which a websocket is closed (RFC 6455, section 7.4.1).
DONE, BAD_MESSAGE, NOT_ALLOWED, TOO_LONG, AT_FAULT, TRY_LATER = 1000, 1007, 1008, 1009, 1011, 1013

#: Messages are no longer than this, in bytes.
LONGEST_MESSAGE = 1 << 20


class _Closed(Exception):
    """The connection is to be closed, with this code and message."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code, self.message = code, message


class Streams:
    """The streams of a service.

    Args:
        process: diarizes them.
        limits: the limits.
        token: who may come in.
    """

    def __init__(self, process: StreamProcess, limits: Limits, token: ServiceToken) -> None:
        self._process, self._limits, self._token = process, limits, token
        self._numbers = itertools.count()
        self._open = 0

    async def serve(self, websocket: WebSocket) -> None:
        """Serve a connection until it is closed."""
        header = bearer(websocket.headers.get("authorization"))
        if header is not None and not self._token.admits(header):
            await websocket.close(NOT_ALLOWED)  # before it is accepted: the client gets status 403
            return
        await websocket.accept()
        try:
            options = self._options(await self._message(websocket), is_known=self._token.admits(header))
            if self._open >= self._limits.streams:
                raise _Closed(TRY_LATER, f"{self._open} streams are open, the most that there may be")
            self._open += 1
            try:
                await self._diarize(websocket, next(self._numbers), options)
            finally:
                self._open -= 1
        except WebSocketDisconnect:
            return
        except _Closed as closed:
            await _close(websocket, closed.code, {"event": "error", "message": closed.message})

    async def _diarize(self, websocket: WebSocket, number: int, options: StreamOptions) -> None:
        try:
            await self._ask("open", number, options)
            await self._listen(websocket, number, options)
        finally:
            await self._ask("close", number)
        await _close(websocket, DONE, None)

    async def _listen(self, websocket: WebSocket, number: int, options: StreamOptions) -> None:
        bytes_per_s = options.rate_hz * options.num_channels * _width(options.sample_format)
        heard_s = 0.0
        is_open = True
        while is_open:
            message = await self._message(websocket)
            if isinstance(message, bytes):
                heard_s = self._within_limit(heard_s + len(message) / bytes_per_s)
                events = await self._ask("push", number, message)
            elif message.get("type") == "gap":
                seconds = _seconds(message)
                heard_s = self._within_limit(heard_s + max(0.0, seconds))
                events = await self._ask("gap", number, seconds)
            elif message == {"type": "end"}:
                is_open = False
                events = await self._ask("finish", number)
            else:
                raise _Closed(BAD_MESSAGE, f"a message of type {message.get('type')!r}; expected gap or end")
            for event in events:
                await websocket.send_text(json.dumps(event))

    def _within_limit(self, heard_s: float) -> float:
        most_s = self._limits.recording_s
        if heard_s > most_s:
            raise _Closed(
                TOO_LONG, f"the stream is longer than {most_s / 60:g} min, the most that is accepted"
            )
        return heard_s

    async def _message(self, websocket: WebSocket) -> bytes | dict[str, Any]:
        try:
            message = await asyncio.wait_for(websocket.receive(), self._limits.idle_s)
        except asyncio.TimeoutError:
            idle_s = self._limits.idle_s
            raise _Closed(
                NOT_ALLOWED, f"nothing has arrived for {idle_s:g} s; the stream is given up"
            ) from None
        if message["type"] == "websocket.disconnect":
            raise WebSocketDisconnect(message["code"])
        if (samples := message.get("bytes")) is not None:
            return bytes(samples)
        try:
            return parse_json(message["text"], "JSON object", path=None)
        except InputError as error:
            raise _Closed(BAD_MESSAGE, f"a message {error.message}") from None

    def _options(self, message: bytes | dict[str, Any], *, is_known: bool) -> StreamOptions:
        if isinstance(message, bytes) or message.pop("type", None) != "start":
            raise _Closed(BAD_MESSAGE, 'the first message is {"type": "start", "rate_hz": ...}')
        given = message.pop("token", None)
        if not is_known and not (isinstance(given, str) and self._token.admits(given)):
            raise _Closed(NOT_ALLOWED, "the token is missing or wrong")
        try:
            options = from_dict(StreamOptions, message)
        except InputError as error:
            raise _Closed(BAD_MESSAGE, str(error)) from None
        if options.sample_format not in SAMPLE_FORMATS:
            raise _Closed(
                BAD_MESSAGE,
                f"unknown sample format {options.sample_format!r}; one of {', '.join(SAMPLE_FORMATS)}",
            )
        return options

    async def _ask(self, kind: str, number: int, *arguments: Any) -> Any:
        try:
            return await self._process.ask(kind, number, *arguments)
        except StreamFault as error:
            raise _Closed(AT_FAULT, str(error)) from None
        except InputError as error:
            raise _Closed(BAD_MESSAGE, str(error)) from None


def _seconds(message: dict[str, Any]) -> float:
    seconds = message.get("seconds", 0.0)
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)):
        raise _Closed(BAD_MESSAGE, f"a gap of {seconds!r} seconds; expected a number")
    return float(seconds)


def _width(sample_format: str) -> int:
    """Bytes of a sample."""
    import numpy as np

    return np.dtype(SAMPLE_FORMATS[sample_format]).itemsize


async def _close(websocket: WebSocket, code: int, last: dict[str, Any] | None) -> None:
    if websocket.client_state is WebSocketState.CONNECTED:
        if last is not None:
            await websocket.send_text(json.dumps(last))
        await websocket.close(code)

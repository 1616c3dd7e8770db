"""Requests that are answered before their bodies are read: the connection is closed after the answer."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

#: Bodies up to this size, in bytes, are read to their end, so that the connection can be used again.
_SMALL = 1 << 16

#: After the answer, a connection stays open for this time in seconds, or this many bytes.
_LINGER_S, _LINGER_BYTES = 1.0, 1 << 24


class ClosesOnUnreadBodies:
    """Keeps a client that was refused from sending its gigabytes, which the server would read and throw away.

    Args:
        app: the application.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        if scope["type"] != "http" or _is_small(scope):
            await self._app(scope, receive, send)
            return
        is_read = is_closing = False

        async def watched_receive() -> Message:
            nonlocal is_read
            message = await receive()
            is_read = is_read or not message.get("more_body", False)
            return message

        async def closing_send(message: Message) -> None:
            nonlocal is_closing
            if message["type"] == "http.response.start" and not is_read:
                is_closing = True
                headers: list[Any] = [*message.get("headers", ()), (b"connection", b"close")]
                message = {**message, "headers": headers}
            if is_closing and message["type"] == "http.response.body" and not message.get("more_body", False):
                await send({**message, "more_body": True})
                await _linger(receive)
                message = {"type": "http.response.body", "body": b""}
            await send(message)

        await self._app(scope, watched_receive, closing_send)


async def _linger(receive: Receive) -> None:
    """Throw away what comes for a while: an answer is lost if the connection is closed on arriving data."""
    until = time.monotonic() + _LINGER_S
    received = 0
    while received < _LINGER_BYTES and (left_s := until - time.monotonic()) > 0:
        try:
            message = await asyncio.wait_for(receive(), left_s)
        except asyncio.TimeoutError:
            return
        if not message.get("more_body", False):
            return
        received += len(message.get("body", b""))


def _is_small(scope: Scope) -> bool:
    headers = dict(scope["headers"])
    if b"transfer-encoding" in headers:
        return False
    length = headers.get(b"content-length", b"0")
    return bool(length.isdigit()) and int(length) <= _SMALL

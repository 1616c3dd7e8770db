"""Who may use a service: the token, the address it listens on, and pages of other sites in a browser."""

from __future__ import annotations

import hmac
import ipaddress
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from sdpn.errors import InputError
from sdpn.io.text import read_text

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

#: The token, where there is no file with one.
TOKEN_VARIABLE = "SDPN_TOKEN"

#: Shorter tokens can be guessed.
_SHORTEST = 16

_HINT = "for example: python -c 'import secrets; print(secrets.token_urlsafe(32))' > token"


def read_token(path: Path | None, environment: Mapping[str, str]) -> str | None:
    """The token of a service: what a file holds, or else ``$SDPN_TOKEN``; None without either.

    Raises:
        InputError: the file cannot be read, or it is no token: too short, or with white space inside.
    """
    if path is None and TOKEN_VARIABLE not in environment:
        return None
    token = (environment[TOKEN_VARIABLE] if path is None else read_text(path)).strip()
    where = f"${TOKEN_VARIABLE}" if path is None else path
    if len(token) < _SHORTEST:
        raise InputError(
            f"has a token of {len(token)} characters; expected at least {_SHORTEST}", hint=_HINT, path=where
        )
    if not token.isascii() or not token.isprintable() or " " in token:
        raise InputError("has a token with other characters than visible ASCII", hint=_HINT, path=where)
    return token


class ServiceToken:
    """Compares tokens in a time that does not tell how much of one is right.

    Args:
        token: the right one; None lets everybody in.
    """

    def __init__(self, token: str | None) -> None:
        self._token = None if token is None else token.encode()

    @property
    def is_needed(self) -> bool:
        """Whether there is one."""
        return self._token is not None

    def admits(self, given: str | None) -> bool:
        """Whether a client that gives this token may come in."""
        if self._token is None:
            return True
        return given is not None and hmac.compare_digest(given.encode("utf-8", "replace"), self._token)


def bearer(authorization: str | None) -> str | None:
    """The token in an ``Authorization`` header; None if there is none."""
    scheme, _, given = (authorization or "").partition(" ")
    return given.strip() if scheme.lower() == "bearer" else None


def listening_socket(host: str, port: int, *, has_token: bool) -> socket.socket:
    """Listen on an address, before anything else is done.

    Args:
        host: name or number; only loopback addresses are allowed without a token.
        port: 0 chooses a free one.
        has_token: whether there is a token.

    Raises:
        InputError: there is no such address, it is taken, or it is open to others without a token.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as error:
        raise InputError(f"there is no address {host!r} ({error})", hint="give --host 127.0.0.1") from None
    if not has_token and not all(ipaddress.ip_address(at[4][0]).is_loopback for at in found):
        raise InputError(
            f"--host {host} lets other machines in, and there is no token",
            hint=f"give --token-file FILE or ${TOKEN_VARIABLE}, or --host 127.0.0.1",
        )
    family, _, _, _, address = min(found, key=lambda at: at[0] != socket.AF_INET)
    try:
        return socket.create_server((str(address[0]), port), family=family, backlog=2048)
    except OSError as error:
        raise InputError(
            f"cannot listen on {host}, port {port} ({error.strerror})",
            hint="another service may be running there: choose another --port, or 0 for a free one",
        ) from error


def url_of(listening: socket.socket) -> str:
    """The address of a service in a browser."""
    host, port = listening.getsockname()[:2]
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


class NoOtherSites:
    """Keeps pages of other sites, in the browsers of users, from a service that trusts this machine.

    A page from anywhere can send a browser to 127.0.0.1, or let its own name point there. Browsers say from
    which site a request is (``Origin``) and to which name it goes (``Host``).

    Args:
        app: the application.
        hosts: names that requests may go to; None for any, where there is a token.
    """

    def __init__(self, app: ASGIApp, hosts: frozenset[str] | None) -> None:
        self._app, self._hosts = app, hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        if scope["type"] in ("http", "websocket") and (why := self._refused(scope)) is not None:
            from starlette.responses import JSONResponse
            from starlette.websockets import WebSocketClose

            refusal = JSONResponse({"detail": why}, 403) if scope["type"] == "http" else WebSocketClose(1008)
            await refusal(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _refused(self, scope: Scope) -> str | None:
        headers = {name: value.decode("latin-1") for name, value in scope["headers"]}
        host, origin = headers.get(b"host", ""), headers.get(b"origin")
        if self._hosts is not None and _name(host) not in self._hosts:
            return "the service is called by another name; it answers to " + ", ".join(sorted(self._hosts))
        if origin is not None and urlsplit(origin).netloc.lower() != host.lower():
            return "the request is from a page of another site"
        return None


def _name(host: str) -> str:
    """A host without its port."""
    return (host.partition("]")[0].lstrip("[") if host.startswith("[") else host.partition(":")[0]).lower()

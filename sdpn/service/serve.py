"""A service, from its address to its end: what ``sdpn serve`` does."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from sdpn.errors import InputError
from sdpn.service.access import NoOtherSites, ServiceToken, listening_socket, url_of
from sdpn.service.folder import ServiceFolder
from sdpn.service.jobs import JobQueue
from sdpn.service.limits import Limits
from sdpn.service.model import ServiceModel
from sdpn.service.processes import Workers
from sdpn.service.unread import ClosesOnUnreadBodies

if TYPE_CHECKING:
    import socket

    import uvicorn

#: Names of this machine for itself, to which a service without a token answers.
_OWN_NAMES = ("localhost", "127.0.0.1", "::1")

#: At the end, answers in progress have this time in seconds.
_GRACE_S = 3

#: Whether the server has started, or is to stop, is looked at this often, in seconds.
_LOOK_S = 0.05


def serve(
    out: Path,
    model: ServiceModel | None = None,
    limits: Limits | None = None,
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    token: str | None = None,
    jobs: int = 1,
    on_ready: Callable[[str], None] = lambda _url: None,
    stop: threading.Event | None = None,
) -> None:
    """Serve until a signal comes: diarize what is uploaded, and streams (docs/serve.md).

    Args:
        out: folder for the queue, uploads and results; jobs of an earlier service are continued.
        model: what it diarizes with; None is the default.
        limits: what it accepts, and how long it keeps it; None is the default.
        host: address to listen on; without a token only a loopback address.
        port: 0 chooses a free one.
        token: what clients have to know (`sdpn.service.access.read_token`); None lets everybody in.
        jobs: number of processes that diarize.
        on_ready: called with the URL when the service answers, in another thread; an error of it ends the
            service, and is raised.
        stop: ends the service when it is set.

    Raises:
        InputError: the address is taken or not allowed, the folder cannot be used, the model cannot be
            loaded, or FastAPI is not installed.
    """
    try:
        import uvicorn

        from sdpn.service.app import Service, make_app
        from sdpn.service.stream_process import StreamProcess
        from sdpn.service.streams import LONGEST_MESSAGE, Streams
    except ImportError as error:
        raise InputError(f"a service needs FastAPI ({error})", hint="pip install 'sdpn[serve]'") from error
    model, limits = model or ServiceModel(), limits or Limits()
    folder, known = ServiceFolder(out), ServiceToken(token)
    with listening_socket(host, port, has_token=token is not None) as listening, folder.locked():
        queue = JobQueue(folder.queue)
        queue.give_back(attempts=limits.attempts)
        folder.tidy(queue)
        workers = Workers(folder, queue, model, limits, jobs)
        streams = StreamProcess(model)
        workers.start()
        try:
            app = make_app(Service(folder, queue, workers, Streams(streams, limits, known), limits, known))
            hosts = None if known.is_needed else frozenset({*_OWN_NAMES, host.lower()})
            config = uvicorn.Config(
                ClosesOnUnreadBodies(NoOtherSites(app, hosts)),
                http="h11",
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,
                ws_max_size=LONGEST_MESSAGE,
                timeout_graceful_shutdown=_GRACE_S,
                lifespan="off",
            )
            logging.getLogger("uvicorn").setLevel(logging.WARNING)
            _run(uvicorn.Server(config), listening, lambda: on_ready(url_of(listening)), stop)
        finally:
            streams.stop()
            workers.stop()
            queue.close()


def _run(
    server: uvicorn.Server,
    listening: socket.socket,
    on_ready: Callable[[], None],
    stop: threading.Event | None,
) -> None:
    ended = threading.Event()
    failed: list[BaseException] = []

    def watch() -> None:
        while not (server.started or ended.is_set()):
            ended.wait(_LOOK_S)
        try:
            if server.started:
                on_ready()
        except BaseException as error:
            failed.append(error)
            server.should_exit = True
        while stop is not None and not ended.is_set():
            if stop.wait(_LOOK_S):
                server.should_exit = True
                return

    watching = threading.Thread(target=watch, name="watches the server", daemon=True)
    watching.start()
    try:
        server.run(sockets=[listening])
    finally:
        ended.set()
        watching.join()
    if failed:
        raise failed[0]

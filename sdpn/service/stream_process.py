"""The process that diarizes streams: one model for all, and a server that stays free to answer.

The server sends requests ``(number, kind, stream, ...)``, and gets ``(number, result or InputError)`` for
each, in their order.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import TYPE_CHECKING, Any

from sdpn.errors import InputError
from sdpn.service.model import ServiceModel
from sdpn.service.processes import end, start_process
from sdpn.service.worker import ends_with_its_parent, log_as_the_server

if TYPE_CHECKING:
    from sdpn.streaming.diarizer import StreamingDiarizer
    from sdpn.streaming.sources import RawSamples

_log = logging.getLogger(__name__)

#: Name of a stream in its events.
STREAM = "stream"

_DIED = "the process that diarizes streams has died; begin again"


class StreamFault(InputError):
    """A stream that ended by no fault of its client."""

    def __reduce__(self) -> tuple[Any, ...]:
        """Stay of this kind when pickled from another process."""
        return StreamFault, (self.message,)


@dataclass(frozen=True, kw_only=True)
class StreamOptions:
    """How a stream is diarized.

    Attributes:
        rate_hz: sampling rate of the samples in Hz, 1000 to 768000.
        sample_format: one of `sdpn.streaming.sources.SAMPLE_FORMATS`.
        num_channels: channels, interleaved, which are averaged.
        latency_s: what is said has a speaker after this time, 0.5 to 5 s.
        num_speakers: exact number of speakers.
        min_speakers: minimum number of speakers.
        max_speakers: maximum number of speakers.
    """

    rate_hz: int
    sample_format: str = "s16le"
    num_channels: int = 1
    latency_s: float = 2.0
    num_speakers: int | None = None
    min_speakers: int | None = None
    max_speakers: int | None = None


class StreamProcess:
    """The server's side: started with the first stream, and again if it has died.

    Args:
        model: the model.
    """

    def __init__(self, model: ServiceModel) -> None:
        self._model = model
        self._numbers = itertools.count()
        self._process: BaseProcess | None = None
        self._connection: Connection | None = None
        self._waiting: dict[int, asyncio.Future[Any]] = {}
        self._starting = asyncio.Lock()
        self._sending = asyncio.Lock()  # two threads at once would mix their messages

    async def ask(self, kind: str, stream: int, *arguments: Any) -> Any:
        """Send a request; returns its result.

        Raises:
            InputError: the stream is at fault.
            StreamFault: the process has died, or sdpn is at fault.
        """
        async with self._starting:
            if self._process is None:
                if kind == "close":
                    return []
                await self._start()
        connection = self._connection
        assert connection is not None
        number = next(self._numbers)
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._waiting[number] = future
        try:
            async with self._sending:
                await asyncio.to_thread(connection.send, (number, kind, stream, *arguments))
        except OSError:
            self._waiting.pop(number, None)
            self._died(connection)  # the listener may be slower than the next stream
            raise StreamFault(_DIED) from None
        result = await future
        if isinstance(result, InputError):
            raise result
        return result

    def stop(self) -> None:
        """End the process."""
        if self._process is not None:
            end(self._process)

    async def _start(self) -> None:
        loop = asyncio.get_running_loop()
        level = _log.getEffectiveLevel()
        process, connection = await asyncio.to_thread(start_process, run_streams, self._model, level)
        try:
            error = await asyncio.to_thread(connection.recv)
        except EOFError:
            error = StreamFault("the process that diarizes streams has died while it loaded the model")
        if error is not None:
            _log.error("%s", error)
            raise StreamFault("the model cannot be loaded; why is in the log of the service")
        self._process, self._connection = process, connection

        def listen() -> None:
            try:
                while True:
                    number, result = connection.recv()
                    loop.call_soon_threadsafe(self._answer, number, result)
            except (EOFError, OSError):
                try:
                    loop.call_soon_threadsafe(self._died, connection)
                except RuntimeError:  # the loop has ended: the service stops
                    return

        threading.Thread(target=listen, name="hears from the stream process", daemon=True).start()

    def _answer(self, number: int, result: Any) -> None:
        future = self._waiting.pop(number, None)
        if future is not None and not future.done():
            future.set_result(result)

    def _died(self, connection: Connection) -> None:
        if connection is not self._connection:  # known already; another may have taken its place
            return
        _log.error("the process that diarizes streams has died; the next stream starts another")
        self._process = self._connection = None
        for number in list(self._waiting):
            self._answer(number, StreamFault(_DIED))


@dataclass
class _Stream:
    diarizer: StreamingDiarizer
    samples: RawSamples


def run_streams(connection: Connection, model: ServiceModel, log_level: int) -> None:
    """Answer requests until the server is gone; the target of a process."""
    ends_with_its_parent()
    log_as_the_server(log_level)
    try:
        embedder = model.load()
    except InputError as error:
        connection.send(error)
        return
    connection.send(None)
    streams: dict[int, _Stream] = {}
    while True:
        try:
            number, kind, stream, *arguments = connection.recv()
        except EOFError:
            return
        try:
            result: Any = _answer(embedder, model, streams, kind, stream, *arguments)
        except InputError as error:
            is_ours = isinstance(error, StreamFault)
            result = error if is_ours else InputError(error.message, hint=error.hint)
            streams.pop(stream, None)
        except Exception:
            _log.exception("a stream failed by a fault of sdpn")
            result = StreamFault("it failed by a fault of the service, which is in its log")
            streams.pop(stream, None)
        connection.send((number, result))


def _answer(
    embedder: Any, model: ServiceModel, streams: dict[int, _Stream], kind: str, stream: int, *arguments: Any
) -> list[Mapping[str, Any]]:
    """Events, as for JSON."""
    if kind == "open":
        streams[stream] = _open(embedder, model, *arguments)
        return []
    if kind == "close":
        streams.pop(stream, None)
        return []
    if stream not in streams:
        raise StreamFault("the stream is not known any more; begin again")  # its process has died
    diarizer, samples = streams[stream].diarizer, streams[stream].samples
    if kind == "push":
        block = samples.push(arguments[0])
        events = [] if block is None else diarizer.push(block, samples.rate_hz)
    elif kind == "gap":
        events = diarizer.gap(*arguments)
    elif kind == "finish":
        block = samples.finish()
        events = [] if block is None else diarizer.push(block, samples.rate_hz)
        events += diarizer.finish()
        del streams[stream]
    else:
        raise ValueError(f"a request of kind {kind!r}")
    return [event.to_dict() for event in events]


def _open(embedder: Any, model: ServiceModel, options: StreamOptions) -> _Stream:
    from sdpn.streaming.diarizer import StreamingConfig, StreamingDiarizer
    from sdpn.streaming.sources import RawSamples

    samples = RawSamples(
        rate_hz=options.rate_hz,
        sample_format=options.sample_format,
        num_channels=options.num_channels,
        name=STREAM,
    )
    diarizer = StreamingDiarizer(
        embedder,
        config=StreamingConfig(**{**vars(model.config), "latency_s": options.latency_s}),
        num_speakers=options.num_speakers,
        min_speakers=1 if options.min_speakers is None else options.min_speakers,
        max_speakers=options.max_speakers,
        recording=STREAM,
    )
    return _Stream(diarizer, samples)

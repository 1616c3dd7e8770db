"""The process of the streams: it dies, and another takes its place."""

from __future__ import annotations

import asyncio
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sdpn.errors import InputError
from sdpn.service.model import ServiceModel
from sdpn.service.stream_process import StreamFault, StreamOptions, StreamProcess


def test_a_fault_stays_one_between_processes() -> None:
    fault = pickle.loads(pickle.dumps(StreamFault("it has died")))
    assert type(fault) is StreamFault and str(fault) == "it has died"


def test_a_process_that_dies_ends_its_streams_and_no_others(caplog: pytest.LogCaptureFixture) -> None:
    async def story() -> None:
        streams = StreamProcess(ServiceModel(model=Path("small")))
        try:
            await streams.ask("open", 0, StreamOptions(rate_hz=16000))
            assert await streams.ask("push", 0, bytes(32000)) is not None
            with pytest.raises(InputError, match="rate"):
                await streams.ask("open", 1, StreamOptions(rate_hz=7))
            process = streams._process
            assert process is not None
            process.kill()
            process.join()
            with pytest.raises(StreamFault, match=r"has died|not known any more"):
                await streams.ask("push", 0, bytes(32000))
            await streams.ask("open", 2, StreamOptions(rate_hz=8000, sample_format="u8"))
            assert (await streams.ask("finish", 2))[-1]["event"]
        finally:
            streams.stop()

    asyncio.run(story())
    assert "the process that diarizes streams has died" in caplog.text


def test_one_request_is_refused_where_nobody_knows_of_the_death(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story() -> None:
        streams = StreamProcess(ServiceModel(model=Path("small")))
        try:
            await streams.ask("open", 0, StreamOptions(rate_hz=16000))
            loop, process = asyncio.get_running_loop(), streams._process
            tell, died = loop.call_soon_threadsafe, StreamProcess._died

            def late(callback: Callable[..., Any], *arguments: Any, context: Any = None) -> Any:
                """The listener speaks too late."""
                if getattr(callback, "__func__", None) is not died:
                    return tell(callback, *arguments, context=context)
                return None

            monkeypatch.setattr(loop, "call_soon_threadsafe", late)
            assert process is not None
            process.kill()
            process.join()
            with pytest.raises(StreamFault, match="has died"):
                await streams.ask("push", 0, bytes(32000))
            await streams.ask("open", 1, StreamOptions(rate_hz=16000))
            assert streams._process not in (None, process)
        finally:
            streams.stop()

    asyncio.run(story())


def test_a_model_that_cannot_be_loaded_is_no_fault_of_a_client(caplog: pytest.LogCaptureFixture) -> None:
    async def story() -> None:
        streams = StreamProcess(ServiceModel(model=Path("no-such-model")))
        try:
            with pytest.raises(StreamFault, match="why is in the log"):
                await streams.ask("open", 0, StreamOptions(rate_hz=16000))
        finally:
            streams.stop()

    asyncio.run(story())
    assert "no-such-model" in caplog.text

"""Live streams: a real websocket client against a real service."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import soundfile
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

import sdpn
from sdpn.service.stream_process import STREAM
from sdpn.streaming.diarizer import StreamingConfig, StreamingDiarizer
from tests.service.conftest import AS_CLIENT, PATIENCE_S, TOKEN, Service, wait_for

START = {"type": "start", "rate_hz": 16000}


@contextmanager
def connected(service: Service, headers: dict[str, str] = AS_CLIENT) -> Iterator[ClientConnection]:
    """A connection to ``/stream``."""
    address = service.url.replace("http", "ws") + "/stream"
    with connect(address, additional_headers=headers, proxy=None, open_timeout=PATIENCE_S) as connection:
        yield connection


def heard(connection: ClientConnection) -> tuple[list[dict[str, Any]], int | None]:
    """All events until the service closes the connection, and the code that it gives."""
    events = []
    try:
        while True:
            events.append(json.loads(connection.recv(timeout=PATIENCE_S)))
    except ConnectionClosed as closed:
        return events, None if closed.rcvd is None else closed.rcvd.code


@pytest.mark.slow
def test_events_are_those_of_the_library(service: Service, recording: Path) -> None:
    samples, rate_hz = soundfile.read(recording, dtype="int16")
    with connected(service, {}) as connection:  # a page in a browser cannot send headers
        connection.send(json.dumps({**START, "token": TOKEN, "latency_s": 1.0, "max_speakers": 4}))
        data = samples.tobytes()
        for at in range(0, len(data), 9999):  # also within a sample
            connection.send(data[at : at + 9999])
        connection.send(json.dumps({"type": "gap", "seconds": 2.5}))
        connection.send(data[:64000])
        connection.send(json.dumps({"type": "end"}))
        events, code = heard(connection)
    model = StreamingDiarizer(
        sdpn.load_model("small"), config=StreamingConfig(latency_s=1.0), max_speakers=4, recording=STREAM
    )
    expected = model.push(samples, rate_hz) + model.gap(2.5) + model.push(samples[:32000], rate_hz)
    assert events == [json.loads(json.dumps(event.to_dict())) for event in expected + model.finish()]
    assert code == 1000
    kinds = [event["event"] for event in events]
    assert "gap" in kinds and "turn_begins" in kinds, kinds


@pytest.mark.parametrize(
    ("messages", "code", "why"),
    [
        (["not JSON"], 1007, "a message"),
        (["[1, 2]"], 1007, "JSON object"),
        ([b"\x00\x00"], 1007, "the first message"),
        ([{"type": "end"}], 1007, "the first message"),
        ([{"type": "start"}], 1007, "rate_hz"),
        ([{**START, "rate_hz": 7}], 1007, "rate"),
        ([{**START, "rate_hz": 0}], 1007, "rate"),
        ([{**START, "rate_hz": -16000}], 1007, "rate"),
        ([{**START, "rate_hz": 10**12}], 1007, "rate"),
        ([{**START, "rate_hz": "fast"}], 1007, "rate_hz"),
        ([{**START, "rate_hz": 16000.5}], 1007, "rate_hz"),
        (['{"type": "start", "rate_hz": NaN}'], 1007, "NaN is not JSON"),
        ([{**START, "sample_format": "mp3"}], 1007, "mp3"),
        ([{**START, "num_channels": 0}], 1007, "channels"),
        ([{**START, "num_channels": 10**9}], 1007, "channels"),
        ([{**START, "latency_s": 0}], 1007, "latency"),
        ([{**START, "min_speakers": 3, "max_speakers": 2}], 1007, "speakers"),
        ([{**START, "path": "/etc/passwd"}], 1007, "path"),
        ([START, START], 1007, "expected gap or end"),
        ([START, {"type": "gap", "seconds": "long"}], 1007, "gap"),
        ([START, {"type": "gap", "seconds": -1}], 1007, "gap"),
        ([START, {"type": "gap", "seconds": 1e9}], 1009, "longer than 0.5 min"),
        ([START, b"RIFF\x00\x00\x00\x00WAVE"], 1007, "not like raw samples"),
        ([{**START, "rate_hz": 1000}, bytes(40_000), bytes(30_000)], 1009, "longer than 0.5 min"),
        ([START], 1008, "nothing has arrived"),
        ([], 1008, "nothing has arrived"),
    ],
)
def test_bad_messages(service: Service, messages: list[Any], code: int, why: str) -> None:
    with connected(service) as connection:
        for message in messages:
            connection.send(json.dumps(message) if isinstance(message, dict) else message)
        events, closed = heard(connection)
    assert events[-1]["event"] == "error" and why in events[-1]["message"], events
    assert closed == code
    assert "/work" not in events[-1]["message"] and "Traceback" not in events[-1]["message"]


def test_a_message_that_is_too_large(service: Service) -> None:
    with connected(service) as connection:
        connection.send(json.dumps(START))
        connection.send(bytes(2_000_000))
        assert heard(connection)[1] == 1009


def test_an_infinite_gap_is_no_json(service: Service) -> None:
    with connected(service) as connection:
        connection.send(json.dumps(START))
        connection.send('{"type": "gap", "seconds": Infinity}')
        assert heard(connection)[1] in (1007, 1009)


@pytest.mark.parametrize("header", ["Bearer wrong", "Bearer", "Basic eDp5", f"Bearer {TOKEN}x"])
def test_a_wrong_token_in_the_header(service: Service, header: str) -> None:
    try:
        with connected(service, {"Authorization": header}) as connection:
            connection.send(json.dumps(START))
            events, code = heard(connection)
    except InvalidStatus as refused:
        assert refused.response.status_code == 403
    else:
        assert code == 1008 and "token" in events[0]["message"]


@pytest.mark.parametrize("token", [None, "wrong", 7, [TOKEN], f"{TOKEN} "])
def test_a_wrong_token_in_the_first_message(service: Service, token: object) -> None:
    with connected(service, {}) as connection:
        connection.send(json.dumps({**START, "token": token}))
        events, code = heard(connection)
    assert code == 1008 and events == [{"event": "error", "message": "the token is missing or wrong"}]


def test_a_page_of_another_site_gets_no_stream(service: Service) -> None:
    with pytest.raises(InvalidStatus), connected(service, {**AS_CLIENT, "Origin": "https://evil.example"}):
        pass


def test_streams_are_limited_and_the_place_of_one_that_breaks_off_is_free_again(service: Service) -> None:
    def opened(connection: ClientConnection) -> None:
        connection.send(json.dumps(START))
        connection.send(json.dumps({"type": "gap", "seconds": 0.5}))
        assert json.loads(connection.recv(timeout=PATIENCE_S))["event"] != "error"

    with connected(service) as first, connected(service) as second, connected(service, {}) as stranger:
        opened(first)
        opened(second)
        stranger.send(json.dumps(START))
        assert heard(stranger)[1] == 1008, "whoever has no token hears nothing of the others"
        with connected(service) as third:
            third.send(json.dumps(START))
            events, code = heard(third)
        assert code == 1013 and "2 streams are open" in events[0]["message"]
        first.socket.close()  # without a word

    def free() -> bool:
        with connected(service) as again:
            again.send(json.dumps(START))
            again.send(json.dumps({"type": "end"}))
            return heard(again)[1] == 1000

    wait_for(free)

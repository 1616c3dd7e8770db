"""Signals end a block with an exception, or are collected; a second Ctrl-C ends at once."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator

import pytest

from sdpn.stopping import STOPPING, Stop, collects_signals, ends_on_signals, inherited_without_signals


@pytest.fixture(autouse=True)
def _nothing_ignored() -> Iterator[None]:
    """Whatever started the tests may ignore Ctrl-C and hang-ups, as a shell does for what runs behind it."""
    before = {number: signal.signal(number, signal.SIG_DFL) for number in STOPPING}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", STOPPING)
def test_a_signal_ends_the_block(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with pytest.raises(Stop, match=f"stopped by {number.name}") as caught, ends_on_signals():
        os.kill(os.getpid(), number)
        time.sleep(1)
    assert caught.value.signal_number == number
    assert signal.getsignal(number) is before


def test_signals_are_collected_also_when_they_come_twice_at_once() -> None:
    with ends_on_signals(), collects_signals() as received:
        for number in (signal.SIGTERM, signal.SIGTERM, signal.SIGINT, signal.SIGINT):
            os.kill(os.getpid(), number)
    assert set(received) == {signal.SIGTERM, signal.SIGINT}


def test_a_second_ctrl_c_ends_at_once() -> None:
    with pytest.raises(Stop), collects_signals() as received:
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.3)
        assert received == [signal.SIGINT]
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(1)


def test_what_was_ignored_stays_ignored() -> None:
    """As of a command that a script starts with ``&``, or by nohup."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with ends_on_signals(), collects_signals() as received:
            os.kill(os.getpid(), signal.SIGHUP)
        assert not received
    finally:
        signal.signal(signal.SIGHUP, before)


def test_signals_that_are_held_back_come_afterwards() -> None:
    with collects_signals() as received:
        with inherited_without_signals():
            signal.pthread_kill(threading.get_ident(), signal.SIGTERM)  # other threads hold nothing back
            assert not received
        assert received == [signal.SIGTERM]

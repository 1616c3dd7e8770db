"""``sdpn diarize --stream``: events on standard output."""

from __future__ import annotations

import io
import json
import os
import signal
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile

import sdpn
from sdpn.cli.main import main
from sdpn.io import audio
from sdpn.io.rttm import read_rttm

RATE_HZ = 16000


@pytest.fixture(scope="module")
def pcm(shared_data: Path) -> np.ndarray:
    """12 s of a meeting as 16-bit samples."""
    wave = audio.read(shared_data / "ami_excerpt" / "dev00.flac")[2 * RATE_HZ : 14 * RATE_HZ]
    return np.round(wave * 32767).astype("<i2")


def stdin_of(monkeypatch: pytest.MonkeyPatch, data: bytes) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, object]]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_raw_samples_give_the_events_of_the_library(
    pcm: np.ndarray, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    stdin_of(monkeypatch, pcm.tobytes())
    out = tmp_path / "out"
    words = ["diarize", "--stream", "--rate", "16000", "--latency", "1", "--out", str(out), "-"]
    assert main([*words, "--json", str(tmp_path / "results.json")]) == 0
    found = lines(capsys)
    diarizer = sdpn.StreamingDiarizer(sdpn.load_model(), latency_s=1.0, recording="stdin")
    expected = [event.to_dict() for event in diarizer.push(pcm, RATE_HZ) + diarizer.finish()]
    assert found == expected
    first = {"event": "stream_begins", "at_s": 0.0, "schema": "sdpn.stream/1"}
    assert found[0] == {**first, "recording": "stdin", "latency_s": 1.0}
    end = found[-1]
    assert end["event"] == "stream_ends"
    written = read_rttm(out / "stdin.rttm")["stdin"]
    assert [(turn.speaker, round(turn.onset_s, 3)) for turn in written] == [
        (turn["speaker"], round(turn["start_s"], 3))
        for turn in end["turns"]  # type: ignore[attr-defined]
    ]
    results = json.loads((tmp_path / "results.json").read_text())["results"]
    assert results["end"] == end
    assert results["events"]["turn_begins"] == results["events"]["turn_ends"] > 0


def test_a_file_is_played_and_people_can_read_it(
    pcm: np.ndarray, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    soundfile.write(tmp_path / "a talk.wav", pcm[: 6 * RATE_HZ], RATE_HZ)
    assert main(["diarize", "--stream", "--events", "text", str(tmp_path / "a talk.wav")]) == 0
    text = capsys.readouterr().out.splitlines()
    assert text[0] == "a talk: speakers are reported 2 s after they speak"
    assert any(line.endswith("speaker00 ...") for line in text)
    assert "the final pass changed" in text[-1]


def test_no_samples_at_all(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    stdin_of(monkeypatch, b"")
    assert main(["diarize", "--stream", "--rate", "8000", "-"]) == 0
    assert [line["event"] for line in lines(capsys)] == ["stream_begins", "stream_ends"]


def test_ctrl_c_ends_the_stream_with_its_final_pass(
    pcm: np.ndarray, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    reading, writing = os.pipe()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(os.fdopen(reading, "rb")))

    def speak_and_interrupt() -> None:
        for begin in range(0, 6 * RATE_HZ, 8000):
            os.write(writing, pcm[begin : begin + 8000].tobytes())
        while select_empty(reading):
            time.sleep(0.05)
        time.sleep(0.5)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=speak_and_interrupt)
    thread.start()
    assert main(["diarize", "--stream", "--rate", "16000", "-"]) == 0
    thread.join()
    os.close(writing)
    assert lines(capsys)[-1]["at_s"] == 6.0


def select_empty(reading: int) -> bool:
    """Whether there is still something to read."""
    import select

    return bool(select.select([reading], [], [], 0)[0])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["a.wav"], "--out DIR is missing"),
        (["--out", "o", "--latency", "1", "a.wav"], "--latency has no effect without --stream"),
        (["--stream", "a.wav", "b.wav"], "--stream takes one recording, and 2 are given"),
        (["--stream", "--latency", "9", "a.wav"], "the latency is 9 s (expected 0.5 to 5 s)"),
        (["--stream", "--latency", "nan", "a.wav"], "the latency is nan s"),
        (["--stream", "--rate", "8000", "a.wav"], "--rate is of raw samples"),
        (["--stream", "--sample-format", "s16le", "-"], "--sample-format is of raw samples"),
        (["--stream", "--rate", "8000", "--sample-format", "s99", "-"], "unknown sample format 's99'"),
        (["--stream", "--people", "p", "a.wav"], "--people is not possible with --stream"),
        (["--stream", "--format", "srt", "a.wav"], "--format has no effect without --out DIR"),
        (["--stream", "--channel", "separate", "a.wav"], "--channel separate is not possible"),
        (["--stream", "missing.wav"], "missing.wav: "),
        (["--stream", "--rate", "16000", "-"], "begins like a WAV file"),
    ],
)
def test_wrong_options(
    words: list[str],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    monkeypatch.chdir(tmp_path)
    stdin_of(monkeypatch, b"RIFF\0\0\0\0WAVEfmt ")
    soundfile.write("a.wav", np.zeros(RATE_HZ), RATE_HZ)
    assert main(["diarize", *words]) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert message in error
    assert "Traceback" not in error


def test_a_flac_that_breaks_off_on_standard_input_ends_there(
    pcm: np.ndarray,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
    tmp_path: Path,
) -> None:
    """Its source has gone, in the middle of a word: the final pass is of what was heard."""
    soundfile.write(tmp_path / "talk.flac", pcm, RATE_HZ)
    data = (tmp_path / "talk.flac").read_bytes()
    stdin_of(monkeypatch, data[: len(data) // 2])
    assert main(["diarize", "--stream", "--out", str(tmp_path / "out"), "-"]) == 0
    end = lines(capsys)[-1]
    assert end["event"] == "stream_ends"
    assert 4.0 < end["at_s"] < 8.0  # type: ignore[operator]
    assert "is truncated" in caplog.text
    assert read_rttm(tmp_path / "out" / "stdin.rttm")["stdin"]

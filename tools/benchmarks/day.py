"""A day of speech through a pipe: time and memory of ``sdpn diarize``.

python tools/benchmarks/day.py AUDIO... [--hours H ...] [--method NAME]
python tools/benchmarks/day.py --silence [--hours H ...]

The files, such as simulated conversations, are written one after the other as one endless WAV, over and over
until the hours are full, into the standard input of ``sdpn diarize -``. Each length runs in a process of its
own; the table has its processor time and wall time, its largest memory, and what it found.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np

from sdpn.io import audio


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("audio", nargs="*", type=Path, metavar="AUDIO")
    parser.add_argument("--hours", nargs="+", type=float, default=[1.0, 6.0, 24.0])
    parser.add_argument("--method", default="vbx")
    parser.add_argument("--silence", action="store_true", help="digital silence instead of files")
    args = parser.parse_args()
    if not (args.audio or args.silence):
        parser.error("name some files, or --silence")
    print("hours  speech h  speakers  CPU s  wall s  CPU s per hour  memory GB", flush=True)
    for hours in args.hours:
        with tempfile.TemporaryDirectory() as folder:
            print(measure(hours, args.audio, args.method, Path(folder)), flush=True)


def measure(hours: float, files: list[Path], method: str, folder: Path) -> str:
    """Run the command on so many hours; one line of the table."""
    command = [
        sys.executable,
        "-m",
        "sdpn.cli.main",
        "diarize",
        "-",
        "--out",
        str(folder),
        "--method",
        method,
    ]
    started = time.perf_counter()
    process = subprocess.Popen(
        [*command, "--json", str(folder / "results.json")], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL
    )
    assert process.stdin is not None
    feeder = threading.Thread(target=feed, args=(process.stdin, files, round(hours * 3600)))
    feeder.start()
    _, status, usage = os.wait4(process.pid, 0)
    feeder.join()
    if status:
        sys.exit(f"sdpn diarize ended with {os.waitstatus_to_exitcode(status)}")
    (found,) = json.loads((folder / "results.json").read_text())["results"]["files"]
    cpu_s = usage.ru_utime + usage.ru_stime
    return (
        f"{hours:5.1f}  {found['speech_s'] / 3600:8.2f}  {found['num_speakers']:8d}  {cpu_s:5.0f}"
        f"  {time.perf_counter() - started:6.0f}  {cpu_s / hours:14.1f}  {usage.ru_maxrss / 1e6:9.2f}"
    )


def feed(stream: BinaryIO, files: list[Path], seconds: int) -> None:
    """Write a WAV of unknown length, 16 bits at 16 kHz, second after second."""
    rate_hz = audio.RATE_HZ
    stream.write(
        b"RIFF\xff\xff\xff\xffWAVEfmt " + struct.pack("<IHHIIHH", 16, 1, 1, rate_hz, 2 * rate_hz, 2, 16)
    )
    stream.write(b"data\xff\xff\xff\xff")
    left = seconds * rate_hz
    for samples in waves(files):
        stream.write(samples[:left].tobytes())
        left -= len(samples)
        if left <= 0:
            break
    stream.close()


def waves(files: list[Path]) -> Iterator[np.ndarray]:
    """The files over and over, or silence."""
    if not files:
        yield from itertools.repeat(np.zeros(audio.RATE_HZ, dtype="<i2"))
    for path in itertools.cycle(files):
        yield np.round(audio.read(path) * 32767).astype("<i2")


if __name__ == "__main__":
    main()

#!/usr/bin/env python
"""Measure a service under load: uploads at the same time, health checks meanwhile, kill -9 with a full queue.

    python tools/benchmarks/service.py --work /tmp/service --audio meeting.wav

Every upload is the same recording, repeated or cut to ``--seconds``, as 16-bit WAV. While all are uploaded
and diarized, ``GET /health`` is asked every ``--every`` seconds, by a process of its own, over a new
connection each time. When ``--kill-after`` jobs are done, the service is killed with SIGKILL, and the next
one has to finish all others. Results are printed as a Markdown table.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import re
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import soundfile

from sdpn.io.audio import RATE_HZ, read


def start(out: Path, options: list[str]) -> tuple[subprocess.Popen[str], str]:
    """Start a service; returns it and its address."""
    process = subprocess.Popen(
        [sys.executable, "-m", "sdpn", "serve", "--out", str(out), "--port", "0", *options],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    line = process.stdout.readline()
    found = re.match(r"serving at (http://\S+)", line)
    if found is None:
        raise SystemExit(f"the service did not start: {line!r}")
    return process, found[1]


def client(url: str) -> httpx.Client:
    """A client that opens a connection for each request."""
    return httpx.Client(
        base_url=url,
        timeout=600,
        trust_env=False,
        verify=False,
        limits=httpx.Limits(max_keepalive_connections=0),
    )


def ask_for_health(url: str, every_s: float, stop: Event, told: Any) -> None:
    """Time health checks until ``stop`` is set; the target of a process."""
    seconds = []
    with client(url) as asking:
        while not stop.is_set():
            began = time.perf_counter()
            asking.get("/health").raise_for_status()
            seconds.append(time.perf_counter() - began)
            stop.wait(every_s)
    told.send(seconds)


def upload(url: str, path: Path, number: int) -> str:
    """Upload a recording; returns the id of its job."""
    with open(path, "rb") as audio, client(url) as uploading:
        sent = uploading.post("/jobs", params={"name": f"{number}.wav"}, content=audio)
    sent.raise_for_status()
    job_id: str = sent.json()["id"]
    return job_id


def upload_all(url: str, path: Path, number: int) -> list[str]:
    """Upload as many at the same time."""
    with ThreadPoolExecutor(number) as threads:
        return list(threads.map(lambda each: upload(url, path, each), range(number)))


def states(url: str, ids: list[str]) -> dict[str, int]:
    """Number of these jobs in each state; ``lost`` are those that are not known."""
    found: dict[str, int] = {}
    with client(url) as asking:
        known = {job["id"]: job["state"] for job in asking.get("/jobs?most=1000").json()}
    for job_id in ids:
        state = known.get(job_id, "lost")
        found[state] = found.get(state, 0) + 1
    return found


def when_finished(url: str, ids: list[str], number: int) -> dict[str, int]:
    """The same when so many of them are finished."""
    while True:
        found = states(url, ids)
        if found.get("queued", 0) + found.get("running", 0) <= len(ids) - number:
            return found
        time.sleep(1)


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--work", type=Path, required=True, help="folder for the service; it is emptied")
    parser.add_argument("--audio", type=Path, required=True, help="a recording of speech")
    parser.add_argument("--uploads", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=300.0)
    parser.add_argument("--kill-after", type=int, default=5, metavar="JOBS")
    parser.add_argument("--every", type=float, default=0.05)
    parser.add_argument("options", nargs="*", help="of sdpn serve, after --")
    args = parser.parse_args()
    shutil.rmtree(args.work, ignore_errors=True)
    args.work.mkdir(parents=True)
    recording = args.work / "recording.wav"
    soundfile.write(recording, np.resize(read(args.audio), round(args.seconds * RATE_HZ)), RATE_HZ)

    service, url = start(args.work / "out", args.options)
    spawn = multiprocessing.get_context("spawn")
    stop, (ours, theirs) = spawn.Event(), spawn.Pipe()
    asking = spawn.Process(target=ask_for_health, args=(url, args.every, stop, theirs))
    asking.start()
    began = time.perf_counter()
    ids = upload_all(url, recording, args.uploads)
    uploaded_s = time.perf_counter() - began
    print("| | |\n|:--|:--|")
    print(f"| uploads of {args.seconds:g} s at the same time | {args.uploads} |")
    print(f"| … all acknowledged after | {uploaded_s:.1f} s |", flush=True)
    before = when_finished(url, ids, args.kill_after)
    stop.set()
    health_ms = 1000 * np.array(ours.recv())
    asking.join()
    print(f"| health checks meanwhile | {len(health_ms)} |")
    print(f"| … median | {np.median(health_ms):.1f} ms |")
    print(f"| … 99th percentile | {np.percentile(health_ms, 99):.1f} ms |")
    print(f"| … slowest | {health_ms.max():.1f} ms |", flush=True)

    service.kill()
    service.wait()
    print(f"| killed with SIGKILL at | {before} |")
    restarted = time.perf_counter()
    service, url = start(args.work / "out", args.options)
    print(f"| … and answered again after | {time.perf_counter() - restarted:.1f} s |", flush=True)
    after = when_finished(url, ids, len(ids))
    print(f"| all finished {time.perf_counter() - began:.0f} s after the first upload | {after} |")
    print(f"| recordings left on disk | {len(list((args.work / 'out' / 'uploads').iterdir()))} |")
    service.terminate()
    service.wait()
    load = ", ".join(f"{each:.1f}" for each in os.getloadavg())
    print(f"\n{os.cpu_count()} cores, load average {load} at the end")


if __name__ == "__main__":
    main()

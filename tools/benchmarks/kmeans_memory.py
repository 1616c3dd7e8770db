#!/usr/bin/env python3
"""Memory of 'sdpn kmeans' for each row with an id: peaks on archives of different lengths.

python tools/benchmarks/kmeans_memory.py --rows 250000 1250000 2250000

Anonymous memory counts (RssAnon): pages of the mapped archive are the system's, which takes them back.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from sdpn.cli.table import format_markdown
from sdpn.kmeans.model import KMeansModel, Space

DIMENSION = 64
_BLOCK = 100_000


def main() -> None:
    """Write the archives, run the command on each, print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[250_000, 1_250_000, 2_250_000])
    parser.add_argument("--learn", action="store_true", help="learn, too, rather than only label")
    args = parser.parse_args()
    table: list[list[str]] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        rng = np.random.default_rng(0)
        centres_KD = rng.standard_normal((4, DIMENSION))
        space = Space(mean_D=np.zeros(DIMENSION), scale_D=np.ones(DIMENSION), spherical=False)
        what = ["--clusters", "4", "--max-iter", "1"]
        if not args.learn:
            KMeansModel(centres_KD=centres_KD, space=space).save(folder / "model.npz")
            what = ["--with", str(folder / "model.npz")]
        before: tuple[int, int] | None = None
        for rows in args.rows:
            write_archive(folder / "rows.ark", rows)
            peak = peak_bytes(
                ["kmeans", "--quiet", *what, "--out", str(folder / "out"), str(folder / "rows.ark")]
            )
            each = "" if before is None else f"{(peak - before[1]) / (rows - before[0]):.1f}"
            table.append([f"{rows:,}", f"{peak / 2**20:.0f}", each])
            before = rows, peak
    print(format_markdown(["rows", "peak, MiB", "bytes for each further row"], table))


def write_archive(path: Path, rows: int) -> None:
    """Write random vectors with ids of 16 bytes."""
    rng = np.random.default_rng(0)
    entry = np.dtype([("key", "S16"), ("head", "V6"), ("size", "V5"), ("vector", "<f4", (DIMENSION,))])
    with path.open("wb") as stream:
        for first in range(0, rows, _BLOCK):
            count = min(_BLOCK, rows - first)
            block = np.zeros(count, entry)
            block["key"] = [f"id{row % 7000:05}-{row:08}".encode() for row in range(first, first + count)]
            block["head"] = np.void(b" \0BFV ")
            block["size"] = np.void(b"\4" + np.int32(DIMENSION).tobytes())
            block["vector"] = rng.standard_normal((count, DIMENSION))
            stream.write(block.tobytes())


def peak_bytes(arguments: list[str]) -> int:
    """Peak of the anonymous memory of a command."""
    process = subprocess.Popen([sys.executable, "-m", "sdpn.cli.main", *arguments], stdout=subprocess.DEVNULL)
    peak = 0
    while process.poll() is None:
        try:
            status = Path(f"/proc/{process.pid}/status").read_text(encoding="utf-8")
        except OSError:
            break
        peak = max(
            [peak, *(int(line.split()[1]) for line in status.splitlines() if line.startswith("RssAnon"))]
        )
        time.sleep(0.02)
    if process.wait():
        raise SystemExit(f"the command failed with {process.returncode}")
    return peak * 1024


if __name__ == "__main__":
    main()

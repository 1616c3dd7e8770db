"""Streaming k-means on more rows than memory should hold: speed beside partial_fit and faiss, and memory.

OMP_NUM_THREADS=1 python tools/benchmarks/streaming_kmeans.py [--rows N] [--clusters K] [--what time memory]

The rows (192 dimensions, a mixture of 4,096 Gaussians) are generated in chunks of 100,000; making them is not
counted. All contenders take the same number of rows in batches of the same size, once:

  bare     MiniBatchKMeans(compute_labels=False).partial_fit, which starts on its first batch
  ours     fit_stream: reading everything once first, the start on a sample, one epoch, the rows held out
  faiss    the same steps as ours with faiss searching (backend=faiss), if faiss is there
  faiss's  faiss.Kmeans, which takes 256 rows for each cluster at random into memory and passes 25 times

After each batch of ours, bare and faiss take one, so that whatever else the machine does hits all alike.
Seconds are the process's CPU seconds, and in brackets the wall's; ratios are those of rows per CPU second.
Inertia is that of 20,000 rows that nobody saw. Memory is the largest resident size of a process that does
nothing but ours, all imports included.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from sdpn.kmeans.chunks import IterableChunk
from sdpn.kmeans.fit import FitProgress, fit_stream
from sdpn.kmeans.minibatch import InitialCentres, MiniBatches
from sdpn.kmeans.model import nearest
from sdpn.kmeans.settings import StreamSettings

DIMENSION, NUM_GAUSSIANS = 192, 4096
CHUNK_ROWS, PIECE_ROWS = 100_000, 10_000


class Clock:
    """CPU and wall seconds spent in ``with`` blocks."""

    def __init__(self) -> None:
        self.cpu_s = self.wall_s = 0.0

    def __enter__(self) -> Clock:
        self._cpu_s, self._wall_s = time.process_time(), time.perf_counter()
        return self

    def __exit__(self, *_: object) -> None:
        self.cpu_s += time.process_time() - self._cpu_s
        self.wall_s += time.perf_counter() - self._wall_s

    def without(self, *others: Clock) -> Clock:
        """This, less what was spent within it on something else."""
        rest = Clock()
        rest.cpu_s = self.cpu_s - sum(other.cpu_s for other in others)
        rest.wall_s = self.wall_s - sum(other.wall_s for other in others)
        return rest


class Rows:
    """The stream; ``clock`` is what generating took."""

    def __init__(self, num_rows: int) -> None:
        rng = np.random.default_rng(0)
        self.num_rows = num_rows
        self.clock = Clock()
        self._centres = rng.normal(size=(NUM_GAUSSIANS, DIMENSION)).astype(np.float32)
        self._noise = rng.normal(size=(2 * PIECE_ROWS, DIMENSION)).astype(np.float32)

    def pieces(self, chunk: int) -> Iterator[np.ndarray]:
        """The rows of a chunk, the same each time."""
        rng = np.random.default_rng([1, chunk])
        for at in range(0, min(CHUNK_ROWS, self.num_rows - chunk * CHUNK_ROWS), PIECE_ROWS):
            with self.clock:
                size = min(PIECE_ROWS, self.num_rows - chunk * CHUNK_ROWS - at)
                rows = self._centres[rng.integers(NUM_GAUSSIANS, size=size)]
                shift = int(rng.integers(PIECE_ROWS))  # the same noise on other centres: cheap, and new rows
                rows += self._noise[shift : shift + size]
            yield rows

    def chunks(self) -> list[IterableChunk]:
        """All of it."""

        def opener(chunk: int) -> Callable[[], Iterator[np.ndarray]]:
            return lambda: self.pieces(chunk)

        return [
            IterableChunk(name=f"generated {chunk}", pieces=opener(chunk))
            for chunk in range(-(-self.num_rows // CHUNK_ROWS))
        ]

    def batches(self, size: int) -> Iterator[np.ndarray]:
        """The rows in order, for the contenders that are not ours."""
        held = np.empty((0, DIMENSION), dtype=np.float32)
        for chunk in range(-(-self.num_rows // CHUNK_ROWS)):
            for piece in self.pieces(chunk):
                held = np.concatenate([held, piece])
                while len(held) >= size:
                    yield held[:size]
                    held = held[size:]
        if len(held):
            yield held


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=5_000_000)
    parser.add_argument("--clusters", type=int, default=1024)
    parser.add_argument("--what", nargs="+", choices=("time", "memory"), default=["time", "memory"])
    parser.add_argument("--only-ours", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    settings = StreamSettings(n_clusters=args.clusters, max_iter=1, n_init=1)
    if args.only_ours:
        fit = fit_stream(Rows(args.rows).chunks(), settings)
        assert fit.rows_per_pass == (args.rows,)
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2)
        return
    batch = settings.batch_rows(DIMENSION, args.rows)
    gigabytes = args.rows * DIMENSION * 4 / 1e9
    print(
        f"{args.rows:,} rows x {DIMENSION} ({gigabytes:.1f} GB), K = {args.clusters}, batches of {batch:,}",
        flush=True,
    )
    if "memory" in args.what:  # first: a process begins with the largest size of the one that started it
        command = [sys.executable, __file__, "--only-ours", "--rows", str(args.rows)]
        command += ["--clusters", str(args.clusters)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        print(f"peak memory of ours: {float(done.stdout):.2f} GiB", flush=True)
    if "time" in args.what:
        compare(args.rows, settings, batch)


def compare(num_rows: int, settings: StreamSettings, batch: int) -> None:
    """Print the table of contenders."""
    from sklearn.cluster import MiniBatchKMeans

    try:
        import faiss
    except ImportError:
        faiss = None
        print("faiss is not installed: it is left out")

    ours_rows, other_rows = Rows(num_rows), Rows(num_rows)
    bare = MiniBatchKMeans(
        settings.n_clusters, batch_size=batch, compute_labels=False, n_init=1, random_state=0
    )
    steps: MiniBatches | None = None
    queue = other_rows.batches(batch)
    waiting, survey, clocks = Clock(), Clock(), {"bare": Clock(), "faiss": Clock()}
    bare_start = Clock()
    everything = Clock()

    def others(progress: FitProgress) -> None:
        nonlocal steps
        with waiting:
            if progress.stage == "survey":
                survey.cpu_s, survey.wall_s = time.process_time(), time.perf_counter()
                return
            rows = next(queue)
            if steps is None:
                with bare_start:  # what only the first call does
                    bare.partial_fit(rows)
                if faiss is not None:
                    options = {**vars(settings), "backend": "faiss"}
                    start = rows[: settings.n_clusters].copy()
                    ones = np.ones(len(start), dtype=np.float32)
                    steps = MiniBatches(InitialCentres(start, ones), StreamSettings(**options))
            else:
                with clocks["bare"]:
                    bare.partial_fit(rows)
            if steps is not None:
                with clocks["faiss"]:
                    steps.step(rows)

    begun = time.process_time(), time.perf_counter()
    with everything:
        fit = fit_stream(ours_rows.chunks(), settings, on_progress=others)
    reading = Clock()  # ours_rows generates the same rows in both passes: half of it in each
    reading.cpu_s = survey.cpu_s - begun[0] - ours_rows.clock.cpu_s / 2
    reading.wall_s = survey.wall_s - begun[1] - ours_rows.clock.wall_s / 2
    ours = everything.without(waiting, ours_rows.clock)

    test = np.concatenate([piece for chunk in (10**6, 10**6 + 1) for piece in Rows(10**12).pieces(chunk)])[
        :20_000
    ]
    whole_bare = Clock()
    whole_bare.cpu_s = clocks["bare"].cpu_s + bare_start.cpu_s
    whole_bare.wall_s = clocks["bare"].wall_s + bare_start.wall_s
    base = num_rows / whole_bare.cpu_s

    def line(name: str, clock: Clock, centres: np.ndarray | None) -> None:
        rate = num_rows / clock.cpu_s
        inertia = "" if centres is None else f"{nearest(test, centres.astype(np.float32))[1].mean():9.2f}"
        print(
            f"{name:<44} {clock.cpu_s:8.1f} ({clock.wall_s:7.1f}) {rate:10,.0f} {rate / base:6.2f} {inertia}",
            flush=True,
        )

    print(f"{'':<44} {'seconds':>8} {'(wall)':>9} {'rows/s':>10} {'ratio':>6} {'inertia':>9}")
    line("bare partial_fit", whole_bare, bare.cluster_centers_)
    line("ours, all in all", ours, fit.model.centres_KD)
    line("  of that, reading everything first", reading, None)
    if steps is not None:
        line("faiss searching (from rows, not from a start)", clocks["faiss"], steps.centres_KD)
    if faiss is not None:
        clock, centres = faiss_kmeans(faiss, num_rows, settings.n_clusters)
        line("faiss.Kmeans on a sample (rows/s of all)", clock, centres)


def faiss_kmeans(faiss: Any, num_rows: int, num_clusters: int) -> tuple[Clock, np.ndarray]:
    """The k-means that faiss has itself, on the sample that it would take."""
    wanted = min(256 * num_clusters, num_rows)
    rows = Rows(num_rows)
    chunks = -(-num_rows // CHUNK_ROWS)
    each = -(-wanted // chunks)
    sample = np.concatenate([np.concatenate(list(rows.pieces(chunk)))[:each] for chunk in range(chunks)])
    kmeans = faiss.Kmeans(DIMENSION, num_clusters, niter=25, seed=1)
    clock = Clock()
    with clock:
        kmeans.train(sample[:wanted])
    return clock, kmeans.centroids


if __name__ == "__main__":
    main()

"""Long recordings: time, memory and labels of every clusterer on embeddings whose speakers are known.

python tools/benchmarks/clustering_scale.py [--methods NAME ...] [--windows N ...] [--exact N]

For each method and length a process of its own generates the embeddings (turns of 1 to 40 windows of 20
speakers with unequal shares, 192 dimensions) and clusters them with an estimated number of speakers. It
prints the time of the clustering, the largest memory of the whole process, and the adjusted Rand index (ARI)
of the labels with the truth. The last column is the time per window over that of the line above: 1 is
linear. With --exact, the labels on so many windows are also compared with those of the method itself, that
is with exact_windows raised to the whole length.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time

import numpy as np

NUM_SPEAKERS, DIMENSION = 20, 192

#: Within-speaker noise, where speakers differ by 1: mean cosines of 0.56 within a speaker, 0.1 between two.
NOISE = 1.0

#: The default of ahc belongs to no embedding in particular; its users calibrate it.
SETTINGS = {"ahc": {"threshold": "calibrated"}}


def main() -> None:
    """Print the table."""
    from sdpn.clustering.registry import CLUSTERERS

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--methods", nargs="+", default=list(CLUSTERERS), choices=list(CLUSTERERS))
    parser.add_argument("--windows", nargs="+", type=int, default=[7_250, 29_000, 115_000])
    parser.add_argument("--exact", type=int, help="also run the exact method on so many windows")
    parser.add_argument("--one", nargs=3, metavar=("METHOD", "WINDOWS", "EXACT"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        print(json.dumps(measure(args.one[0], int(args.one[1]), exact=bool(int(args.one[2])))))
        return
    print("method      windows  seconds     GB speakers ARI truth ARI exact  ratio")
    for method in args.methods:
        before = None
        for num_windows in args.windows:
            result = in_a_process(method, num_windows, exact=num_windows == args.exact)
            per_window = result["seconds"] / num_windows
            exact = "" if result["ari_exact"] is None else f"{result['ari_exact']:.3f}"
            print(
                f"{method:<10} {num_windows:>8} {result['seconds']:>8.1f} {result['gigabytes']:>6.2f}"
                f" {result['num_speakers']:>8} {result['ari_truth']:>9.3f} {exact:>9}"
                + ("" if before is None else f"  {per_window / before:5.2f}"),
                flush=True,
            )
            before = per_window


def in_a_process(method: str, num_windows: int, *, exact: bool) -> dict:
    """Memory is a process's largest, so each measurement needs its own."""
    command = [sys.executable, __file__, "--one", method, str(num_windows), str(int(exact))]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def measure(method: str, num_windows: int, *, exact: bool) -> dict:
    """Cluster generated embeddings once; the comparison with the exact method comes after the measurement."""
    from sklearn.metrics import adjusted_rand_score

    from sdpn.clustering.registry import make_clusterer

    emb, truth = recording(num_windows)
    settings = SETTINGS.get(method, {})
    started = time.perf_counter()
    labels = make_clusterer(method, settings).fit_predict(emb).labels_N
    seconds = time.perf_counter() - started
    gigabytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2
    ari_exact = None
    if exact:
        whole = make_clusterer(method, {**settings, "exact_windows": num_windows}).fit_predict(emb).labels_N
        ari_exact = adjusted_rand_score(whole, labels)
    return {
        "seconds": seconds,
        "gigabytes": gigabytes,
        "num_speakers": int(labels.max()) + 1,
        "ari_truth": adjusted_rand_score(truth, labels),
        "ari_exact": ari_exact,
    }


def recording(num_windows: int) -> tuple[np.ndarray, np.ndarray]:
    """Embeddings (N, D) float32 in order of time, and the speaker of each."""
    rng = np.random.default_rng(0)
    everybody = rng.normal(size=DIMENSION) * 0.5  # what all voices share
    centres = everybody + rng.normal(size=(NUM_SPEAKERS, DIMENSION))
    shares = rng.dirichlet(np.full(NUM_SPEAKERS, 3.0))
    lengths = rng.integers(1, 41, size=num_windows)
    truth = np.repeat(rng.choice(NUM_SPEAKERS, size=num_windows, p=shares), lengths)[:num_windows]
    emb = rng.normal(size=(num_windows, DIMENSION)).astype(np.float32)
    emb *= NOISE
    emb += centres[truth].astype(np.float32)
    return emb, truth


if __name__ == "__main__":
    main()

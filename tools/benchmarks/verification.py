"""Verification: a million trials over ten thousand embeddings, by the command, from files to numbers.

python tools/benchmarks/verification.py [--trials N] [--embeddings M] [--dimension D]

Beside it the plain loop over trials (two look-ups, a dot product) on a fiftieth of them.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import tempfile
import time
from pathlib import Path

import numpy as np

from sdpn.cli.main import main as sdpn
from sdpn.io.kaldi import read_vectors, vector_writer
from sdpn.verification.plda import Plda, write_plda

UTTERANCES_PER_SPEAKER = 20
LOOP_SHARE = 50


def main() -> None:
    """Write embeddings and trials, and print how long each way of scoring them takes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--trials", type=int, default=1_000_000)
    parser.add_argument("--embeddings", type=int, default=10_000)
    parser.add_argument("--dimension", type=int, default=192)
    parser.add_argument("--cohort", type=int, default=3000)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        generate(folder, args)
        base = ["verify", "--trials", str(folder / "trials"), "--embeddings", str(folder / "embeddings.scp")]
        cohort = ["--cohort", str(folder / "cohort.scp"), "--mean", str(folder / "cohort.scp")]
        print(f"{args.trials} trials over {args.embeddings} embeddings of {args.dimension} dimensions")
        for what, options in [
            ("cosine", []),
            ("cosine, interval over speakers", ["--utt2spk", str(folder / "utt2spk")]),
            (f"mean and AS-norm, cohort of {args.cohort}", cohort),
            ("PLDA", ["--plda", str(folder / "plda")]),
        ]:
            started = time.perf_counter()
            with contextlib.redirect_stdout(io.StringIO()) as said:
                assert sdpn([*base, *options]) == 0
            eer = next(line for line in said.getvalue().splitlines() if line.startswith("EER"))
            print(f"{what:<40}{time.perf_counter() - started:8.2f} s   {eer}")
        print(f"{'plain loop, scores only, extrapolated':<40}{LOOP_SHARE * loop_s(folder):8.2f} s")


def generate(folder: Path, args: argparse.Namespace) -> None:
    """Embeddings of speakers, a cohort of others, a PLDA, and trials, one in five of them a target."""
    rng = np.random.default_rng(0)
    num, dimension = args.embeddings, args.dimension
    speakers = np.arange(num) // UTTERANCES_PER_SPEAKER
    rows = 0.5 * rng.normal(size=(speakers[-1] + 1, dimension))[speakers] + rng.normal(size=(num, dimension))
    with vector_writer(folder) as write:
        for at, row in enumerate(rows):
            write(f"u{at:06}", row)
    with vector_writer(folder, "cohort") as write:
        for at, row in enumerate(1.1 * rng.normal(size=(args.cohort, dimension))):
            write(f"c{at:06}", row)
    (folder / "utt2spk").write_text("".join(f"u{at:06} s{speaker}\n" for at, speaker in enumerate(speakers)))
    write_plda(folder / "plda", Plda(np.zeros(dimension), np.eye(dimension), np.full(dimension, 0.25)))
    first = rng.integers(0, num, size=args.trials)
    same = speakers[first] * UTTERANCES_PER_SPEAKER + rng.integers(
        0, UTTERANCES_PER_SPEAKER, size=args.trials
    )
    second = np.where(
        rng.random(args.trials) < 0.2, np.minimum(same, num - 1), rng.integers(0, num, args.trials)
    )
    (folder / "trials").write_text(
        "".join(
            f"{int(speakers[a] == speakers[b])} u{a:06} u{b:06}\n" for a, b in zip(first, second, strict=True)
        )
    )


def loop_s(folder: Path) -> float:
    """Seconds for scoring the first trials one by one, with embeddings that are at length 1 already."""
    vectors = {key: row / np.linalg.norm(row) for key, row in read_vectors(folder / "embeddings.scp").items()}
    lines = (folder / "trials").read_text().splitlines()
    scores = []
    started = time.perf_counter()
    for line in lines[: len(lines) // LOOP_SHARE]:
        _, first, second = line.split()
        scores.append(float(vectors[first] @ vectors[second]))
    return time.perf_counter() - started


if __name__ == "__main__":
    main()

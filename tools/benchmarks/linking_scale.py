"""Linking of a large archive: time, memory and F1 with more speakers than one matrix may hold.

    python tools/benchmarks/linking_scale.py --back-end sdpn/pretrained/fast --speakers 25000

Embeddings are drawn as the back end's PLDA has them (people, and appearances around each, `--within` times as
scattered as parts of one recording), four to a recording, each person in three on average.
"""

from __future__ import annotations

import argparse
import resource
import time
from pathlib import Path

import numpy as np

from sdpn.linking.link import link
from sdpn.linking.scores import PairScores, fit_scores
from sdpn.verification.back_end import BackEnd
from sdpn.verification.storage import read_back_end


def main() -> None:
    """Draw an archive, link it, and print what it took."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--back-end", type=Path, required=True)
    parser.add_argument("--speakers", type=int, default=25_000, help="speakers of all recordings")
    parser.add_argument("--within", type=float, default=1.0, help="scatter of one person's appearances")
    args = parser.parse_args()
    back_end = read_back_end(args.back_end)
    rng = np.random.default_rng(0)
    recording_N = np.arange(args.speakers) // 4
    person_N = rng.integers(args.speakers // 3, size=args.speakers)
    emb_ND = drawn(back_end, person_N, args.within, rng)
    start, cpu = time.perf_counter(), time.process_time()
    model = fit_scores(PairScores(emb_ND, back_end), recording_N)
    links = link(emb_ND, recording_N, back_end, model)
    took, cpu = time.perf_counter() - start, time.process_time() - cpu
    precision, recall = pairwise(links.person_N, person_N, recording_N)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(
        f"{args.speakers} speakers, {len(np.unique(person_N))} people, {links.person_N.max() + 1} found: "
        f"{took:.0f} s ({cpu:.0f} s of CPU), {memory:.1f} GB"
    )
    f1 = 2 * precision * recall / max(precision + recall, 1e-9)
    print(f"precision {precision:.3f}  recall {recall:.3f}  F1 {f1:.3f}")
    print(f"estimated {links.precision:.3f}         {links.recall:.3f}     {links.f1:.3f}")


def drawn(back_end: BackEnd, person_N: np.ndarray, within: float, rng: np.random.Generator) -> np.ndarray:
    """Embeddings (N, D) of appearances of people."""
    plda = back_end.plda
    size = len(plda.psi_E)
    people = rng.normal(size=(person_N.max() + 1, size)) * np.sqrt(plda.psi_E)
    latent_NE = people[person_N] + within * rng.normal(size=(len(person_N), size))
    unit_ND = latent_NE @ np.linalg.pinv(plda.transform_ED).T + plda.mean_D
    embeddings: np.ndarray = (unit_ND + back_end.mean_D).astype(np.float32)
    return embeddings


def pairwise(found_N: np.ndarray, person_N: np.ndarray, recording_N: np.ndarray) -> tuple[float, float]:
    """Precision and recall of pairs of different recordings."""

    def pairs(label_N: np.ndarray) -> int:
        together = np.unique(label_N, return_counts=True)[1]
        apart = np.unique(np.stack([label_N, recording_N]), axis=1, return_counts=True)[1]
        return int((together * (together - 1)).sum() - (apart * (apart - 1)).sum()) // 2

    both = pairs(np.unique(np.stack([found_N, person_N]), axis=1, return_inverse=True)[1].ravel())
    return both / max(pairs(found_N), 1), both / max(pairs(person_N), 1)


if __name__ == "__main__":
    main()

"""``sdpn verify``: EER and minDCF of verification trials, by the cosine of embeddings."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sdpn.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np

    from sdpn.io.trials import Trials

DESCRIPTION = """\
Score verification trials by the cosine between embeddings: equal error rate (EER) and minimum detection
cost (minDCF, both costs 1, normalised so that 1 is useless).

Trials are read as VoxCeleb writes them ('1|0 utterance utterance') or as Kaldi does ('utterance utterance
target|nontarget')."""

EXAMPLE = """\
  sdpn verify --trials data/dev/trials --embeddings exp/mini/embeddings/embeddings.scp"""

#: Trials scored at once: two gathered matrices of this many rows fit into the processor's cache or near it.
_BLOCK = 8192


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``sdpn verify``."""
    parser.add_argument("--trials", type=Path, required=True, metavar="FILE", help="list of trials")
    parser.add_argument(
        "--embeddings", type=Path, required=True, metavar="SCP", help="Kaldi scp or ark, from 'sdpn extract'"
    )
    parser.add_argument(
        "--scores", type=Path, metavar="FILE", help="also write 'utterance utterance score' here"
    )


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Score, print, and return the numbers."""
    from sdpn.io.kaldi import read_vectors
    from sdpn.io.trials import read_trials
    from sdpn.metrics.verification import equal_error_rate, error_rates, min_dcf

    trials = read_trials(args.trials)
    num_target = int(trials.is_target.sum())
    num_nontarget = len(trials) - num_target
    if not num_target or not num_nontarget:
        raise InputError(
            f"holds {num_target} target and {num_nontarget} non-target trials; both are needed",
            path=args.trials,
        )
    scores = _cosine_scores(trials, _unit_rows(trials, read_vectors(args.embeddings), args.embeddings))
    rates = error_rates(scores, trials.is_target)
    eer, threshold = equal_error_rate(rates)
    min_dcf_001, min_dcf_005 = min_dcf(rates, 0.01), min_dcf(rates, 0.05)
    if args.scores is not None:
        _write_scores(args.scores, trials, scores)
    print(f"trials        {num_target} target, {num_nontarget} non-target")
    print(f"EER           {100 * eer:.2f} %  (at cosine {threshold:.3f})")
    print(f"minDCF(0.01)  {min_dcf_001:.4f}")
    print(f"minDCF(0.05)  {min_dcf_005:.4f}")
    return {
        "eer": eer,
        "min_dcf_001": min_dcf_001,
        "min_dcf_005": min_dcf_005,
        "num_target": num_target,
        "num_nontarget": num_nontarget,
        "threshold": threshold,
    }


def _unit_rows(trials: Trials, vectors: Mapping[str, np.ndarray], path: Path) -> np.ndarray:
    """The embeddings of ``trials.ids`` at length 1, float32 (M, D)."""
    import numpy as np

    is_unknown = np.array([name not in vectors for name in trials.ids])
    if is_unknown.any():
        trial = int(np.argmax(is_unknown[trials.first] | is_unknown[trials.second]))
        pair = trials.first[trial], trials.second[trial]
        name = trials.ids[next(at for at in pair if is_unknown[at])]
        raise InputError(
            f"utterance {name!r} has no embedding in {path}"
            f" ({is_unknown.sum()} of {len(is_unknown)} utterances have none)",
            path=trials.path,
            line=int(trials.lines[trial]),
        )
    rows = np.stack([vectors[name] for name in trials.ids])
    lengths = np.linalg.norm(rows.astype(np.float64), axis=1)  # squares of large float32 would overflow
    if not lengths.all():
        name = trials.ids[int(np.argmin(lengths))]
        raise InputError(
            f"the embedding of {name!r} is all zeros and has no direction", path=path, hint="extract it again"
        )
    unit: np.ndarray = (rows / lengths[:, None]).astype(np.float32)
    return unit


def _cosine_scores(trials: Trials, unit_rows: np.ndarray) -> np.ndarray:
    """Dot products of the trials' rows, float32 (N,)."""
    import numpy as np

    scores = np.empty(len(trials), dtype=np.float32)
    for start in range(0, len(trials), _BLOCK):
        block = slice(start, start + _BLOCK)
        np.einsum(
            "nd,nd->n", unit_rows[trials.first[block]], unit_rows[trials.second[block]], out=scores[block]
        )
    return scores


def _write_scores(path: Path, trials: Trials, scores: np.ndarray) -> None:
    from sdpn.io.atomic import atomic_write_text

    rows = zip(trials.first.tolist(), trials.second.tolist(), scores.tolist(), strict=True)
    atomic_write_text(
        path,
        "".join(f"{trials.ids[first]} {trials.ids[second]} {score:.6f}\n" for first, second, score in rows),
    )

"""Stated and actual false-alarm rates of a back end on speakers that it was not trained on.

    python tools/benchmarks/strangers.py read --back-end sdpn/pretrained/fast \
        --embeddings exp/so762/embeddings.scp --trials shared/data/speechocean762/dev_trials
    python tools/benchmarks/strangers.py renew --back-end sdpn/pretrained/fast --to FILE \
        --embeddings exp/so762-train/embeddings.scp exp/cv-train/embeddings.scp …

``read`` prints, for each stated rate, the share of the different-speaker trials that reach the threshold, and
that of the same-speaker trials that do not. ``renew`` computes the scores of strangers of an existing back
end again, from the embeddings of its training speech, one table for each corpus; everything else stays.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np

from sdpn.cli.table import format_markdown
from sdpn.io.kaldi import read_vectors
from sdpn.io.trials import read_trials
from sdpn.verification.back_end import BackEnd
from sdpn.verification.storage import read_back_end, write_back_end
from sdpn.verification.strangers import normalising_half, stranger_quantiles

_RATES = (0.1, 0.05, 0.02, 0.01, 0.005, 0.001)


def main() -> None:
    """Read, or renew."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("step", choices=("read", "renew"))
    parser.add_argument("--back-end", type=Path, required=True)
    parser.add_argument("--embeddings", type=Path, nargs="+", required=True, metavar="SCP")
    parser.add_argument("--trials", type=Path, nargs="+", default=[], help="read: one file for each table")
    parser.add_argument("--to", type=Path, metavar="FILE", help="renew: the file to write")
    args = parser.parse_args()
    back_end = read_back_end(args.back_end)
    tables = [dict(read_vectors(path)) for path in args.embeddings]
    if args.step == "renew":
        write_back_end(args.to, renewed(back_end, tables))
        return
    rows = []
    for path, table in zip(args.trials, tables, strict=True):
        trials = read_trials(path)
        scores = back_end.score(np.stack([table[name] for name in trials.ids]), trials.first, trials.second)
        for rate in _RATES:
            reached = scores >= back_end.threshold(rate)
            shares = (reached[~trials.is_target].mean(), 1 - reached[trials.is_target].mean())
            rows.append([str(path), *(f"{100 * share:.2f}" for share in (rate, *shares))])
    print(format_markdown(["trials", "stated %", "false alarms %", "misses %"], rows))


def renewed(back_end: BackEnd, corpora: list[dict[str, np.ndarray]]) -> BackEnd:
    """The back end with the scores of strangers of these corpora, as `learn_back_end` computes them."""
    # of the included models, half of the cohort are degraded copies
    normalising_CD, half_top = normalising_half(
        back_end.cohort_CD, len(back_end.cohort_CD) // 2, back_end.top
    )
    known = {row.tobytes() for row in normalising_CD}
    kept = [
        [row for row in corpus.values() if row.astype(np.float16).tobytes() not in known]
        for corpus in corpora
    ]
    strangers = stranger_quantiles(
        back_end.similarity(np.concatenate(kept)),
        back_end.similarity(normalising_CD),
        top=half_top,
        rng=np.random.default_rng(0),
        corpora_N=np.repeat(np.arange(len(kept)), [len(rows) for rows in kept]),
    )
    return replace(back_end, strangers_Q=strangers)


if __name__ == "__main__":
    main()

"""Pseudo-labels of an unlabelled corpus: what ``sdpn pseudo-label`` does with its embeddings."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from sdpn.clustering.agreement import Agreement, agreement_of_labels
from sdpn.clustering.pseudo_labels import Method, PseudoLabels, pseudo_labels
from sdpn.errors import InputError
from sdpn.extraction.halves import EmbeddedHalves
from sdpn.io.atomic import atomic_write_text
from sdpn.io.kaldi import read_table


@dataclass(frozen=True, kw_only=True, eq=False)
class LabelledUtterances:
    """Clusters of one or several corpora.

    Attributes:
        ids: of the utterances of all corpora.
        found: their clusters.
        left_out: why others have no label: utterance -> reason.
        agreement: with the speakers; None without.
    """

    ids: list[str]
    found: PseudoLabels
    left_out: dict[str, str]
    agreement: Agreement | None

    @property
    def largest(self) -> int:
        """Utterances of the largest cluster."""
        return int(np.bincount(self.found.labels_N).max())

    def write(self, path: Path) -> None:
        """Write 'utterance cluster' lines, which ``sdpn train --objective pseudo`` learns.

        Raises:
            InputError: the file cannot be written.
        """
        lines = zip(self.ids, self.found.labels_N.tolist(), strict=True)
        atomic_write_text(path, "".join(f"{name} {label}\n" for name, label in lines))

    def to_dict(self) -> dict[str, Any]:
        """The figures as plain JSON."""
        results: dict[str, Any] = {
            "clusters": self.found.count,
            "space": self.found.space,
            "corpora": [
                {
                    "num_utterances": len(corpus.labels_N),
                    "clusters": corpus.count,
                    "method": corpus.method,
                    "agreement_of_halves": {
                        method: asdict(found) for method, found in corpus.agreement.items()
                    },
                }
                for corpus in self.found.corpora
            ],
            "largest": self.largest,
            "single": int((np.bincount(self.found.labels_N) == 1).sum()),
            "num_utterances": len(self.ids),
            "left_out": self.left_out,
        }
        if self.agreement is not None:
            results |= {
                "nmi": self.agreement.nmi,
                "purity": self.agreement.purity,
                "ari": self.agreement.ari,
            }
        return results


def pseudo_label(
    corpora: Sequence[EmbeddedHalves],
    *,
    method: Method | Literal["auto"] = "auto",
    counts: Sequence[int] = (),
    utt2spk: Path | None = None,
) -> LabelledUtterances:
    """Cluster utterances; how, and their number of clusters, is found without labels.

    Args:
        corpora: each from `sdpn.extraction.halves.embed_with_halves` or `read_halves`, by the same model. No
            speaker occurs in two of them.
        method: see `sdpn.clustering.pseudo_labels.pseudo_labels`, as for ``counts``.
        counts: candidate numbers of clusters of each corpus; none: a grid.
        utt2spk: speakers, only to measure how well clusters agree with them.

    Raises:
        InputError: an utterance occurs in two corpora, their embeddings differ in dimension, a table lacks an
            utterance, or there are too few utterances.
    """
    ids = [name for corpus in corpora for name in corpus.ids]
    if len(set(ids)) < len(ids):
        twice = next(name for name, count in Counter(ids).items() if count > 1)
        raise InputError(f"utterance {twice!r} occurs in two corpora")
    if len({corpus.whole_ND.shape[1] for corpus in corpora}) > 1:
        raise InputError("embeddings of corpora differ in dimension", hint="extract all with the same model")
    speakers = None if utt2spk is None else _look_up(ids, utt2spk)
    found = pseudo_labels(
        np.concatenate([corpus.whole_ND for corpus in corpora]),
        np.concatenate([corpus.halves_N2D for corpus in corpora]),
        corpora=[len(corpus.ids) for corpus in corpora],
        method=method,
        counts=counts,
    )
    return LabelledUtterances(
        ids=ids,
        found=found,
        left_out={name: why for corpus in corpora for name, why in corpus.left_out.items()},
        agreement=None if speakers is None else agreement_of_labels(found.labels_N, speakers),
    )


def _look_up(names: Sequence[str], path: Path) -> list[str]:
    """Value of every name in a table."""
    table = read_table(path)
    missing = next((name for name in names if name not in table), None)
    if missing is not None:
        raise InputError(f"has no line for {missing!r}, which has an embedding", path=path)
    return [table[name] for name in names]

"""Pseudo-labels of an unlabelled corpus: what ``sdpn pseudo-label`` does with its embeddings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from sdpn.clustering.agreement import Agreement, agreement_of_labels
from sdpn.clustering.pseudo_labels import PseudoLabels, pseudo_labels
from sdpn.errors import InputError
from sdpn.extraction.halves import EmbeddedHalves
from sdpn.io.atomic import atomic_write_text
from sdpn.io.kaldi import read_table


@dataclass(frozen=True, kw_only=True, eq=False)
class LabelledUtterances:
    """Clusters of a corpus.

    Attributes:
        ids: of the utterances.
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
            "agreement_of_halves": self.found.agreement,
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
    embedded: EmbeddedHalves,
    *,
    method: Literal["kmeans", "ahc"] = "kmeans",
    counts: Sequence[int] = (),
    utt2spk: Path | None = None,
) -> LabelledUtterances:
    """Cluster utterances; their number of clusters is found without labels.

    Args:
        embedded: from `sdpn.extraction.halves.embed_with_halves` or `read_halves`.
        method: see `sdpn.clustering.pseudo_labels.pseudo_labels`, as for ``counts``.
        counts: candidate numbers of clusters; none: a grid.
        utt2spk: speakers, only to measure how well clusters agree with them.

    Raises:
        InputError: a table lacks an utterance, or there are too few utterances.
    """
    speakers = None if utt2spk is None else _look_up(embedded.ids, utt2spk)
    found = pseudo_labels(embedded.whole_ND, embedded.halves_N2D, method=method, counts=counts)
    return LabelledUtterances(
        ids=embedded.ids,
        found=found,
        left_out=embedded.left_out,
        agreement=None if speakers is None else agreement_of_labels(found.labels_N, speakers),
    )


def _look_up(names: Sequence[str], path: Path) -> list[str]:
    """Value of every name in a table."""
    table = read_table(path)
    missing = next((name for name in names if name not in table), None)
    if missing is not None:
        raise InputError(f"has no line for {missing!r}, which has an embedding", path=path)
    return [table[name] for name in names]

"""Embeddings of utterances and of their parts, which a back end is trained on.

Shapes: N utterances, P parts of each (twice as many where they are degraded as well), D embedding.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

#: Minimum length of a part: shorter ones carry too little speaker information.
SHORTEST_PART_S = 0.5


@dataclass(frozen=True, eq=False)
class Parts:
    """Embeddings of utterances and of their parts (`sdpn.extraction.embed_parts` makes them).

    Attributes:
        ids: of the utterances that were embedded, N.
        whole_ND: their embeddings.
        parts_NPD: those of their parts.
        degraded_ND: those of degraded copies of the utterances; None if nothing was degraded.
        left_out: utterance -> reason, for those that were excluded.
    """

    ids: list[str]
    whole_ND: np.ndarray
    parts_NPD: np.ndarray
    degraded_ND: np.ndarray | None
    left_out: dict[str, str]

"""A speaker as a target: the cosine to the mean embedding of one, minus that to the others."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from sdpn.errors import InputError
from sdpn.explain.network import ExplainedNetwork
from sdpn.explain.target import Target, speaker_class
from sdpn.extraction.embed_corpus import embed_corpus
from sdpn.io.kaldi import Utterance

#: Utterances of a speaker that make the mean.
_EACH = 10


def speaker_target(
    network: ExplainedNetwork, utterances: Sequence[Utterance], speaker: str, *, but: str | None = None
) -> Target:
    """The class of a speaker among those of a data directory.

    Args:
        network: the network.
        utterances: with speakers.
        speaker: whose class it is.
        but: id of an utterance that is left out of the mean: the one that is explained.

    Raises:
        InputError: there is no such speaker, or no other.
    """
    chosen: dict[str, list[Utterance]] = {}
    for utterance in utterances:
        if utterance.speaker is not None and utterance.id != but:
            own = chosen.setdefault(utterance.speaker, [])
            if len(own) < _EACH:
                own.append(utterance)
    if speaker not in chosen or len(chosen) < 2:
        raise InputError(
            f"the data has no utterance of {speaker!r} besides the one explained"
            if speaker not in chosen
            else "the data has no other speaker to tell this one from",
            hint=f"speakers: {', '.join(sorted(chosen)[:20]) or 'none, it has no utt2spk'}",
        )
    rows: dict[str, list[np.ndarray]] = {}
    all_chosen = [utterance for own in chosen.values() for utterance in own]
    for each in embed_corpus(network.embedder, all_chosen, on_error="skip"):
        row_D = each.embeddings_ND[0]
        rows.setdefault(str(each.utterance.speaker), []).append(
            row_D / max(1e-12, float(np.linalg.norm(row_D)))
        )
    names = list(rows)
    if speaker not in rows:
        raise InputError(f"no utterance of {speaker!r} can be embedded")
    centroids_ND = torch.from_numpy(np.stack([np.mean(rows[name], axis=0) for name in names]))
    return speaker_class(centroids_ND.to(network.embedder.device), names.index(speaker), speaker)

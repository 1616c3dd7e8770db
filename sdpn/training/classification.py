"""Accuracy on the utterances that a run with labels leaves out, computed by all processes.

Shapes: N utterances, D embedding, K classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from sdpn.data.mel_folder import MelReader, padded_batches
from sdpn.distill.base import Objective
from sdpn.distill.supervised import Supervised
from sdpn.features.given import GivenFeatures
from sdpn.features.registry import build_features
from sdpn.io.kaldi import Utterance
from sdpn.metrics.classification import classification_figures
from sdpn.models.encoder import Encoder
from sdpn.training.evaluation import EmbeddedUtterances, encoder_of

#: The figure that the best network is chosen by.
ACCURACY = "evaluation/accuracy"


class EmbeddedMels(EmbeddedUtterances):
    """The same of utterances whose mel features are given.

    Args:
        reader: reads them.
        utterances: N of them. They are read at once: a file that cannot be used ends the run, by its name,
            before it begins.
        settings: see `EmbeddedUtterances`.

    Raises:
        InputError: a file of features cannot be used.
    """

    def __init__(self, reader: MelReader, utterances: Sequence[Utterance], **settings: Any) -> None:
        super().__init__(utterances, **settings)
        self._reader = reader
        for one in utterances:
            reader.read(one)

    def _embedded(self, encoder: Encoder, utterances: Sequence[Utterance]) -> np.ndarray:
        features = GivenFeatures(build_features(self._features))
        return embed_mels(encoder, features, self._reader, utterances, device=self._processes.device)


@torch.no_grad()
def embed_mels(
    encoder: Encoder,
    features: GivenFeatures,
    reader: MelReader,
    utterances: Sequence[Utterance],
    *,
    device: torch.device,
) -> np.ndarray:
    """Embeddings (N, D) of whole utterances from their mel features.

    Args:
        encoder: in evaluation mode, on the device.
        features: normalises them.
        reader: reads them.
        utterances: N of them.
        device: where to compute.

    Raises:
        InputError: a file of features cannot be used.
    """
    rows_ND = np.zeros((len(utterances), encoder.embedding_dim), dtype=np.float32)
    for mel_BFT, lengths_B, chosen_B in padded_batches(reader.read, utterances):
        lengths_B = lengths_B.to(device)
        embedding_BD = encoder(features(mel_BFT.to(device), lengths_B), lengths_B)
        rows_ND[chosen_B] = embedding_BD.float().cpu().numpy()
    return rows_ND


class Classification:
    """Classifies whole validation utterances.

    Args:
        embedded: the validation utterances.
        label_N: their classes, int64.
        every: steps between evaluations; the last step is always evaluated.
    """

    def __init__(self, embedded: EmbeddedUtterances, label_N: np.ndarray, *, every: int) -> None:
        self._embedded = embedded
        self._label_N = label_N
        self._every = every

    def is_due(self, step: int, *, last: bool) -> bool:
        """Whether the model is evaluated after this step."""
        return last or step % self._every == 0

    def share(self, network: Objective) -> None:
        """The part of a process other than rank 0."""
        self._embedded.share(encoder_of(network))

    def figures(self, network: Objective) -> dict[str, float]:
        """Accuracy, macro precision, recall and F1 in [0, 1], and cross-entropy in nats, by tag."""
        assert isinstance(network, Supervised)
        rows_ND = torch.from_numpy(self._embedded.rows(encoder_of(network))).to(network.prototypes.device)
        logits_NK = network.average_logits(rows_ND).double().cpu().numpy()
        figures = classification_figures(self._label_N, logits_NK.argmax(1))
        ce = torch.nn.functional.cross_entropy(torch.from_numpy(logits_NK), torch.from_numpy(self._label_N))
        return {f"evaluation/{name}": value for name, value in figures.items()} | {"evaluation/ce": float(ce)}

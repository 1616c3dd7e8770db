"""EER of the teacher on a trial list during training, computed by all processes.

Shapes: N utterances, D embedding.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn

from sdpn.distill.base import Objective, SelfDistillation
from sdpn.errors import InputError
from sdpn.extraction.audio_cache import AudioCache
from sdpn.extraction.embed_corpus import embed_corpus
from sdpn.features.registry import AnyFeatureConfig
from sdpn.io.kaldi import Utterance, read_data_dir
from sdpn.io.trials import read_trials
from sdpn.metrics.verification import equal_error_rate, error_rates
from sdpn.models.embedder import Embedder
from sdpn.models.encoder import Encoder
from sdpn.models.folder import ModelFolder
from sdpn.models.registry import AnyEncoderConfig
from sdpn.training.distributed import Processes
from sdpn.verification.similarity import cosine
from sdpn.verification.trial_scores import score_trials


@dataclass(frozen=True, kw_only=True)
class EvaluationConfig:
    """Verification trials that are scored during training, without influence on it.

    Attributes:
        data: Kaldi data directory of the trials' utterances.
        trials: trial list, ``1 a b`` or ``a b target``.
        every: steps between evaluations; the last step is always evaluated.
        choose: the network of the lowest EER is exported, with the last one beside it (``supervised``).
        cache_mb: memory for decoded audio of the trials, per process; what does not fit is decoded at
            every evaluation.
    """

    data: Path | None = None
    trials: Path | None = None
    every: int = 200
    choose: bool = False
    cache_mb: int = 1024

    def __post_init__(self) -> None:
        """Check that data and trials are given together."""
        if (self.data is None) != (self.trials is None):
            raise ValueError("data and trials must be given together")
        if self.choose and self.trials is None:
            raise ValueError("choose needs data and trials")
        if self.every < 1:
            raise ValueError("every must be at least 1")
        if self.cache_mb < 0:
            raise ValueError("cache_mb must not be negative")


#: The figure that the best network is chosen by, the lowest.
EER = "evaluation/eer"


class Evaluates(Protocol):
    """What is measured during training, without influence on it."""

    def is_due(self, step: int, *, last: bool) -> bool:
        """Whether the network is evaluated after this step."""

    def figures(self, network: Objective) -> dict[str, float]:
        """Figures by their TensorBoard tags, on rank 0; all other processes must call `share`."""

    def share(self, network: Objective) -> None:
        """The part of a process other than rank 0."""


class EmbeddedUtterances:
    """Embeddings of the same utterances each time, by a copy of the teacher, computed by all processes.

    Each process embeds its share on its own device; training is not affected.

    Args:
        utterances: N of them.
        encoder: encoder configuration.
        features: feature configuration.
        processes: the process group.
        cache_mb: see `EvaluationConfig`.
        channel: channel of multichannel files; None averages them.
    """

    def __init__(
        self,
        utterances: Sequence[Utterance],
        *,
        encoder: AnyEncoderConfig,
        features: AnyFeatureConfig,
        processes: Processes,
        cache_mb: int,
        channel: int | None = None,
    ) -> None:
        self._utterances = utterances
        self._encoder_config, self._features = encoder, features
        self._processes = processes
        self._cache = AudioCache(cache_mb)
        self._channel = channel

    def rows(self, encoder: nn.Module) -> np.ndarray:
        """Embeddings (N, D), on rank 0; all other processes must call `share`.

        Args:
            encoder: the teacher's encoder, on its training device.

        Raises:
            InputError: an utterance cannot be embedded, here or in another process.
            RuntimeError: another process failed.
        """
        if self._processes.world == 1:
            return self._embed(encoder, list(encoder.buffers()))
        parts = self._gathered(encoder)
        rows_ND = np.empty((len(self._utterances), parts[0].shape[1]), dtype=np.float32)
        for rank, part in enumerate(parts):
            rows_ND[rank :: len(parts)] = part
        return rows_ND

    def share(self, encoder: nn.Module) -> None:
        """Embed the share of a process other than rank 0; errors are raised by rank 0."""
        self._share(encoder)

    def _gathered(self, encoder: nn.Module) -> list[np.ndarray]:
        """Embeddings of all processes, by rank."""
        parts = self._share(encoder)
        rows = []
        for rank, part in enumerate(parts):
            if isinstance(part, InputError):
                raise part
            if isinstance(part, str):
                raise RuntimeError(f"process {rank}: {part}")
            rows.append(part)
        return rows

    def _share(self, encoder: nn.Module) -> list[np.ndarray | InputError | str]:
        """Embed this process's share; returns the embeddings, or the error, of every process."""
        # batch-norm statistics differ between processes; rank 0's are exported
        buffers = [buffer.detach().clone() for buffer in encoder.buffers()]
        self._processes.broadcast(buffers)
        own: np.ndarray | InputError | str
        try:
            own = self._embed(encoder, buffers)
        except InputError as error:
            own = error
        except Exception as error:  # of any kind: the other processes are waiting
            own = f"{type(error).__name__}: {error}"
        return self._processes.gather(own)

    def _embed(self, encoder: nn.Module, buffers: list[Tensor]) -> np.ndarray:
        """Embeddings (n, D) of this process's share: every world-th utterance from rank on."""
        frozen = copy.deepcopy(encoder).eval()
        assert isinstance(frozen, Encoder)
        with torch.no_grad():
            for own, value in zip(frozen.buffers(), buffers, strict=True):
                own.copy_(value)
        return self._embedded(frozen, self._utterances[self._processes.rank :: self._processes.world])

    def _embedded(self, encoder: Encoder, utterances: Sequence[Utterance]) -> np.ndarray:
        """Embeddings (n, D) of whole utterances by an encoder in evaluation mode."""
        embedder = Embedder(
            ModelFolder(encoder, self._encoder_config, self._features), device=str(self._processes.device)
        )
        embedded = embed_corpus(embedder, utterances, cache=self._cache, channel=self._channel)
        none = np.zeros((0, embedder.embedding_dim), dtype=np.float32)
        return np.concatenate([none, *(each.embeddings_ND for each in embedded)])


class Evaluation:
    """The trials of a run, read once.

    Args:
        config: settings with data and trials.
        encoder: encoder configuration.
        features: feature configuration.
        processes: the process group, see `EmbeddedUtterances`.

    Raises:
        InputError: a file is missing or malformed, an utterance of the trials is not in the data, or there
            are no target or no non-target trials.
    """

    def __init__(
        self,
        config: EvaluationConfig,
        *,
        encoder: AnyEncoderConfig,
        features: AnyFeatureConfig,
        processes: Processes,
    ) -> None:
        assert config.data is not None and config.trials is not None
        self._every = config.every
        self._trials = read_trials(config.trials)
        by_id = {utterance.id: utterance for utterance in read_data_dir(config.data)}
        for name in self._trials.ids:
            if name not in by_id:
                raise InputError(
                    f"the trials contain {name!r}, which is not in {config.data}", path=config.trials
                )
        if self._trials.is_target.all() or not self._trials.is_target.any():
            raise InputError("needs target and non-target trials for an EER", path=config.trials)
        self.utterances: list[Utterance] = [by_id[name] for name in self._trials.ids]
        self._embedded = EmbeddedUtterances(
            self.utterances,
            encoder=encoder,
            features=features,
            processes=processes,
            cache_mb=config.cache_mb,
        )

    def is_due(self, step: int, *, last: bool) -> bool:
        """Whether the model is evaluated after this step."""
        return last or step % self._every == 0

    def figures(self, network: Objective) -> dict[str, float]:
        """The EER of the teacher, see `eer`."""
        return {EER: self.eer(encoder_of(network))}

    def share(self, network: Objective) -> None:
        """See `embed_share`."""
        self.embed_share(encoder_of(network))

    def eer(self, encoder: nn.Module) -> float:
        """Equal error rate of cosine scores, in [0, 1]; all other processes must call `embed_share`.

        Args:
            encoder: the teacher's encoder, on its training device.

        Raises:
            InputError: an utterance cannot be embedded, here or in another process.
            RuntimeError: another process failed.
        """
        rows_ND = self._embedded.rows(encoder)
        scores = score_trials(cosine(rows_ND), self._trials.first, self._trials.second)
        return equal_error_rate(error_rates(scores, self._trials.is_target))[0]

    def embed_share(self, encoder: nn.Module) -> None:
        """Embed the share of a process other than rank 0; errors are raised by rank 0."""
        self._embedded.share(encoder)


def encoder_of(network: Objective) -> nn.Module:
    """The encoder that is exported."""
    assert isinstance(network, SelfDistillation)
    return network.teacher.encoder

"""EER on a trial list while training: the teacher, as it would be exported."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch import nn

from sdpn.errors import InputError
from sdpn.features.registry import AnyFeatureConfig
from sdpn.io.audio import RATE_HZ
from sdpn.io.kaldi import Utterance, read_data_dir
from sdpn.io.trials import read_trials
from sdpn.metrics.verification import equal_error_rate, error_rates
from sdpn.models.embedder import Embedder
from sdpn.models.encoder import Encoder
from sdpn.models.folder import ModelFolder
from sdpn.models.registry import AnyEncoderConfig
from sdpn.verification.similarity import cosine
from sdpn.verification.trial_scores import score_trials


@dataclass(frozen=True, kw_only=True)
class EvaluationConfig:
    """Verification trials that are scored during training, without influence on it.

    Attributes:
        data: Kaldi data directory of the trials' utterances.
        trials: trial list, ``1 a b`` or ``a b target``.
        every: steps between evaluations; the last step is always evaluated.
    """

    data: Path | None = None
    trials: Path | None = None
    every: int = 200

    def __post_init__(self) -> None:
        """Check that both files are there, or none."""
        if (self.data is None) != (self.trials is None):
            raise ValueError("data and trials must be given together")
        if self.every < 1:
            raise ValueError("every must be at least 1")


class Evaluation:
    """The trials of a run, read once.

    Args:
        config: with data and trials.
        encoder: configuration of the encoder.
        features: its features.

    Raises:
        InputError: a file is missing or malformed, a trial names an utterance that the data does not hold, or
            there are only trials of one kind.
    """

    def __init__(
        self, config: EvaluationConfig, *, encoder: AnyEncoderConfig, features: AnyFeatureConfig
    ) -> None:
        assert config.data is not None and config.trials is not None
        self._encoder_config, self._features = encoder, features
        self._trials = read_trials(config.trials)
        known = {utterance.id: utterance for utterance in read_data_dir(config.data)}
        for name in self._trials.ids:
            if name not in known:
                raise InputError(
                    f"the trials contain {name!r}, which is not in {config.data}", path=config.trials
                )
        if self._trials.is_target.all() or not self._trials.is_target.any():
            raise InputError("needs target and non-target trials for an EER", path=config.trials)
        self.utterances: list[Utterance] = [known[name] for name in self._trials.ids]

    def eer(self, encoder: nn.Module) -> float:
        """Equal error rate of cosine scores in [0, 1].

        Args:
            encoder: the teacher's; a copy is used, in evaluation mode and on the CPU.
        """
        frozen = copy.deepcopy(encoder).cpu().eval()
        assert isinstance(frozen, Encoder)
        embedder = Embedder(ModelFolder(frozen, self._encoder_config, self._features))
        rows_ND = np.stack([embedder.embed(utterance.read(), RATE_HZ) for utterance in self.utterances])
        scores = score_trials(cosine(rows_ND), self._trials.first, self._trials.second)
        return equal_error_rate(error_rates(scores, self._trials.is_target))[0]

"""What a run shows of itself: points of the curves, looks at the prototypes, EER, the projector.

Shapes: K prototypes, E projection, N rows, D embedding.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from sdpn.data.crops import crop
from sdpn.distill.base import LossTerms, SelfDistillation
from sdpn.errors import InputError
from sdpn.io.audio import RATE_HZ
from sdpn.io.kaldi import Utterance
from sdpn.tracking import drift
from sdpn.tracking.board import Board
from sdpn.training.config import RunConfig
from sdpn.training.evaluation import Evaluation
from sdpn.training.optim import GradientNorms

#: The projector shows this many utterances, of this many speakers where speakers are known, with so many
#: crops. TensorBoard colours by a label only where it has at most 50 values.
_PROJECTED_UTTERANCES = 40
_PROJECTED_SPEAKERS = 10
_PROJECTED_CROPS = 4


class Watcher:
    """Writes the dashboard of a run.

    Args:
        config: the whole configuration.
        network: what is trained.
        board: where to write.
        initial_KE: prototypes at step 0.
        utterances: of which the projector shows some.
        evaluation: trials to score now and then.
    """

    def __init__(
        self,
        config: RunConfig,
        network: SelfDistillation,
        board: Board,
        *,
        initial_KE: Tensor,
        utterances: Sequence[Utterance],
        evaluation: Evaluation | None,
    ) -> None:
        self._config = config
        self._network = network
        self._board = board
        self._evaluation = evaluation
        self._initial_KE = initial_KE
        self._previous_KE = initial_KE.clone()
        self._usage_K = initial_KE.new_zeros(len(initial_KE))
        self._usage_steps = 0
        # of the window before: a checkpoint made right at a look would otherwise know nothing of usage
        self._last_usage_K, self._last_usage_steps = self._usage_K.clone(), 0
        self._sample = _Sample.draw(
            evaluation.utterances if evaluation else utterances,
            config.crops.local_samples,
            seed=config.training.seed,
        )
        self._window = _Window()

    def add(self, terms: LossTerms, norms: GradientNorms, *, waited_s: float, started: float) -> None:
        """Take in a step; nothing is read off the device."""
        self._window.add(terms, norms, waited_s=waited_s, started=started)
        self._usage_K += drift.usage(terms.assignment_NK)
        self._usage_steps += 1

    def point(self, step: int, *, lr: float, momentum: float, bad_files: int) -> dict[str, float]:
        """Write and return the means since the last point, by tag."""
        samples = self._config.training.batch_size * self._config.crops.mean_samples
        scalars = self._window.close(samples / RATE_HZ)
        scalars |= {"train/lr": lr, "train/momentum": momentum, "train/bad_files": float(bad_files)}
        self._board.scalars(step, scalars)
        self._window = _Window()
        return scalars

    def look(self, step: int, *, last: bool) -> None:
        """Look at prototypes, trials and projector where this step is due for it."""
        training, evaluation = self._config.training, self._config.evaluation
        if last or step % training.watch_every == 0:
            self._look_at_prototypes(step)
        if self._evaluation is not None and (last or step % evaluation.every == 0):
            self._board.scalars(step, {"evaluation/eer": self._evaluation.eer(self._network.teacher.encoder)})
        if last or (training.projector_every and step % training.projector_every == 0):
            self._project(step)

    def _look_at_prototypes(self, step: int) -> None:
        """Write what the prototypes do, then start a new window of usage."""
        now_KE = self._network.prototypes.detach().clone()
        self._last_usage_K = self._usage_K / max(1, self._usage_steps)
        self._last_usage_steps = self._usage_steps
        self._board.prototypes(
            step,
            now_KE=now_KE,
            initial_KE=self._initial_KE,
            previous_KE=self._previous_KE,
            usage_K=self._last_usage_K,
        )
        self._previous_KE = now_KE
        self._usage_K.zero_()
        self._usage_steps = 0

    @torch.no_grad()
    def _project(self, step: int) -> None:
        """Prototypes and some projections on one sphere, for the projector."""
        teacher = self._network.teacher
        was_training = teacher.training
        teacher.eval()
        features = self._network.features(self._sample.crops_NS.to(self._initial_KE.device))
        unit_NE = normalize(teacher(features)[1].float(), dim=1)
        teacher.train(was_training)
        self._board.projector(
            step,
            prototypes_KE=normalize(self._network.prototypes.detach(), dim=1),
            rows_NE=unit_NE,
            labels=self._sample.labels,
        )

    def state(self) -> dict[str, Any]:
        """What a continued run needs to draw on."""
        return {
            "previous": self._previous_KE,
            "usage": self._usage_K,
            "usage_steps": self._usage_steps,
            "last_usage": self._last_usage_K,
            "last_usage_steps": self._last_usage_steps,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Take over what `state` gave."""
        device = self._initial_KE.device
        self._previous_KE, self._usage_K = state["previous"].to(device), state["usage"].to(device)
        self._usage_steps = state["usage_steps"]
        self._last_usage_K = state["last_usage"].to(device)
        self._last_usage_steps = state["last_usage_steps"]

    def close(self) -> None:
        """Write what is left."""
        self._board.close()


@dataclass(frozen=True)
class _Sample:
    """Crops that the projector shows: (N, S), and (utterance, speaker) of each."""

    crops_NS: Tensor
    labels: list[tuple[str, str]]

    @classmethod
    def draw(cls, utterances: Sequence[Utterance], num_samples: int, *, seed: int) -> _Sample:
        rng = np.random.default_rng((seed, num_samples))
        crops: list[np.ndarray] = []
        labels: list[tuple[str, str]] = []
        shuffled = [utterances[index] for index in rng.permutation(len(utterances))]
        voices = list(dict.fromkeys(utterance.speaker for utterance in shuffled))[:_PROJECTED_SPEAKERS]
        for utterance in [u for u in shuffled if u.speaker in voices][:_PROJECTED_UTTERANCES]:
            try:
                wave = utterance.read()
            except InputError:
                continue  # the loader skips it, too, and names it
            for _ in range(_PROJECTED_CROPS):
                piece = crop(wave, num_samples, rng)
                if piece is not None:
                    crops.append(piece)
                    labels.append((utterance.id, utterance.speaker or "unknown"))
        stacked = np.stack(crops) if crops else np.zeros((0, num_samples), np.float32)
        return cls(torch.from_numpy(stacked), labels)


@dataclass
class _Window:
    """Sums since the last point of the curves; nothing is read off the device until `close`."""

    terms: list[dict[str, Tensor]] = field(default_factory=list)
    waited_s: float = 0.0
    started: float = 0.0
    last: LossTerms | None = None

    def add(self, terms: LossTerms, norms: GradientNorms, *, waited_s: float, started: float) -> None:
        if not self.terms:
            self.started = started
        named = {f"loss/{name}": value for name, value in terms.terms.items()}
        named |= {
            "loss/total": terms.total.detach(),
            "train/grad_norm": norms.total,
            "prototypes/grad_norm": norms.prototypes,
        }
        self.terms.append(named)
        self.waited_s += waited_s
        self.last = terms

    def close(self, audio_s: float) -> dict[str, float]:
        """Means over the window, by tag."""
        assert self.last is not None
        elapsed_s = time.perf_counter() - self.started
        count = len(self.terms)
        scalars = {
            tag: float(torch.stack([terms[tag] for terms in self.terms]).mean()) for tag in self.terms[0]
        }
        return scalars | {
            "train/step_s": elapsed_s / count,
            "train/loader_wait": self.waited_s / elapsed_s,
            "train/audio_hours_per_hour": audio_s * count / elapsed_s,
            "embedding/std": float(drift.deviation(self.last.embedding_ND)),
            "embedding/effective_rank": float(drift.effective_rank(self.last.embedding_ND)),
        }

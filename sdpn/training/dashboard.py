"""The dashboard of a run: training curves, prototype statistics, EER, projector.

Shapes: K prototypes, E projection, N rows, D embedding.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from sdpn.data.crops import crop
from sdpn.distill.base import LossTerms, Objective, SelfDistillation
from sdpn.errors import InputError
from sdpn.explain.watch import NUM_WATCHED, Watch
from sdpn.io.audio import RATE_HZ
from sdpn.io.kaldi import Utterance
from sdpn.models.encoder import Encoder
from sdpn.tracking import prototype_statistics
from sdpn.tracking.board import Board
from sdpn.training.config import RunConfig
from sdpn.training.evaluation import Evaluates, Evaluation
from sdpn.training.optim import GradientNorms
from sdpn.training.provenance import provenance

_log = logging.getLogger(__name__)

#: Number of utterances in the projector, of speakers (if known), and of crops. TensorBoard colours by a label
#: only where it has at most 50 values.
_PROJECTED_UTTERANCES = 40
_PROJECTED_SPEAKERS = 10
_PROJECTED_CROPS = 4


class Dashboard:
    """Writes the TensorBoard dashboard of a run. A failure only causes a warning.

    Args:
        config: the whole configuration.
        network: the network being trained.
        board: the TensorBoard writer.
        initial_KE: prototypes at step 0.
        utterances: a sample of them is shown in the projector.
        evaluation: what is measured during training.
    """

    def __init__(
        self,
        config: RunConfig,
        network: Objective,
        board: Board,
        *,
        initial_KE: Tensor,
        utterances: Sequence[Utterance],
        evaluation: Evaluates | None,
    ) -> None:
        self._config = config
        self._network = network
        self._board = board
        self._evaluation = evaluation
        self._initial_KE = initial_KE
        self._previous_KE = initial_KE.clone()
        self._usage_K = initial_KE.new_zeros(len(initial_KE))
        self._usage_steps = 0
        # of the previous window: the current one is empty in a checkpoint saved right at an evaluation
        self._last_usage_K, self._last_usage_steps = self._usage_K.clone(), 0
        trials = evaluation if isinstance(evaluation, Evaluation) else None
        self._shown = trials.utterances if trials else utterances
        self._channel = None if trials else config.crops.channel
        self._drawn: _Sample | None = None
        self._watch: Watch | None = None
        self._window = _Window()
        self._warned: set[str] = set()
        self._failures = 0

    def write_configuration(self, configuration: str) -> None:
        """Write the settings as YAML, the code version and the graph of the student."""
        with self._attempt("the network graph"):
            self._board.text("configuration", f"```yaml\n{configuration}```")
            code = "\n".join(f"{key}: {value}  " for key, value in provenance().items())
            self._board.text("code", code)
            self._board.graph(self._network.student, self._network.example(self._config.view_samples))

    def add(self, terms: LossTerms, norms: GradientNorms, *, waited_s: float, started: float) -> None:
        """Add a step without synchronising with the device."""
        self._window.add(terms, norms, waited_s=waited_s, started=started)
        self._usage_K += prototype_statistics.usage(terms.assignment_NK)
        self._usage_steps += 1

    def write_curves(self, step: int, *, lr: float, momentum: float, bad_files: int) -> dict[str, float]:
        """Write the means since the last point of the curves; returns them by tag."""
        samples = self._config.training.batch_size * self._config.item_samples
        scalars = self._window.close(samples / RATE_HZ)
        scalars |= {"train/lr": lr, "train/momentum": momentum, "train/bad_files": float(bad_files)}
        self._window = _Window()
        with self._attempt("the curves"):
            self._board.scalars(step, scalars)
        return scalars

    def evaluate(
        self,
        step: int,
        *,
        last: bool,
        on_figures: Callable[[dict[str, float]], None] = lambda _figures: None,
    ) -> bool:
        """Evaluate prototypes, trials and projector if due at this step.

        Args:
            step: steps done.
            last: it is the last of the run.
            on_figures: called with what the evaluation measured, if it succeeded.

        Returns:
            whether all of them succeeded.
        """
        training = self._config.training
        failures = self._failures
        if last or step % training.watch_every == 0:
            self._write_prototypes(step)
        if self._evaluation is not None and self._evaluation.is_due(step, last=last):
            with self._attempt("the evaluation"):
                figures = self._evaluation.figures(self._network)
                on_figures(figures)
                self._board.scalars(step, figures)
        if last or (training.projector_every and step % training.projector_every == 0):
            with self._attempt("the projector"):
                self._project(step)
        if training.explain_every and (last or step % training.explain_every == 0):
            with self._attempt("the maps"):
                self._explain(step)
        return self._failures == failures

    @contextmanager
    def _attempt(self, what: str) -> Iterator[None]:
        """Run a part of the dashboard; a failure is logged once and ignored."""
        try:
            yield
        except Exception as error:  # no failure of the dashboard may end a run
            self._failures += 1
            fault = f"{what} failed ({type(error).__name__}: {' '.join(str(error).split())})"
            if fault not in self._warned:
                self._warned.add(fault)
                _log.warning("%s; training continues without it", fault)

    def _write_prototypes(self, step: int) -> None:
        """Write the prototype statistics, then start a new window of usage."""
        now_KE, previous_KE = self._network.prototypes.detach().clone(), self._previous_KE
        self._last_usage_K = self._usage_K / max(1, self._usage_steps)
        self._last_usage_steps = self._usage_steps
        self._previous_KE = now_KE
        self._usage_K.zero_()
        self._usage_steps = 0
        with self._attempt("the prototype statistics"):
            self._board.prototypes(
                step,
                now_KE=now_KE,
                initial_KE=self._initial_KE,
                previous_KE=previous_KE,
                usage_K=self._last_usage_K,
            )

    @torch.no_grad()
    def _project(self, step: int) -> None:
        """Write prototypes and some projections, on the unit sphere, for the projector."""
        if not isinstance(self._network, SelfDistillation) or not self._shown:  # nothing to embed, or to hear
            return
        if self._drawn is None:
            self._drawn = _Sample.draw(
                self._shown,
                self._config.crops.local_samples,
                channel=self._channel,
                seed=self._config.training.seed,
            )
        teacher = self._network.teacher
        unit_NE = self._initial_KE[:0]
        if self._drawn.labels:  # empty if all utterances are silent
            was_training = teacher.training
            teacher.eval()
            try:
                features = self._network.features(self._drawn.crops_NS.to(self._initial_KE.device))
                unit_NE = normalize(teacher(features)[1].float(), dim=1)
            finally:
                teacher.train(was_training)
        self._board.projector(
            step,
            prototypes_KE=normalize(self._network.prototypes.detach(), dim=1),
            rows_NE=unit_NE,
            labels=self._drawn.labels,
        )

    def _explain(self, step: int) -> None:
        """Write maps of the teacher for the same utterances each time, and histograms by layer."""
        teacher, student = self._network.teacher.encoder, self._network.student.encoder
        assert isinstance(teacher, Encoder) and isinstance(student, Encoder)
        if self._watch is None:
            self._watch = Watch(self._config.encoder, self._config.features, self._watched_waves())
        self._watch.write(self._board, step, teacher=teacher, student=student)

    def _watched_waves(self) -> list[tuple[str, np.ndarray]]:
        """Some utterances, by a generator of its own."""
        order = np.random.default_rng((self._config.training.seed, len(self._shown))).permutation(
            len(self._shown)
        )
        waves: list[tuple[str, np.ndarray]] = []
        for index in order[: 2 * NUM_WATCHED].tolist():
            with contextlib.suppress(InputError):  # the data loader reports it
                waves.append((self._shown[index].id, self._shown[index].read(channel=self._channel)))
        return waves

    def state(self) -> dict[str, Any]:
        """The state that a resumed run needs."""
        return {
            "previous": self._previous_KE,
            "usage": self._usage_K,
            "usage_steps": self._usage_steps,
            "last_usage": self._last_usage_K,
            "last_usage_steps": self._last_usage_steps,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Restore what `state` returned."""
        device = self._initial_KE.device
        self._previous_KE, self._usage_K = state["previous"].to(device), state["usage"].to(device)
        self._usage_steps = state["usage_steps"]
        self._last_usage_K = state["last_usage"].to(device)
        self._last_usage_steps = state["last_usage_steps"]

    def close(self) -> None:
        """Flush and close."""
        with self._attempt("the curves"):
            self._board.close()


@dataclass(frozen=True)
class _Sample:
    """Crops that the projector shows: (N, S), and (utterance, speaker) of each."""

    crops_NS: Tensor
    labels: list[tuple[str, str]]

    @classmethod
    def draw(
        cls, utterances: Sequence[Utterance], num_samples: int, *, channel: int | None, seed: int
    ) -> _Sample:
        rng = np.random.default_rng((seed, num_samples))
        crops: list[np.ndarray] = []
        labels: list[tuple[str, str]] = []
        shuffled = [utterances[index] for index in rng.permutation(len(utterances))]
        speakers = list(dict.fromkeys(utterance.speaker for utterance in shuffled))[:_PROJECTED_SPEAKERS]
        for utterance in [u for u in shuffled if u.speaker in speakers][:_PROJECTED_UTTERANCES]:
            try:
                wave = utterance.read(channel=channel)
            except InputError:
                continue  # the data loader reports it
            for _ in range(_PROJECTED_CROPS):
                piece = crop(wave, num_samples, rng)
                if piece is not None:
                    crops.append(piece)
                    labels.append((utterance.id, utterance.speaker or "unknown"))
        stacked = np.stack(crops) if crops else np.zeros((0, num_samples), np.float32)
        return cls(torch.from_numpy(stacked), labels)


@dataclass
class _Window:
    """Values since the last point of the curves; they stay on the device until `close`."""

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
            "embedding/std": float(prototype_statistics.deviation(self.last.embedding_ND)),
            "embedding/effective_rank": float(prototype_statistics.effective_rank(self.last.embedding_ND)),
        }

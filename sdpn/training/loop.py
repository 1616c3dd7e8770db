"""The training loop: one step after the other, watched, checkpointed and resumable.

A run is a function of its configuration and data. The state after step s decides all that follows: the data
of a step depends on the step alone (`sdpn.data.dataset`), schedules are functions of the step, and the
checkpoint holds the rest.
"""

from __future__ import annotations

import logging
import math
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from sdpn.data.crops import CropBatch
from sdpn.data.dataset import CropDataset, load_batches
from sdpn.distill.network import SDPN, LossTerms
from sdpn.errors import InputError
from sdpn.io.audio import RATE_HZ
from sdpn.tracking import drift
from sdpn.tracking.board import Board
from sdpn.training.checkpoint import CheckpointStore
from sdpn.training.config import RunConfig
from sdpn.training.optim import CosineSchedule, make_optimizer

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Progress:
    """Where a run stands, for whoever shows it.

    Attributes:
        step: steps done.
        steps: steps in all.
        scalars: the latest point of the curves, by TensorBoard tag.
    """

    step: int
    steps: int
    scalars: dict[str, float]


class TrainingDiverged(InputError):
    """The loss is no longer a finite number; the last checkpoint is from before."""


class Stopped(Exception):
    """The run was asked to stop by a signal and has saved its state."""

    def __init__(self, signal_number: int, step: int) -> None:
        self.signal_number = signal_number
        self.step = step
        super().__init__(f"stopped by {signal.Signals(signal_number).name} after step {step}; state saved")


class Trainer:
    """Trains an `SDPN` on a data set.

    Args:
        config: the whole configuration.
        network: what is trained, as initialised.
        dataset: the utterances.
        store: where checkpoints go; the newest whole one is continued.
        make_board: opens the board at a step.
        on_progress: called at every point of the curves.
    """

    def __init__(
        self,
        config: RunConfig,
        network: SDPN,
        dataset: CropDataset,
        *,
        store: CheckpointStore,
        make_board: Callable[[int], Board],
        on_progress: Callable[[Progress], None],
    ) -> None:
        self._config = config
        self._network = network
        self._dataset = dataset
        self._store = store
        self._make_board = make_board
        self._on_progress = on_progress
        self._optimizer = make_optimizer(config.optimizer, network)
        # What clipping covers: the optimizer's tensors, so no trainable tensor can be forgotten.
        self._trainable = [tensor for group in self._optimizer.param_groups for tensor in group["params"]]
        self._precision = resolve_precision(config.training.precision)
        self._initial_KE = network.prototypes.detach().clone()
        self._previous_KE = self._initial_KE.clone()
        self._usage_K = torch.zeros(len(self._initial_KE))
        self._usage_steps = 0

    def run(self) -> None:
        """Train to the last step.

        Raises:
            TrainingDiverged: the loss is not finite.
            Stopped: SIGTERM or SIGUSR1 arrived; the state is saved.
        """
        training = self._config.training
        start = self._resume()
        if start >= training.steps:
            return
        lr = CosineSchedule(
            self._config.optimizer.lr,
            self._config.optimizer.final_lr,
            training.steps,
            self._config.optimizer.warmup_steps,
        )
        momentum = CosineSchedule(
            self._config.sdpn.momentum, self._config.sdpn.final_momentum, training.steps
        )
        batches = load_batches(
            self._dataset,
            batch_size=training.batch_size,
            seed=training.seed,
            start_step=start,
            end_step=training.steps,
            workers=training.workers,
        )
        board = self._make_board(start)
        self._network.train()
        window = _Window()
        try:
            with _stop_signals() as asked_to_stop:
                for step in range(start, training.steps):
                    asked = time.perf_counter()
                    batch = next(batches)
                    got = time.perf_counter()
                    for group in self._optimizer.param_groups:
                        group["lr"] = lr[step]
                    window.add(*self._step(batch, momentum[step]), waited_s=got - asked, started=asked)
                    done = step + 1
                    if done % training.log_every == 0 or done == training.steps:
                        scalars = window.close(self._audio_s())
                        scalars |= {"train/lr": lr[step], "train/momentum": momentum[step]}
                        if not math.isfinite(scalars["loss/total"]):
                            raise TrainingDiverged(
                                f"the loss is {scalars['loss/total']} at step {done}",
                                hint="lower optimizer.lr; the last checkpoint is from before",
                            )
                        board.scalars(done, scalars)
                        self._on_progress(Progress(done, training.steps, scalars))
                        window = _Window()
                    if done % training.watch_every == 0 or done == training.steps:
                        self._watch(board, done)
                    if asked_to_stop or done % training.checkpoint_every == 0 or done == training.steps:
                        self._store.save(done, self._state(done))
                    if asked_to_stop and done < training.steps:
                        raise Stopped(asked_to_stop[0], done)
        finally:
            board.close()

    def _step(self, batch: CropBatch, momentum: float) -> tuple[LossTerms, Tensor, Tensor]:
        """One update; returns the terms, the norm of all gradients, and that of the prototypes' gradient."""
        network = self._network
        with torch.autocast("cpu", torch.bfloat16, enabled=self._precision == "bf16"):
            terms = network(batch)
        self._optimizer.zero_grad(set_to_none=True)
        terms.total.backward()
        prototype_grad = network.prototypes.grad
        assert prototype_grad is not None
        prototype_norm = prototype_grad.norm()
        norm = torch.nn.utils.clip_grad_norm_(self._trainable, self._config.optimizer.clip_norm)
        self._optimizer.step()
        network.update_teacher(momentum)
        self._usage_K += terms.usage_K
        self._usage_steps += 1
        return terms, norm, prototype_norm

    def _watch(self, board: Board, step: int) -> None:
        """Look at the prototypes, then start a new window of usage."""
        now_KE = self._network.prototypes.detach().clone()
        board.prototypes(
            step,
            now_KE=now_KE,
            initial_KE=self._initial_KE,
            previous_KE=self._previous_KE,
            usage_K=self._usage_K / self._usage_steps,
        )
        self._previous_KE = now_KE
        self._usage_K.zero_()
        self._usage_steps = 0

    def _audio_s(self) -> float:
        """Seconds of crops in a step."""
        crops = self._config.crops
        samples = crops.num_global * crops.global_samples + crops.num_local * crops.local_samples
        return self._config.training.batch_size * samples / RATE_HZ

    def _state(self, step: int) -> dict[str, Any]:
        epoch, position = divmod(step * self._config.training.batch_size, len(self._dataset))
        return {
            "step": step,
            "model": self._network.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "rng": torch.get_rng_state(),
            "sampler": {"epoch": epoch, "position": position},
            "tracking": {
                "initial": self._initial_KE,
                "previous": self._previous_KE,
                "usage": self._usage_K,
                "usage_steps": self._usage_steps,
            },
        }

    def _resume(self) -> int:
        """Load the newest checkpoint, if any, and return the step to start at."""
        state = self._store.load_newest()
        if state is None:
            return 0
        self._network.load_state_dict(state["model"])
        self._optimizer.load_state_dict(state["optimizer"])
        torch.set_rng_state(state["rng"])
        tracking = state["tracking"]
        self._initial_KE, self._previous_KE = tracking["initial"], tracking["previous"]
        self._usage_K, self._usage_steps = tracking["usage"], tracking["usage_steps"]
        _log.info("continuing at step %d", state["step"])
        return int(state["step"])


@dataclass
class _Window:
    """Sums since the last point of the curves; nothing is read off the device until `close`."""

    terms: list[dict[str, Tensor]] = field(default_factory=list)
    waited_s: float = 0.0
    started: float = 0.0
    last: LossTerms | None = None

    def add(
        self, terms: LossTerms, norm: Tensor, prototype_norm: Tensor, *, waited_s: float, started: float
    ) -> None:
        if not self.terms:
            self.started = started
        named = {f"loss/{name}": value for name, value in terms.terms.items()}
        named |= {
            "loss/total": terms.total.detach(),
            "train/grad_norm": norm,
            "prototypes/grad_norm": prototype_norm,
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


def resolve_precision(precision: str) -> str:
    """Turn ``auto`` into ``bf16`` where this processor multiplies bf16 natively, else ``fp32``."""
    if precision != "auto":
        return precision
    native = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return "bf16" if native else "fp32"


@contextmanager
def _stop_signals() -> Iterator[list[int]]:
    """Collect SIGTERM and SIGUSR1 (a cluster's warning) instead of dying in the middle of a step."""
    received: list[int] = []
    numbers = (signal.SIGTERM, signal.SIGUSR1)
    before = {
        number: signal.signal(number, lambda signum, _frame: received.append(signum)) for number in numbers
    }
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

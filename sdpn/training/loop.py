"""The training loop: one step after the other, watched, checkpointed and resumable.

A run is a function of its configuration and data. The state after step s decides all that follows: the data
of a step depends on the step alone (`sdpn.data.dataset`), schedules are functions of the step, and the
checkpoint holds the rest.
"""

from __future__ import annotations

import logging
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from sdpn.data.dataset import CropDataset, load_batches
from sdpn.distill.base import SelfDistillation
from sdpn.training.checkpoint import CheckpointStore
from sdpn.training.config import RunConfig
from sdpn.training.distributed import Processes
from sdpn.training.guards import Guards, check_optimizer
from sdpn.training.optim import CosineSchedule
from sdpn.training.random_streams import RandomStreams, random_streams, set_random_streams
from sdpn.training.step import Update
from sdpn.training.watch import Watcher

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


class Stopped(Exception):
    """The run was asked to stop by a signal and has saved its state."""

    def __init__(self, signal_number: int, step: int) -> None:
        self.signal_number = signal_number
        self.step = step
        super().__init__(f"stopped by {signal.Signals(signal_number).name} after step {step}; state saved")


class Trainer:
    """Trains a network on a data set.

    Args:
        config: the whole configuration.
        network: what is trained, as initialised, on its device.
        dataset: the utterances.
        processes: who shares the work.
        store: where checkpoints go; the newest whole one is continued.
        make_watcher: opens the dashboard at a step, with the prototypes at step 0; called in the first
            process only.
        on_progress: called at every point of the curves, in the first process only.
    """

    def __init__(
        self,
        config: RunConfig,
        network: SelfDistillation,
        dataset: CropDataset,
        *,
        processes: Processes,
        store: CheckpointStore,
        make_watcher: Callable[[int, Tensor], Watcher],
        on_progress: Callable[[Progress], None],
    ) -> None:
        self._config = config
        self._network = network
        self._dataset = dataset
        self._processes = processes
        self._store = store
        self._make_watcher = make_watcher
        self._on_progress = on_progress
        self._update = Update(config, network, processes)
        check_optimizer(network, self._update.optimizer)
        self._initial_KE = network.prototypes.detach().clone()
        self._guards = Guards(config.guards, self._initial_KE, warmup_steps=config.optimizer.warmup_steps)
        self._watcher: Watcher | None = None

    def run(self) -> None:
        """Train to the last step.

        Raises:
            TrainingFault: a guard stopped the run; the last checkpoint stays.
            Stopped: SIGTERM or SIGUSR1 arrived; the state is saved.
        """
        training, processes = self._config.training, self._processes
        state = self._store.load_newest()
        start = 0 if state is None else int(state["step"])
        if start >= training.steps:
            if state is not None:
                self._network.load_state_dict(state["model"])
            return
        watcher = self._watcher = self._make_watcher(start, self._initial_KE) if processes.first else None
        if state is not None:
            self._restore(state)
        lr = CosineSchedule(
            self._config.optimizer.lr,
            self._config.optimizer.final_lr,
            training.steps,
            self._config.optimizer.warmup_steps,
        )
        momentum = CosineSchedule(
            self._config.teacher.momentum, self._config.teacher.final_momentum, training.steps
        )
        batches = load_batches(
            self._dataset,
            batch_size=training.batch_size,
            seed=training.seed,
            start_step=start,
            end_step=training.steps,
            workers=training.workers,
            share=(processes.rank, processes.world),
        )
        self._network.train()
        try:
            with _stop_signals() as asked_to_stop:
                for step in range(start, training.steps):
                    asked = time.perf_counter()
                    batch = next(batches).to(processes.device)
                    waited_s = time.perf_counter() - asked
                    terms, norms = self._update(batch, lr=lr[step], momentum=momentum[step])
                    self._guards.observe(terms)
                    if watcher is not None:
                        watcher.add(terms, norms, waited_s=waited_s, started=asked)
                    done = step + 1
                    last = done == training.steps
                    # Several processes agree at the points of the curves only: asking costs a round trip.
                    looking = last or done % training.log_every == 0
                    stop = (looking or processes.world == 1) and processes.any(bool(asked_to_stop))
                    if looking:
                        self._guards.check_finite(done)
                        if watcher is not None:
                            scalars = watcher.point(
                                done,
                                lr=lr[step],
                                momentum=momentum[step],
                                bad_files=len(self._dataset.bad_files),
                            )
                            self._on_progress(Progress(done, training.steps, scalars))
                    self._guards.judge(done, self._network.prototypes.detach())
                    if watcher is not None:
                        watcher.look(done, last=last)
                    if stop or last or done % training.checkpoint_every == 0:
                        self._guards.check_finite(done)  # a checkpoint never holds a broken run
                        streams = processes.gather(random_streams())
                        if processes.first:
                            self._store.save(done, self._state(done, streams))
                    if stop and not last:
                        raise Stopped(asked_to_stop[0] if asked_to_stop else signal.SIGTERM, done)
        finally:
            if watcher is not None:
                watcher.close()

    def _state(self, step: int, streams: list[RandomStreams]) -> dict[str, Any]:
        assert self._watcher is not None
        epoch, position = divmod(step * self._config.training.batch_size, len(self._dataset))
        return {
            "step": step,
            "model": self._network.state_dict(),
            **self._update.state(),
            "rng": streams,
            "sampler": {
                "epoch": epoch,
                "position": position,
                "bad_files": self._dataset.bad_files.state(),
            },
            "tracking": {"initial": self._initial_KE, **self._watcher.state()},
            "guards": self._guards.state(),
        }

    def _restore(self, state: dict[str, Any]) -> None:
        self._network.load_state_dict(state["model"])
        self._update.restore(state)
        if len(state["rng"]) == self._processes.world:
            set_random_streams(state["rng"][self._processes.rank])
        # in place: guards and watcher hold the same tensor
        self._initial_KE.copy_(state["tracking"]["initial"])
        self._guards.restore(state["guards"])
        # a checkpoint of an older version does not say
        self._dataset.bad_files.restore(state["sampler"].get("bad_files", {}))
        if self._watcher is not None:
            self._watcher.restore(state["tracking"])
        _log.info("continuing at step %d", state["step"])


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

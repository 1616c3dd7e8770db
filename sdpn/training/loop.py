"""The training loop: monitored, checkpointed and resumable.

A run is a function of its configuration and data: the batch of a step depends only on the step
(`sdpn.data.dataset`), schedules are functions of the step, and the checkpoint contains everything else.
"""

from __future__ import annotations

import logging
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from sdpn.data.dataset import TrainingSet, load_batches
from sdpn.distill.base import Objective
from sdpn.distill.supervised import Supervised
from sdpn.stopping import collects_signals
from sdpn.training.best import Best
from sdpn.training.checkpoint import CheckpointStore
from sdpn.training.checkpoint_validation import check_like
from sdpn.training.config import RunConfig
from sdpn.training.dashboard import Dashboard
from sdpn.training.distributed import Processes, loader_workers
from sdpn.training.evaluation import Evaluates
from sdpn.training.guards import Guards, check_optimizer
from sdpn.training.optim import CosineSchedule
from sdpn.training.random_streams import RandomStreams, random_streams, set_random_streams
from sdpn.training.step import Update

_log = logging.getLogger(__name__)

#: Parts of a state that are missing in checkpoints of older versions.
_NEW = {"state.sampler.bad_files", "state.tracking.look_due"}


@dataclass(frozen=True)
class TrainingProgress:
    """Progress of a run, for display.

    Attributes:
        step: steps done.
        steps: total number of steps.
        scalars: the latest point of the curves, by TensorBoard tag.
    """

    step: int
    steps: int
    scalars: dict[str, float]


class Stopped(Exception):
    """The run was stopped by a signal and has saved its state."""

    def __init__(self, signal_number: int, step: int) -> None:
        self.signal_number = signal_number
        self.step = step
        super().__init__(f"stopped by {signal.Signals(signal_number).name} after step {step}; state saved")


class Trainer:
    """Trains a network on a data set.

    Args:
        config: the whole configuration.
        network: the initialised network, on its device.
        dataset: the training data.
        late: from a step on, other data of as many items in its place; None for none.
        processes: the process group.
        store: the checkpoints; training resumes from the newest intact one.
        make_dashboard: opens the dashboard at a step, given the prototypes at step 0; called on rank 0
            only.
        evaluation: what is measured during training, by all processes.
        best: keeps the best network of the evaluations, and stops the run early; None for neither.
        on_progress: called at every point of the curves, on rank 0 only.
    """

    def __init__(
        self,
        config: RunConfig,
        network: Objective,
        dataset: TrainingSet,
        *,
        late: tuple[int, TrainingSet] | None = None,
        processes: Processes,
        store: CheckpointStore,
        make_dashboard: Callable[[int, Tensor], Dashboard],
        evaluation: Evaluates | None = None,
        best: Best | None = None,
        on_progress: Callable[[TrainingProgress], None],
    ) -> None:
        self._config = config
        self._network = network
        self._dataset = dataset
        self._late = late
        self._processes = processes
        self._store = store
        self._make_dashboard = make_dashboard
        self._evaluation = evaluation
        self._best = best
        self._on_progress = on_progress
        self._update = Update(config, network, processes)
        check_optimizer(network, self._update.optimizer)
        self._initial_KE = network.prototypes.detach().clone()
        self._guards = Guards(config.guards, self._initial_KE, warmup_steps=config.optimizer.warmup_steps)
        self._dashboard: Dashboard | None = None
        #: Steps of the whole run: fewer than configured if it stopped early.
        self.steps_done = 0

    def run(self) -> None:
        """Train to the last step.

        A checkpoint is saved before the evaluation due at its step, and records this: if the evaluation
        fails, the step is not lost, and a resumed run starts with the evaluation.

        Raises:
            TrainingFault: a guard stopped the run; the last checkpoint is kept.
            Stopped: a signal was received; a checkpoint was saved.
            Stop: Ctrl-C was pressed twice.
        """
        with collects_signals() as asked_to_stop:
            self._run(asked_to_stop)
        if asked_to_stop:  # during the evaluation of the last step
            raise Stopped(asked_to_stop[0], self._config.training.steps)

    def _run(self, asked_to_stop: list[int]) -> None:
        training, processes = self._config.training, self._processes
        state = self._store.load_newest(self._check)
        start = 0 if state is None else int(state["step"])
        finished = start >= training.steps
        if finished and (
            state is None or not self._evaluates_after_checkpoint(state) or self._store.is_evaluated(start)
        ):
            if state is not None:
                self._network.load_state_dict(state["model"])
                self._restore_best(state)
                self.steps_done = start
            return
        dashboard = self._dashboard = (
            self._make_dashboard(start, self._initial_KE) if processes.first else None
        )
        try:
            if state is not None:
                self._restore(state)
                if self._evaluates_after_checkpoint(state):
                    self._evaluate(dashboard, start, saved=True)
            self.steps_done = start
            if not finished and not self._stops_early():
                self._train(start, dashboard, asked_to_stop)
        finally:
            if dashboard is not None:
                dashboard.close()

    def _train(self, start: int, dashboard: Dashboard | None, asked_to_stop: list[int]) -> None:
        training, processes = self._config.training, self._processes
        lr = CosineSchedule(
            self._config.optimizer.lr,
            self._config.optimizer.final_lr,
            training.steps,
            self._config.optimizer.warmup_steps,
        )
        momentum = CosineSchedule(
            self._config.teacher.momentum, self._config.teacher.final_momentum, training.steps
        )
        batches = self._batches(start)
        self._network.train()
        saved_at = time.monotonic()
        for step in range(start, training.steps):
            asked = time.perf_counter()
            batch = next(batches).to(processes.device)
            waited_s = time.perf_counter() - asked
            terms, norms = self._update(batch, lr=lr[step], momentum=momentum[step], step=step)
            self._guards.observe(terms)
            if dashboard is not None:
                dashboard.add(terms, norms, waited_s=waited_s, started=asked)
            done = step + 1
            last = done == training.steps
            # Processes synchronise these flags only at points of the curves: it costs a round trip.
            writes_curves = last or done % training.log_every == 0
            synchronised = writes_curves or processes.world == 1
            stop = synchronised and processes.any(bool(asked_to_stop))
            late = synchronised and processes.any(self._is_late(saved_at))
            if writes_curves:
                self._guards.check_finite(done)
                if dashboard is not None:
                    scalars = dashboard.write_curves(
                        done, lr=lr[step], momentum=momentum[step], bad_files=len(self._dataset.bad_files)
                    )
                    self._on_progress(TrainingProgress(done, training.steps, scalars))
            self._guards.check_window(done, self._network.prototypes.detach())
            saving = stop or late or last or done % training.checkpoint_every == 0
            if saving:
                self._guards.check_finite(done)  # never save a diverged run
                streams = processes.gather(random_streams())
                if processes.first:
                    self._store.save(done, self._state(done, streams))
                saved_at = time.monotonic()
            if stop:
                raise Stopped(asked_to_stop[0] if asked_to_stop else signal.SIGTERM, done)
            self._evaluate(dashboard, done, saved=saving)
            self.steps_done = done
            if self._is_evaluated(done) and self._stops_early():
                if not saving:
                    self._guards.check_finite(done)
                    streams = processes.gather(random_streams())
                    if processes.first:
                        self._store.save(done, self._state(done, streams))
                _log.info("no better evaluation for a while: stopped at step %d", done)
                return

    def _batches(self, start: int) -> Iterator[Any]:
        """The batches from a step to the end, the last ones from the data set of the last steps."""
        training, processes = self._config.training, self._processes
        stages = [(training.steps, self._dataset)]
        if self._late is not None:
            turn, late = self._late
            stages = [(min(turn, training.steps), self._dataset), (training.steps, late)]
        for end, dataset in stages:
            if start < end:
                yield from load_batches(
                    dataset,
                    batch_size=training.batch_size,
                    seed=training.seed,
                    start_step=start,
                    end_step=end,
                    workers=loader_workers(training.workers),
                    share=(processes.rank, processes.world),
                    pin=processes.device.type == "cuda",
                )
                start = end

    def _is_evaluated(self, step: int) -> bool:
        """Whether the evaluation was due after this step."""
        last = step == self._config.training.steps
        return self._evaluation is not None and self._evaluation.is_due(step, last=last)

    def _stops_early(self) -> bool:
        """Whether the evaluations have not improved for too long; every process must call this together."""
        return self._best is not None and self._processes.any(self._best.exhausted)

    def _observe(self, step: int, figures: dict[str, float]) -> None:
        """Compare an evaluation with the best one."""
        if self._best is not None:
            assert isinstance(self._network, Supervised)
            self._best.observe(step, figures, self._network)

    def _restore_best(self, state: dict[str, Any]) -> None:
        if self._best is not None:
            self._best.restore(state["best"])

    def _is_late(self, saved_at: float) -> bool:
        """Whether a checkpoint is due by time."""
        minutes = self._config.training.checkpoint_minutes
        return minutes > 0 and time.monotonic() - saved_at >= 60 * minutes

    def _evaluate(self, dashboard: Dashboard | None, step: int, *, saved: bool) -> None:
        """Run the evaluation if due. That of the last step is marked as done for a rerun of the command."""
        last = step == self._config.training.steps
        if dashboard is None:
            if self._is_evaluated(step):
                assert self._evaluation is not None
                self._evaluation.share(self._network)
        elif dashboard.evaluate(step, last=last, on_figures=partial(self._observe, step)) and last and saved:
            self._store.mark_evaluated(step)

    @staticmethod
    def _evaluates_after_checkpoint(state: dict[str, Any]) -> bool:
        """Whether the evaluation follows the checkpoint; in older versions it preceded it."""
        return bool(state["tracking"].get("look_due", False))

    def _state(self, step: int, streams: list[RandomStreams]) -> dict[str, Any]:
        assert self._dashboard is not None
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
            "tracking": {"initial": self._initial_KE, **self._dashboard.state(), "look_due": True},
            "guards": self._guards.state(),
            **({} if self._best is None else {"best": self._best.state()}),
        }

    def _check(self, state: dict[str, Any]) -> None:
        """Reject a state that cannot belong to this run.

        Raises:
            ValueError: an entry is missing or has the wrong type or shape; the message names it.
        """
        usage_K = self._initial_KE[:, 0]
        pattern = {
            "step": 0,
            "model": self._network.state_dict(),
            "scaler": self._update.scaler.state_dict(),
            "rng": [{"cpu": torch.get_rng_state(), "cuda": None}],
            "sampler": {"epoch": 0, "position": 0, "bad_files": {}},
            "tracking": {
                "initial": self._initial_KE,
                "previous": self._initial_KE,
                "usage": usage_K,
                "usage_steps": 0,
                "last_usage": usage_K,
                "last_usage_steps": 0,
                "look_due": True,
            },
            "guards": self._guards.state(),
        }
        check_like(state, pattern, "state", optional=_NEW)
        unknown = state["model"].keys() - pattern["model"].keys()  # type: ignore[attr-defined]
        if unknown:
            raise ValueError(f"state.model contains an unknown key {min(map(str, unknown))}")
        for path, problem in state["sampler"].get("bad_files", {}).items():
            check_like(path, "", "a path in state.sampler.bad_files")
            check_like(problem, "", "a problem in state.sampler.bad_files")
        self._update.check(state)
        if self._best is not None:
            assert isinstance(self._network, Supervised)
            self._best.check(state.get("best"), self._network, "state.best")

    def _restore(self, state: dict[str, Any]) -> None:
        self._network.load_state_dict(state["model"])
        self._update.restore(state)
        self._restore_streams(state["rng"], int(state["step"]))
        # in place: guards and dashboard share this tensor
        self._initial_KE.copy_(state["tracking"]["initial"])
        self._guards.restore(state["guards"])
        self._restore_best(state)
        # missing in checkpoints of older versions
        self._dataset.bad_files.restore(state["sampler"].get("bad_files", {}))
        if self._dashboard is not None:
            self._dashboard.restore(state["tracking"])
        _log.info("resuming at step %d", state["step"])

    def _restore_streams(self, streams: list[RandomStreams], step: int) -> None:
        """Restore the random stream of this process.

        With another number of processes than before, those that existed continue their streams; new ones
        keep the one they started with, which depends on seed and rank.
        """
        rank, world = self._processes.rank, self._processes.world
        if rank < len(streams):
            set_random_streams(streams[rank])
        if len(streams) != world and self._processes.first:
            _log.warning(
                "the checkpoint of step %d was written by %d process(es), this run has %d: it continues with "
                "the same batches, but dropout draws differently and sums are rounded in another order. Only "
                "with %d process(es) would it be, bit for bit, the run that was interrupted.",
                *(step, len(streams), world, len(streams)),
            )

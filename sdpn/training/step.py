"""One update: forward, backward, gradient clipping, optimizer step, EMA of the teacher.

Shapes: B batch, V local views, E projection, D embedding.
"""

from __future__ import annotations

import copy
import gc
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from sdpn.distill.base import Gradients, LossTerms, Objective, Projections, SelfDistillation, batch_norms
from sdpn.models.bf16 import computes_bf16
from sdpn.training.batch_norm import synchronise_batch_norms
from sdpn.training.checkpoint_validation import check_like, check_optimizer_state
from sdpn.training.compilation import (
    Compiled,
    begin_pass,
    compile_candidates,
    compile_network,
    compiler_explained,
    fastest_compiled,
    pass_seconds,
)
from sdpn.training.config import RunConfig
from sdpn.training.distributed import Processes
from sdpn.training.layers import Anchor, LayerPlan
from sdpn.training.optim import GradientNorms, clip_gradients, make_optimizer
from sdpn.training.random_streams import random_streams, set_random_streams
from sdpn.training.tf32 import tf32

_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


class Update:
    """Applies updates to a network.

    With ``training.accumulate`` = n, a batch goes through the network in n parts, and the update is that of
    the whole batch (gradient caching, arXiv 2101.06983): a first pass without gradients collects the
    projections of all parts, the objective (balancing, me-max and KoLeo depend on all rows) is computed on
    them together, and a second pass backpropagates its gradients part by part. This takes the memory of one
    part and one additional forward pass. Only batch norm differs: it normalises each part separately.

    Args:
        config: the whole configuration.
        network: the network to train, on its device.
        processes: the process group that shares the batch.
    """

    def __init__(self, config: RunConfig, network: Objective, processes: Processes) -> None:
        self._config = config.optimizer
        self._parts = config.training.accumulate
        self._network = network
        self._device = processes.device.type
        self._is_distributed = processes.world > 1
        self._synchronises = self._is_distributed and config.training.sync_batch_norm
        if self._synchronises:  # first: it replaces modules that others refer to
            synchronise_batch_norms(network, self._device)
        self._layers = LayerPlan(config.layers, network, config.adapters)
        self._anchor = Anchor(config.layers, network)
        self._wrapped: nn.Module = network
        if self._is_distributed:
            self._wrapped = _distributed(self._network, synchronised=self._synchronises)
        self.optimizer = make_optimizer(config.optimizer, network, self._layers.factor)
        # What clipping covers: the optimizer's tensors, so no trainable tensor can be forgotten.
        self._trainable = [tensor for group in self.optimizer.param_groups for tensor in group["params"]]
        self._precision = resolve_precision(config.training.precision, self._device)
        self._is_automatic = config.training.compile == "auto"
        self._candidates = compile_candidates(
            config.training.compile,
            self._device,
            fixed_lengths=config.crops.longest_local_s is None,
            world=processes.world,
        )
        self._compiled: Compiled | None = None
        self._tf32 = config.training.tf32
        self.scaler = torch.amp.GradScaler(self._device, enabled=self._precision == "fp16")

    def __call__(
        self, batch: Any, *, lr: float, momentum: float, step: int = 0
    ) -> tuple[LossTerms, GradientNorms]:
        """Train on this process's part of a batch; returns loss terms and gradient norms.

        Args:
            batch: this process's part.
            lr: learning rate.
            momentum: EMA momentum m.
            step: steps before this one, which decide what is frozen.
        """
        if self._layers.start(step) and self._is_distributed:
            self._wrapped = self._network
            gc.collect()  # the former wrapper removes its hooks only when it is freed
            self._wrapped = _distributed(self._network, synchronised=self._synchronises)
        self._anchor.start()
        for group in self.optimizer.param_groups:
            group["lr"] = lr * group.get("factor", 1.0)
        self.optimizer.zero_grad(set_to_none=True)
        with tf32(self._tf32), compiler_explained():
            if self._compiled is None:  # not before: the dashboard draws the graph of the student
                if len(self._candidates) > 1:
                    self._candidates = (self._fastest(batch),)
                (self._compiled,) = self._candidates
                compile_network(self._network, self._compiled)
            begin_pass(self._compiled)
            terms = self._accumulate(batch) if self._parts > 1 else self._backward(batch)
        self.scaler.unscale_(self.optimizer)
        norms = clip_gradients(self._config, self._trainable, self._network.prototypes)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self._anchor.pull(lr)
        self._network.after_step(momentum, terms)
        return terms, norms

    def state(self) -> dict[str, Any]:
        """The state that a resumed run needs.

        Optimizer, loss scale, where the layers are pulled to, and how the network is compiled, if that was
        measured: another measurement could choose differently, which would change the rounding.
        """
        start = self._anchor.start()
        measured = self._is_automatic and self._compiled is not None
        return {
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            **({"start": start} if start else {}),
            **({"compile": self._compiled} if measured else {}),
        }

    def check(self, state: dict[str, Any]) -> None:
        """Reject a state of other tensors or other settings.

        Raises:
            ValueError: something differs; the message names it.
        """
        check_optimizer_state(state.get("optimizer"), self.optimizer)
        for number, pattern in enumerate(self._anchor.start()):
            start = state.get("start")
            found = start[number] if isinstance(start, list) and number < len(start) else None
            check_like(found, pattern, f"state.start[{number}]")

    def restore(self, state: dict[str, Any]) -> None:
        """Restore what `state` returned."""
        self.optimizer.load_state_dict(state["optimizer"])
        self.scaler.load_state_dict(state["scaler"])
        self._anchor.restore(state.get("start", []))
        if state.get("compile") in self._candidates:  # else of another kind of device: measured anew
            self._candidates = (state["compile"],)

    def _backward(self, batch: Any, given: Gradients | None = None) -> LossTerms:
        with self._autocast():
            terms: LossTerms = self._wrapped(batch, given)
        self.scaler.scale(terms.total).backward()
        return terms

    def _accumulate(self, batch: Any) -> LossTerms:
        """Gradient caching: backpropagate the objective of the whole batch part by part."""
        network = self._network
        assert isinstance(network, SelfDistillation)
        parts = batch.chunk(self._parts)
        streams, seen = [], []
        with torch.no_grad(), _frozen_running_averages(network.student), self._autocast():
            for part in parts:
                streams.append(random_streams())
                seen.append(network.project(part))
        own = Projections.concatenate(seen)
        outputs = [own.student_VBE.requires_grad_(), own.embedding_VBD.requires_grad_(), network.prototypes]
        terms = network.objective(own.gathered())
        student, embedding, prototypes = torch.autograd.grad(terms.total, outputs, materialize_grads=True)
        # _backward applies the loss scale of fp16
        rows = zip(student.chunk(self._parts, dim=1), embedding.chunk(self._parts, dim=1), strict=True)
        for index, (part, given) in enumerate(zip(parts, rows, strict=True)):
            last = index == self._parts - 1
            set_random_streams(streams[index])  # same dropout masks as in the first pass
            with nullcontext() if last else self._unsynchronised():
                self._backward(part, Gradients(*given, prototypes if last else None))
        return terms

    def _fastest(self, batch: Any) -> Compiled:
        """How copies of the network are fastest on a part of a batch; the network does not change."""
        part = batch.chunk(self._parts)[0] if self._parts > 1 else batch
        streams = random_streams()

        def measure(candidate: Compiled) -> float:
            network = copy.deepcopy(self._network)
            compile_network(network, candidate)

            def run() -> None:
                begin_pass(candidate)
                network.zero_grad(set_to_none=True)
                with self._autocast():
                    total = network(part).total
                total.backward()

            return pass_seconds(run, self._network.prototypes.device)

        try:
            return fastest_compiled(self._candidates, measure)
        finally:
            torch.compiler.reset()  # what was compiled for the copies counts against torch's limit
            set_random_streams(streams)

    def _unsynchronised(self) -> Any:
        """Skip DDP's gradient averaging, which happens once, with the last part."""
        wrapped = self._wrapped
        return wrapped.no_sync() if isinstance(wrapped, DistributedDataParallel) else nullcontext()

    def _autocast(self) -> torch.autocast:
        return torch.autocast(
            self._device, _DTYPES.get(self._precision, torch.bfloat16), enabled=self._precision in _DTYPES
        )


def resolve_precision(precision: str, device: str = "cpu") -> str:
    """Turn ``auto`` into ``bf16`` where this processor multiplies bf16 natively, else ``fp32``."""
    if precision != "auto":
        return precision
    return "bf16" if computes_bf16(torch.device(device).type) else "fp32"


def _distributed(network: Objective, *, synchronised: bool) -> DistributedDataParallel:
    """Wrap the network in DDP without broadcasting buffers that are equal in all processes.

    By default DDP broadcasts every buffer of rank 0 before every step: mel filters, the queue, the label and
    the last loss of each utterance. These are constant, or every process computes them from the whole batch.
    Only running averages of batch norm can differ, where each process normalises its own rows: those of
    rank 0 are used then.
    """
    averages: set[int] = set()
    if not synchronised:
        averages = {id(buffer) for norm in batch_norms(network) for buffer in norm.buffers()}
    equal = [name for name, buffer in network.named_buffers() if id(buffer) not in averages]
    DistributedDataParallel._set_params_and_buffers_to_ignore_for_model(network, equal)
    return DistributedDataParallel(network)


@contextmanager
def _frozen_running_averages(module: nn.Module) -> Iterator[None]:
    """Leave running averages of batch norm unchanged in the block; normalisation is by the batch."""
    norms = batch_norms(module)
    before = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 0.0
    try:
        yield
    finally:
        for norm, momentum in zip(norms, before, strict=True):
            norm.momentum = momentum

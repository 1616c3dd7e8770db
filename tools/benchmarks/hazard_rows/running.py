"""A run over its steps, restarts and processes: hazards 2, 4, 7, 15 and 16."""

from __future__ import annotations

import ast
import dataclasses
import hashlib
import pickle
import tempfile
import warnings
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch
from torch import distributed as dist
from torch.utils._python_dispatch import TorchDispatchMode

import sdpn
from hazard_rows.row import Context, Measured, in_turn, tiny_run
from sdpn.augmentation.augment import AugmentationConfig, Augmenter
from sdpn.config import load_config
from sdpn.data.crops import CropBatch
from sdpn.data.dataset import CropDataset, load_batches
from sdpn.distill.base import SelfDistillation
from sdpn.io.audio import RATE_HZ
from sdpn.io.kaldi import Utterance
from sdpn.tracking.drift import usage
from sdpn.training.checkpoint import CheckpointStore
from sdpn.training.config import RunConfig
from sdpn.training.distributed import Processes
from sdpn.training.guards import Guards
from sdpn.training.pretrain import build
from sdpn.training.step import Update, resolve_precision


def restart(_context: Context) -> Measured:
    """Hazard 2: a checkpoint without sampler and random state, written over the one before."""
    with tempfile.TemporaryDirectory() as folder:
        forgetful, ours = _share_seen_again(Path(folder))
        numpy_fails = _weights_only_fails(Path(folder), {"step": 1, "lr": np.float64(0.1)})
        plain_fails = _weights_only_fails(Path(folder), {"step": 1, "lr": 0.1})
        found = _after_a_cut_save(Path(folder))
    return Measured(
        f"Crops of the first epoch after a restart that had been seen before it: **{forgetful:.0%}** without "
        f"sampler and random state, **{ours:.0%}** here. Loading with `weights_only`: "
        f"{'fails' if numpy_fails else 'works'} with a NumPy number inside, "
        f"{'fails' if plain_fails else 'works'} with plain ones. After a save of step 20 that is cut in half "
        f"the run continues at step {found}; written over the only copy, nothing would be left.",
        {
            "seen_again": forgetful,
            "seen_again_ours": ours,
            "numpy_fails": float(numpy_fails),
            "plain_fails": float(plain_fails),
            "continued_at": found,
        },
    )


def _share_seen_again(folder: Path, *, utterances: int = 40, batch_size: int = 8) -> tuple[float, float]:
    """Share of an epoch's clean crops that the epoch before the restart had, starting anew and going on."""
    rng = np.random.default_rng(0)
    listed = []
    for index in range(utterances):
        path = folder / f"{index}.wav"
        soundfile.write(path, rng.standard_normal(2 * RATE_HZ) * 0.1, RATE_HZ)
        listed.append(Utterance(str(index), path))
    dataset = CropDataset(listed, tiny_run().crops, Augmenter(AugmentationConfig()), seed=0, cache_mb=64)
    epoch = utterances // batch_size

    def crops(start: int) -> set[bytes]:
        batches = load_batches(
            dataset, batch_size=batch_size, seed=0, start_step=start, end_step=start + epoch, workers=0
        )
        return {
            hashlib.sha256(row.numpy().tobytes()).digest() for batch in batches for row in batch.global_GBS[0]
        }

    before = crops(0)
    # the faulty restart: sampler and generator begin again as the seed has them begin
    return len(crops(0) & before) / utterances, len(crops(epoch) & before) / utterances


def _weights_only_fails(folder: Path, state: dict[str, Any]) -> bool:
    torch.save(state, folder / "state.pt")
    try:
        torch.load(folder / "state.pt", weights_only=True)
    except pickle.UnpicklingError:
        return True
    return False


def _after_a_cut_save(folder: Path) -> int:
    """Step that a run continues from after its newest checkpoint was cut in half."""
    store = CheckpointStore(folder / "checkpoints", {}, keep=2)
    for step in (10, 20):
        store.save(step, {"step": step, "tensor": torch.zeros(1000)})
    newest = folder / "checkpoints/step-00000020/state.pt"
    newest.write_bytes(newest.read_bytes()[: newest.stat().st_size // 2])
    state = store.load_newest()
    assert state is not None
    return int(state["step"])


def same_stream(_context: Context) -> Measured:
    """Hazard 4: every process draws the same augmentation."""
    world, batch_size, views = 8, 64, 4
    share = batch_size // world
    augmenter = Augmenter(AugmentationConfig())
    probe = (np.random.default_rng(1).standard_normal(RATE_HZ // 4) * 0.1).astype(np.float32)

    def augmented(rng: np.random.Generator) -> bytes:
        return augmenter(probe, rng, lambda size, own: own.standard_normal(size).astype(np.float32)).tobytes()

    shared = set()
    for _rank in range(world):
        stream = np.random.default_rng(0)  # seeded alike in every process
        shared |= {augmented(stream) for _ in range(share * views)}
    ours = {
        augmented(np.random.default_rng((0, 0, index, view)))
        for index in range(batch_size)
        for view in range(views)
    }
    wanted = batch_size * views
    return Measured(
        f"One batch of {batch_size} utterances × {views} views over W = {world} processes: **{len(shared)}** "
        f"distinct augmentations of {wanted} (1 in W), here **{len(ours)}**.",
        {"shared": len(shared), "ours": len(ours), "wanted": wanted},
    )


def anomaly_detection(_context: Context) -> Measured:
    """Hazard 7: anomaly detection left on, values read off the device at every step."""
    parts: list[str] = []
    figures: dict[str, float] = {}
    for name, run, rounds in (
        ("tiny net, fp32", tiny_run("training.batch_size=8"), 30),
        ("mini net", load_config(RunConfig), 5),
    ):
        step = _stepper(run)
        reading = in_turn(step, partial(step, read=True), rounds=rounds)
        both = in_turn(step, partial(step, read=True, detect=True), rounds=rounds)
        nil = ": **nil**" if reading.ratio < 1.05 else ""
        parts.append(f"{name}: reading values {reading}{nil}, and with anomaly detection {both}.")
        key = name.split()[0]
        figures |= {f"{key}_reading": reading.ratio, f"{key}_both": both.ratio}
    reads = {precision: reads_in_a_step(precision) for precision in ("fp32", "bf16", "fp16")}
    figures |= {f"reads_{precision}": count for precision, count in reads.items()}
    precision = resolve_precision("auto")
    return Measured(
        f"Time of a step on the CPU, mini net in {precision}. {' '.join(parts)} On a GPU a "
        "value that is read waits for all that is queued (not measured). Values that a step of sdpn reads: "
        f"{', '.join(f'**{count}** in {name}' for name, count in reads.items())}"
        f"{' (torch reads whether the loss scale overflowed)' if reads['fp16'] else ''}.",
        figures,
    )


class _Reads(TorchDispatchMode):
    """Counts values that are copied out of tensors: ``.item()`` and all that comes down to it.

    Args:
        apart_from: tensors that are on the CPU wherever the network is.
    """

    def __init__(self, apart_from: Iterable[torch.Tensor] = ()) -> None:
        super().__init__()
        self._apart_from = {tensor.data_ptr() for tensor in apart_from}
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.ops.aten._local_scalar_dense.default:
            self.count += args[0].data_ptr() not in self._apart_from
        return func(*args, **(kwargs or {}))


def reads_in_a_step(precision: str) -> int:
    """Values read off the device by a step between two points of the curves: update and guards."""
    run = tiny_run("training.batch_size=8", f"training.precision={precision}")
    network, update, batch = _setting(run)
    guards = Guards(run.guards, network.prototypes.detach(), warmup_steps=0)
    for _ in range(8):  # until fp16 has found its loss scale
        update(batch, lr=1e-3, momentum=0.99)
    counters = [state["step"] for state in update.optimizer.state.values()]
    with _Reads(apart_from=counters) as reads:
        terms, _ = update(batch, lr=1e-3, momentum=0.99)
        guards.observe(terms)
        guards.judge(1, network.prototypes.detach())
    return reads.count


def _stepper(run: RunConfig) -> Callable[..., None]:
    """One update on fixed noise."""
    _, update, batch = _setting(run)

    def step(*, read: bool = False, detect: bool = False) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch says that detection is slow
            with torch.autograd.set_detect_anomaly(detect):
                terms, norms = update(batch, lr=1e-6, momentum=0.99)
        if read:
            _ = [terms.total.item(), norms.total.item(), *(value.item() for value in terms.terms.values())]
            _ = usage(terms.assignment_NK).tolist()

    return step


def _setting(run: RunConfig) -> tuple[SelfDistillation, Update, CropBatch]:
    """A network, what trains it, and a batch of noise."""
    torch.manual_seed(0)
    network = build(run).train()
    crops, size = run.crops, run.training.batch_size
    batch = CropBatch(
        torch.randn(crops.num_global, size, crops.global_samples) * 0.1,
        torch.randn(crops.num_local, size, crops.local_samples) * 0.1,
        torch.arange(size),
    )
    return network, Update(run, network, Processes(0, 1, torch.device("cpu"))), batch


def settings(_context: Context) -> Measured:
    """Hazard 15: constants in the code, keys that nothing reads."""
    keys = [key for key, _ in _leaves(RunConfig())]
    dead = unread(keys)
    return Measured(
        f"Nothing to time. {len(keys)} settings, all with defaults, all in EXP/config.yaml; those whose "
        f"name the package reads nowhere but in checks of ranges: **{len(dead)}**{_listed(dead)}.",
        {"settings": len(keys), "dead": len(dead)},
    )


def _leaves(config: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    for entry in dataclasses.fields(config):
        value = getattr(config, entry.name)
        if dataclasses.is_dataclass(value):
            yield from _leaves(value, f"{prefix}{entry.name}.")
        else:
            yield f"{prefix}{entry.name}", value


def unread(keys: list[str]) -> list[str]:
    """Keys whose name is no attribute that the package reads, the checks in ``__post_init__`` aside."""
    names: set[str] = set()
    for path in Path(sdpn.__file__).parent.rglob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef) and node.name == "__post_init__":
                node.body = []
        names |= {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    return [key for key in keys if key.rsplit(".", 1)[-1] not in names]


def _listed(keys: list[str]) -> str:
    return f" ({', '.join(keys)})" if keys else ""


def waiting_for_others(_context: Context) -> Measured:
    """Hazard 16: an error in one process while the others wait for its part of a collective."""
    minutes = dist.constants.default_pg_timeout.total_seconds() / 60
    return Measured(
        f"The others would hang until the collective times out, by torch's default (gloo) after "
        f"**{minutes:.0f} min**. Here the loss is that of the rows of all processes: they find the same "
        "fault at the same step and end, as the test shows with two.",
        {"timeout_min": minutes},
    )

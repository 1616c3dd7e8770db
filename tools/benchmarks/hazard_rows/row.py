"""What a row is, what it is given to measure with, and how two things are timed beside each other."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import yaml
from torch import Tensor

from sdpn.config import from_dict, load_config
from sdpn.data.crops import crop
from sdpn.distill.base import SelfDistillation
from sdpn.distill.sdpn import SDPNConfig
from sdpn.errors import InputError
from sdpn.io.audio import RATE_HZ
from sdpn.io.corpus import find_speakers
from sdpn.io.kaldi import Utterance
from sdpn.training.config import RunConfig
from sdpn.training.pretrain import build

#: A run small enough for what only has to be of the right kind.
TINY = [
    "encoder.channels=16",
    "encoder.aggregation_channels=24",
    "encoder.embedding_dim=32",
    "encoder.bottleneck=8",
    "encoder.dilations=[2, 3]",
    "head.hidden_dim=32",
    "head.projection_dim=32",
    "sdpn.num_prototypes=32",
    "crops.global_s=1.0",
    "crops.local_s=0.5",
    "training.precision=fp32",
]

#: The training corpora below the shared folder.
_CORPORA = ("librispeech_excerpt/train", "speechocean762/train")


class Skip(Exception):
    """A row, or a part of one, cannot be measured here; the message says why."""


class Measured(NamedTuple):
    """What a row found.

    Attributes:
        text: for the table.
        figures: the same by name, for tests.
    """

    text: str
    figures: Mapping[str, float] = {}


@dataclass(frozen=True)
class Row:
    """A hazard of the table.

    Attributes:
        number: its number in the list of hazards.
        what: the hazard.
        here: what sdpn does instead.
        files: where it does so.
        tests: ``file::function`` that pin it.
        measure: re-creates it beside ours.
    """

    number: int
    what: str
    here: str
    files: Sequence[str]
    tests: Sequence[str]
    measure: Callable[[Context], Measured]


@dataclass
class Context:
    """What the rows measure with.

    Attributes:
        data: folder of the shared corpora, or None.
        exp: folder of a finished run of ``sdpn train``, or None.
    """

    data: Path | None = None
    exp: Path | None = None
    _waves: dict[Path, np.ndarray] = field(default_factory=dict)

    @cached_property
    def utterances(self) -> list[Utterance]:
        """The training utterances of the shared corpora, sorted.

        Raises:
            Skip: they are not here.
        """
        if self.data is None or not self.data.is_dir():
            raise Skip("needs the shared corpora (`--data` or `SDPN_SHARED_DATA`)")
        try:
            speakers = find_speakers([self.data / corpus for corpus in _CORPORA])
        except InputError as error:
            raise Skip(f"the shared corpora cannot be read: {error}") from error
        return [
            Utterance(f"{speaker}-{file.path.stem}", file.path)
            for speaker, files in speakers.items()
            for file in files
        ]

    def waves(self, count: int, *, longer_than_s: float) -> list[np.ndarray]:
        """Utterances of ``count`` places spread evenly over the corpora.

        Raises:
            Skip: the corpora are not here.
        """
        chosen: list[np.ndarray] = []
        for index in np.random.default_rng(0).permutation(len(self.utterances)):
            path = self.utterances[index].path
            if path not in self._waves:
                self._waves[path] = self.utterances[index].read()
            if len(self._waves[path]) > longer_than_s * RATE_HZ:
                chosen.append(self._waves[path])
            if len(chosen) == count:
                return chosen
        raise Skip(f"the shared corpora hold fewer than {count} utterances of {longer_than_s:g} s")

    def speech(self, count: int, duration_s: float, *, views: int = 1) -> Tensor:
        """Clean crops (views, count, S) of as many utterances.

        Raises:
            Skip: the corpora are not here.
        """
        rng = np.random.default_rng(1)
        num_samples = round(duration_s * RATE_HZ)
        rows = []
        for wave in self.waves(count, longer_than_s=duration_s):
            pieces = [crop(wave, num_samples, rng) for _ in range(views)]
            rows.append(np.stack([piece if piece is not None else wave[:num_samples] for piece in pieces]))
        return torch.from_numpy(np.stack(rows, axis=1))

    @cached_property
    def run(self) -> FinishedRun:
        """The finished run.

        Raises:
            Skip: there is none.
        """
        if self.exp is None:
            raise Skip("needs a finished run (`--exp`)")
        return FinishedRun.read(self.exp)


@dataclass(frozen=True)
class FinishedRun:
    """A run of ``sdpn train`` at its last checkpoint.

    Attributes:
        folder: EXP.
        config: its network, crops and objective; what else it was told is left out.
        network: student, teacher and prototypes.
        step: steps done.
        batch_size: utterances in a step.
    """

    folder: Path
    config: RunConfig
    network: SelfDistillation
    step: int
    batch_size: int

    @classmethod
    def read(cls, folder: Path) -> FinishedRun:
        """Read EXP/config.yaml and the newest checkpoint, without settings that this version does not know.

        Raises:
            Skip: it is no finished run of SDPN, or of another network than this version builds.
        """
        checkpoints = sorted((folder / "checkpoints").glob("step-????????"))
        if not checkpoints:
            raise Skip(f"{folder.name} holds no checkpoints")
        try:
            document = yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))
            sections = {key: document[key] for key in ("encoder", "head", "features", "crops")}
            config = from_dict(RunConfig, sections | {"sdpn": _known(SDPNConfig, document["sdpn"])})
            state = torch.load(checkpoints[-1] / "state.pt", weights_only=True)
            network = build(config)
            missing, unexpected = network.load_state_dict(state["model"], strict=False)
        except (OSError, KeyError, ValueError, RuntimeError, InputError) as error:
            raise Skip(f"{folder.name} is no finished run that can be read here: {error}") from error
        if unexpected or [key for key in missing if not key.startswith("queue.")]:
            raise Skip(f"{folder.name} has another network: {[*missing, *unexpected][0]}")
        return cls(folder, config, network, int(state["step"]), int(document["training"]["batch_size"]))


def _known(cls: type[Any], values: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if key in cls.__dataclass_fields__}


def tiny_run(*overrides: str) -> RunConfig:
    """A run of the tiny network."""
    return load_config(RunConfig, None, [*TINY, *overrides])


class Timing(NamedTuple):
    """Two things timed in turn: median seconds of each; median and quartiles of the ratio of neighbours."""

    ours_s: float
    theirs_s: float
    ratio: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"**{self.ratio:.2f}×** ({self.low:.2f}–{self.high:.2f})"


def in_turn(ours: Callable[[], Any], theirs: Callable[[], Any], *, rounds: int) -> Timing:
    """Time ``theirs`` against ``ours``, one after the other in every round, after one unmeasured round."""
    pairs = []
    for index in range(rounds + 1):
        seconds = []
        for function in (ours, theirs) if index % 2 else (theirs, ours):
            started = time.perf_counter()
            function()
            seconds.append(time.perf_counter() - started)
        pairs.append(tuple(seconds if index % 2 else reversed(seconds)))
    measured = pairs[1:]
    ratios = [theirs_s / ours_s for ours_s, theirs_s in measured]
    low, middle, high = statistics.quantiles(ratios, n=4, method="inclusive")
    return Timing(
        statistics.median(pair[0] for pair in measured),
        statistics.median(pair[1] for pair in measured),
        middle,
        low,
        high,
    )

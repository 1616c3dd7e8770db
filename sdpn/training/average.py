"""The mean of the last checkpoints of a run, or of several models: flatter minima, without another training.

Source: Izmailov et al., "Averaging Weights Leads to Wider Optima and Better Generalization" (arXiv
1803.05407); recipes of speaker recognition average the last ten.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from torch import Tensor

from sdpn.errors import InputError
from sdpn.explain.checkpoint_model import read_checkpoint
from sdpn.models.averaging import average_models, mean_weights
from sdpn.models.folder import ModelFolder, read_model, save_model
from sdpn.models.pretraining import Pretraining, own_pretraining
from sdpn.pretrained import model_path

_NAME = re.compile(r"step-(\d{8})")


@dataclass(frozen=True, eq=False)
class AveragedModel:
    """The mean of several checkpoints.

    Attributes:
        model: the teacher's encoder, without a clustering threshold: that of another network would be wrong.
        pretraining: head and prototypes, averaged, too; None where the run has none.
        steps: of the checkpoints.
    """

    model: ModelFolder
    pretraining: Pretraining | None
    steps: list[int]

    def save(self, path: Path) -> None:
        """Write a model folder."""
        save_model(path, self.model, pretraining=self.pretraining)


def average_checkpoints(experiment: Path, last: int) -> AveragedModel:
    """Average the teacher in the last checkpoints of a run (`sdpn.models.averaging.mean_weights`).

    Args:
        experiment: folder of ``sdpn train``.
        last: how many; the run must have kept them (``training.keep_checkpoints``, ``training.keep_every``).

    Raises:
        InputError: there are fewer, one is damaged, or they are of different networks.
    """
    folder = experiment / "checkpoints"
    found = sorted(path for path in folder.iterdir() if _NAME.fullmatch(path.name)) if folder.is_dir() else []
    if last < 1 or len(found) < last:
        raise InputError(
            f"has {len(found)} checkpoints, {last} are to be averaged",
            path=folder,
            hint=f"train with training.keep_checkpoints={max(last, 1)}, or average fewer with --checkpoints",
        )
    checkpoints = found[-last:]
    newest: list[tuple[ModelFolder, Pretraining | None]] = []

    def tensors() -> Iterator[dict[str, Tensor]]:
        shapes: dict[str, tuple[int, ...]] = {}
        for path in checkpoints:
            newest[:] = [read_checkpoint(path)]
            one = _tensors(*newest[0])
            if shapes and _shapes(one) != shapes:
                raise InputError("is of another network than the checkpoints before it", path=path)
            shapes = _shapes(one)
            yield one

    means = mean_weights(tensors())
    ((model, pretraining),) = newest
    model.encoder.load_state_dict(_part(means, "encoder."))
    if pretraining is not None:
        pretraining = Pretraining(_part(means, "head."), means["prototypes"])
    steps = [int(path.name.removeprefix("step-")) for path in checkpoints]
    source = {"average_of_steps": ", ".join(map(str, steps))}
    return AveragedModel(replace(model, source=source), pretraining, steps)


def average_folders(folders: Sequence[Path], out: Path) -> None:
    """Write the mean of the encoders of several models, with head and prototypes of the first.

    Args:
        folders: names of models, or their folders.
        out: model folder to write.

    Raises:
        InputError: one is no model folder, or two have different encoders or features.
    """
    paths = [model_path(folder) for folder in folders]
    averaged = average_models([read_model(path) for path in paths], paths)
    save_model(out, averaged, pretraining=own_pretraining(paths[0]))


def _tensors(model: ModelFolder, pretraining: Pretraining | None) -> dict[str, Tensor]:
    tensors = {f"encoder.{key}": value for key, value in model.encoder.state_dict().items()}
    if pretraining is not None:
        tensors |= {f"head.{key}": value for key, value in pretraining.head.items()}
        tensors["prototypes"] = pretraining.prototypes
    return tensors


def _shapes(tensors: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    return {key: tuple(value.shape) for key, value in tensors.items()}


def _part(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}

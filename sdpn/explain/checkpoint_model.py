"""A model to explain: a model of any format, or the teacher in a checkpoint of a run.

Shapes: K prototypes, E projection.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from sdpn.config import choose
from sdpn.errors import InputError
from sdpn.features.registry import AnyFeatureConfig, FeatureChoice
from sdpn.interop.load import load_model
from sdpn.io.json_text import read_json
from sdpn.models.embedder import Embedder
from sdpn.models.folder import ModelFolder
from sdpn.models.pretraining import PRETRAINING, Pretraining, read_pretraining
from sdpn.models.registry import AnyEncoderConfig, EncoderChoice, build_encoder
from sdpn.models.weights import check_weights
from sdpn.pretrained import model_path
from sdpn.tracking.prototype_history import load_checkpoint_state


@dataclass(frozen=True, eq=False)
class ExplainedModel:
    """A model and what further training would need of it.

    Attributes:
        embedder: the model.
        pretraining: projection head and prototypes; None where there are none.
        name: what it is called.
        path: where it is.
    """

    embedder: Embedder
    pretraining: Pretraining | None
    name: str
    path: Path

    def require_prototypes(self) -> Pretraining:
        """Head and prototypes.

        Raises:
            InputError: the model has none.
        """
        if self.pretraining is None:
            raise InputError(
                "has no prototypes to explain",
                path=self.path,
                hint=f"give a folder written by sdpn train, with {PRETRAINING}, or a checkpoint",
            )
        return self.pretraining


def read_explained(
    path: Path | None, format: str | None = None, *, device: str = "cpu", student: bool = False
) -> ExplainedModel:
    """Read a model, with its prototypes where it has any.

    Args:
        path: a model folder or file of any format that `sdpn.load_model` reads, or a checkpoint
            (``EXP/checkpoints/step-00000100``); None: the included default.
        format: as for `sdpn.load_model`.
        device: as for `sdpn.load_model`.
        student: of a checkpoint, the student in place of the teacher.

    Raises:
        InputError: it cannot be read, or has no student.
    """
    found = model_path(path)
    if (found / "state.pt").is_file():
        return _read_checkpoint(found, device, "student" if student else "teacher")
    if student:
        raise InputError(
            "has no student", path=found, hint="give a checkpoint: EXP/checkpoints/step-00000100"
        )
    embedder = load_model(found, format, device=device)
    has = found.is_dir() and (found / PRETRAINING).is_file()
    return ExplainedModel(embedder, read_pretraining(found) if has else None, found.name, found)


def _read_checkpoint(folder: Path, device: str, branch: str) -> ExplainedModel:
    model, pretraining = read_checkpoint(folder, branch)
    name = f"{folder.resolve().parents[1].name} {folder.name}" + (" student" if branch == "student" else "")
    return ExplainedModel(Embedder(model, device=device), pretraining, name, folder)


def read_checkpoint(folder: Path, branch: str = "teacher") -> tuple[ModelFolder, Pretraining | None]:
    """The teacher or the student of a checkpoint, with the configuration that the run stored in it.

    Args:
        folder: ``EXP/checkpoints/step-00000100``.
        branch: ``teacher`` or ``student``.

    Returns:
        the network, and head and prototypes; None where there are none.

    Raises:
        InputError: the checkpoint is damaged, or of something else than a speaker embedding.
    """
    configuration = read_json(folder / "meta.json", "JSON document of a checkpoint").get("configuration")
    if not isinstance(configuration, dict) or not {"encoder", "features"} <= configuration.keys():
        raise InputError("does not say which network it is of", path=folder / "meta.json")
    state = load_checkpoint_state(folder / "state.pt").get("model")
    if not isinstance(state, dict):
        raise InputError("contains no network", path=folder / "state.pt")
    config: AnyEncoderConfig = choose(EncoderChoice, configuration["encoder"], path=folder / "meta.json")
    features: AnyFeatureConfig = choose(FeatureChoice, configuration["features"], path=folder / "meta.json")
    encoder = build_encoder(config, features.num_mels)
    parts = {
        part: {
            key.removeprefix(f"{branch}.{part}."): value
            for key, value in state.items()
            if key.startswith(f"{branch}.{part}.")
        }
        for part in ("encoder", "head")
    }
    wanted = {key: value.shape for key, value in encoder.state_dict().items()}
    check_weights(wanted, parts["encoder"], folder / "state.pt", against="the configuration beside it")
    encoder.load_state_dict(parts["encoder"])
    return ModelFolder(encoder.eval(), config, features), _pretraining(state, parts["head"])


def _pretraining(state: dict[str, object], head: dict[str, object]) -> Pretraining | None:
    import torch

    prototypes = state.get("prototypes")
    if not isinstance(prototypes, torch.Tensor):
        return None
    if not head:  # prototypes of embeddings, as of a distilled network
        size = prototypes.shape[1]
        return Pretraining(
            {"layers.0.weight": torch.eye(size), "layers.0.bias": torch.zeros(size)}, prototypes
        )
    return Pretraining(dict(head), prototypes)  # type: ignore[arg-type]

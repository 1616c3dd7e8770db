"""Checkpoints with a right checksum and invalid contents: the one before is used, or one line reports it."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from sdpn.cli.main import main
from sdpn.config import load_config
from sdpn.io.checksum import file_sha256
from sdpn.tracking.prototype_history import read_history
from sdpn.training.checkpoint_validation import check_like
from sdpn.training.config import RunConfig
from sdpn.training.pretrain import pretrain
from tests.conftest import TINY, write_noise

_RUN = [*TINY, "training.steps=4", "training.workers=0", "training.checkpoint_every=2", "sdpn.queue_size=14"]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_noise(tmp_path_factory.mktemp("data"), 6)


@pytest.fixture(scope="module")
def run(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run with the checkpoints of steps 2 and 4."""
    out = tmp_path_factory.mktemp("run")
    pretrain(load_config(RunConfig, None, _RUN), [data], out, on_progress=lambda _: None)
    return out


def _rewrite(folder: Path, change: Callable[[Any], Any]) -> None:
    """Change a state and give it a right checksum."""
    state = change(torch.load(folder / "state.pt", weights_only=True))
    torch.save(state, folder / "state.pt")
    meta = json.loads((folder / "meta.json").read_text())
    (folder / "meta.json").write_text(json.dumps({**meta, "sha256": file_sha256(folder / "state.pt")}))


def _at(*keys: Any, value: Any) -> Callable[[Any], Any]:
    def change(state: Any) -> Any:
        part = state
        for key in keys[:-1]:
            part = part[key]
        if value is _GONE:
            del part[keys[-1]]
        else:
            part[keys[-1]] = value
        return state

    return change


_GONE = object()
_NESTED: list[Any] = []
for _ in range(200):
    _NESTED = [_NESTED]

RUBBISH = {
    "a list": lambda state: [state],
    "nothing": lambda _: None,
    "a tensor": lambda _: torch.zeros(3),
    "nested": lambda _: {"step": _NESTED},
    "no model": _at("model", value=_GONE),
    "a model of another kind": _at("model", value=[1, 2]),
    "prototypes of another shape": _at("model", "prototypes", value=torch.zeros(3, 8)),
    "prototypes of text": _at("model", "prototypes", value="prototypes"),
    "prototypes of whole numbers": _at("model", "prototypes", value=torch.zeros(10, 8, dtype=torch.int64)),
    "prototypes that are NaN": _at("model", "prototypes", value=torch.full((10, 8), torch.nan)),
    "a further tensor": _at("model", "more", value=torch.zeros(2)),
    "a queue without its count": _at("model", "queue._extra_state", value=7),
    "another step": _at("step", value=3),
    "a step of text": _at("step", value="4"),
    "a negative step": _at("step", value=-4),
    "no optimizer": _at("optimizer", value=_GONE),
    "an optimizer of another kind": _at("optimizer", value=[]),
    "optimizer groups of another kind": _at("optimizer", "param_groups", value=[None, None]),
    "an optimizer with other settings": _at("optimizer", "param_groups", 0, "betas", value="ab"),
    "moments of another shape": _at("optimizer", "state", 0, "exp_avg", value=torch.zeros(1)),
    "moments without a step": _at("optimizer", "state", 0, "step", value=_GONE),
    "guards of another kind": _at("guards", value=3),
    "a guard of another shape": _at("guards", "usage", value=torch.zeros(3)),
    "a guard's steps as text": _at("guards", "steps", value="many"),
    "no tracking": _at("tracking", value=_GONE),
    "tracking of another shape": _at("tracking", "previous", value=torch.zeros(2, 2)),
    "a tracked list": _at("tracking", "usage", value=[0.1] * 10),
    "a random state of numbers": _at("rng", value=[{"cpu": torch.zeros(7), "cuda": None}]),
    "no random state": _at("rng", value=[]),
    "a sampler of another kind": _at("sampler", value=None),
    "bad files by number": _at("sampler", "bad_files", value={1: 2}),
}


@pytest.mark.parametrize("kind", RUBBISH)
def test_a_state_of_rubbish_is_passed_over_for_the_one_before(
    run: Path, tmp_path: Path, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    from sdpn.training.build import build
    from sdpn.training.checkpoint import CheckpointStore
    from sdpn.training.distributed import Processes
    from sdpn.training.loop import Trainer

    folder = tmp_path / "checkpoints"
    shutil.copytree(run / "checkpoints", folder)
    _rewrite(folder / "step-00000004", RUBBISH[kind])
    config = load_config(RunConfig, None, _RUN)
    configuration = json.loads((folder / "step-00000004/meta.json").read_text())["configuration"]
    store = CheckpointStore(folder, configuration, keep=2)
    trainer = Trainer(
        config,
        build(config),
        None,  # type: ignore[arg-type]  # no data is read
        processes=Processes(0, 1, torch.device("cpu")),
        store=store,
        make_dashboard=lambda *_: None,  # type: ignore[arg-type, return-value]
        on_progress=lambda _: None,
    )
    with caplog.at_level(logging.WARNING):
        state = store.load_newest(trainer._check)
    assert state is not None and state["step"] == 2
    assert "step-00000004 is damaged" in caplog.text
    read_history(tmp_path)  # names it or can use it, and raises nothing


@pytest.mark.parametrize(
    "meta",
    ["[]", "null", "NaN", "{}", "3", '"text"', "[" * 100_000, '{"sha256": 1, "configuration": []}', "\0"],
)
def test_meta_of_rubbish_is_passed_over_too(
    data: Path, run: Path, tmp_path: Path, meta: str, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "exp"
    shutil.copytree(run / "checkpoints", out / "checkpoints")
    for step in (2, 4):
        (out / f"checkpoints/step-0000000{step}/meta.json").write_text(meta)
    assert main(["train", "--data", str(data), "--out", str(out), "--quiet", *_RUN]) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert "contains only damaged checkpoints" in error
    assert main(["drift", str(out), "--quiet"]) == 2
    assert "Traceback" not in capsys.readouterr().err


def test_the_run_goes_on_from_the_one_before_and_ends_the_same(data: Path, run: Path, tmp_path: Path) -> None:
    out = tmp_path / "exp"
    shutil.copytree(run / "checkpoints", out / "checkpoints")
    _rewrite(out / "checkpoints/step-00000004", RUBBISH["moments of another shape"])
    pretrain(load_config(RunConfig, None, _RUN), [data], out, on_progress=lambda _: None)
    for name in ("model/model.safetensors", "model/pretraining.safetensors"):
        assert (out / name).read_bytes() == (run / name).read_bytes()


def test_what_older_versions_did_not_write_may_be_missing() -> None:
    check_like({"a": 1}, {"a": 0, "b": ""}, "state", optional={"state.b"})
    with pytest.raises(ValueError, match=r"state\.b is missing"):
        check_like({"a": 1}, {"a": 0, "b": ""}, "state")

"""What runs on a GPU: nothing that only a GPU shows is left for users to find.

Every test runs on a device that is pretended (`tests.pretend_device`), and on the GPU where there is one.
"""

from __future__ import annotations

import ast
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from sdpn.adaptation.adapt import Sources, adapt
from sdpn.adaptation.config import AdaptConfig
from sdpn.adaptation.segments import find_recordings
from sdpn.augmentation.augment import AugmentationConfig, Augmenter
from sdpn.augmentation.on_device import as_tensors
from sdpn.cli.main import main
from sdpn.config import load_config
from sdpn.data.crops import CropBatch, DrawnCropBatch
from sdpn.distill.labels import Labels
from sdpn.distill.segmentation import ClassedWindows
from sdpn.interop.load import load_model
from sdpn.interop.segmentation import load_segmentation
from sdpn.io.kaldi import read_data_dir
from sdpn.kmeans.layer_features import layer_rows
from sdpn.training.build import build
from sdpn.training.config import RunConfig
from sdpn.training.distributed import Processes
from sdpn.training.pretrain import pretrain
from sdpn.training.step import Update
from tests.adaptation.conftest import base, calls  # noqa: F401 - fixtures
from tests.adaptation.test_adapt import SMALL
from tests.conftest import ROOT, TINY
from tests.interop.published_segmentation import write_segmentation
from tests.pretend_device import PretendDevice, RealDevice, pretend_device

Device = PretendDevice | RealDevice

#: Sizes of a small segmentation network.
_NETWORK = [
    f"segmentation.network.{setting}"
    for setting in (
        "channels=8",
        "dilations=[1]",
        "hidden=4",
        "num_layers=1",
        "linear=4",
        "features.num_mels=8",
    )
]

_THRESHOLDS = ("smallest_usage", "parked", "smallest_deviation", "smallest_motion")


def _nothing(*_: Any) -> None:
    pass


# ---- the pretended device itself --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "do",
    [
        lambda rows: rows.numpy(),
        lambda rows: rows.detach().numpy(),
        lambda rows: (2 * rows).T.contiguous().numpy(),
        np.asarray,
        lambda rows: np.ascontiguousarray(rows, dtype=np.float32),
        lambda rows: np.multiply(rows, 2),
        lambda rows: np.stack([rows, rows]),
        lambda rows: rows + torch.ones(3),
        lambda rows: torch.cat([rows, torch.ones(2, 3)]),
        lambda rows: torch.nn.functional.linear(torch.ones(2, 3), rows),
        lambda rows: torch.ones(2, 3)[rows.argmax(0)],
        lambda rows: torch.nn.Linear(3, 1)(rows),
    ],
)
def test_what_a_gpu_refuses_is_refused(device: Device, do: Callable[[torch.Tensor], Any]) -> None:
    rows = torch.arange(6.0).reshape(2, 3).to(device.device)
    with pytest.raises((TypeError, RuntimeError), match="device"):
        do(rows)


def test_what_a_gpu_takes_is_taken(device: Device) -> None:
    rows = torch.arange(6.0).reshape(2, 3).to(device.device)
    assert rows.device == (rows * torch.tensor(2.0)).device == rows.new_zeros(2).device == device.device
    assert rows.cpu().device == torch.device("cpu") == torch.zeros(2).device
    np.testing.assert_array_equal(rows[torch.tensor([1])].cpu().numpy(), [[3, 4, 5]])
    assert torch.zeros(2, device=rows.device).device == torch.zeros(2).to(rows).device == device.device
    layer = torch.nn.Linear(3, 1).to(device.device)
    layer(rows).sum().backward()
    assert layer.weight.grad is not None and layer.weight.grad.device == device.device
    np.testing.assert_array_equal(layer.weight.grad.cpu().numpy(), [[3, 5, 7]])


def test_waits_are_counted(device: Device) -> None:
    rows = torch.arange(6.0).to(device.device)
    batch = torch.zeros(6)
    with device.counted() as waits:
        (rows * 2).softmax(0)
        rows[2:] += 1
        batch.to(device.device, non_blocking=True)
    assert not sum(waits.values())
    for wait in (
        lambda: rows.sum().item(),
        lambda: float(rows[0]),
        lambda: bool(rows[0] > 1),
        lambda: rows.tolist(),
        lambda: rows[rows > 1],
        lambda: rows.nonzero(),
        lambda: rows.cpu(),
        lambda: torch.tensor(1.0, device=device.device),
    ):
        with device.counted() as waits:
            wait()
        assert sum(waits.values()) >= 1


# ---- the project ------------------------------------------------------------------------------------------


def test_every_array_comes_from_the_cpu() -> None:
    """The one way from a tensor to an array is ``.cpu().numpy()``, also where no test leads."""
    wrong = []
    for path in sorted((ROOT / "sdpn").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
                continue
            source = node.func.value
            from_cpu = (
                isinstance(source, ast.Call)
                and isinstance(source.func, ast.Attribute)
                and source.func.attr == "cpu"
            )
            if node.func.attr in ("numpy", "__array__") and not from_cpu:
                wrong.append(f"{path.relative_to(ROOT)}:{node.lineno}")
    assert not wrong


def _settings(device: Device, *extra: str) -> list[str]:
    run = [*TINY, "training.workers=0", "training.steps=6", f"training.device={device.device.type}"]
    return [*run, *extra]


@pytest.mark.filterwarnings("ignore:Output nr:torch.jit.TracerWarning")  # of the picture of the network
@pytest.mark.parametrize(
    "settings",
    [
        pytest.param(
            ["sdpn.queue_size=14", "sdpn.dimension_weight=0.1", "training.projector_every=3"],
            marks=pytest.mark.slow,
        ),
        pytest.param(["training.precision=fp16", "training.accumulate=2"], marks=pytest.mark.slow),
        pytest.param(
            ["training.precision=bf16", "augmentation.erase_probability=1", "teacher.batch_norm=student"],
            marks=pytest.mark.slow,
        ),
        pytest.param(
            [
                "objective=dino",
                "initial.prototypes=kmeans",
                "optimizer.kind=sgd",
                "optimizer.clip=per-tensor",
            ],
            marks=pytest.mark.slow,
        ),
        pytest.param(["objective=pseudo", "pseudo.gate_epochs=0.1"], marks=pytest.mark.slow),
        [
            *("objective=pseudo", "pseudo.above_gate=discard", "pseudo.gate_epochs=0.1"),
            *("initial.model=MODEL", "initial.prototypes=classes"),
        ],
        pytest.param(
            ["objective=supervised", "supervised.head=linear", "supervised.folds=4"], marks=pytest.mark.slow
        ),
        pytest.param(
            [
                *("objective=supervised", "initial.model=MODEL", "initial.prototypes=classes"),
                *("layers.trained=gradual", "layers.unfreeze_every=2", "layers.toward_start=1"),
                *("layers.blend=0.5", "layers.decay=0.5"),
            ],
            marks=pytest.mark.slow,
        ),
        pytest.param(
            ["objective=supervised", "initial.model=MODEL", "layers.trained=adapters", "adapters.experts=2"],
            marks=pytest.mark.slow,
        ),
    ],
)
def test_training(
    device: Device,
    voices: Path,
    base: Path,  # noqa: F811
    tmp_path: Path,
    settings: list[str],
) -> None:
    """Looks, guards, evaluation, a checkpoint, a continued run, the export."""
    labels = tmp_path / "labels"
    labels.write_text("".join(f"{one.id} {one.speaker}\n" for one in read_data_dir(voices)))
    more = [setting.replace("MODEL", str(base)) for setting in settings]
    if "objective=pseudo" in settings:
        more.append(f"pseudo.labels={labels}")
    trials = [f"evaluation.data={voices}", f"evaluation.trials={voices / 'trials'}", "evaluation.every=4"]
    if "supervised.folds=4" in settings:  # has its own validation
        trials = ["evaluation.every=4"]
    # the guards check_window, and find nothing: six steps of a tiny network are no healthy run
    guards = ["guards.window=3", *(f"guards.{name}=0" for name in _THRESHOLDS)]
    config = load_config(
        RunConfig, None, _settings(device, *more, *trials, *guards, "training.checkpoint_every=3")
    )
    pretrain(config, [voices], tmp_path / "run", on_progress=_nothing)
    assert json.loads((tmp_path / "run/checkpoints/step-00000006/meta.json").read_text())["step"] == 6
    whole = load_file(tmp_path / "run/model/model.safetensors")
    pretrain(config, [voices], tmp_path / "run", on_progress=_nothing)  # exports again, from the checkpoint
    again = load_file(tmp_path / "run/model/model.safetensors")
    assert all(torch.equal(again[name], tensor) for name, tensor in whole.items())
    state = torch.load(tmp_path / "run/checkpoints/step-00000003/state.pt", map_location="cpu")
    assert state["step"] == 3
    shutil.rmtree(tmp_path / "run/checkpoints/step-00000006")
    pretrain(config, [voices], tmp_path / "run", on_progress=_nothing)  # goes on from step 3
    continued = load_file(tmp_path / "run/model/model.safetensors")
    if isinstance(device, PretendDevice):  # a GPU may add up in another order
        assert all(torch.equal(continued[name], tensor) for name, tensor in whole.items())


def test_training_on_the_pretended_device_is_training_on_the_cpu(voices: Path, tmp_path: Path) -> None:
    with pretend_device() as pretended:
        there = load_config(RunConfig, None, _settings(pretended, "training.augment=loader"))
        pretrain(there, [voices], tmp_path / "there", on_progress=_nothing)
    here = replace(there, training=replace(there.training, device="cpu"))
    pretrain(here, [voices], tmp_path / "here", on_progress=_nothing)
    one, two = (load_file(tmp_path / name / "model/model.safetensors") for name in ("there", "here"))
    assert all(torch.equal(one[name], tensor) for name, tensor in two.items())


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ([], 0),
        (["training.precision=bf16"], 0),
        (["training.precision=fp16"], 1),  # whether the loss scale overflowed
        (["training.accumulate=2"], 0),
        (["training.accumulate=2", "training.precision=fp16"], 1),
        (["sdpn.queue_size=14", "sdpn.dimension_weight=0.1"], 0),
        (["objective=dino"], 0),
        (["objective=pseudo", "pseudo.above_gate=keep"], 0),
        (["objective=pseudo", "pseudo.gate_epochs=100"], 0),
        (["objective=supervised", "supervised.sub_centres=2", "supervised.nearest=1"], 0),
        (["objective=supervised", "supervised.head=linear"], 0),
    ],
)
def test_values_that_an_update_reads(device: Device, settings: list[str], expected: int) -> None:
    """docs/hazards.md, row 7: a value that is read waits for all that is queued."""
    config = load_config(RunConfig, None, _settings(device, *settings))
    torch.manual_seed(0)
    network = build(config, Labels(torch.arange(8) % 4, 4)).to(device.device).train()
    update = Update(config, network, Processes(0, 1, device.device))
    batch = CropBatch(torch.randn(1, 4, 16000), torch.randn(2, 4, 8000), torch.arange(4)).to(device.device)
    for _ in range(2):  # the first makes what later ones use
        with device.counted() as waits:
            update(batch, lr=1e-4, momentum=0.9)
    assert sum(waits.values()) == expected, waits


@pytest.mark.parametrize("gate", ["fitted", "1.5"])
def test_values_that_the_loss_gate_reads(device: Device, gate: str) -> None:
    """None: neither while it is open, nor when it is fitted, after each epoch of two updates."""
    config = load_config(
        RunConfig, None, _settings(device, "objective=pseudo", "pseudo.gate_epochs=1", f"pseudo.gate={gate}")
    )
    torch.manual_seed(0)
    network = build(config, Labels(torch.arange(8) % 4, 4)).to(device.device).train()
    update = Update(config, network, Processes(0, 1, device.device))
    gates = []
    for step in range(5):
        batch = CropBatch(torch.randn(1, 4, 16000), torch.randn(2, 4, 8000), torch.arange(4) + step % 2 * 4)
        batch = batch.to(device.device)
        with device.counted() as waits:
            update(batch, lr=1e-4, momentum=0.9)
        assert step == 0 or not waits, waits  # the first makes what later ones use
        gates.append(float(network.gate.gate.cpu()))
    assert gates[0] == float("inf") and gates[1] < float("inf")
    assert gates[1] == gates[2] and (gate == "1.5" or gates[2] != gates[3])


def test_values_that_a_step_of_the_loop_reads(voices: Path, tmp_path: Path) -> None:
    """Four steps more, of which none writes curves or a checkpoint, wait no more often."""
    found = []
    for steps in (3, 7):
        with pretend_device() as pretended:
            more = [f"training.steps={steps}", "training.log_every=100", "training.watch_every=100"]
            config = load_config(RunConfig, None, _settings(pretended, *more, "guards.window=0"))
            with pretended.counted() as waits:
                pretrain(config, [voices], tmp_path / str(steps), on_progress=_nothing)
            found.append(dict(waits))
    assert found[0] == found[1]


def test_segmentation(device: Device, tmp_path: Path) -> None:
    write_segmentation(tmp_path / "network.bin", seed=0)
    wave_BS = (0.1 * np.random.default_rng(0).standard_normal((2, 16000))).astype(np.float32)
    there = load_segmentation(tmp_path / "network.bin", device=str(device.device))
    here = load_segmentation(tmp_path / "network.bin")
    exact = {"rtol": 0, "atol": 0} if isinstance(device, PretendDevice) else {"rtol": 1e-3, "atol": 1e-3}
    for found, expected in zip(there.activities(wave_BS), here.activities(wave_BS), strict=True):
        np.testing.assert_allclose(found, expected, **exact)
    np.testing.assert_allclose(there.log_probabilities(wave_BS), here.log_probabilities(wave_BS), **exact)


def test_training_of_a_segmentation_network(device: Device) -> None:
    config = load_config(RunConfig, None, ["objective=segmentation", "training.precision=fp32", *_NETWORK])
    wave_BS = 0.1 * torch.randn(4, 16_000, generator=torch.Generator().manual_seed(0))
    frames = config.segmentation.network.num_frames(16_000)
    batch = ClassedWindows(wave_BS, torch.arange(4 * frames).view(4, frames) % 7)
    losses = []
    for place in (device.device, torch.device("cpu")):
        torch.manual_seed(0)
        network = build(config).to(place).train()
        update = Update(config, network, Processes(0, 1, place))
        steps = [update(batch.to(place), lr=1e-3, momentum=0.9)[0].total for _ in range(2)]
        losses.append([float(total) for total in steps])
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-3)


def test_embedding(device: Device, base: Path) -> None:  # noqa: F811
    rng = np.random.default_rng(0)
    wave = (0.1 * rng.standard_normal(48000)).astype(np.float32)
    windows = np.array([[0.0, 1.5], [0.5, 2.0], [1.2, 3.0], [2.9, 3.0]])
    there, here = load_model(base, device=str(device.device)), load_model(base)
    exact = {"rtol": 0, "atol": 0} if isinstance(device, PretendDevice) else {"rtol": 1e-3, "atol": 1e-4}
    for compute in (
        lambda model: model.embed(wave, 16000),
        lambda model: model.embed([wave, wave[:20000], wave[:100]], 16000),
        lambda model: model.embed_windows(wave, windows),
        lambda model: model.embed(torch.from_numpy(wave).to(device.device), 16000),
        lambda model: model.embed(torch.from_numpy(wave).requires_grad_(), 16000),
    ):
        np.testing.assert_allclose(compute(there), compute(here), **exact)


def test_layer_features(device: Device) -> None:
    network = torch.nn.Sequential(torch.nn.Conv1d(3, 4, 1)).to(device.device)
    batches = [(torch.randn(2, 3, 5), torch.tensor([1.0, 0.6]))]
    rows = list(layer_rows(batches, network, "0", device=str(device.device)))
    assert rows[0].shape == (5 + 3, 4)


@pytest.mark.parametrize("command", ["utterances", "windows", "backend"])
def test_commands_with_a_device(
    device: Device,
    voices: Path,
    base: Path,  # noqa: F811
    tmp_path: Path,
    command: str,
) -> None:
    model = ["--model", str(base), "--data", str(voices), "--quiet", "--device", str(device.device)]
    if command == "backend":
        assert main(["backend", *model, "--out", str(tmp_path / "back_end.safetensors")]) == 0
        return
    more = ["--windows", "1.0/0.5"] if command == "windows" else []
    assert main(["extract", *model, "--out", str(tmp_path / "out"), *more]) == 0
    assert (tmp_path / "out/embeddings.scp").is_file()


def test_adaptation_then_drift(
    device: Device,
    voices: Path,
    base: Path,  # noqa: F811
    calls: Path,  # noqa: F811
    tmp_path: Path,
) -> None:
    settings = [*SMALL, f"training.device={device.device.type}"]
    config = load_config(AdaptConfig, None, settings)
    sources = Sources(base, find_recordings(calls, []), voices)
    adapt(
        config,
        sources,
        work=tmp_path / "work",
        out=tmp_path / "out",
        on_training=_nothing,
        on_work=_nothing,
    )
    assert load_model(tmp_path / "out", device=str(device.device)).embedding_dim == 12
    assert main(["drift", str(tmp_path / "work/training"), "--quiet"]) in (0, 1)


def test_augmentation_on_the_device_reads_nothing(device: Device) -> None:
    effects = {
        **{f"{kind}_probability": 0.6 for kind in ("room", "tilt", "babble", "band", "clip", "rounding")},
    }
    augmenter = Augmenter(AugmentationConfig(**effects))
    rng = np.random.default_rng(0)

    def speech(count: int, rng: np.random.Generator) -> np.ndarray:
        return (0.1 * rng.standard_normal(count)).astype(np.float32)

    clean = torch.from_numpy(np.stack([speech(8000, rng) for _ in range(12)])).view(3, 4, 8000)
    drawn = as_tensors([augmenter.draw(8000, rng, speech) for _ in range(12)])
    batch = DrawnCropBatch(CropBatch(clean[:1], clean, torch.arange(4)), drawn)
    here = batch.to(torch.device("cpu"))
    batch.to(device.device)  # the first makes what later ones use
    with device.counted() as waits:
        there = batch.to(device.device)
    assert not waits, waits
    torch.testing.assert_close(there.local_VBS.cpu(), here.local_VBS, rtol=0, atol=1e-3)

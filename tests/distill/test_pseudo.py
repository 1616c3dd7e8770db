"""The pseudo-label objective against torch's cross-entropy; runs that resume, start from a model, refuse."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, normalize

from sdpn.cli.main import main
from sdpn.data.crops import CropBatch
from sdpn.distill.base import Projections
from sdpn.distill.labels import Labels
from sdpn.distill.pseudo import Pseudo
from sdpn.io.kaldi import read_data_dir
from sdpn.models.folder import read_model
from sdpn.training.build import build
from sdpn.training.config import RunConfig
from sdpn.training.distributed import Processes
from sdpn.training.step import Update
from tests.conftest import TINY

_LABELS = Labels(torch.tensor([0, 0, 1, 1, 2, 2]), 3)


def _network(run: RunConfig, **settings: Any) -> Pseudo:
    torch.manual_seed(0)
    pseudo = replace(run.pseudo, margin_warmup_steps=0, **settings)
    network = build(replace(run, objective="pseudo", pseudo=pseudo), _LABELS)
    assert isinstance(network, Pseudo)
    return network.train()


def _projections(utterances: list[int], seed: int = 1) -> Projections:
    generator = torch.Generator().manual_seed(seed)
    rows = len(utterances)
    student = torch.randn(2, rows, 12, generator=generator).requires_grad_()
    return Projections(
        torch.randn(1, rows, 12, generator=generator), student, student, torch.tensor(utterances)
    )


def _expected(network: Pseudo, student_VBD: Tensor, labels: list[int], margin: float) -> Tensor:
    """Mean over views of each utterance's loss, with angles."""
    cosine = normalize(student_VBD, dim=-1) @ normalize(network.prototypes, dim=-1).T
    turned = cosine.clone()
    for place, label in enumerate(labels):
        turned[:, place, label] = torch.cos(torch.arccos(cosine[:, place, label]) + margin)
    return torch.stack(
        [cross_entropy(32 * view, torch.tensor(labels), reduction="none") for view in turned]
    ).mean(0)


def test_total_is_the_mean_cross_entropy_with_margin(tiny_run: RunConfig) -> None:
    network, projections = _network(tiny_run, above_gate="keep"), _projections([5, 0, 3])
    terms = network.objective(projections)
    torch.testing.assert_close(
        terms.total, _expected(network, projections.student_VBE, [2, 0, 1], 0.2).mean(), rtol=1e-4, atol=1e-4
    )
    plain = _expected(network, projections.student_VBE, [2, 0, 1], 0.0).mean()
    torch.testing.assert_close(terms.terms["ce"], plain.detach(), rtol=1e-4, atol=1e-4)


def test_the_margin_rises_with_the_updates(tiny_run: RunConfig) -> None:
    network = _network(tiny_run, above_gate="keep")
    network.config = replace(network.config, margin_warmup_steps=4)
    for margin in (0.05, 0.1, 0.15, 0.2, 0.2):
        projections = _projections([1, 2])
        terms = network.objective(projections)
        torch.testing.assert_close(
            terms.total,
            _expected(network, projections.student_VBE, [0, 1], margin).mean(),
            rtol=1e-4,
            atol=1e-4,
        )
        network.after_step(0.9, terms)


def test_utterances_above_the_gate_are_discarded(tiny_run: RunConfig) -> None:
    network, projections = _network(tiny_run, above_gate="discard"), _projections([0, 1, 2, 3])
    losses = _expected(network, projections.student_VBE, [0, 0, 1, 1], 0.0)
    network.gate.gate.fill_(
        float(losses.detach().median()) + 1e-3
    )  # torch's median: the lower of the middle two
    terms = network.objective(projections)
    believed = losses <= network.gate.gate
    assert terms.terms["believed"] == 0.5
    expected = _expected(network, projections.student_VBE, [0, 0, 1, 1], 0.2)[believed].mean()
    torch.testing.assert_close(terms.total, expected, rtol=1e-4, atol=1e-4)
    terms.total.backward()
    gradient = projections.student_VBE.grad
    assert gradient is not None
    assert not gradient[:, ~believed].any() and gradient[:, believed].any(dim=-1).all()


def test_a_label_above_the_gate_becomes_the_teachers_if_it_is_confident(tiny_run: RunConfig) -> None:
    network, projections = _network(tiny_run, above_gate="correct", confidence=0.9), _projections([0, 1])
    network.gate.gate.fill_(0.0)  # nothing is believed
    teacher = torch.stack([network.prototypes[2], network.prototypes[:2].mean(0)]).detach().unsqueeze(0)
    terms = network.objective(projections._replace(teacher_GBE=teacher))
    cosines = normalize(teacher[0], dim=-1) @ normalize(network.prototypes.detach(), dim=-1).T
    probability = torch.softmax(32 * cosines, dim=-1)
    confident = probability.amax(-1) >= 0.9
    assert confident[0] and terms.terms["corrected"] == confident.float().mean()
    sharp = probability**2 / (probability**2).sum(-1, keepdim=True)
    student = normalize(projections.student_VBE, dim=-1) @ normalize(network.prototypes, dim=-1).T
    each = -(sharp * torch.log_softmax(32 * student, dim=-1)).sum(-1).mean(0)
    torch.testing.assert_close(terms.total, each[confident].mean(), rtol=1e-4, atol=1e-4)


def test_nothing_believed_is_a_loss_of_zero(tiny_run: RunConfig) -> None:
    network, projections = _network(tiny_run, above_gate="discard"), _projections([0, 1])
    network.gate.gate.fill_(0.0)
    total = network.objective(projections).total
    total.backward()
    assert total == 0 and network.prototypes.grad is not None and not network.prototypes.grad.any()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("scale", [0.0, 1e-7, 1e4])
def test_adversarial_embeddings_give_finite_loss_and_gradients(
    tiny_run: RunConfig, dtype: torch.dtype, scale: float
) -> None:
    network, projections = _network(tiny_run), _projections([0, 2, 4])
    student = (projections.student_VBE.detach() * scale).to(dtype).requires_grad_()
    terms = network.objective(Projections(student[:1].detach(), student, student, projections.utterance_B))
    terms.total.backward()
    assert torch.isfinite(terms.total) and student.grad is not None and torch.isfinite(student.grad).all()


def test_a_batch_in_parts_gives_the_update_of_the_whole_batch(tiny_run: RunConfig) -> None:
    generator = torch.Generator().manual_seed(1)
    batch = CropBatch(
        torch.randn(1, 6, 8000, generator=generator) * 0.1,
        torch.randn(2, 6, 4000, generator=generator) * 0.1,
        torch.arange(6),
    )
    networks = []
    for accumulate in (1, 3):
        training = replace(tiny_run.training, batch_size=6, accumulate=accumulate)
        optimizer = replace(tiny_run.optimizer, kind="sgd")
        run = replace(tiny_run, training=training, optimizer=optimizer)
        network = _network(run, gate_epochs=1.0).eval()
        update = Update(run, network, Processes(0, 1, torch.device("cpu")))
        for _ in range(3):
            update(batch, lr=1e-3, momentum=0.9)
        networks.append(network)
    whole, parts = (network.state_dict() for network in networks)
    assert torch.isfinite(whole["gate.gate"])
    for name, tensor in whole.items():
        if torch.is_tensor(tensor):
            torch.testing.assert_close(parts[name], tensor, rtol=1e-4, atol=1e-5, msg=name)


@pytest.fixture(scope="module")
def labels(voices: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The voices as clusters, four of them wrong."""
    path = tmp_path_factory.mktemp("pseudo") / "labels"
    rows = [(one.id, one.speaker) for one in read_data_dir(voices)]
    rows[:4] = [(name, "voice5") for name, _ in rows[:4]]
    path.write_text("".join(f"{name} {speaker}\n" for name, speaker in rows))
    return path


def _train(voices: Path, out: Path, *extra: str) -> int:
    options = ["train", "--data", str(voices), "--out", str(out), "--quiet", "--objective", "pseudo"]
    return main([*options, *TINY, "training.workers=0", "training.steps=18", "pseudo.gate_epochs=1", *extra])


def test_a_continued_run_is_the_uninterrupted_one(voices: Path, labels: Path, tmp_path: Path) -> None:
    settings = [f"pseudo.labels={labels}", "training.checkpoint_every=9", "pseudo.margin_warmup_steps=12"]
    assert _train(voices, tmp_path / "exp", *settings) == 0
    last = tmp_path / "exp/checkpoints/step-00000018"
    expected = torch.load(last / "state.pt", weights_only=True)["model"]
    assert np.isfinite(float(expected["gate.gate"]))  # the gate has closed before the kill
    shutil.rmtree(last)
    assert _train(voices, tmp_path / "exp", *settings) == 0
    found = torch.load(last / "state.pt", weights_only=True)["model"]
    for name, value in expected.items():
        same = torch.equal(found[name], value) if torch.is_tensor(value) else found[name] == value
        assert same, name


def test_changed_labels_are_another_run(
    voices: Path, labels: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = tmp_path / "labels"
    shutil.copy(labels, own)
    assert _train(voices, tmp_path / "exp", f"pseudo.labels={own}") == 0
    own.write_text(own.read_text().replace("voice3", "voice4"))
    assert _train(voices, tmp_path / "exp", f"pseudo.labels={own}") == 2
    assert "to resume, restore these values" in capsys.readouterr().err


def test_centres_start_as_class_means_of_the_given_model(voices: Path, labels: Path, tmp_path: Path) -> None:
    sdpn = ["train", "--data", str(voices), "--out", str(tmp_path / "first"), "--quiet", *TINY]
    assert main([*sdpn, "training.workers=0", "training.steps=2"]) == 0
    model = tmp_path / "first/model"
    settings = [f"pseudo.labels={labels}", f"initial.model={model}", "initial.prototypes=classes"]
    assert _train(voices, tmp_path / "exp", *settings, "crops.global_s=1.25", "training.steps=0") == 0
    encoder = read_model(tmp_path / "exp/model").encoder
    expected = read_model(model).encoder.state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in encoder.state_dict().items())
    from safetensors.torch import load_file

    from sdpn import load_model

    embedder = load_model(model)
    sums: dict[str, np.ndarray] = {}
    table = dict(line.split() for line in labels.read_text().splitlines())
    for one in read_data_dir(voices):  # a crop of 1.25 s is the whole utterance
        unit = embedder.embed(one.read(), 16000)
        unit = unit / np.linalg.norm(unit)
        sums[table[one.id]] = sums.get(table[one.id], np.zeros_like(unit)) + unit
    centres = load_file(tmp_path / "exp/model/pretraining.safetensors")["prototypes"].numpy()
    for row, total in zip(centres, sums.values(), strict=True):
        assert row @ total / np.linalg.norm(row) / np.linalg.norm(total) > 0.9999


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ([], "needs pseudo-labels"),
        (["objective=sdpn", "initial.prototypes=classes"], "requires objective=pseudo"),
        (["objective=sdpn", "pseudo.labels=LABELS"], "is not used by objective=sdpn"),
        (["pseudo.margin=2.0", "pseudo.labels=LABELS"], "margin must lie in"),
        (
            ["augmentation.speed_probability=0.5", "pseudo.labels=LABELS"],
            "creates speakers without a pseudo-label",
        ),
    ],
)
def test_what_does_not_fit_together(
    voices: Path,
    labels: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    settings: list[str],
    message: str,
) -> None:
    given = [setting.replace("LABELS", str(labels)) for setting in settings]
    options = ["train", "--data", str(voices), "--out", str(tmp_path / "exp"), "--quiet"]
    if not any(setting.startswith("objective") for setting in given):
        given.append("objective=pseudo")
    assert main([*options, *TINY, "training.steps=1", *given]) == 2
    assert message in capsys.readouterr().err

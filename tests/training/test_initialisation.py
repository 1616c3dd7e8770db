"""What a run starts from: a model's weights, kept or clustered prototypes; and models that do not fit."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file
from sklearn.cluster import KMeans
from torch.nn.functional import normalize

from sdpn.config import load_config
from sdpn.distill.base import SelfDistillation
from sdpn.distill.labels import read_labels
from sdpn.errors import InputError
from sdpn.training.build import build
from sdpn.training.config import RunConfig, load_run_config
from sdpn.training.data import read_training_data
from sdpn.training.initialisation import InitialConfig, initialise
from sdpn.training.pretrain import pretrain
from tests.conftest import TINY

_RUN = [*TINY, "training.workers=0", "training.steps=4"]


@pytest.fixture(scope="module")
def model(voices: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("initial") / "exp"
    pretrain(load_config(RunConfig, None, _RUN), [voices], out, on_progress=lambda _: None)
    return out / "model"


def _initialised(voices: Path, *settings: str) -> SelfDistillation:
    config = load_config(RunConfig, None, [*_RUN, *settings])
    torch.manual_seed(5)
    network = build(config)
    _initialise(network, config, voices)
    return network


def _initialise(network: SelfDistillation, config: RunConfig, voices: Path, **more: Any) -> None:
    initialise(
        network,
        config.initial,
        encoder=config.encoder,
        crops=config.crops,
        utterances=read_training_data([voices])[0],
        seed=0,
        **more,
    )


def test_a_models_weights_and_prototypes(voices: Path, model: Path) -> None:
    network = _initialised(voices, f"initial.model={model}", "initial.prototypes=keep")
    weights = load_file(model / "model.safetensors") | load_file(model / "pretraining.safetensors")
    assert torch.equal(network.prototypes, weights["prototypes"])
    for branch in (network.student, network.teacher):
        for name, tensor in branch.state_dict().items():
            torch.testing.assert_close(tensor, weights[name], rtol=0, atol=0)


def test_a_network_without_head_takes_that_of_another(voices: Path, model: Path, tmp_path: Path) -> None:
    headless = shutil.copytree(model, tmp_path / "headless")
    weights = {key: tensor + 1 for key, tensor in load_file(model / "model.safetensors").items()}
    save_file(weights, headless / "model.safetensors")
    save_file({"prototypes": torch.ones(3, 12)}, headless / "pretraining.safetensors")
    network = _initialised(
        voices, f"initial.model={headless}", f"initial.head={model}", "initial.prototypes=keep"
    )
    weights |= load_file(model / "pretraining.safetensors")
    assert torch.equal(network.prototypes, weights["prototypes"])
    for name, tensor in network.teacher.state_dict().items():
        torch.testing.assert_close(tensor, weights[name], rtol=0, atol=0, check_dtype=False)
    with pytest.raises(InputError, match="head needs a model"):
        load_config(RunConfig, None, [f"initial.head={model}"])


def test_a_models_weights_with_fresh_prototypes(voices: Path, model: Path) -> None:
    network = _initialised(voices, f"initial.model={model}", "sdpn.num_prototypes=14")
    kept = load_file(model / "pretraining.safetensors")["prototypes"]
    assert network.prototypes.shape == (14, 8) and not torch.equal(network.prototypes[:10], kept)


def test_kmeans_prototypes_are_centres_of_projections(voices: Path, model: Path) -> None:
    """As good as scikit-learn's full-batch k-means of projections of the same utterances, within 10 %."""
    settings = [f"initial.model={model}", "initial.prototypes=kmeans", "crops.global_s=1.25"]
    network = _initialised(voices, *settings)
    waves = np.stack([utterance.read() for utterance in read_training_data([voices])[0]])
    with torch.no_grad():
        network.teacher.eval()
        rows = normalize(network.teacher(network.features(torch.from_numpy(waves)))[1], dim=1)
    directions = normalize(network.prototypes.detach(), dim=1)
    ours = float((rows @ directions.T).max(1).values.mean())
    centres = torch.from_numpy(KMeans(10, n_init=10, random_state=0).fit(rows.numpy()).cluster_centers_)
    best = float((rows @ normalize(centres, dim=1).T).max(1).values.mean())
    uniform = build(load_config(RunConfig, None, _RUN)).prototypes.detach()
    chance = float((rows @ normalize(uniform, dim=1).T).max(1).values.mean())
    assert (best - ours) < 0.1 * (best - chance)
    torch.testing.assert_close(network.prototypes.detach().norm(dim=1), torch.full((10,), 3**-0.5))


def _refused(voices: Path, message: str, *settings: str) -> None:
    with pytest.raises(InputError, match=message):
        _initialised(voices, *settings)


def test_k_means_leaves_out_what_cannot_be_read(
    voices: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """As the training will; of the others the same crops are drawn as if there were no more."""
    data = shutil.copytree(voices, tmp_path / "voices")
    scp = (data / "wav.scp").read_text().splitlines()
    bad = tmp_path / "bad.wav"
    bad.write_bytes(b"RIFF")
    settings = ["initial.prototypes=kmeans"]
    good = _initialised(voices, *settings).prototypes.detach()
    (data / "wav.scp").write_text("\n".join([*scp, f"zz1 {bad}", f"zz2 {bad}"]) + "\n")
    (data / "utt2spk").write_text((data / "utt2spk").read_text() + "zz1 zz1\nzz2 zz2\n")
    found = _initialised(data, *settings).prototypes.detach()
    assert found.shape == good.shape and found.isfinite().all()
    assert "2 utterances left out, such as" in caplog.text

    (data / "wav.scp").write_text(f"zz1 {bad}\nzz2 {bad}\n")
    (data / "utt2spk").write_text("zz1 zz1\nzz2 zz2\n")
    _refused(data, "only 0 non-silent crops for 10 k-means prototypes", *settings)


def test_class_means_of_a_part_of_large_classes(
    voices: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Crops are as long as the files: the means of a part are those of a corpus without the rest."""
    utterances = read_training_data([voices])[0]
    class_N = [0 if index < 4 else 1 + index % 2 for index in range(len(utterances))]
    file = tmp_path / "labels"
    file.write_text("".join(f"{one.id} c{label}\n" for one, label in zip(utterances, class_N, strict=True)))
    labels = read_labels(file, utterances)
    settings = ["objective=pseudo", f"pseudo.labels={file}", "initial.prototypes=classes"]
    config = load_config(RunConfig, None, [*_RUN, *settings, "crops.global_s=1.25"])
    seen: list[tuple[str, int, int]] = []

    def prototypes(most: int) -> torch.Tensor:
        monkeypatch.setattr("sdpn.training.initialisation._CROPS_PER_CLASS", most)
        torch.manual_seed(5)
        network = build(config, labels)
        assert isinstance(network, SelfDistillation)
        _initialise(network, config, voices, labels=labels, on_progress=lambda *done: seen.append(done))
        return network.prototypes.detach()

    whole, part = prototypes(len(utterances)), prototypes(4)
    assert ("initial prototypes", len(utterances), len(utterances)) in seen
    assert seen[-1] == ("initial prototypes", 12, 12)
    torch.testing.assert_close(part[0], whole[0])
    for number in (1, 2):
        assert not torch.allclose(part[number], whole[number])
        assert torch.cosine_similarity(part[number], whole[number], dim=0) > 0.8


def test_models_that_do_not_fit_are_refused(voices: Path, model: Path) -> None:
    start = f"initial.model={model}"
    _refused(voices, "encoder.channels is 16 there, 32 here", start, "encoder.channels=32")
    _refused(voices, "features.num_mels is 80 there, 40 here", start, "features.num_mels=40")
    _refused(voices, "another projection head: .*layers.0.weight", start, "head.hidden_dim=24")
    keep = [start, "initial.prototypes=keep", "sdpn.num_prototypes=12"]
    _refused(voices, "has 10 prototypes of 8 dimensions; this run has 12 of 8", *keep)
    with pytest.raises(ValueError, match="needs a model"):
        InitialConfig(prototypes="keep")


def test_what_is_not_given_of_encoder_and_features_is_the_models(
    voices: Path, model: Path, tmp_path: Path
) -> None:
    coarse = shutil.copytree(model, tmp_path / "coarse")
    document = yaml.safe_load((coarse / "config.yaml").read_text())
    document["features"]["hop_ms"] = 20.0
    (coarse / "config.yaml").write_text(yaml.safe_dump(document))
    file = tmp_path / "run.yaml"
    file.write_text(f"initial: {{model: {coarse}}}\n")
    rest = [setting for setting in _RUN if not setting.startswith(("encoder.", "features."))]
    config = load_run_config(file, rest)
    assert config.features.hop_ms == 20 and config.encoder.embedding_dim == 12
    assert config == load_config(RunConfig, file, [*_RUN, "features.hop_ms=20"])
    _initialise(build(config), config, voices)

    file.write_text(f"initial: {{model: {coarse}}}\nfeatures: {{hop_ms: 10}}\n")
    config = load_run_config(file, rest)
    with pytest.raises(InputError, match=r"this run: features\.hop_ms is 20\.0 there, 10\.0 here"):
        _initialise(build(config), config, voices)
    assert load_run_config(None, ["initial.model=nowhere"]).features == RunConfig().features


@pytest.mark.parametrize("damage", ["absent", "truncated", "no prototypes"])
def test_a_model_without_whole_head_and_prototypes(
    voices: Path, model: Path, tmp_path: Path, damage: str
) -> None:
    broken = tmp_path / "model"
    broken.mkdir()
    for path in model.iterdir():
        (broken / path.name).write_bytes(path.read_bytes())
    file = broken / "pretraining.safetensors"
    if damage == "absent":
        file.unlink()
    elif damage == "truncated":
        file.write_bytes(file.read_bytes()[:100])
    else:
        tensors: dict[str, Any] = load_file(file)
        del tensors["prototypes"]
        save_file(tensors, file)
    message = {
        "absent": "has no pretraining",
        "truncated": "damaged",
        "no prototypes": "contains no prototypes",
    }
    _refused(voices, message[damage], f"initial.model={broken}")

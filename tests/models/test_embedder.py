"""Model folders and the embedder: round trip, windows, and every way a folder can be broken."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from safetensors.torch import load_file, save_file

import sdpn
from sdpn.errors import InputError
from sdpn.features.log_mel import FeatureConfig
from sdpn.io.audio import resample
from sdpn.models.ecapa import Ecapa, EcapaConfig
from sdpn.models.folder import ModelFolder, save_model
from sdpn.models.pretraining import Pretraining


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    config = EcapaConfig(channels=16, aggregation_channels=24, embedding_dim=12, bottleneck=8)
    path = tmp_path_factory.mktemp("model") / "model"
    model = ModelFolder(Ecapa(config, 80), config, FeatureConfig(), {"ahc_threshold": 0.4}, {"steps": 0})
    save_model(path, model, pretraining=Pretraining(torch.nn.Linear(12, 4).state_dict(), torch.randn(5, 4)))
    return path


def _wave(seconds: float = 3.0) -> np.ndarray:
    return (np.random.default_rng(0).standard_normal(int(seconds * 16000)) * 0.1).astype(np.float32)


def test_the_same_folder_gives_the_same_embedding(folder: Path) -> None:
    one, other = sdpn.load_model(folder), sdpn.load_model(str(folder))
    embedding = one.embed(_wave(), 16000)
    assert embedding.shape == (12,) and embedding.dtype == np.float32
    np.testing.assert_array_equal(embedding, other.embed(torch.from_numpy(_wave()), 16000))
    assert one.embedding_dim == 12 and one.calibration == {"ahc_threshold": 0.4}


def test_the_files_of_a_folder(folder: Path) -> None:
    assert {file.name for file in folder.iterdir()} == {
        "config.yaml",
        "model.safetensors",
        "pretraining.safetensors",
    }
    assert all(key.startswith("encoder.") for key in load_file(folder / "model.safetensors"))
    pretraining = load_file(folder / "pretraining.safetensors")
    assert pretraining["prototypes"].shape == (5, 4) and "head.weight" in pretraining


def test_windows_embed_like_the_waveform_cut_out(folder: Path) -> None:
    model = sdpn.load_model(folder)
    windows = np.array([[0.0, 1.5], [0.75, 2.25], [1.5, 3.0], [0.3, 1.2]])
    together = model.embed_windows(_wave(), windows)
    for (start, end), row in zip(windows, together, strict=True):
        alone = model.embed(_wave()[round(start * 16000) : round(end * 16000)], 16000)
        np.testing.assert_allclose(row, alone, atol=1e-4)


def test_each_window_is_normalised_to_its_own_level(tmp_path: Path) -> None:
    """A loud neighbour does not raise the floor of a quiet window, and no gain moves an embedding."""
    torch.manual_seed(0)
    config = EcapaConfig(channels=16, aggregation_channels=24, embedding_dim=12, bottleneck=8)
    features = FeatureConfig(level="relative", floor=1e-4)
    save_model(tmp_path / "model", ModelFolder(Ecapa(config, 80), config, features))
    model = sdpn.load_model(tmp_path / "model")
    wave = _wave()
    wave[:24000] *= 1e-3
    windows = np.array([[0.0, 1.5], [0.75, 2.25], [1.5, 3.0], [0.3, 1.2]])
    together = model.embed_windows(wave, windows)
    for (start, end), row in zip(windows, together, strict=True):
        alone = model.embed(wave[round(start * 16000) : round(end * 16000)], 16000)
        np.testing.assert_allclose(row, alone, atol=1e-4)
    for gain in (0.03, 10.0):
        np.testing.assert_allclose(model.embed_windows(wave * np.float32(gain), windows), together, atol=1e-4)
        np.testing.assert_allclose(
            model.embed(wave * np.float32(gain), 16000), model.embed(wave, 16000), atol=1e-4
        )


def test_many_windows_in_any_order_equal_few(folder: Path) -> None:
    model = sdpn.load_model(folder)
    starts = np.random.default_rng(1).permutation(150) * 0.1
    windows = np.stack([starts, starts + 1.0], axis=1)
    wave = _wave(17.0)
    together = model.embed_windows(wave, windows)
    for index in (0, 77, 149):
        alone = model.embed_windows(wave, windows[index : index + 1])
        np.testing.assert_allclose(together[index], alone[0], atol=1e-4)


def test_windows_far_apart_share_no_features(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """64 windows over an hour are few, but the features of the hour are not (they took 0.6 GB)."""
    model = sdpn.load_model(folder)
    seen: list[int] = []
    genuine = model.features.log_mel

    def watched(wave_BS: torch.Tensor, *others: torch.Tensor) -> torch.Tensor:
        seen.append(wave_BS.shape[-1])
        return genuine(wave_BS, *others)

    monkeypatch.setattr(model.features, "log_mel", watched)
    wave = np.tile(_wave(10.0), 60)  # ten minutes
    starts = np.linspace(0, 598, 64)
    windows = np.stack([starts, starts + 1.5], axis=1)
    windows[5] = [40.0, 300.0]  # longer than any span: it comes alone
    together = model.embed_windows(wave, windows)
    assert max(seen) < 262 * 16000
    assert sorted(seen)[-2] < 122 * 16000
    for index in (0, 5, 6, 63):
        alone = model.embed_windows(wave, windows[index : index + 1])
        np.testing.assert_allclose(together[index], alone[0], atol=1e-4)


@pytest.mark.parametrize("seconds", [1 / 16000, 0.01, 0.1, 0.4])
def test_short_input_is_repeated(folder: Path, seconds: float) -> None:
    model = sdpn.load_model(folder)
    assert np.isfinite(model.embed(_wave(seconds), 16000)).all()
    windows = np.array([[0.0, seconds]])
    assert np.isfinite(model.embed_windows(_wave(seconds), windows)).all()


def test_other_rates_are_resampled(folder: Path) -> None:
    model = sdpn.load_model(folder)
    wave_8k = resample(_wave(), 16000, 8000)
    np.testing.assert_allclose(
        model.embed(wave_8k, 8000), model.embed(resample(wave_8k, 8000, 16000), 16000), atol=1e-6
    )


@pytest.mark.parametrize("wave", [np.zeros(0), np.zeros((100, 100)), np.full(1000, np.nan)])
def test_bad_waveforms(folder: Path, wave: np.ndarray) -> None:
    with pytest.raises(InputError):
        sdpn.load_model(folder).embed(wave, 16000)


@pytest.mark.parametrize("window", [[1.0, 1.0], [-0.1, 1.0], [3.5, 4.0]])
def test_bad_windows(folder: Path, window: list[float]) -> None:
    with pytest.raises(InputError, match="windows"):
        sdpn.load_model(folder).embed_windows(_wave(), np.array([window]))


@pytest.mark.parametrize("name", ["config.yaml", "model.safetensors"])
def test_an_incomplete_folder(folder: Path, tmp_path: Path, name: str) -> None:
    copy = Path(shutil.copytree(folder, tmp_path / "copy"))
    (copy / name).unlink()
    with pytest.raises(InputError, match=f"incomplete: it has no {name}"):
        sdpn.load_model(copy)


def test_no_folder(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such model folder"):
        sdpn.load_model(tmp_path / "none")


def test_truncated_weights(folder: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(folder, tmp_path / "copy"))
    weights = (copy / "model.safetensors").read_bytes()
    (copy / "model.safetensors").write_bytes(weights[: len(weights) // 2])
    with pytest.raises(InputError, match="damaged"):
        sdpn.load_model(copy)


def test_keys_that_do_not_fit_are_named(folder: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(folder, tmp_path / "copy"))
    weights = load_file(copy / "model.safetensors")
    weights["encoder.extra"] = weights.pop("encoder.embedding.bias")
    weights["encoder.embedding.weight"] = torch.zeros(3, 3)
    save_file(weights, copy / "model.safetensors")
    with pytest.raises(InputError) as caught:
        sdpn.load_model(copy)
    for words in ("missing encoder.embedding.bias", "unexpected encoder.extra", "has shape (3, 3)"):
        assert words in str(caught.value)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("format: 1", "format: 2", "format 1"),
        ("kind: ecapa", "kind: ecappa", "unknown encoder .* did you mean .ecapa"),
        ("kind: log-mel", "kind: mel", "unknown features"),
        ("kind: ecapa", "kind: resnet", "unknown key .aggregation_channels"),
        ("channels: 16", "chanels: 16", "did you mean"),
        ("encoder:", "[", "not valid YAML"),
        ("source:", "surce:", "surce"),
    ],
)
def test_a_broken_configuration(folder: Path, tmp_path: Path, old: str, new: str, words: str) -> None:
    copy = Path(shutil.copytree(folder, tmp_path / "copy"))
    text = (copy / "config.yaml").read_text()
    assert old in text
    (copy / "config.yaml").write_text(text.replace(old, new, 1))
    with pytest.raises(InputError, match=words):
        sdpn.load_model(copy)


def test_files_and_lists_embed_like_their_samples(folder: Path, tmp_path: Path) -> None:
    model = sdpn.load_model(folder)
    waves = [_wave(seconds) for seconds in (0.2, 3.0, 1.0, 2.9, 8.0)]
    paths = []
    for index, wave in enumerate(waves):
        paths.append(tmp_path / f"{index}.wav")
        soundfile.write(paths[-1], wave, 16000, subtype="FLOAT")
    alone = np.stack([model.embed(wave, sample_rate=16000) for wave in waves])
    np.testing.assert_array_equal(model.embed(paths[1]), alone[1])
    np.testing.assert_array_equal(model.embed(str(paths[1])), alone[1])
    for together in (model.embed(waves, 16000), model.embed(paths), model.embed(tuple(paths))):
        assert together.shape == (5, 12) and together.dtype == np.float32
        np.testing.assert_allclose(together, alone, atol=1e-4)
    windows = np.array([[0.5, 2.0]])
    np.testing.assert_array_equal(
        model.embed_windows(paths[1], windows), model.embed_windows(waves[1], windows)
    )


def test_samples_need_their_rate(folder: Path) -> None:
    model = sdpn.load_model(folder)
    with pytest.raises(InputError, match="without a sampling rate"):
        model.embed(_wave())
    with pytest.raises(InputError, match="list of recordings is empty"):
        model.embed([])


def test_bf16_is_close_to_fp32(folder: Path) -> None:
    full, half = sdpn.load_model(folder), sdpn.load_model(folder, precision="bf16")
    cosine = sdpn.similarity(full.embed(_wave(), 16000), half.embed(_wave(), 16000))
    assert 0.999 < cosine < 1 - 1e-9
    assert half.embed(_wave(), 16000).dtype == np.float32

"""The models that come with the package: found by name, whole, small, and with the EER of their cards."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import save_file

import sdpn
from sdpn.cli.main import main
from sdpn.diarization.local_speech import at_level
from sdpn.io.audio import read
from sdpn.io.corpus import find_audio
from sdpn.io.trials import read_trials
from sdpn.metrics.verification import equal_error_rate, error_rates
from sdpn.models.heads import HeadConfig, ProjectionHead
from sdpn.models.pretraining import read_pretraining
from sdpn.pretrained import INCLUDED, SHIPPED, included, model_path
from sdpn.verification.similarity import cosine
from sdpn.verification.storage import read_back_end
from sdpn.verification.trial_scores import score_trials

ROOT = Path(__file__).resolve().parents[2]
#: What a file and an installation may cost, in bytes.
MOST_A_FILE, MOST = 16_000_000, 32_000_000


@pytest.fixture
def wave() -> np.ndarray:
    return np.random.default_rng(0).standard_normal(32000).astype(np.float32) * 0.1


def test_it_is_loaded_where_no_model_is_named(wave: np.ndarray) -> None:
    embedding = sdpn.load_model().embed(wave, sample_rate=16000)
    assert np.array_equal(embedding, sdpn.load_model(SHIPPED).embed(wave, sample_rate=16000))
    assert np.isfinite(embedding).all() and embedding.std() > 0


def test_they_are_small_enough_to_ship() -> None:
    sizes = [file.stat().st_size for name in INCLUDED for file in (SHIPPED.parent / name).iterdir()]
    assert max(sizes) <= MOST_A_FILE and sum(sizes) <= MOST


def test_a_build_of_the_package_holds_all_of_it(tmp_path: Path) -> None:
    build = [sys.executable, "setup.py", "-q", "build", "--build-base", str(tmp_path / "base")]
    subprocess.run([*build, "--build-lib", str(tmp_path / "lib")], cwd=ROOT, check=True, capture_output=True)
    for name in (*INCLUDED, included.SEGMENTATION):
        built = tmp_path / "lib" / "sdpn" / "pretrained" / name
        assert {file.name for file in built.iterdir()} == {
            file.name for file in (SHIPPED.parent / name).iterdir()
        }


@pytest.mark.parametrize("name", ["model.safetensors", "config.yaml"])
def test_a_truncated_model_advises_reinstallation(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    damaged = shutil.copytree(SHIPPED, tmp_path / SHIPPED.name)
    (damaged / name).write_bytes((damaged / name).read_bytes()[:200])
    monkeypatch.setattr(included, "_HERE", tmp_path)
    assert main(["compare", "--model", SHIPPED.name, "a.wav", "b.wav"]) == 2
    message = capsys.readouterr().err
    assert f"the model {SHIPPED.name}, included in sdpn, is damaged" in message
    assert str(damaged / name) in message
    assert "--force-reinstall" in message


def test_a_format_needs_a_model(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", "--format", "wespeaker", "a.wav", "b.wav"]) == 2
    assert f"'wespeaker', but the included model {SHIPPED.name} is" in capsys.readouterr().err


def test_included_models_go_by_their_names(
    wave: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where a folder of that name exists, which is ``./small``."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "small").mkdir()
    for name in INCLUDED:
        assert model_path(name) == model_path(Path(name)) == SHIPPED.parent / name
        assert np.isfinite(sdpn.load_model(name).embed(wave, sample_rate=16000)).all()
    assert model_path() == SHIPPED and SHIPPED.name in INCLUDED
    cards = {card.parent.name for card in SHIPPED.parent.glob("*/README.md")}
    assert cards == {*INCLUDED, included.SEGMENTATION}
    assert model_path("./small") == Path("small") and model_path("exp/small") == Path("exp/small")


@pytest.mark.parametrize("name", INCLUDED)
def test_they_can_be_trained_on(name: str) -> None:
    head = read_pretraining(model_path(name))
    assert head.head, "adaptation needs a projection head"
    assert head.prototypes.shape[1] == list(head.head.values())[-1].shape[0]


def test_the_segmentation_network(capsys: pytest.CaptureFixture[str]) -> None:
    folder = SHIPPED.parent / included.SEGMENTATION
    assert sum(file.stat().st_size for file in folder.iterdir()) <= 4_000_000
    segmenter = sdpn.load_segmentation(included.SEGMENTATION)
    assert (segmenter.num_speakers, segmenter.window_samples) == (3, 160_000)
    assert main(["compare", "--model", included.SEGMENTATION, "a.wav", "b.wav"]) == 2
    assert f"{included.SEGMENTATION} is a segmentation model" in capsys.readouterr().err


def test_it_hears_when_people_speak(shared_data: Path) -> None:
    """In two utterances with a second of noise between them; where both sound, more than one is likelier."""
    segmenter = sdpn.load_segmentation(included.SEGMENTATION)
    speakers = sorted((shared_data / "speechocean762" / "dev").iterdir())[:2]
    one, other = (read(sorted(speaker.iterdir())[0])[:48_000] for speaker in speakers)
    noise = np.random.default_rng(0).standard_normal(160_000).astype(np.float32)
    wave_S = 0.001 * noise
    for start, utterance in ((16_000, one), (80_000, one), (80_000, other)):
        wave_S[start : start + len(utterance)] += utterance * np.float32(0.1 / np.sqrt(np.mean(utterance**2)))
    _, together_BTM = segmenter.activities(at_level(wave_S)[None])
    second_T = (np.arange(together_BTM.shape[1]) * 320 + 200) // 16_000
    speech_T, both_T = together_BTM[0].T
    assert speech_T[second_T == 0].mean() < 0.3 and speech_T[second_T == 2].mean() > 0.7
    assert both_T[second_T == 6].mean() > 2 * both_T[second_T == 2].mean()


def test_a_network_without_a_head_has_the_identity(tmp_path: Path) -> None:
    prototypes = torch.randn(5, 3)
    save_file({"prototypes": prototypes}, tmp_path / "pretraining.safetensors")
    head = ProjectionHead(HeadConfig(num_hidden=0, projection_dim=3), 3)
    head.load_state_dict(read_pretraining(tmp_path).head)
    assert head(prototypes).equal(prototypes)


def test_the_head_of_another_model(tmp_path: Path) -> None:
    assert main(["convert", "--half", "--out", str(tmp_path / "a")]) == 0
    (tmp_path / "a/pretraining.safetensors").unlink()
    model, out = str(tmp_path / "a"), str(tmp_path / "b")
    assert main(["convert", "--model", model, "--head", str(SHIPPED), "--half", "--out", out]) == 0
    assert (tmp_path / "b/pretraining.safetensors").read_bytes() == (
        SHIPPED / "pretraining.safetensors"
    ).read_bytes()


def test_converting_it_keeps_all_of_it(tmp_path: Path, wave: np.ndarray) -> None:
    assert main(["convert", "--half", "--out", str(tmp_path / "copy")]) == 0
    for name in ("model.safetensors", "pretraining.safetensors", "back_end.safetensors"):
        assert (tmp_path / "copy" / name).read_bytes() == (SHIPPED / name).read_bytes()
    copy = sdpn.load_model(tmp_path / "copy")
    assert np.array_equal(copy.embed(wave, 16000), sdpn.load_model().embed(wave, 16000))


@pytest.mark.parametrize(
    ("name", "part"),
    [(SHIPPED.name, 4), *(pytest.param(name, 1, marks=pytest.mark.slow) for name in INCLUDED)],
)
def test_its_eer_is_that_of_its_card(name: str, part: int, shared_data: Path) -> None:
    """Of all trials exactly; of those of the first quarter of the speakers, which are quick, about."""
    model = SHIPPED.parent / name
    _, front, _ = (model / "README.md").read_text(encoding="utf-8").split("---\n", 2)
    corpus = shared_data / "speechocean762"
    files = {file.stem: file for file in find_audio(corpus / "dev")}
    trials = read_trials(corpus / "dev_trials")
    ids = sorted(trials.ids)[: len(trials.ids) // part]
    row = {key: number for number, key in enumerate(ids)}
    row_I = np.array([row.get(key, -1) for key in trials.ids])
    first, second = row_I[trials.first], row_I[trials.second]
    kept = (first >= 0) & (second >= 0)
    first, second, is_target = first[kept], second[kept], trials.is_target[kept]
    assert is_target.sum() > 500
    embeddings = sdpn.load_model(model).embed([files[key] for key in ids])
    card = yaml.safe_load(front)
    for scores, expected in (
        (score_trials(cosine(embeddings), first, second), card["eer_dev_trials"]),
        (read_back_end(model).score(embeddings, first, second), card["eer_back_end"]),
    ):
        eer, _ = equal_error_rate(error_rates(scores, is_target))
        assert 100 * eer == pytest.approx(expected, abs=0.05 if part == 1 else 2.5)

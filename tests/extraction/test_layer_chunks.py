"""Rows of a layer over a corpus: those of the network itself, whole or in clips, also after a kill."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from sdpn import load_model
from sdpn.errors import InputError
from sdpn.extraction import clips, layer_chunks
from sdpn.extraction.layer_chunks import LayerChunks, extract_layer
from sdpn.features.log_mel import FeatureConfig
from sdpn.io.kaldi import Utterance, read_data_dir
from sdpn.models.embedder import Embedder
from sdpn.models.folder import ModelFolder
from sdpn.models.registry import SIZES, build_encoder


@pytest.fixture(scope="module")
def model() -> Embedder:
    return load_model("small")  # its layers are named below


@pytest.fixture(scope="module")
def corpus(voices: Path) -> list[Utterance]:
    return read_data_dir(voices)[:6]


def by_hand(model: Embedder, utterance: Utterance, layer: str) -> np.ndarray:
    """Rows by a hook of our own on the network as it stands."""
    outputs = []
    module = model.encoder.get_submodule(layer)
    handle = module.register_forward_hook(lambda _m, _i, output: outputs.append(output))
    with torch.inference_mode():
        model.encoder(model.features(torch.from_numpy(utterance.read())[None]))
    handle.remove()
    return outputs[0][0].T.numpy() if outputs[0].ndim == 3 else outputs[0].numpy()


def rows(found: LayerChunks) -> np.ndarray:
    return np.concatenate([np.load(chunk.name) for chunk in found.chunks])


def ids(found: LayerChunks) -> list[str]:
    return [key for chunk in found.chunks for block in chunk.blocks(0, 7) for key in block.keys or ()]


def test_frames_are_those_of_the_network(model: Embedder, corpus: list[Utterance], tmp_path: Path) -> None:
    expected = [by_hand(model, utterance, "blocks.0") for utterance in corpus]
    for layer in ("blocks.0", 4):
        found = extract_layer(model, layer, corpus, tmp_path / str(layer))
        assert found.frames and found.layer == "blocks.0"
        np.testing.assert_allclose(rows(found), np.concatenate(expected), atol=1e-5)
        wanted = [one.id for one, part in zip(corpus, expected, strict=True) for _ in part]
        assert ids(found) == wanted


def test_a_layer_without_time_gives_embeddings(
    model: Embedder, corpus: list[Utterance], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = extract_layer(model, "embedding", corpus, tmp_path / "whole")
    assert not found.frames and ids(found) == [one.id for one in corpus]
    embeddings = np.stack([model.embed(one.path) for one in corpus])
    np.testing.assert_allclose(rows(found), embeddings, atol=1e-4)
    monkeypatch.setattr(clips, "LONGEST_S", 0.7)  # utterances of 1.25 s: two equal clips each
    halves = extract_layer(model, "embedding", corpus, tmp_path / "halves")
    waves = [one.read() for one in corpus]
    means = [(model.embed(wave[:10000], 16000) + model.embed(wave[10000:], 16000)) / 2 for wave in waves]
    np.testing.assert_allclose(rows(halves), np.stack(means), atol=1e-4)


@pytest.fixture(scope="module")
def lengths(tmp_path_factory: pytest.TempPathFactory) -> list[Utterance]:
    """12 utterances of 0.1 to 2.3 s."""
    folder = tmp_path_factory.mktemp("lengths")
    rng = np.random.default_rng(0)
    utterances = []
    for index, place in enumerate(rng.permutation(12).tolist()):
        path = folder / f"{index:02}.wav"
        soundfile.write(path, 0.1 * rng.standard_normal(1600 + 3217 * place), 16000)
        utterances.append(Utterance(f"u{index:02}", path))
    return utterances


#: Networks and layers of theirs: dense, strided, two-dimensional, behind attention, without time, reshaped.
FAMILIES = [
    ("ecapa-tiny", "blocks.1"),
    ("ecapa-tiny", "pooling"),
    ("campplus-tiny", "blocks.1.3"),
    ("resnet-tiny", "stages.2.0"),
    ("eres2netv2-tiny", "stages.1.0"),
    ("xvector-tiny", "embedding"),
    ("conformer-tiny", "blocks.1"),
    ("redimnet2-tiny", "stages.1"),
]


@pytest.mark.parametrize(("size", "layer"), FAMILIES)
def test_rows_of_a_batch_are_those_of_each_utterance(
    size: str, layer: str, lengths: list[Utterance], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = SIZES[size]
    torch.manual_seed(0)
    network = build_encoder(config, 80).eval()
    untrained = Embedder(ModelFolder(network, config, FeatureConfig()))
    batched = extract_layer(untrained, layer, lengths, tmp_path / "batched")
    monkeypatch.setattr(layer_chunks, "UTTERANCES_AT_ONCE", {"cpu": 1})
    alone = extract_layer(untrained, layer, lengths, tmp_path / "alone")
    assert ids(batched) == ids(alone)
    assert [chunk.counts for chunk in batched.chunks] == [chunk.counts for chunk in alone.chunks]
    expected = rows(alone)
    np.testing.assert_allclose(rows(batched), expected, rtol=0, atol=1e-4 * np.abs(expected).max())


@pytest.mark.parametrize("layer", ["blocks.1", "pooled_norm"])
def test_killed_between_batches(
    layer: str, model: Embedder, lengths: list[Utterance], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(layer_chunks, "_GATHERED_S", (2.0, 2.0))
    monkeypatch.setattr(layer_chunks, "_CHUNK_BYTES", 1)  # a chunk for each group of batches
    whole = extract_layer(model, layer, lengths, tmp_path / "whole")
    assert len(whole.chunks) > 3
    for number in range(len(whole.chunks) - 1):
        folder = tmp_path / f"behind {number}"
        folder.mkdir()
        for path in [tmp_path / "whole" / "settings.json", *sorted((tmp_path / "whole").glob("0*"))]:
            if path.suffix == ".json" or int(path.stem) <= number:
                shutil.copy(path, folder)
        again = extract_layer(model, layer, lengths, folder)
        assert [Path(one.name).read_bytes() for one in again.chunks] == [
            Path(one.name).read_bytes() for one in whole.chunks
        ]


@pytest.mark.parametrize("layer", ["blocks.1", "pooled_norm"])
def test_killed_work_goes_on_with_the_same_rows(
    layer: str, model: Embedder, corpus: list[Utterance], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clips, "LONGEST_S", 0.5)  # three clips each
    monkeypatch.setattr(layer_chunks, "_CHUNK_BYTES", 20_000)
    whole = extract_layer(model, layer, corpus, tmp_path / "whole")

    calls = []
    genuine = layer_chunks._Layer.rows

    def killed(self: layer_chunks._Layer, waves: list[np.ndarray]) -> list[np.ndarray]:
        calls.append(len(waves))
        if len(calls) == 3:  # a group for each utterance
            raise KeyboardInterrupt
        return genuine(self, waves)

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(layer_chunks._Layer, "rows", killed)
        extract_layer(model, layer, corpus, tmp_path / "killed")
    begun = len(list((tmp_path / "killed").glob("*.npy")))
    assert begun == (0 if layer == "pooled_norm" else 2)
    done: list[int] = []
    again = extract_layer(
        model, layer, corpus, tmp_path / "killed", on_progress=lambda now, _all: done.append(now)
    )
    assert min(done) == (2 if begun else 0)  # nothing that is whole is computed again
    assert ids(again) == ids(whole)
    assert [Path(one.name).read_bytes() for one in again.chunks] == [
        Path(one.name).read_bytes() for one in whole.chunks
    ]


def test_the_folder_of_something_else(model: Embedder, corpus: list[Utterance], tmp_path: Path) -> None:
    extract_layer(model, 0, corpus[:2], tmp_path)
    with pytest.raises(InputError, match="contains rows of another layer"):
        extract_layer(model, 1, corpus[:2], tmp_path)
    with pytest.raises(InputError, match="contains rows of another data"):
        extract_layer(model, 0, corpus, tmp_path)
    with pytest.raises(InputError, match=r"rows of layer .spectral. have \d+ dimensions; expected 7"):
        extract_layer(model, 0, corpus[:2], tmp_path, dimension=7)


def test_files_that_cannot_be_read(
    model: Embedder, corpus: list[Utterance], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "bad.wav").write_bytes(b"no audio")
    bad = Utterance("bad", tmp_path / "bad.wav")
    with pytest.raises(InputError, match=r"bad\.wav.*--skip-bad"):
        extract_layer(model, 0, [corpus[0], bad], tmp_path / "rows")
    found = extract_layer(model, 0, [corpus[0], bad, corpus[1]], tmp_path / "skipped", skip_bad=True)
    assert found.failed == 1 and "left out" in caplog.text
    assert list(dict.fromkeys(ids(found))) == [corpus[0].id, corpus[1].id]
    with pytest.raises(InputError, match="no utterance could be read"):
        extract_layer(model, 0, [bad], tmp_path / "none", skip_bad=True)


def test_a_damaged_index(model: Embedder, corpus: list[Utterance], tmp_path: Path) -> None:
    extract_layer(model, 0, corpus[:1], tmp_path)
    (tmp_path / "00000.index").write_text("u00 0 1\n")
    with pytest.raises(InputError, match="is not a chunk index"):
        extract_layer(model, 0, corpus[:1], tmp_path)

"""ONNX graphs: equal to torch at any length, read like any other model, and refused in one line."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import sdpn
from sdpn.cli.main import main
from sdpn.errors import InputError
from sdpn.features.kaldi_fbank import KaldiFbankConfig
from sdpn.features.log_mel import FeatureConfig
from sdpn.features.redimnet_mel import ReDimNetMelConfig
from sdpn.features.registry import AnyFeatureConfig
from sdpn.features.speechbrain_fbank import SpeechBrainFbankConfig
from sdpn.interop.read import read_any
from sdpn.models.campplus import CamPlusPlusConfig
from sdpn.models.ecapa import EcapaConfig
from sdpn.models.folder import ModelFolder, save_model
from sdpn.models.redimnet2 import ReDimNet2Config
from sdpn.models.registry import AnyEncoderConfig, build_encoder
from sdpn.models.resnet import ResNetConfig
from sdpn.models.xvector import XVectorConfig

pytest.importorskip("onnxruntime", reason="the extra 'onnx' is not installed")
pytest.importorskip("onnxscript", reason="the extra 'onnx' is not installed")

#: Seconds; the graph is drawn from 1.0 and 2.1.
LENGTHS_S = (0.7, 2.0, 5.3)


def _wave(seconds: float) -> np.ndarray:
    """Noise under a moving filter, so that frames and bands differ as in speech."""
    rng = np.random.default_rng(round(100 * seconds))
    times = np.arange(round(seconds * 16000)) / 16000
    tones = sum(np.sin(2 * np.pi * f * times * (1 + 0.1 * np.sin(3 * times))) / f for f in (200, 900, 2500))
    return (20 * np.asarray(tones) + 0.01 * rng.standard_normal(len(times))).astype(np.float32)


#: Drawing a graph takes seconds, the more the deeper the network: these are the smallest of their kinds.
CONFIGS: dict[str, AnyEncoderConfig] = {
    "ecapa": EcapaConfig(
        channels=16, aggregation_channels=24, embedding_dim=12, res2_scale=2, dilations=(2,)
    ),
    "ecapa-stride": EcapaConfig(
        channels=16,
        aggregation_channels=24,
        embedding_dim=12,
        res2_scale=2,
        dilations=(2,),
        stride=2,
        spectral_channels=2,
    ),
    "resnet": ResNetConfig(blocks=(1, 1, 1, 1), channels=4, embedding_dim=12),
    "campplus": CamPlusPlusConfig(head_channels=4, channels=8, growth=4, blocks=(1, 1, 1), embedding_dim=12),
    "xvector": XVectorConfig(channels=16, pooled_channels=24, embedding_dim=12),
    "redimnet2": ReDimNet2Config(
        channels=4,
        band_strides=(2,),
        frame_strides=(2,),
        blocks=(1,),
        expansions=(2,),
        context_divisors=(20,),
        embedding_dim=12,
    ),
}


def _folder(path: Path, name: str, features: AnyFeatureConfig) -> Path:
    torch.manual_seed(0)
    encoder = build_encoder(CONFIGS[name], features.num_mels).eval()
    with torch.no_grad():  # norms as after training
        for key, tensor in encoder.named_buffers():
            if key.endswith("running_var"):
                tensor.uniform_(0.5, 1.5)
    save_model(path, ModelFolder(encoder, CONFIGS[name], features, {"ahc_threshold": 0.3}))
    return path


@pytest.mark.parametrize(
    ("name", "features", "where"),
    [
        ("ecapa", FeatureConfig(), "inside"),
        pytest.param(
            "ecapa-stride",
            FeatureConfig(level="relative", floor=1e-4),
            "inside",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            "resnet", KaldiFbankConfig(window="hamming", scale=32768.0), "inside", marks=pytest.mark.slow
        ),
        pytest.param("xvector", SpeechBrainFbankConfig(), "inside", marks=pytest.mark.slow),
        pytest.param("campplus", KaldiFbankConfig(), "outside", marks=pytest.mark.slow),
        pytest.param("redimnet2", ReDimNetMelConfig(), "inside", marks=pytest.mark.slow),
    ],
)
def test_a_graph_equals_torch_at_any_length(
    tmp_path: Path, name: str, features: AnyFeatureConfig, where: str
) -> None:
    folder, graph = _folder(tmp_path / "model", name, features), tmp_path / "model.onnx"
    options = ["--to", "onnx", "--features", where, "--out", str(graph), "--quiet"]
    assert main(["convert", "--model", str(folder), *options]) == 0
    ours, theirs = sdpn.load_model(folder), sdpn.load_model(graph)
    assert theirs.embedding_dim == ours.embedding_dim and theirs.calibration == {"ahc_threshold": 0.3}
    waves = [_wave(seconds) for seconds in LENGTHS_S]
    expected = [ours.embed(wave, 16000) for wave in waves]
    for wave, row in zip(waves, expected, strict=True):
        np.testing.assert_allclose(theirs.embed(wave, 16000), row, atol=1e-4)
    unequal = theirs.embed_batch([waves[1], waves[1][:-1600]])  # in one batch, as extraction does
    np.testing.assert_allclose(unequal[0], expected[1], atol=1e-4)
    if isinstance(features, SpeechBrainFbankConfig | ReDimNetMelConfig):
        return  # a graph with its features inside hears no further than its window; these frames reach beyond
    windows = np.array([[0.0, 1.5], [0.75, 2.25], [3.0, 4.5]])
    np.testing.assert_allclose(
        theirs.embed_windows(waves[2], windows), ours.embed_windows(waves[2], windows), atol=1e-4
    )
    with pytest.raises(InputError, match="weights cannot be extracted"):
        read_any(graph)


@pytest.mark.slow
def test_eight_bits_are_close(tmp_path: Path) -> None:
    import onnx

    folder, graph = _folder(tmp_path / "model", "ecapa", FeatureConfig()), tmp_path / "small.onnx"
    options = ["--to", "onnx", "--features", "inside", "--int8", "--out", str(graph), "--quiet"]
    assert main(["convert", "--model", str(folder), *options]) == 0
    kinds = {node.op_type for node in onnx.load(graph).graph.node}
    assert "ConvInteger" in kinds and "Conv" not in kinds
    assert "MatMul" in kinds and "MatMulInteger" not in kinds  # the features stay as they are
    full, small = (sdpn.load_model(path).embed(_wave(3.0), 16000) for path in (folder, graph))
    assert 0.99 < sdpn.similarity(full, small) < 1 - 1e-9


def _stranger() -> bytes:
    """A valid graph that somebody else has written."""
    import onnx

    value = onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1])
    node = onnx.helper.make_node("Identity", ["x"], ["y"])
    result = onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [1])
    graph = onnx.helper.make_graph([node], "g", [value], [result])
    opset = onnx.helper.make_opsetid("", 18)
    contents: bytes = onnx.helper.make_model(graph, opset_imports=[opset], ir_version=8).SerializeToString()
    return contents


@pytest.mark.parametrize(
    ("contents", "words"),
    [
        (b"", "not an ONNX graph"),
        (b"nonsense" * 100, "not an ONNX graph"),
        (None, "does not describe its features"),
    ],
)
def test_what_is_no_graph_of_ours(tmp_path: Path, contents: bytes | None, words: str) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(_stranger() if contents is None else contents)
    with pytest.raises(InputError, match=words):
        sdpn.load_model(path)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--int8", "--out", "x"], "add --to onnx"),
        (["--features", "inside", "--out", "x"], "add --to onnx"),
        (["--to", "onnx", "--out", "x"], "must end in .onnx"),
    ],
)
def test_options_that_do_not_fit(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], words: str
) -> None:
    assert main(["convert", "--model", str(tmp_path), *options]) == 2
    assert words in capsys.readouterr().err


def test_the_error_without_onnxruntime_names_the_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    absent: Any = None  # which makes an import fail
    path = tmp_path / "model.onnx"
    path.write_bytes(b"anything")
    monkeypatch.setitem(sys.modules, "onnxruntime", absent)
    with pytest.raises(InputError, match=r"pip install 'sdpn\[onnx\]'"):
        sdpn.load_model(path)

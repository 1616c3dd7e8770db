"""``--runtime onnx``: the turns and embeddings of torch, by a process that must not import it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

import sdpn
from sdpn.cli.main import main
from sdpn.errors import InputError
from sdpn.features.log_mel import FeatureConfig
from sdpn.io.kaldi import read_vectors
from sdpn.models.ecapa import EcapaConfig
from sdpn.models.folder import ModelFolder, save_model
from sdpn.models.registry import build_encoder
from sdpn.models.segmentation_folder import save_segmentation
from sdpn.models.segmentation_net import SegmentationNet, SegmentationNetConfig
from sdpn.verification.storage import read_back_end, write_back_end
from tests.conftest import ROOT

pytest.importorskip("onnxruntime", reason="the extra 'onnx' is not installed")
pytest.importorskip("onnxscript", reason="the extra 'onnx' is not installed")

#: Runs the command line where these packages cannot be imported.
_WITHOUT = """
import sys
class Refuses:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "torchaudio", "silero_vad", "onnxscript", "onnx"):
            raise ImportError(f"{name} is imported")
sys.meta_path.insert(0, Refuses())
from sdpn.cli.main import main
code = main(sys.argv[1:])
assert not {"torch", "torchaudio"} & set(sys.modules)
sys.exit(code)
"""


def without_torch(*arguments: str | Path, home: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run a command in a process that refuses torch."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "SDPN_HOME": str(home or ROOT / "nowhere")}
    return subprocess.run(
        [sys.executable, "-c", _WITHOUT, *map(str, arguments)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def speech(shared_data: Path) -> Path:
    return shared_data / "ami_excerpt" / "dev00.flac"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small model folder; centred frames reach beyond the ends of a window."""
    torch.manual_seed(0)
    config = EcapaConfig(channels=16, aggregation_channels=24, embedding_dim=12, res2_scale=2, dilations=(2,))
    features = FeatureConfig(num_mels=24, centred=True, level="relative", floor=1e-4)
    encoder = build_encoder(config, features.num_mels).eval()
    folder = tmp_path_factory.mktemp("onnx") / "model"
    save_model(folder, ModelFolder(encoder, config, features, {"ahc_threshold": 0.3}))
    return folder


@pytest.fixture(scope="module")
def segmentation(model: Path) -> Path:
    """A small local segmentation network, which hears overlap in noise."""
    torch.manual_seed(1)
    config = SegmentationNetConfig(
        features=FeatureConfig(num_mels=24), channels=8, dilations=(1,), hidden=8, num_layers=1, linear=8
    )
    folder = model.parent / "segmentation"
    save_segmentation(folder, SegmentationNet(config), window_s=5.0, source={})
    return folder


@pytest.fixture(scope="module")
def graphs(model: Path) -> Path:
    folder = model.parent / "graphs"
    assert main(["convert", "--model", str(model), "--to", "graphs", "--out", str(folder), "--quiet"]) == 0
    return folder


def test_the_same_turns_of_a_real_recording(
    model: Path, graphs: Path, shared_data: Path, tmp_path: Path
) -> None:
    audio = str(speech(shared_data))
    options = ["--format", "rttm,json", "--embeddings", "--quiet"]
    assert main(["diarize", "--model", str(model), "--out", str(tmp_path / "torch"), *options, audio]) == 0
    done = without_torch(
        *["diarize", "--runtime", "onnx", "--model", graphs, "--out", tmp_path / "onnx", *options, audio]
    )
    assert done.returncode == 0, done.stderr
    torch_turns, onnx_turns = ((tmp_path / by / "dev00.rttm").read_text() for by in ("torch", "onnx"))
    assert torch_turns == onnx_turns and torch_turns.count("SPEAKER") > 5
    ours, theirs = (json.loads((tmp_path / by / "dev00.json").read_text()) for by in ("torch", "onnx"))
    for one, other in zip(ours["speakers"], theirs["speakers"], strict=True):
        np.testing.assert_allclose(one["embedding"], other["embedding"], atol=1e-3)
    assert theirs["receipt"]["model"]["runtime"] == "onnx" and "torch" not in theirs["receipt"]["machine"]
    again = without_torch("verify-receipt", tmp_path / "onnx" / "dev00.json")
    assert again.returncode == 0, again.stdout + again.stderr


def test_the_same_embeddings(model: Path, graphs: Path, tmp_path: Path) -> None:
    """Of whole files, also ones shorter than half a second, and of windows."""
    rng = np.random.default_rng(0)
    for number, seconds in enumerate((0.2, 1.3, 4.0)):
        samples = 0.1 * rng.standard_normal(int(16000 * seconds))
        soundfile.write(tmp_path / f"{number}.wav", samples, 16000)
    files = [str(tmp_path / f"{number}.wav") for number in range(3)]
    for windows in ([], ["--windows", "1.5/0.75"]):
        by_torch, by_onnx = (tmp_path / f"{by}{len(windows)}" for by in ("torch", "onnx"))
        common = [*windows, "--precision", "fp32", "--quiet", *files]
        assert main(["extract", "--model", str(model), "--out", str(by_torch), *common]) == 0
        done = without_torch("extract", "--runtime", "onnx", "--model", graphs, "--out", by_onnx, *common)
        assert done.returncode == 0, done.stderr
        expected, found = (dict(read_vectors(folder / "embeddings.scp")) for folder in (by_torch, by_onnx))
        assert expected.keys() == found.keys() and len(found) >= 3
        for key, row in expected.items():
            np.testing.assert_allclose(found[key], row, atol=1e-3)


def test_python_has_the_same(model: Path, graphs: Path, shared_data: Path) -> None:
    by_torch, by_onnx = sdpn.load_model(model), sdpn.load_model(graphs, runtime="onnx")
    assert by_torch.weights_digest == by_onnx.weights_digest and by_torch.embedding_dim == 12
    assert by_torch.fingerprint != by_onnx.fingerprint and by_onnx.calibration == {"ahc_threshold": 0.3}
    windows = np.array([[0.0, 1.5], [0.75, 2.25], [29.0, 30.0], [29.9, 30.0], [3.0, 3.2]])
    recording = str(speech(shared_data))
    np.testing.assert_allclose(
        by_onnx.embed_windows(recording, windows), by_torch.embed_windows(recording, windows), atol=1e-4
    )
    eight = sdpn.load_model(graphs, runtime="onnx", precision="int8")
    full, small = (one.embed(recording) for one in (by_onnx, eight))
    assert 0.98 < sdpn.similarity(full, small) < 1 - 1e-9


def test_two_recordings_are_compared(model: Path, graphs: Path, shared_data: Path, tmp_path: Path) -> None:
    audio = [str(speech(shared_data))] * 2
    assert main(["compare", "--model", str(model), "--json", str(tmp_path / "torch.json"), *audio]) == 0
    done = without_torch(
        *["compare", "--runtime", "onnx", "--model", graphs, "--json", tmp_path / "onnx.json", *audio]
    )
    assert done.returncode == 0, done.stderr
    ours, theirs = (json.loads((tmp_path / f"{by}.json").read_text()) for by in ("torch", "onnx"))
    assert theirs["results"]["score"] == pytest.approx(ours["results"]["score"], abs=1e-4)


@pytest.mark.slow
@pytest.mark.filterwarnings("error::RuntimeWarning")  # its windows are no longer than the step between them
def test_the_same_turns_with_a_segmentation_network(
    model: Path, graphs: Path, segmentation: Path, shared_data: Path, tmp_path: Path
) -> None:
    audio, to = str(speech(shared_data)), ["--format", "rttm", "--quiet", "--num-speakers", "3"]
    of_torch = ["--model", str(model), "--segmentation", str(segmentation), "--out", str(tmp_path / "torch")]
    assert main(["diarize", *of_torch, *to, audio]) == 0
    folder = tmp_path / "graphs"
    assert main(["convert", "--to", "graphs", "--segmentation", str(segmentation), "--out", str(folder)]) == 0
    done = without_torch(
        *["diarize", "--runtime", "onnx", "--model", graphs, "--segmentation", folder],
        *["--out", tmp_path / "onnx", *to, audio],
    )
    assert done.returncode == 0, done.stderr
    torch_turns, onnx_turns = ((tmp_path / by / "dev00.rttm").read_text() for by in ("torch", "onnx"))
    assert torch_turns == onnx_turns and torch_turns.count("SPEAKER") > 5
    plain = without_torch(
        *["diarize", "--runtime", "onnx", "--model", graphs, "--out", tmp_path / "plain", *to, audio]
    )
    assert plain.returncode == 0 and (tmp_path / "plain" / "dev00.rttm").read_text() != onnx_turns


def test_a_stream_has_the_same_events(
    model: Path, graphs: Path, shared_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    samples, rate = soundfile.read(speech(shared_data), frames=12 * 16000)
    soundfile.write(tmp_path / "talk.wav", samples, rate)
    options = ["--stream", "--latency", "1", "--events", "json", str(tmp_path / "talk.wav")]
    assert main(["diarize", "--model", str(model), "--out", str(tmp_path / "torch"), *options]) == 0
    expected = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    done = without_torch(
        *["diarize", "--runtime", "onnx", "--model", graphs, "--out", tmp_path / "onnx", *options]
    )
    assert done.returncode == 0, done.stderr
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert found == expected and len([event for event in found if event["event"] == "turn_begins"]) > 2
    assert (tmp_path / "onnx/talk.rttm").read_text() == (tmp_path / "torch/talk.rttm").read_text()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--precision", "bf16"], "needs --runtime torch"),
        (["--device", "cuda"], "--runtime onnx computes on the CPU"),
    ],
)
def test_options_of_the_other_runtime(graphs: Path, tmp_path: Path, options: list[str], words: str) -> None:
    soundfile.write(tmp_path / "a.wav", np.zeros(16000), 16000)
    done = without_torch(
        *["extract", "--runtime", "onnx", "--model", graphs, *options],
        *["--out", tmp_path / "out", tmp_path / "a.wav"],
    )
    assert done.returncode == 2 and words in done.stderr and "Traceback" not in done.stderr
    assert not (tmp_path / "out").exists()


def test_eight_bits_need_onnx(model: Path) -> None:
    with pytest.raises(InputError, match="needs --runtime onnx"):
        sdpn.load_model(model, precision="int8")


def damaged(graphs: Path, tmp_path: Path, name: str, contents: bytes | None) -> Path:
    """A copy of the graphs with one file replaced, or removed."""
    folder = tmp_path / "damaged"
    folder.mkdir()
    for file in graphs.iterdir():
        if file.name != name:
            (folder / file.name).write_bytes(file.read_bytes())
        elif contents is not None:
            (folder / file.name).write_bytes(contents)
    return folder


@pytest.mark.parametrize(
    ("name", "contents", "words"),
    [
        ("encoder.onnx", None, "is missing"),
        ("speech.onnx", b"nonsense", "is damaged, or of another model"),
        ("graphs.json", b"{", "is not a valid description of graphs"),
        ("graphs.json", b"{}", "describes graphs of format None"),
        ("graphs.json", b'{"format": 1, "files": 3}', "is not a description of graphs"),
        (
            "graphs.json",
            b'{"format": 1, "files": {"../a": "0"}}',
            "is missing",
        ),
        ("graphs.json", b'{"format": 1, "files": {}}', "holds a segmentation network alone"),
        ("graphs.json", ("hop_samples", 1), "says that a second has"),
        ("graphs.json", ("window_samples", 10**15), "no longer than a second"),
        ("graphs.json", ("hop_samples", 0), "must be positive"),
        ("graphs.json", ("embedding_dim", 13), "says that embeddings have 13 dimensions"),
        ("graphs.json", ("embedding_dim", -1), "says that embeddings have -1 dimensions"),
    ],
)
def test_damaged_folders(
    graphs: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    contents: bytes | tuple[str, int] | None,
    words: str,
) -> None:
    monkeypatch.setenv("SDPN_HOME", str(tmp_path / "home"))
    if isinstance(contents, tuple):
        changed, value = contents
        text, times = re.subn(rf'"{changed}": \d+', f'"{changed}": {value}', (graphs / name).read_text())
        assert times == 1
        contents = text.encode()
    folder = damaged(graphs, tmp_path, name, contents)
    with pytest.raises(InputError, match=words):
        sdpn.load_model(folder, runtime="onnx")


def test_an_operator_that_onnxruntime_lacks(graphs: Path, tmp_path: Path) -> None:
    import onnx

    from sdpn.io.checksum import file_sha256

    graph = onnx.load(graphs / "encoder.onnx")
    graph.graph.node[0].op_type = "OfTomorrow"
    folder = damaged(graphs, tmp_path, "encoder.onnx", graph.SerializeToString())
    document = json.loads((folder / "graphs.json").read_text())
    document["files"]["encoder.onnx"] = file_sha256(folder / "encoder.onnx")
    (folder / "graphs.json").write_text(json.dumps(document))
    with pytest.raises(InputError, match=r"is not an ONNX graph.*--upgrade onnxruntime"):
        sdpn.load_model(folder, runtime="onnx")


def test_graphs_of_another_model_than_the_back_end(graphs: Path, tmp_path: Path) -> None:
    folder = damaged(graphs, tmp_path, "", None)
    shipped = read_back_end(ROOT / "sdpn" / "pretrained" / "small")
    assert shipped.model is not None
    write_back_end(folder / "back_end.safetensors", shipped)
    soundfile.write(tmp_path / "a.wav", 0.1 * np.random.default_rng(0).standard_normal(16000), 16000)
    done = without_torch(
        *["compare", "--runtime", "onnx", "--model", folder, tmp_path / "a.wav", tmp_path / "a.wav"]
    )
    assert done.returncode == 2 and "does not belong to the model" in done.stderr


def test_what_is_no_folder(graphs: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such model folder or file"):
        sdpn.load_model(tmp_path / "nothing", runtime="onnx")
    (tmp_path / "one.onnx").touch()
    with pytest.raises(InputError, match="is a single graph"):
        sdpn.load_model(tmp_path / "one.onnx", runtime="onnx")
    with pytest.raises(InputError, match="add --runtime onnx"):
        sdpn.load_model(graphs)
    with pytest.raises(InputError, match="holds no segmentation network"):
        sdpn.load_segmentation(graphs, runtime="onnx")


def test_without_onnxruntime(graphs: Path, tmp_path: Path) -> None:
    script = "import sys; sys.modules['onnxruntime'] = None\n" + _WITHOUT
    done = subprocess.run(
        [sys.executable, "-c", script, "compare", "--runtime", "onnx", "--model", graphs, "a.wav", "b.wav"],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2 and "pip install 'sdpn[onnx]'" in done.stderr


@pytest.mark.slow
def test_the_included_models_write_their_graphs_once(shared_data: Path, tmp_path: Path) -> None:
    """Also where this process refuses torch: another one writes them."""
    audio, home = str(speech(shared_data)), tmp_path / "home"
    common = ["--segmentation", "segmentation-small", "--quiet", audio]
    assert main(["diarize", "--out", str(tmp_path / "torch"), *common]) == 0
    for _ in range(2):
        done = without_torch(
            *["diarize", "--runtime", "onnx", "--out", tmp_path / "onnx", "--force", *common], home=home
        )
        assert done.returncode == 0, done.stderr
    assert len(list((home / "graphs").iterdir())) == 2
    turns = [(tmp_path / by / "dev00.rttm").read_text() for by in ("torch", "onnx")]
    assert turns[0] == turns[1]
    compared = without_torch("compare", "--runtime", "onnx", audio, audio, home=home)
    assert compared.returncode == 0 and "PLDA" in compared.stdout
    # people who are enrolled with either runtime are known to both
    people = {by: str(tmp_path / f"people of {by}") for by in ("torch", "onnx")}
    for by, run in (("torch", main), ("onnx", lambda words: without_torch(*words, home=home).returncode)):
        enrolled = ["enroll", "--runtime", by, "--people", people[by], "--name", "Anna", "--quiet"]
        assert run([*enrolled, audio]) == 0
    prints = [json.loads(next(Path(folder).glob("*.json")).read_text()) for folder in people.values()]
    assert prints[0]["model"] == prints[1]["model"]
    ours, theirs = (np.array(one["recordings"][0]["embedding"]) for one in prints)
    np.testing.assert_allclose(theirs, ours, atol=1e-3 * np.linalg.norm(ours))
    for by in ("torch", "onnx"):
        words = ["--people", people[by], "--num-speakers", "1", "--format", "json", "--quiet", "--out"]
        named = without_torch(
            *["diarize", "--runtime", "onnx", *words, tmp_path / f"named by {by}", audio], home=home
        )
        assert named.returncode == 0, named.stderr
    found = [json.loads((tmp_path / f"named by {by}/dev00.json").read_text()) for by in ("torch", "onnx")]
    assert found[0]["turns"] == found[1]["turns"] and found[0]["speakers"][0]["identity"]["nearest"] == "Anna"

"""Every reader of the package, with a file that it reads: what the property tests damage.

A reader that is new belongs in `READERS`; `test_any_bytes.py` then tries it with everything it has.
"""

from __future__ import annotations

import functools
import json
import shutil
import struct
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Reader:
    """A reader and a whole file for it.

    Attributes:
        make: writes everything that the reader needs into an empty folder and returns the file to damage.
        read: reads that file, and uses what it got as far as the package does before it trusts it.
        text: whether the format is text, where whole words and lines are changed, too.
        slow: whether reading takes so long that the fast tests try few files.
    """

    make: Callable[[Path], Path]
    read: Callable[[Path], Any]
    text: bool = True
    slow: bool = False


def _read_ctm(path: Path) -> object:
    from sdpn.explain.labels import read_ctm, tokens_of_frames

    return {name: tokens_of_frames(tokens, 20, 0.01) for name, tokens in read_ctm(path).items()}


def _written(name: str, content: str | bytes) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        path = folder / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return make


@functools.cache
def _material() -> Path:
    """A folder with one of each: models, graphs, arrays. Made once for the whole session."""
    import atexit

    import torch
    from safetensors.torch import save_file

    from sdpn.features.log_mel import FeatureConfig
    from sdpn.io import kaldi_plda
    from sdpn.kmeans.fit import save_state
    from sdpn.kmeans.model import KMeansModel, Space
    from sdpn.models.ecapa import EcapaConfig
    from sdpn.models.folder import ModelFolder, save_model
    from sdpn.models.pretraining import Pretraining
    from sdpn.models.registry import build_encoder
    from sdpn.models.segmentation_folder import save_segmentation
    from sdpn.models.segmentation_net import SegmentationNet, SegmentationNetConfig
    from sdpn.verification.back_end import BackEnd
    from sdpn.verification.plda import Plda
    from sdpn.verification.storage import write_back_end
    from tests.interop.published_segmentation import write_segmentation
    from tests.interop.published_weights import ecapa, resnet

    folder = Path(tempfile.mkdtemp(prefix="sdpn-hostile-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    rng = np.random.default_rng(0)
    config = EcapaConfig(
        channels=16, aggregation_channels=24, embedding_dim=4, bottleneck=4, dilations=(2, 3)
    )
    features = FeatureConfig(num_mels=8)
    model = ModelFolder(build_encoder(config, 8).eval(), config, features, {"verification_threshold": 0.3})
    head = {"0.weight": torch.randn(4, 4)}
    save_model(folder / "model", model, pretraining=Pretraining(head, torch.randn(3, 4)))
    plda = Plda(np.zeros(4), np.eye(4), np.ones(4))
    cohort_CD = rng.standard_normal((8, 4))
    write_back_end(folder / "back_end.safetensors", BackEnd(np.zeros(4), plda, cohort_CD, 2, np.arange(5.0)))
    kaldi_plda.write(folder / "binary.plda", np.zeros(3), np.eye(3), np.ones(3), binary=True)
    kaldi_plda.write(folder / "text.plda", np.zeros(3), np.eye(3), np.ones(3), binary=False)
    for suffix in ("npz", "safetensors"):
        KMeansModel(rng.standard_normal((3, 4)), Space(np.zeros(4), np.ones(4), False)).save(
            folder / f"kmeans.{suffix}"
        )
    save_state(folder / "state.npz", {"a": {"b": np.arange(4.0), "c": 3}, "rng": {"state": 2**100}})
    np.savez_compressed(folder / "transform.npz", mean1=np.zeros(4), lda=np.eye(4, 2), mean2=np.zeros(2))
    np.save(folder / "chunk.npy", rng.standard_normal((5, 4)).astype(np.float32))
    torch.save({"module." + key: value for key, value in resnet().items()}, folder / "resnet.pt")
    torch.save({"teacher": {f"backbone.{key}": value for key, value in ecapa().items()}}, folder / "sdpn.pth")
    torch.save(ecapa(), folder / "ecapa.ckpt")
    write_segmentation(folder / "segmentation.bin", seed=0)
    network = SegmentationNet(
        SegmentationNetConfig(features=features, channels=4, dilations=(1,), hidden=3, num_layers=1, linear=3)
    )
    save_segmentation(folder / "segmentation", network, window_s=1.0, source={"seed": 0})
    save_file(resnet(), folder / "resnet.safetensors")
    tracking = {"initial": torch.eye(4, 3), "usage": torch.ones(4), "usage_steps": 2}
    torch.save(
        {"step": 4, "model": {"prototypes": torch.ones(4, 3)}, "tracking": tracking}, folder / "state.pt"
    )
    torch.save({"epoch": 1, "student": {}, "prototypes": torch.ones(4, 3)}, folder / "theirs.pth")
    _write_events(folder / "events.out.tfevents.1.x")
    return folder


def _graph(folder: Path) -> Path:
    """A graph of the model; made when one is asked for, since the exporter takes seconds to be imported."""
    path = _material() / "model.onnx"
    if not path.is_file():
        from sdpn.interop.onnx_export import export_onnx
        from sdpn.interop.read import read_any

        export_onnx(path, read_any(_material() / "model"))
    return _copied("model.onnx")(folder)


def _graphs(folder: Path) -> Path:
    """A folder of graphs of both kinds; made when one is asked for, as `_graph`."""
    if not (_material() / "graphs").is_dir():
        from sdpn.interop.graph_export import export_graphs
        from sdpn.interop.read import read_any
        from sdpn.interop.segmentation import load_segmentation

        segmenter = load_segmentation(_material() / "segmentation")
        export_graphs(_material() / "graphs", read_any(_material() / "model"), segmenter)
    shutil.copytree(_material() / "graphs", folder, dirs_exist_ok=True)
    return folder / "graphs.json"


def _write_events(path: Path) -> None:
    from torch.utils.tensorboard.writer import SummaryWriter

    folder = path.with_name("board")
    with SummaryWriter(str(folder)) as writer:
        for step in range(4):
            writer.add_scalar("loss/total", 1.0 / (1 + step), step)
        writer.add_histogram("prototypes/usage", np.arange(9.0), 3)
        writer.add_image("prototypes/similarity", np.zeros((1, 4, 4), np.float32), 3)
    (found,) = folder.glob("*tfevents*")
    shutil.copyfile(found, path)


def _copied(source: str, name: str | None = None) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        path = folder / (name or Path(source).name)
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(_material() / source, path)
        return path

    return make


def _in_model(name: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        shutil.copytree(_material() / "model", folder / "model", dirs_exist_ok=True)
        return folder / "model" / name

    return make


def _wespeaker(name: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        shutil.copyfile(_material() / "resnet.pt", folder / "avg_model.pt")
        (folder / "config.yaml").write_text(
            "model: ResNet34\nmodel_args: {feat_dim: 80, embed_dim: 6, pooling_func: TSTP}\ndataset_args:\n"
            "  resample_rate: 16000\n  fbank_args: &fbank {num_mel_bins: 80, frame_shift: 10}\n  cmvn: true\n"
        )
        return folder / name

    return make


def _speechbrain(name: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        from tests.interop.test_load import HYPERPARAMS

        shutil.copyfile(_material() / "ecapa.ckpt", folder / "embedding_model.ckpt")
        (folder / "hyperparams.yaml").write_text(HYPERPARAMS)
        return folder / name

    return make


def _redimnet(folder: Path) -> Path:
    from tests.interop.test_redimnet import save

    save(folder / "b.pt")
    return folder / "b.pt"


def _data_dir(name: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        (folder / "wav.scp").write_text("rec1 a b.wav\nrec2 c.wav\n")
        (folder / "segments").write_text("u1 rec1 0 1.5\nu2 rec1 1.5 3\nu3 rec2 0 2\n")
        (folder / "utt2spk").write_text("u1 s1\nu2 s2\nu3 s1\n")
        return folder / name

    return make


_BENCHMARK: dict[str, Any] = {
    "models": [{"name": "small"}, {"name": "other"}],
    "rows": [
        {
            "part": "eer",
            "corpus": "dev",
            "condition": "clean",
            "figure": "EER %",
            "values": [
                {
                    "value": 5.0,
                    "low": 4.0,
                    "high": 6.5,
                    "seeds": [4.5, 5.5],
                    "difference": None,
                    "difference_low": None,
                    "difference_high": None,
                },
                None,
            ],
        }
    ],
}


def _result(command: str, results: dict[str, Any]) -> Callable[[Path], Path]:
    document = {
        "schema": f"sdpn.{command}/1",
        "command": ["sdpn", command],
        "configuration": {},
        "results": results,
    }

    def make(folder: Path) -> Path:
        (folder / "results").mkdir(exist_ok=True)
        turns = folder / "m.rttm"
        turns.write_text("SPEAKER m 1 0 2 <NA> <NA> a <NA> <NA>\n")
        path = folder / "results" / f"{command}.trained.json"
        path.write_text(json.dumps(document).replace("RTTM", str(turns)))
        return path

    return make


def _statistics(folder: Path) -> Path:
    from sdpn.simulation.turn_statistics import voxconverse, write_statistics

    write_statistics(folder / "statistics.json", voxconverse())
    return folder / "statistics.json"


def _extraction(name: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        from sdpn.extraction.part import Part
        from sdpn.io.kaldi import Utterance

        progress = folder / "progress"
        progress.mkdir(exist_ok=True)
        (progress / "settings.json").write_text(
            '{"model": "0123", "embedding_dim": 4, "windows": null, "precision": "fp32"}\n'
        )
        with Part(progress / "0-of-1.ark") as part:
            part.add(Utterance("u1", Path("/a.wav")), np.ones((1, 4), np.float32), 1.0, windows=False)
            part.add(Utterance("u2", Path("/b.wav")), np.ones((1, 4), np.float32), 1.0, windows=False)
            part.fail(Utterance("u3", Path("/c.wav")), "no such file")
        return progress / name

    return make


def _read_extraction(path: Path) -> None:
    from sdpn.extraction.merge import Output, merge
    from sdpn.extraction.part import Part
    from sdpn.extraction.settings import read_settings
    from sdpn.io.kaldi import Utterance

    utterances = [Utterance("u1", Path("/a.wav")), Utterance("u2", Path("/b.wav"))]
    read_settings(path.parent)
    merge(Output(folder=path.parent.parent), utterances, {}, npz=True)
    with Part(path.parent / "0-of-1.ark"):
        pass


def _experiment(name: str, source: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        path = folder / "exp" / "tensorboard" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(_material() / source, path)
        return path

    return make


def _checkpoint(name: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        from sdpn.io.checksum import file_sha256

        checkpoint = folder / "step-00000004"
        checkpoint.mkdir()
        shutil.copyfile(_material() / "state.pt", checkpoint / "state.pt")
        meta = {"format": 1, "step": 4, "sha256": file_sha256(checkpoint / "state.pt"), "configuration": {}}
        (checkpoint / "meta.json").write_text(json.dumps(meta))
        return checkpoint / name

    return make


def _read_history(path: Path) -> None:
    from sdpn.tracking.prototype_history import read_history

    read_history(path if path.suffix == ".pth" else path.parent)


def _read_config(path: Path) -> None:
    from sdpn.training.config import load_run_config

    load_run_config(path, [])


def _read_stored_calibration(path: Path) -> None:
    from sdpn.io.model_calibration import store_calibration

    store_calibration(path.parent, "verification_threshold", 0.5)


def _read_model(path: Path) -> None:
    from sdpn.interop.load import load_model

    load_model(path.parent if path.parent.name == "model" else path)


def _adapters(name: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        from dataclasses import replace

        from sdpn.models.adapter_folder import save_adapters
        from sdpn.models.adapters import AdaptersConfig, attach_adapters
        from sdpn.models.folder import read_model
        from sdpn.models.weights import weights_digest

        model = read_model(_material() / "model")
        digest = weights_digest(model.encoder)
        assert digest is not None
        attach_adapters(model.encoder, AdaptersConfig(experts=2))
        adapted = replace(model, adapters=AdaptersConfig(experts=2))
        save_adapters(folder / "adapters", adapted, base="model", digest=digest)
        return folder / "adapters" / name

    return make


def _read_adapters(path: Path) -> object:
    from sdpn.models.adapter_folder import with_adapters
    from sdpn.models.folder import read_model

    return with_adapters(read_model(_material() / "model"), path.parent)


def _in_segmentation(name: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        shutil.copytree(_material() / "segmentation", folder / "segmentation")
        return folder / "segmentation" / name

    return make


def _read_segmentation_of(path: Path) -> None:
    _read_segmentation(path.parent)


def _speech_table(folder: Path) -> Path:
    from sdpn.training import clean_speech

    clean_speech._write(folder / "00000.npz", clean_speech._signature([], None), [([(0, 5)], 0.1)])
    return folder / "00000.npz"


def _read_speech_table(path: Path) -> Any:
    from sdpn.training import clean_speech

    return clean_speech._read(path, clean_speech._signature([], None))


def _read_segmentation(path: Path) -> None:
    from sdpn.interop.segmentation import load_segmentation

    load_segmentation(path).activities(np.arange(16000, dtype=np.float32)[None] % 7)


def _read_foreign(format: str) -> Callable[[Path], None]:
    def read(path: Path) -> None:
        from sdpn.interop.load import load_model

        load_model(path if path.suffix == ".safetensors" else path.parent, format)

    return read


def _read_pretraining(path: Path) -> None:
    from sdpn.models.pretraining import read_pretraining

    read_pretraining(path.parent)


def _read_back_end(path: Path) -> None:
    from sdpn.verification.storage import read_back_end

    back_end = read_back_end(path)
    back_end.score(np.eye(2, len(back_end.mean_D), dtype=np.float32) + 0.1, np.array([0]), np.array([1]))


def _read_graph(path: Path) -> None:
    from sdpn.interop.load import load_model

    load_model(path).embed(np.zeros(16000, np.float32) + np.arange(16000, dtype=np.float32) % 7, 16000)


def _read_graphs(path: Path) -> None:
    from sdpn.interop.load import load_model
    from sdpn.interop.segmentation import load_segmentation

    wave_S = np.arange(16000, dtype=np.float32) % 7
    model = load_model(path.parent, runtime="onnx")
    model.embed(wave_S, 16000)
    model.embed_windows(wave_S, np.array([[0.0, 0.7], [0.5, 1.0]]))
    segmenter = load_segmentation(path.parent, runtime="onnx")
    segmenter.activities(np.resize(wave_S, (1, segmenter.window_samples)))


def _read_data_dir(path: Path) -> None:
    from sdpn.io.kaldi import read_data_dir

    read_data_dir(path.parent, check_files=False)


#: A cut as lhotse writes it.
_CUT = json.dumps(
    {
        "id": "cut-1",
        "start": 0.5,
        "duration": 1.0,
        "channel": 0,
        "type": "MonoCut",
        "supervisions": [
            {
                "id": "s",
                "recording_id": "r",
                "start": 0.0,
                "duration": 1.0,
                "channel": 0,
                "speaker": "anna",
            }
        ],
        "recording": {
            "id": "r",
            "sampling_rate": 16000,
            "num_samples": 32000,
            "duration": 2.0,
            "sources": [{"type": "file", "channels": [0], "source": "r.wav"}],
            "channel_ids": [0],
        },
    }
)


def _read_cuts(path: Path) -> None:
    from sdpn.io.lhotse_cuts import cut_blocks

    list(cut_blocks(path, check_files=False))


def _index_shards(path: Path) -> None:
    from sdpn.data.shard_index import index_shards

    with tempfile.TemporaryDirectory() as folder:
        index_shards([path.parent], Path(folder) / "indexed")


def _packed(name: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        from sdpn.data.pack import pack
        from tests.conftest import write_noise

        pack([write_noise(folder / "data", 2, num_samples=2000)], folder / "pack")
        if name.startswith("progress"):
            manifest = json.loads((folder / "pack/pack.json").read_text())
            (folder / "pack/progress").mkdir()
            (folder / "pack/progress/signature").write_text(manifest["signature"])
            rows = [{"id": "u0", "recording": "u0", "place": "shard-000000.tar:1536"}]
            size = manifest["shards"]["shard-000000.tar"]
            (folder / "pack" / name).write_text(json.dumps({"size": size, "rows": rows}))
            (folder / "pack/pack.json").unlink()
        return folder / "pack" / name

    return make


def _read_pack(path: Path) -> None:
    from sdpn.io.kaldi import read_data_dir

    for utterance in read_data_dir(path.parent):
        utterance.read()


def _read_shard(path: Path) -> None:
    (path.parent / "pack.json").unlink(missing_ok=True)  # which would refuse any other length
    _read_pack(path)


def _read_pack_progress(path: Path) -> None:
    from sdpn.data.pack import pack

    pack([path.parent.parent.parent / "data"], path.parent.parent)


def _read_vectors(path: Path) -> None:
    from sdpn.io.kaldi import read_vectors

    read_vectors(path)


def _read_plda(path: Path) -> None:
    from sdpn.verification.plda import read_plda

    plda = read_plda(path)
    plda.project(np.ones((1, len(plda.mean_D))))


def _read_kmeans(path: Path) -> None:
    from sdpn.kmeans.model import KMeansModel

    model = KMeansModel.load(path)
    model.predict(np.ones((2, model.dimension), np.float32))


def _read_chunk(path: Path) -> None:
    from sdpn.kmeans.chunks import checked_blocks, open_chunk

    for _ in checked_blocks(open_chunk(path), start=0, size=100, dimension=None, directions=False):
        pass


def _read_transform(path: Path) -> None:
    from sdpn.verification.transform import read_transform

    read_transform(path)


def _read_state(path: Path) -> None:
    from sdpn.kmeans.fit import load_state

    load_state(path)


def _report(path: Path) -> None:
    """The page of the experiment that a file lies in."""
    from sdpn.report.experiment import read_experiment
    from sdpn.report.page import build_page

    build_page(read_experiment(path.parent.parent))


def _manifest(folder: Path) -> Path:
    from sdpn.simulation.manifest import file_digest

    for name in "rxyn":
        (folder / f"{name}.flac").write_text(name)
    names = {name: f'"{name}.flac", "{file_digest(folder / f"{name}.flac")}"' for name in "rxyn"}
    room = names["r"].replace(", ", ', "sha256": ')
    path = folder / "manifest.jsonl"
    path.write_text(
        '{"format": 2, "recording": "sim00", "num_samples": 2880000, "speakers": [["a", {"path": '
        + f'{room}}}], ["b", {{"rt60_s": 0.4, "seed": 5}}]], "utterances": [[0, {names["x"]}], '
        + f'[1, {names["y"]}]], "phrases": [[0, 8160, 21984, 5344, -3.2], [1, 0, 9000, 40000, 1]], '
        + f'"noise": {{"snr_db": 12.5, "clips": [[{names["n"]}]]}}, '
        + '"ambience": {"snr_db": 38.0, "seed": 77}, "sha256": "33", "sketch": [5, -7]}\n'
    )
    return path


def _read_manifest(path: Path) -> None:
    from sdpn.simulation.manifest import read_manifest
    from sdpn.simulation.sources import Folders, check_sources

    planned = read_manifest(path)
    [conversation.turns() for conversation in planned]
    check_sources(planned, Folders(corpora=[path.parent], rir=path.parent, noise=path.parent), path)


def _imported(module: str, name: str) -> Callable[[Path], Any]:
    """A reader that only needs the path."""

    def read(path: Path) -> Any:
        import importlib

        return getattr(importlib.import_module(module), name)(path)

    return read


_ARK = b"u1 \0BFV \4" + struct.pack("<i3f", 3, 1, 2, 3) + b"u2 \0BDV \4" + struct.pack("<i3d", 3, 1, 2, 3)
_CONFIG = """\
objective: sdpn
encoder: {kind: ecapa, channels: 64, dilations: [2, 3]}
training:
  steps: 100
  batch_size: 8   # a comment
optimizer:
  lr: 1e-3
augmentation:
  noise: data/noise
"""
_SCORE_ROW = {
    "recording": "m",
    "missed_s": 0.0,
    "false_alarm_s": 0.0,
    "confusion_s": 0.0,
    "total_s": 2.0,
    "der": 0.0,
    "num_speakers_reference": 1,
    "num_speakers_hypothesis": 1,
}
_SCORE = {
    "files": [_SCORE_ROW],
    "total": _SCORE_ROW,
    "collar_s": 0.0,
    "skip_overlap": False,
    "uem": None,
    "reference": ["RTTM"],
    "hypothesis": ["RTTM"],
}
_VERIFY = {"eer": 0.1, "min_dcf_001": 0.5, "min_dcf_005": 0.4, "num_target": 3, "num_nontarget": 4}
_RTTM = """\
;; a comment
SPEAKER m 1 0.5 2.25 <NA> <NA> alice <NA> <NA>
NOSCORE m 1 3 1 <NA> <NA> <NA> <NA>
SPEAKER m 1 3.0 1.5 <NA> <NA> bob <NA>
"""


def _receipt(folder: Path) -> Path:
    from sdpn.config import to_dict
    from sdpn.diarization.outputs import RESULT
    from sdpn.diarization.pipeline import PipelineConfig

    options = {"channel": None, "num_speakers": None, "min_speakers": 1, "max_speakers": 4}
    document = {
        "schema": "sdpn.turns/1",
        "recording": "m",
        "audio": "m.wav",
        "duration_s": 4.0,
        "speakers": [{"speaker": "A", "talk_s": 3.0, "embedding": [0.5, -1.0, 0.25]}],
        "turns": [{"start_s": 0.5, "end_s": 3.5, "speaker": "A", "channel": "1", "confidence": 0.9}],
        "exclusive_turns": [{"start_s": 0.5, "end_s": 3.5, "speaker": "A", "channel": "1"}],
        "settings": {**to_dict(PipelineConfig()), "method": "ahc", "ahc": {"threshold": 0.5}},
        "receipt": {
            "result_sha256": "0f",
            "result_keys": list(RESULT),
            "audio": {"bytes": 4, "sha256": "1f"},
            "options": {
                **options,
                "skip_bad": False,
                "speaker_embeddings": True,
                "exclusive": False,
                "speech": [[0.5, 2.0]],
            },
            "model": {"path": "small", "format": None, "weights": "2f"},
            "segmentation": None,
            "code": {"source_sha256": "3f"},
            "machine": {"python": "3.11", "threads": 1},
        },
    }
    return _written("m.json", json.dumps(document, indent=1))(folder)


def _read_speakers(path: Path) -> Any:
    from sdpn.linking.speakers import read_speakers

    return read_speakers([path])


_SEGMENT = {
    "start": 0.5,
    "end": 1.5,
    "text": " good morning",
    "words": [{"word": " good", "start": 0.5, "end": 0.9}, {"word": " morning"}],
}

_SRT = """\
1
00:00:00,500 --> 00:00:01,900
Good <i>morning</i>,

2
00:00:02,500 --> 00:00:03,000
Anna!
"""


def _voiceprint(folder: Path) -> Path:
    from sdpn.people.voiceprint import PeopleFolder
    from tests.people.test_voiceprint import person

    return PeopleFolder(folder).write(person("Anna Lee", 1, 2))


def _fetched(folder: Path) -> Path:
    record = {"source": "owner/repo@0123", "files": {"a.pt": "0f" * 32}}
    (folder / "models/a").mkdir(parents=True, exist_ok=True)
    return _written("models/a/source.json", json.dumps(record, indent=1))(folder)


def _read_fetched(path: Path) -> Any:
    from sdpn.pretrained.home import read_record

    return read_record(path)


READERS: dict[str, Reader] = {
    "checkpoint-meta": Reader(_checkpoint("meta.json"), _read_history),
    "checkpoint-state": Reader(_checkpoint("state.pt"), _read_history, text=False),
    "foreign-checkpoint": Reader(_copied("theirs.pth"), _read_history, text=False),
    "configuration": Reader(_written("c.yaml", _CONFIG), _read_config),
    "model-config": Reader(_in_model("config.yaml"), _read_model, slow=True),
    "model-weights": Reader(_in_model("model.safetensors"), _read_model, text=False, slow=True),
    "model-pretraining": Reader(_in_model("pretraining.safetensors"), _read_pretraining, text=False),
    "adapters": Reader(_adapters("adapters.yaml"), _read_adapters, slow=True),
    "adapter-weights": Reader(_adapters("adapters.safetensors"), _read_adapters, text=False, slow=True),
    "calibration": Reader(_in_model("config.yaml"), _read_stored_calibration),
    "back-end": Reader(_copied("back_end.safetensors"), _read_back_end, text=False),
    "graph": Reader(_graph, _read_graph, text=False, slow=True),
    "graph-folder": Reader(_graphs, _read_graphs, slow=True),
    "wespeaker-config": Reader(_wespeaker("config.yaml"), _read_foreign("wespeaker"), slow=True),
    "wespeaker-weights": Reader(
        _wespeaker("avg_model.pt"), _read_foreign("wespeaker"), text=False, slow=True
    ),
    "speechbrain-config": Reader(_speechbrain("hyperparams.yaml"), _read_foreign("speechbrain"), slow=True),
    "speechbrain-weights": Reader(
        _speechbrain("embedding_model.ckpt"), _read_foreign("speechbrain"), text=False, slow=True
    ),
    "redimnet-file": Reader(_redimnet, _read_model, text=False, slow=True),
    "pyannote-segmentation": Reader(_copied("segmentation.bin"), _read_segmentation, text=False, slow=True),
    "segmentation-config": Reader(_in_segmentation("config.yaml"), _read_segmentation_of, slow=True),
    "segmentation-weights": Reader(
        _in_segmentation("model.safetensors"), _read_segmentation_of, text=False, slow=True
    ),
    "segmentation-speech": Reader(_speech_table, _read_speech_table, text=False),
    "3dspeaker-weights": Reader(_copied("sdpn.pth"), _read_model, text=False, slow=True),
    "foreign-safetensors": Reader(
        _copied("resnet.safetensors"), _read_foreign("wespeaker"), text=False, slow=True
    ),
    "wav.scp": Reader(_data_dir("wav.scp"), _read_data_dir),
    "segments": Reader(_data_dir("segments"), _read_data_dir),
    "phones.ctm": Reader(_written("phones.ctm", "a 1 0.00 0.05 h\na 1 0.05 0.10 'E\n"), _read_ctm),
    "utt2spk": Reader(_data_dir("utt2spk"), _read_data_dir),
    "cuts": Reader(
        _written("cuts.jsonl", f"{_CUT}\n{_CUT.replace('cut-1', 'cut-2')}\n"), _read_cuts, slow=True
    ),
    "tar-shard": Reader(_packed("shard-000000.tar"), _index_shards, text=False, slow=True),
    "pack-manifest": Reader(_packed("pack.json"), _read_pack, slow=True),
    "pack-shard": Reader(_packed("shard-000000.tar"), _read_shard, text=False, slow=True),
    "pack-progress": Reader(_packed("progress/shard-000000.json"), _read_pack_progress, slow=True),
    "ark": Reader(_written("v.ark", _ARK), _read_vectors, text=False),
    "text-ark": Reader(_written("v.ark", "u1 [ 1 2 3 ]\nu2  [ 4 5 6 ]\n"), _read_vectors),
    "scp": Reader(
        lambda folder: (_written("v.ark", _ARK)(folder), _written("v.scp", "u1 v.ark:3\n")(folder))[1],
        _read_vectors,
    ),
    "plda": Reader(_copied("binary.plda"), _read_plda, text=False),
    "text-plda": Reader(_copied("text.plda"), _read_plda),
    "receipt": Reader(_receipt, _imported("sdpn.receipt", "read_receipt")),
    "voiceprint": Reader(_voiceprint, _imported("sdpn.people.voiceprint", "read_voiceprint")),
    "transcript": Reader(
        _written("m.json", json.dumps({"segments": [_SEGMENT]}, indent=1)),
        _imported("sdpn.words.transcript", "read_transcript"),
    ),
    "subtitles": Reader(_written("m.srt", _SRT), _imported("sdpn.words.transcript", "read_transcript")),
    "turns": Reader(_receipt, _imported("sdpn.formats.turns_file", "read_document")),
    "speakers": Reader(_receipt, _read_speakers),
    "corrections": Reader(
        _written("c.txt", "# mine\nis 1.5 'Anna Lee'\nsame A B\ndifferent 1 2\n"),
        _imported("sdpn.editing.corrections", "read_corrections"),
    ),
    "fetched-model": Reader(_fetched, _read_fetched),
    "rttm": Reader(_written("m.rttm", _RTTM), _imported("sdpn.io.rttm", "read_rttm")),
    "uem": Reader(
        _written("m.uem", ";; a comment\nm 1 0.5 10\nn 1 0 3\n"), _imported("sdpn.io.uem", "read_uem")
    ),
    "trials": Reader(_written("trials", "1 a b\n0 a c\n"), _imported("sdpn.io.trials", "read_trials")),
    "kaldi-trials": Reader(
        _written("trials", "a b target\na c nontarget\n"), _imported("sdpn.io.trials", "read_trials")
    ),
    "kmeans": Reader(_copied("kmeans.npz"), _read_kmeans, text=False),
    "kmeans-safetensors": Reader(_copied("kmeans.safetensors"), _read_kmeans, text=False),
    "kmeans-state": Reader(_copied("state.npz"), _read_state, text=False),
    "chunk": Reader(_copied("chunk.npy"), _read_chunk, text=False),
    "transform": Reader(_copied("transform.npz"), _read_transform, text=False),
    "manifest": Reader(_manifest, _read_manifest),
    "statistics": Reader(_statistics, _imported("sdpn.simulation.turn_statistics", "read_statistics")),
    "result-verify": Reader(_result("verify", _VERIFY | {"threshold": 0.3}), _report),
    "result-benchmark": Reader(_result("benchmark", _BENCHMARK), _report),
    "result-score": Reader(_result("score", _SCORE), _report),
    "result-diarize": Reader(
        _result(
            "diarize", {"files": [], "total": {"duration_s": 9.0, "seconds": 1.0, "real_time_factor": 0.1}}
        ),
        _report,
    ),
    "events": Reader(_experiment("events.out.tfevents.1.x", "events.out.tfevents.1.x"), _report, text=False),
    "extraction-settings": Reader(_extraction("settings.json"), _read_extraction),
    "extraction-index": Reader(_extraction("0-of-1.index"), _read_extraction),
    "extraction-failed": Reader(_extraction("0-of-1.failed"), _read_extraction),
    "extraction-archive": Reader(_extraction("0-of-1.ark"), _read_extraction, text=False),
}

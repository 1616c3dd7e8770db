"""``sdpn diarize`` with a real, untrained model: what it writes, and its errors on bad input."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

import sdpn
from sdpn.cli.main import main
from sdpn.diarization.local_speech import SegmentationConfig
from sdpn.diarization.pipeline import DiarizationConfig
from sdpn.diarization.speech import union
from sdpn.features.log_mel import FeatureConfig
from sdpn.io.rttm import Turn, from_annotation, read_rttm, write_rttm
from sdpn.models.ecapa import Ecapa, EcapaConfig
from sdpn.models.folder import ModelFolder, save_model
from tests.interop.published_segmentation import write_segmentation

RATE_HZ = 16000


def save_untrained(path: Path, **calibration: float) -> Path:
    torch.manual_seed(0)
    config = EcapaConfig(channels=32, aggregation_channels=64, embedding_dim=24, bottleneck=8)
    features = FeatureConfig()
    save_model(path, ModelFolder(Ecapa(config, features.num_mels).eval(), config, features, calibration))
    return path


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_untrained(tmp_path_factory.mktemp("untrained") / "model")


@pytest.fixture
def noise(tmp_path: Path) -> Path:
    return write_noise(tmp_path / "noise.wav", 6.0)


def write_noise(path: Path, duration_s: float, *, rate_hz: int = RATE_HZ, channels: int = 1) -> Path:
    samples = np.random.default_rng(0).normal(scale=0.05, size=(round(duration_s * rate_hz), channels))
    soundfile.write(path, samples, rate_hz)
    return path


def write_speech_rttm(path: Path, recording: str, *spans: tuple[float, float]) -> Path:
    """A reference that says where the speech is, to have "speech" in noise."""
    write_rttm(path, recording, [Turn(recording, start_s, end_s - start_s, "A") for start_s, end_s in spans])
    return path


def diarize(*args: object) -> int:
    return main(["diarize", *map(str, args)])


def test_a_real_meeting(
    model: Path, shared_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    clip = shared_data / "ami_excerpt" / "trn09.flac"
    out, results = tmp_path / "out", tmp_path / "results.json"
    assert diarize("--model", model, "--out", out, "--num-speakers", 3, "--json", results, clip) == 0
    turns = read_rttm(out / "trn09.rttm")["trn09"]
    assert {turn.speaker for turn in turns} == {"speaker00", "speaker01", "speaker02"}
    assert turns[0].speaker == "speaker00"
    assert all(0 <= turn.onset_s < turn.end_s <= 30.0 for turn in turns)
    document = json.loads(results.read_text())
    assert document["schema"] == "sdpn.diarize/1"
    (file,) = document["results"]["files"]
    assert file["recording"] == "trn09"
    assert file["audio"] == str(clip)
    assert file["outputs"] == {"rttm": str(out / "trn09.rttm")}
    assert file["num_speakers"] == 3
    assert file["num_turns"] == len(turns)
    assert file["duration_s"] == pytest.approx(30.0, abs=0.01)
    assert 15.0 < file["speech_s"] <= 30.0  # the reference has 30 s of it
    total = document["results"]["total"]
    assert total["real_time_factor"] == pytest.approx(total["seconds"] / total["duration_s"])
    printed = capsys.readouterr().out
    assert "trn09" in printed
    assert "real-time factor" in printed


def test_reference_speech_is_taken_literally(model: Path, shared_data: Path, tmp_path: Path) -> None:
    clips = [shared_data / "ami_excerpt" / f"{name}.flac" for name in ("trn00", "trn01")]
    reference = shared_data / "ami_excerpt" / "reference.rttm"
    assert diarize("--model", model, "--out", tmp_path, "--reference-speech", reference, *clips) == 0
    for clip in clips:
        spoken = read_rttm(reference)[clip.stem]
        written = read_rttm(tmp_path / f"{clip.stem}.rttm")[clip.stem]
        expected = union(((turn.onset_s, turn.end_s) for turn in spoken), duration_s=30.0)
        found = union(((round(turn.onset_s, 3), round(turn.end_s, 3)) for turn in written), duration_s=30.0)
        np.testing.assert_allclose(found, expected, atol=0.001)


def test_a_recording_without_speech_gives_an_empty_rttm(model: Path, noise: Path, tmp_path: Path) -> None:
    silence, results = tmp_path / "silence.flac", tmp_path / "results.json"
    soundfile.write(silence, np.zeros(3 * RATE_HZ), RATE_HZ)
    args = ("--model", model, "--out", tmp_path / "out", "--num-speakers", 2, "--json", results)
    assert diarize(*args, silence, noise) == 0
    for name in ("silence", "noise"):
        assert (tmp_path / "out" / f"{name}.rttm").read_text() == ""
    files = json.loads(results.read_text())["results"]["files"]
    assert [(file["num_speakers"], file["num_turns"], file["speech_s"]) for file in files] == [(0, 0, 0)] * 2


@pytest.mark.parametrize(("rate_hz", "channels"), [(8000, 1), (44100, 2), (16000, 1)])
@pytest.mark.parametrize("method", ["ahc", "spectral", "vbx"])
def test_any_rate_and_channels(method: str, rate_hz: int, channels: int, model: Path, tmp_path: Path) -> None:
    audio = write_noise(tmp_path / "call.wav", 6.0, rate_hz=rate_hz, channels=channels)
    speech = write_speech_rttm(tmp_path / "speech.rttm", "call", (0.5, 5.5))
    args = ("--model", model, "--out", tmp_path / "out", "--reference-speech", speech, "--method", method)
    assert diarize(*args, "--num-speakers", 2, audio) == 0
    turns = read_rttm(tmp_path / "out" / "call.rttm")["call"]
    assert len({turn.speaker for turn in turns}) == 2
    assert turns[0].onset_s == 0.5
    assert turns[-1].end_s == pytest.approx(5.5)


def test_a_tenth_of_a_second(model: Path, tmp_path: Path) -> None:
    audio = write_noise(tmp_path / "blip.wav", 0.1)
    assert diarize("--model", model, "--out", tmp_path / "detected", audio) == 0
    assert (tmp_path / "detected" / "blip.rttm").read_text() == ""
    speech = write_speech_rttm(tmp_path / "speech.rttm", "blip", (0.0, 0.1))
    assert diarize("--model", model, "--out", tmp_path / "given", "--reference-speech", speech, audio) == 0
    written = (tmp_path / "given" / "blip.rttm").read_text()
    assert written == "SPEAKER blip 1 0.000 0.100 <NA> <NA> speaker00 <NA> <NA>\n"


def test_white_space_in_names(model: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = tmp_path / "our meetings"
    folder.mkdir()
    audio = write_noise(folder / "monday - part 1.wav", 3.0)
    speech = write_speech_rttm(tmp_path / "speech.rttm", "monday_-_part_1", (0.0, 3.0))
    with caplog.at_level("INFO"):
        assert diarize("--model", model, "--out", folder, "--reference-speech", speech, audio) == 0
    assert list(read_rttm(folder / "monday - part 1.rttm")) == ["monday_-_part_1"]
    assert "'monday_-_part_1'" in caplog.text


def test_the_models_calibration_and_the_threshold(noise: Path, tmp_path: Path) -> None:
    """An untrained network finds all noise alike: mean cosines near 1."""
    speech = write_speech_rttm(tmp_path / "speech.rttm", "noise", (0.0, 6.0))
    strict = save_untrained(tmp_path / "strict", ahc_threshold=1.0)
    common = ("--model", strict, "--method", "ahc", "--reference-speech", speech, noise)
    assert diarize("--out", tmp_path / "calibrated", *common) == 0
    assert diarize("--out", tmp_path / "given", "--threshold", "0.2", *common) == 0
    numbers = [
        len({turn.speaker for turn in read_rttm(tmp_path / name / "noise.rttm")["noise"]})
        for name in ("calibrated", "given")
    ]
    assert numbers == [7, 1]  # windows of 1.5 s every 0.75 s in 6 s


def test_settings_reach_the_pipeline_of_the_library(
    model: Path, shared_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recording, document = shared_data / "ami_excerpt" / "trn09.flac", tmp_path / "results.json"
    settings = ("vad.threshold=0.6", "window_s=2", "hop_s=1", "max_pause_s=0", "merging.start=0.7")
    assert diarize("--model", model, "--out", tmp_path, "--json", document, *settings, recording) == 0
    config = DiarizationConfig(
        vad=replace(DiarizationConfig().vad, threshold=0.6),
        window_s=2.0,
        hop_s=1.0,
        max_pause_s=0.0,
        settings={"start": 0.7},
    )
    annotation = sdpn.Diarizer(sdpn.load_model(model), config=config)(recording)
    found = [(turn.onset_s, turn.end_s, turn.speaker) for turn in read_rttm(tmp_path / "trn09.rttm")["trn09"]]
    expected = [(span.start, span.end, who) for span, _, who in annotation.itertracks(yield_label=True)]
    assert [who for *_, who in found] == [who for *_, who in expected] and len(found) > 1
    np.testing.assert_allclose([row[:2] for row in found], [row[:2] for row in expected], atol=2e-3)
    settings = json.loads(document.read_text())["results"]["settings"]
    assert (settings["vad"]["threshold"], settings["vad"]["pad_s"], settings["window_s"]) == (0.6, 0.1, 2.0)
    assert settings["merging"]["start"] == 0.7
    with pytest.raises(SystemExit):
        diarize("--help")
    shown = capsys.readouterr().out
    for line in ("vad.threshold=0.3", "window_s=1.5", "max_pause_s=0.3", "vbx.fa=", "ahc.threshold="):
        assert f"\n  {line}" in shown


def test_several_formats_at_once(
    model: Path, shared_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    clip, out, results = shared_data / "ami_excerpt" / "trn09.flac", tmp_path / "out", tmp_path / "all.json"
    every = "rttm,json,csv,srt,vtt,audacity,textgrid,elan"
    args = ("--model", model, "--out", out, "--num-speakers", 2, "--json", results, "merging.start=0.7", clip)
    assert diarize(*args, "--format", every, "--embeddings") == 0
    suffixes = ["TextGrid", "csv", "eaf", "json", "rttm", "srt", "txt", "vtt"]
    assert sorted(path.name for path in out.glob("trn09*")) == [f"trn09.{suffix}" for suffix in suffixes]
    assert "trn09.rttm and .json, .csv, .srt, .vtt, .txt, .TextGrid, .eaf" in capsys.readouterr().out
    document = json.loads((out / "trn09.json").read_text())
    turns = [(turn.onset_s, turn.end_s, turn.speaker) for turn in read_rttm(out / "trn09.rttm")["trn09"]]
    rows = [(row["start_s"], row["end_s"], row["speaker"]) for row in document["turns"]]
    np.testing.assert_allclose([row[:2] for row in rows], [turn[:2] for turn in turns], atol=1e-9)
    assert [row[2] for row in rows] == [turn[2] for turn in turns]
    assert document["exclusive_turns"] == document["turns"]  # nobody overlaps yet
    assert document["settings"]["merging"]["start"] == 0.7 and document["settings"]["window_s"] == 1.5
    for speaker in document["speakers"]:
        assert len(speaker["embedding"]) == 24
        talk_s = sum(end - start for start, end, who in turns if who == speaker["speaker"])
        assert speaker["talk_s"] == pytest.approx(talk_s, abs=1e-6)
    assert sum(speaker["share"] for speaker in document["speakers"]) == pytest.approx(1.0, abs=1e-3)

    def again(*options: object) -> bool:
        assert diarize(*args, *options) == 0
        (row,) = json.loads(results.read_text())["results"]["files"]
        finished: bool = row["finished_before"]
        return finished

    assert again("--format", every, "--embeddings")
    assert again("--format", "csv,srt", "--embeddings", "--format", "json,srt") is True
    (out / "trn09.srt").unlink()
    assert again("--format", "json,csv", "--embeddings")
    assert not again("--format", "json,srt", "--embeddings")
    assert not again("--format", "json")  # without embeddings it is another document


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ["--format", "rttm,docx"],
            "unknown format of turns 'docx' (expected one or several of rttm,json,csv",
        ),
        (["--format", "sdpn", "--format", "rttm,docx"], "unknown format of turns 'docx'"),
        (["--format", ""], "unknown format of turns ''"),
        (["--format", "rttm", "--embeddings"], "--embeddings needs --format json"),
    ],
)
def test_formats_that_are_none(
    options: list[str], message: str, noise: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert diarize("--out", tmp_path / "out", *options, noise) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_model_has_one_format(noise: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        diarize("--out", tmp_path / "out", "--format", "3dspeaker", "--format", "rttm,onnx", noise)
    assert "argument --format: names several formats of --model; it has one" in capsys.readouterr().err


def test_results_of_the_command_do_not_replace_those_of_a_recording(
    noise: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    document = tmp_path / "out" / "noise.json"
    assert diarize("--out", tmp_path / "out", "--format", "json", "--json", document, noise) == 2
    assert f"{document}: is given for --json, and would hold the turns of 'noise'" in capsys.readouterr().err


def bad_audio(kind: str, folder: Path) -> Path:
    path = folder / f"{kind}.wav"
    if kind == "empty":
        path.write_bytes(b"")
    elif kind == "text":
        path.write_text("this is no audio\n" * 100)
    elif kind == "truncated":
        path.write_bytes(write_noise(path, 3.0).read_bytes()[:40000])
    elif kind == "folder":
        path.mkdir()
    return path


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("missing", "no such audio file"),
        ("empty", "empty"),
        ("text", "is not readable audio"),
        ("truncated", "truncated"),
        ("folder", "contains no file with an audio suffix"),
    ],
)
def test_a_file_that_cannot_be_opened_stops_everything_before_any_work(
    kind: str, message: str, noise: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = bad_audio(kind, tmp_path)
    for audio in ([bad], [noise, bad]):
        assert diarize("--model", model, "--out", tmp_path / "out", *audio) == 2
        error = capsys.readouterr().err.strip()
        assert "\n" not in error
        assert error.startswith("sdpn diarize: error: ")
        assert str(bad) in error
        assert message in error
        assert not (tmp_path / "out").exists()


def test_a_file_that_fails_later_does_not_stop_the_others(
    noise: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = tmp_path / "broken.wav"
    soundfile.write(broken, np.array([0.1, np.nan, 0.2] * 8000), RATE_HZ, subtype="FLOAT")
    assert diarize("--quiet", "--model", model, "--out", tmp_path / "out", broken, noise) == 2
    captured = capsys.readouterr()
    assert "1 of 2 recordings could not be diarized" in captured.err
    assert f"{broken}: contains 8000 NaN or infinite samples" in captured.err
    assert sorted(path.name for path in (tmp_path / "out").glob("*.rttm")) == ["noise.rttm"]
    assert "noise.rttm" in captured.out


def test_more_speakers_than_windows(
    noise: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    speech = write_speech_rttm(tmp_path / "speech.rttm", "noise", (0.0, 2.0))
    args = ("--model", model, "--out", tmp_path / "out", "--reference-speech", speech, noise)
    assert diarize("--num-speakers", 3, *args) == 2
    error = capsys.readouterr().err
    assert f"{noise}: 3 speakers are requested, but the speech gives only 2 windows" in error
    assert "request at most 2" in error
    assert diarize("--num-speakers", 2, *args) == 0


def test_two_recordings_of_one_name(
    noise: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "b").mkdir()
    other = write_noise(tmp_path / "b" / "noise.flac", 1.0)
    assert diarize("--model", model, "--out", tmp_path / "out", noise, other) == 2
    error = capsys.readouterr().err
    assert str(noise) in error
    assert str(other) in error
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--num-speakers", 2, "--max-speakers", 3], "--num-speakers contradicts"),
        (["--min-speakers", 4, "--max-speakers", 3], "min_speakers is 4, above max_speakers"),
        (["--num-speakers", 0], "is 0; expected at least 1"),
        (["--max-speakers", -1], "is -1; expected at least 1"),
        (["--method", "spectral", "--threshold", 0.3], "spectral has no threshold"),
        (["--method", "vbx", "--threshold", 3], "threshold is 3.0"),
        (["--method", "vbx", "--threshold", 0.3, "vbx.threshold=0.3"], "contradict each other"),
        (["ahc.threshold=0.3"], "ahc.threshold has no effect with --method merging"),
        (["merging.start=many"], "'start' is 'many'"),
        (["vad.treshold=0.3"], "unknown key 'vad.treshold'"),
        (["vad.threshold=1.5"], "expected a probability"),
        (["hop_s=2"], "hop_s is 2.0 and window_s 1.5"),
        (["window_s=long"], "'window_s' is 'long'"),
        (["method=ahc"], "unknown key 'method'"),
    ],
)
def test_options_that_make_no_sense(
    options: list[object],
    message: str,
    noise: Path,
    model: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert diarize("--model", model, "--out", tmp_path / "out", *options, noise) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_models_and_folders_that_are_not(
    noise: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert diarize("--model", tmp_path / "nowhere", "--out", tmp_path / "out", noise) == 2
    assert f"{tmp_path / 'nowhere'}: no such model folder" in capsys.readouterr().err
    incomplete = save_untrained(tmp_path / "incomplete")
    (incomplete / "model.safetensors").unlink()
    assert diarize("--model", incomplete, "--out", tmp_path / "out", noise) == 2
    assert "model.safetensors" in capsys.readouterr().err
    assert diarize("--model", model, "--out", noise, noise) == 2
    assert f"{noise}: cannot be written (Not a directory)" in capsys.readouterr().err


def test_reference_speech_without_the_recording(
    noise: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    speech = write_speech_rttm(tmp_path / "speech.rttm", "another", (0.0, 2.0))
    args = ("--model", model, "--out", tmp_path / "out", noise, "--reference-speech")
    assert diarize(*args, speech) == 2
    assert f"{speech}: has no recording 'noise'" in capsys.readouterr().err
    assert diarize(*args, tmp_path / "typo.rttm") == 2
    assert "typo.rttm" in capsys.readouterr().err


def test_overlap_with_a_segmentation_network(model: Path, tmp_path: Path) -> None:
    """A network of random weights: what it hears is arbitrary, and so is who speaks when."""
    write_segmentation(tmp_path / "network.bin", seed=3)
    clip = write_noise(tmp_path / "noise.wav", 8.0)
    common = ["--model", model, "--segmentation", tmp_path / "network.bin", "segmentation.step_s=1"]
    common += ["segmentation.speech_threshold=0.05", "segmentation.overlap_threshold=0.05", clip]
    results = tmp_path / "results.json"
    assert diarize("--out", tmp_path / "out", "--num-speakers", 2, "--json", results, *common) == 0
    turns = read_rttm(tmp_path / "out" / "noise.rttm")["noise"]
    document = json.loads(results.read_text())["results"]
    assert document["settings"]["segmentation"]["step_s"] == 1
    assert document["files"][0]["num_turns"] == len(turns) > 0
    config = DiarizationConfig(
        segmentation=SegmentationConfig(step_s=1, speech_threshold=0.05, overlap_threshold=0.05)
    )
    network = sdpn.load_segmentation(tmp_path / "network.bin")
    diarizer = sdpn.Diarizer(sdpn.load_model(model), config=config, segmentation=network)
    expected = from_annotation(diarizer(clip, num_speakers=2), "noise")
    assert [turn.speaker for turn in turns] == [turn.speaker for turn in expected]

    # the same again is skipped, one speaker at a time is another result
    assert diarize("--out", tmp_path / "out", "--num-speakers", 2, "--json", results, *common) == 0
    assert json.loads(results.read_text())["results"]["files"][0]["finished_before"]
    assert diarize("--out", tmp_path / "out", "--num-speakers", 2, "--exclusive", *common) == 0
    alone = read_rttm(tmp_path / "out" / "noise.rttm")["noise"]
    assert all(now.end_s <= after.onset_s + 1e-6 for now, after in pairwise(sorted(alone)))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--segmentation", "{folder}/model"], "is a folder without a segmentation network"),
        (["--segmentation", "{folder}/noise.wav"], "is damaged or not a torch file"),
        (["--segmentation", "{folder}/embedding.pt"], "is not a segmentation network: its keys match no"),
        (["--segmentation", "nothing.bin"], "no such segmentation network (expected a file, pyannote"),
        (["segmentation.step_s=1"], "segmentation.step_s=1 has no effect without --segmentation"),
        (["--no-segmentation", "segmentation.step_s=1"], "has no effect without --segmentation"),
        (["--segmentation", "{folder}/n.bin", "segmentation.step_s=0"], "expected at least 0.1 s"),
        (["--exclusive"], "--exclusive has no effect without --segmentation"),
    ],
)
def test_segmentation_that_makes_no_sense(
    options: list[str], message: str, model: Path, noise: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = noise.parent
    torch.save({"layer.weight": torch.zeros(3)}, folder / "embedding.pt")
    write_segmentation(folder / "n.bin", seed=0)
    (folder / "model").symlink_to(model)
    given = [option.format(folder=folder) for option in options]
    assert diarize("--model", model, "--out", folder / "out", *given, noise) == 2
    assert message in capsys.readouterr().err
    assert not (folder / "out" / "noise.rttm").exists()


def test_help_has_an_example(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        diarize("--help")
    assert exit_.value.code == 0
    assert "sdpn diarize --model exp/mini/model --out out/ meeting.wav" in capsys.readouterr().out


def snapshot(folder: Path) -> dict[str, tuple[int, bytes]]:
    return {path.name: (path.stat().st_mtime_ns, path.read_bytes()) for path in folder.glob("*.rttm")}


def test_a_stopped_run_resumes(
    model: Path, shared_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, out, results = tmp_path / "recordings", tmp_path / "out", tmp_path / "results.json"
    (folder / "monday").mkdir(parents=True)
    for name in ("trn00", "trn09"):
        (folder / "monday" / f"{name}.flac").write_bytes(
            (shared_data / "ami_excerpt" / f"{name}.flac").read_bytes()
        )
    args = ("--model", model, "--out", out, "--json", results)
    assert diarize(*args, folder / "monday" / "trn00.flac") == 0  # and was then stopped
    before = snapshot(out)
    capsys.readouterr()
    # by its id in the folder it is another recording
    assert diarize(*args, folder) == 0
    assert sorted(snapshot(out)) == ["monday-trn00.rttm", "monday-trn09.rttm", "trn00.rttm"]
    assert diarize(*args, *sorted((folder / "monday").iterdir())) == 0
    assert snapshot(out)["trn00.rttm"] == before["trn00.rttm"]
    assert "1 recording already diarized and skipped" in capsys.readouterr().out
    rows = json.loads(results.read_text())["results"]["files"]
    assert [row["finished_before"] for row in rows] == [True, False]
    assert rows[0]["num_turns"] == len(read_rttm(out / "trn00.rttm")["trn00"])

    def again(*options: object) -> list[bool]:
        assert diarize(*args, *options, *sorted((folder / "monday").iterdir())) == 0
        return [row["finished_before"] for row in json.loads(results.read_text())["results"]["files"]]

    assert again() == [True, True]
    assert again("--force") == [False, False]
    assert again("--max-speakers", 1) == [False, False]
    assert again("--max-speakers", 1) == [True, True]
    assert again("--method", "ahc") == [False, False]
    for before_now in ([False, False], [True, True]):
        assert again("--method", "merging", "merging.start=0.81") == before_now
        for row in json.loads(results.read_text())["results"]["files"]:
            posterior = row["channels"][0]["count_posterior"]
            assert sum(posterior.values()) == pytest.approx(1.0, abs=0.02)
            assert str(row["num_speakers"]) in posterior
    assert again("vad.threshold=0.4", "window_s=2", "merging.start=0.7") == [False, False]
    assert again("window_s=2.0", "merging.start=0.7", "vad.threshold=0.4") == [True, True]
    assert again("window_s=2.0", "merging.start=0.6", "vad.threshold=0.4") == [False, False]
    assert again() == [False, False]
    (out / "trn09.rttm").write_text("")  # not what was written
    assert again() == [True, False]
    (folder / "monday" / "trn00.flac").touch()
    assert again() == [False, True]
    (out / ".diarized" / "trn00.json").write_text("[" * 100000)
    assert again() == [False, True]
    other = save_untrained(tmp_path / "other", ahc_threshold=0.5)
    state = (other / "model.safetensors").read_bytes()
    assert state == (model / "model.safetensors").read_bytes()
    assert again("--model", other) == [
        True,
        True,
    ]  # the same network, and merging has no use for the threshold


def test_a_bad_one_among_many_is_left_out(
    model: Path, noise: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, results = tmp_path / "recordings", tmp_path / "results.json"
    folder.mkdir()
    for name in ("a", "z"):
        (folder / f"{name}.wav").write_bytes(noise.read_bytes())
    (folder / "m.wav").write_bytes(b"RIFF of something else")
    (folder / "notes.txt").write_text("no audio")
    bad = np.full(20 * RATE_HZ, np.nan, dtype=np.float32)
    soundfile.write(folder / "n.wav", bad, RATE_HZ, subtype="FLOAT")
    args = ("--model", model, "--out", tmp_path / "out", "--json", results, folder)
    assert diarize(*args) == 2
    assert not (tmp_path / "out").exists()
    assert diarize(*args, "--skip-bad") == 0
    assert sorted(path.name for path in (tmp_path / "out").glob("*.rttm")) == ["a.rttm", "z.rttm"]
    printed = capsys.readouterr().out
    assert "2 recordings skipped" in printed
    left_out = json.loads(results.read_text())["results"]["left_out"]
    assert [one["recording"] for one in left_out] == ["m", "n"]
    assert "NaN" in left_out[1]["reason"]
    for name in ("a", "z"):
        (folder / f"{name}.wav").unlink()
    assert diarize(*args, "--skip-bad") == 2
    assert "2 of 2 recordings cannot be read" in capsys.readouterr().err


@pytest.fixture(scope="module")
def call(tmp_path_factory: pytest.TempPathFactory, shared_data: Path) -> Path:
    """A telephone call: 12 s of one meeting at one end, later 12 s of another at the other."""
    path = tmp_path_factory.mktemp("calls") / "call.wav"
    ends = []
    for name, roll_s in (("trn09", 0), ("dev00", 13)):
        samples, rate_hz = soundfile.read(shared_data / "ami_excerpt" / f"{name}.flac")
        ends.append(np.roll(np.pad(samples[: 12 * rate_hz], (0, 14 * rate_hz)), roll_s * rate_hz))
    soundfile.write(path, np.stack(ends, axis=1), RATE_HZ)
    return path


def test_the_channels_of_a_call(model: Path, call: Path, tmp_path: Path) -> None:
    out, results = tmp_path / "out", tmp_path / "results.json"
    args = ("--model", model, "--json", results, "--num-speakers", 1)
    assert diarize(*args, "--out", out, "--channel", "separate", call) == 0
    fields = [line.split() for line in (out / "call.rttm").read_text().splitlines()]
    assert {(field[2], field[7]) for field in fields} == {("1", "speaker00"), ("2", "speaker01")}
    assert all(float(field[3]) < 13 for field in fields if field[2] == "1")
    assert all(float(field[3]) > 12 for field in fields if field[2] == "2")
    (file,) = json.loads(results.read_text())["results"]["files"]
    assert [(one["channel"], one["speakers"]) for one in file["channels"]] == [
        (0, ["speaker00"]),
        (1, ["speaker01"]),
    ]
    assert file["num_speakers"] == 2
    for channel in (0, 1):
        assert diarize(*args, "--out", tmp_path / "one", "--channel", channel, call) == 0
        alone = [line.split() for line in (tmp_path / "one" / "call.rttm").read_text().splitlines()]
        expected = [field for field in fields if field[2] == str(1 + channel)]
        assert [field[:5] for field in alone] == [field[:5] for field in expected]
        (file,) = json.loads(results.read_text())["results"]["files"]
        assert [one["channel"] for one in file["channels"]] == [channel]


def test_channels_that_are_not_there(
    model: Path, call: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    args = ("--model", model, "--out", tmp_path / "out", call)
    assert diarize(*args, "--channel", 2) == 2
    assert f"{call}: has no channel 2, only 2" in capsys.readouterr().err
    speech = write_speech_rttm(tmp_path / "speech.rttm", "call", (0.0, 2.0))
    assert diarize(*args, "--channel", "separate", "--reference-speech", speech) == 2
    assert "--reference-speech does not distinguish channels" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("name", "channel"), [("-", "separate"), ("/dev/stdin", "mix"), ("fifo", "mix")])
def test_pipes(name: str, channel: str, model: Path, call: Path, tmp_path: Path) -> None:
    """The same turns as from the file."""
    args = ("--model", model, "--num-speakers", 1, "--channel", channel)
    assert diarize(*args, "--out", tmp_path / "file", call) == 0
    expected = read_rttm(tmp_path / "file" / "call.rttm")["call"]
    command = [sys.executable, "-m", "sdpn.cli.main", "diarize", *map(str, args), "--out", tmp_path / "out"]
    if name == "fifo":
        os.mkfifo(tmp_path / "call")
        with subprocess.Popen([*command, tmp_path / "call"]) as process:
            (tmp_path / "call").write_bytes(call.read_bytes())
        assert process.returncode == 0
    else:
        with open(call, "rb") as stream:
            cat = subprocess.Popen(["cat"], stdin=stream, stdout=subprocess.PIPE)
            subprocess.run([*command, name], stdin=cat.stdout, check=True)
            cat.wait()
    (rttm,) = (tmp_path / "out").glob("*.rttm")
    assert rttm.stem == {"-": "stdin", "/dev/stdin": "stdin", "fifo": "call"}[name]
    found = read_rttm(rttm)[rttm.stem]
    assert [(turn.onset_s, turn.end_s, turn.speaker) for turn in found] == [
        (turn.onset_s, turn.end_s, turn.speaker) for turn in expected
    ]


def test_progress_in_minutes_of_audio(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    audio = write_noise(tmp_path / "long.wav", 150.0)
    assert diarize("--model", model, "--out", tmp_path / "out", audio) == 0
    assert "diarizing: 2.5/2.5 min of audio in" in capsys.readouterr().err


def test_the_audio_of_turns(shared_data: Path, tmp_path: Path) -> None:
    """--cut: as many files as turns, and a second run finds the recording finished."""
    clip = shared_data.parent / "cases" / "speech8.wav"
    words = ["diarize", str(clip), "--out", str(tmp_path), "--format", "rttm,json", "--cut", "--quiet"]
    assert main([*words, "--json", str(tmp_path / "first.json")]) == 0
    turns = json.loads((tmp_path / "speech8.json").read_text())["turns"]
    assert turns and all(0.0 < turn["confidence"] < 1.0 for turn in turns)
    cut = tmp_path / "speech8.cut"
    assert (
        len(list((cut / "turns").iterdir()))
        == len(turns)
        == len((cut / "turns.csv").read_text().splitlines()) - 1
    )
    seconds = sum(soundfile.info(path).duration for path in (cut / "speakers").iterdir())
    assert seconds == pytest.approx(sum(turn["end_s"] - turn["start_s"] for turn in turns), abs=1e-3)
    assert main([*words, "--json", str(tmp_path / "second.json")]) == 0
    assert json.loads((tmp_path / "second.json").read_text())["results"]["files"][0]["finished_before"]
    (cut / "turns.csv").unlink()
    assert main(words) == 0 and (cut / "turns.csv").is_file()
    assert main(["diarize", "-", "--cut", "--out", str(tmp_path), "--quiet"]) == 2

"""``sdpn simulate`` on real speech: what it writes, how it rebuilds, and its errors on bad input."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from sdpn.cli.main import main
from sdpn.io import audio
from sdpn.io.rttm import read_rttm

RATE_HZ = 16000


def simulate(*args: object) -> int:
    return main(["simulate", *map(str, args)])


def error(capsys: pytest.CaptureFixture[str], *args: object) -> str:
    """The one line of a command that must fail."""
    assert simulate(*args, "--quiet") == 2
    message = capsys.readouterr().err
    assert message.startswith("sdpn simulate: error: ")
    assert len(message.splitlines()) == 1
    return message


@pytest.fixture(scope="module")
def simulation(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two conversations of 40 s, one of them with measured room and noise."""
    root = tmp_path_factory.mktemp("simulated")
    corpus = root / "corpus"
    corpus.mkdir()
    for speaker in sorted((shared_data / "speechocean762" / "dev").iterdir())[:4]:
        shutil.copytree(speaker, corpus / speaker.name)
    recordings = ("--rir", shared_data / "rir", "--noise", shared_data / "noise")
    shape = ("--num", 2, "--seed", 5, "--duration", 40, "--max-speakers", 3)
    out = root / "out"
    assert (
        simulate("--corpus", corpus, *recordings, *shape, "--out", out, "--json", root / "results.json") == 0
    )
    return root


def test_what_it_says(simulation: Path) -> None:
    results = json.loads((simulation / "results.json").read_text())["results"]
    assert results["conversations"] == 2
    assert results["hours"] == pytest.approx(80 / 3600)
    assert results["changed"] == []
    simulated, (name, real) = results["statistics"]["simulated"], list(results["statistics"].items())[1]
    assert name.startswith("VoxConverse")
    assert simulated.keys() <= real.keys()
    assert real["overlapping speech, %"] == pytest.approx(4.01)
    names = {file.name for file in (simulation / "out").iterdir()}
    tables = {"wav.scp", "reference.rttm", "reference.uem", "manifest.jsonl", "statistics.json"}
    assert names == {"sim0.flac", "sim1.flac"} | tables


def test_the_reference_is_where_the_speech_is(simulation: Path) -> None:
    """Against the energy of the clean conversation, since the detector's answer is the reference."""
    out = simulation / "out"
    lines = [json.loads(line) for line in (out / "manifest.jsonl").read_text().splitlines()]
    (clean,) = (line["recording"] for line in lines if line["noise"] is None)
    samples = audio.read(out / f"{clean}.flac")
    power_db = 10 * np.log10(np.mean(samples.reshape(-1, 160) ** 2, axis=1) + 1e-12)
    inside = np.zeros(len(power_db), dtype=bool)
    for turn in read_rttm(out / "reference.rttm")[clean]:
        inside[round(turn.onset_s * 100) : round(turn.end_s * 100)] = True
    assert np.mean(inside) > 0.7
    assert np.median(power_db[inside]) > np.median(power_db[~inside]) + 15
    # of the frames within 20 dB of the speech's level
    loud = power_db > np.quantile(power_db[inside], 0.9) - 20
    assert np.mean(inside[loud]) > 0.99


def test_manifest_rebuilds_without_torch_and_with_any_number_of_processes(
    simulation: Path, shared_data: Path, tmp_path: Path
) -> None:
    """Also the manifest and the statistics are the same, byte for byte."""
    manifest = simulation / "out" / "manifest.jsonl"
    recordings = ["--rir", str(shared_data / "rir"), "--noise", str(shared_data / "noise")]
    command = ["simulate", "--manifest", str(manifest), "--corpus", str(simulation / "corpus"), *recordings]
    code = (
        "import sys; from sdpn.cli.main import main; "
        "code = main(sys.argv[1:]); sys.exit(99 if 'torch' in sys.modules else code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *command, "--out", str(tmp_path / "one")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "The samples match the manifest." in done.stdout
    assert main([*command, "--jobs", "2", "--out", str(tmp_path / "two")]) == 0
    for path in (simulation / "out").iterdir():
        for again in ("one", "two"):
            assert (tmp_path / again / path.name).read_bytes() == path.read_bytes(), (again, path.name)


@pytest.mark.slow
def test_speech_detection_in_two_processes_gives_the_same(
    simulation: Path, shared_data: Path, tmp_path: Path
) -> None:
    recordings = ("--rir", shared_data / "rir", "--noise", shared_data / "noise")
    shape = ("--num", 2, "--seed", 5, "--duration", 40, "--max-speakers", 3, "--jobs", 2)
    assert simulate("--corpus", simulation / "corpus", *recordings, *shape, "--out", tmp_path / "out") == 0
    for path in (simulation / "out").iterdir():
        assert (tmp_path / "out" / path.name).read_bytes() == path.read_bytes(), path.name


def test_other_samples_than_the_manifests_are_reported(
    simulation: Path,
    shared_data: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    manifest = tmp_path / "manifest.jsonl"
    lines = (simulation / "out" / "manifest.jsonl").read_text().splitlines()
    recordings = ("--rir", shared_data / "rir", "--noise", shared_data / "noise")
    common = ("--corpus", simulation / "corpus", *recordings, "--json", tmp_path / "results.json")
    first = {**json.loads(lines[0]), "sha256": "0" * 64}
    louder = {"sketch": [2 * total for total in first["sketch"]]}
    for changes, key, message in (
        (louder, "changed", "1 of 2 conversations differ from the manifest by more than rounding"),
        ({}, "rounded", "The samples match the manifest, 1 of them but for rounding."),
        ({"format": 1}, "unknown", "1 of 2 conversations have another digest"),
    ):
        manifest.write_text(f"{json.dumps({**first, **changes})}\n{lines[1]}\n")
        assert simulate("--manifest", manifest, *common, "--out", tmp_path / "out") == 0
        results = json.loads((tmp_path / "results.json").read_text())["results"]
        found = {name: results[name] for name in ("changed", "rounded", "unknown")}
        assert found == {"changed": [], "rounded": [], "unknown": [], key: ["sim0"]}
        assert message in caplog.text + capsys.readouterr().out


def test_own_statistics(simulation: Path, tmp_path: Path) -> None:
    """Saved by one simulation, read by the next; no interjections where there were none."""
    rttm = tmp_path / "calm.rttm"
    rttm.write_text(
        "".join(f"SPEAKER calm 1 {5 * n} 4.0 <NA> <NA> {'AB'[n % 2]} <NA> <NA>\n" for n in range(30))
    )
    shape = ("--num", 1, "--duration", 40, "--max-speakers", 2, "--room-share", 0)
    corpus = ("--corpus", simulation / "corpus")
    assert simulate(*corpus, *shape, "--statistics", rttm, "--out", tmp_path / "calm") == 0
    statistics = json.loads((tmp_path / "calm" / "statistics.json").read_text())
    assert statistics["interjection_s"] == []
    assert statistics["overlap_share"] == 0
    saved = tmp_path / "calm" / "statistics.json"
    assert simulate(*corpus, *shape, "--statistics", saved, "--out", tmp_path / "again") == 0


def test_one_speaker(simulation: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shape = ("--num", 1, "--duration", 20, "--min-speakers", 1, "--max-speakers", 1)
    assert simulate("--corpus", simulation / "corpus", *shape, "--out", tmp_path / "out") == 0
    assert capsys.readouterr().out.startswith("1 conversations, 0.01 h, 1 speakers")
    assert not (tmp_path / "out" / "statistics.json").exists()


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """Three silent speakers."""
    for speaker in "abc":
        (tmp_path / "corpus" / speaker).mkdir(parents=True)
        soundfile.write(tmp_path / "corpus" / speaker / "u.wav", np.zeros(RATE_HZ), RATE_HZ)
    return tmp_path / "corpus"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--seed", 1), "--num, the number of conversations, is missing"),
        (("--num", 1, "--manifest", "m.jsonl"), "--num contradicts --manifest"),
        (("--room-share", 0, "--manifest", "m.jsonl"), "--room-share contradicts --manifest"),
        (("--manifest", "m.jsonl"), "m.jsonl: no such file"),
        (("--num", 0), "the number of conversations is 0"),
        (("--num", 1), "the corpora have 3 speakers, too few for conversations of 6"),
        (("--num", 1, "--max-speakers", 2), "no speech found in the 1 utterances of speaker"),
        (("--num", 1, "--statistics", "nowhere.json"), "nowhere.json: no such file"),
        (("--num", 1, "--max-speakers", 2, "--corpus", "nowhere"), "nowhere: no such folder"),
    ],
)
def test_bad_options(
    options: tuple[object, ...],
    message: str,
    corpus: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert message in error(capsys, "--corpus", corpus, "--out", tmp_path / "out", *options)
    assert not (tmp_path / "out").exists()


def test_a_corpus_without_speakers(corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shape = ("--num", 1, "--out", tmp_path / "out")
    assert "is not in a speaker folder" in error(capsys, "--corpus", corpus / "a", *shape)
    (tmp_path / "empty").mkdir()
    assert "empty: contains no file with an audio suffix" in error(
        capsys, "--corpus", tmp_path / "empty", *shape
    )


def test_other_folders_are_not_replaced(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    keep = tmp_path / "thesis" / "chapter1.txt"
    keep.parent.mkdir()
    keep.write_text("irreplaceable")
    message = error(capsys, "--corpus", corpus, "--num", 1, "--max-speakers", 2, "--out", keep.parent)
    assert "contains files other than a simulation" in message
    assert keep.read_text() == "irreplaceable"


def test_a_manifest_of_another_corpus(
    simulation: Path, corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest = simulation / "out" / "manifest.jsonl"
    message = error(capsys, "--manifest", manifest, "--corpus", corpus, "--out", tmp_path / "out")
    assert f"{manifest}:1: utterance " in message
    assert "is missing: there is no" in message

"""docs/api.md: the example of every command runs as it stands, on a small corpus."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
import soundfile
import yaml

from sdpn.cli.main import main
from sdpn.config import parse_override
from sdpn.io.audio import read
from sdpn.io.kaldi import vector_writer
from sdpn.io.rttm import Turn, write_rttm, write_rttms
from tests.adaptation.conftest import base, calls  # noqa: F401 - fixtures
from tests.adaptation.test_adapt import SMALL
from tests.benchmark.small_corpora import write_corpora
from tests.cli.test_library import LIBRARY, elsewhere
from tests.conftest import TINY

PAGE = Path(__file__).resolve().parents[2] / "docs/api.md"
EXAMPLE = re.compile(r"^### sdpn (\S+)\n\n```python\n(.*?)```", re.DOTALL | re.MULTILINE)
EXAMPLES = dict(EXAMPLE.findall(PAGE.read_text()))

#: Examples that take over five seconds on a busy machine; test_library.py runs these functions, too.
SLOW = {
    "train",
    "finetune",
    "adapt",
    "pseudo-label",
    "diarize",
    "serve",
    "enroll",
    "edit",
    "link",
    "batch",
    "verify-receipt",
    "benchmark",
    "models",
}


def write_settings(path: Path, overrides: list[str]) -> None:
    """Settings as a configuration file."""
    document: dict[str, dict[str, object]] = {}
    for key, value in map(parse_override, overrides):
        section, _, name = key.partition(".")
        document.setdefault(section, {})[name] = value
    path.parent.mkdir(exist_ok=True)
    path.write_text(yaml.safe_dump(document))


@pytest.fixture
def folder(
    tmp_path: Path,
    voices: Path,
    base: Path,  # noqa: F811
    calls: Path,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> Path:
    """Everything that the examples name."""
    rng = np.random.default_rng(0)
    (tmp_path / "data").mkdir()
    (tmp_path / "exp").mkdir()
    (tmp_path / "data/train").symlink_to(voices)
    (tmp_path / "data/dev").symlink_to(voices)
    (tmp_path / "data/calls").symlink_to(calls)
    elsewhere(voices, tmp_path / "data/fit")
    (tmp_path / "exp/trained").symlink_to(base.parent)
    write_settings(tmp_path / "conf/mini.yaml", [*TINY, "training.steps=1", "training.workers=0"])
    write_settings(tmp_path / "conf/finetune.yaml", ["training.batch_size=4", "training.workers=0"])
    write_settings(tmp_path / "adapt.yaml", [*SMALL, "training.steps=0"])
    for name, seconds in (("a", 2), ("b", 2), ("meeting", 4)):
        soundfile.write(tmp_path / f"{name}.wav", 0.1 * rng.standard_normal(16000 * seconds), 16000)
    with vector_writer(tmp_path) as write:
        for index in range(24):
            write(f"u{index:02}", rng.standard_normal(6) + 3 * np.eye(6)[index % 6])
    windows = [f"u{index:02} m {0.75 * index} {0.75 * index + 1.5}\n" for index in range(24)]
    (tmp_path / "segments").write_text("".join(windows))
    (tmp_path / "windows.scp").write_text((tmp_path / "embeddings.scp").read_text())
    for name, onset_s in (("ref", 1.0), ("hyp", 1.2)):
        write_rttm(tmp_path / name / "m.rttm", "m", [Turn("m", onset_s, 3.0, "x")])
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write_meetings(corpus: Path, folder: Path) -> None:
    """``dev/a.wav`` and ``dev/b.wav``, of two speakers each, who take turns; their reference."""
    speakers = sorted(corpus.iterdir())
    (folder / "dev").mkdir()
    turns = []
    for number, name in enumerate("ab"):
        pieces: list[np.ndarray] = []
        for turn in range(4):
            speaker = speakers[2 * number + turn % 2]
            wave = read(sorted(speaker.glob("*.opus"))[turn])
            turns.append(Turn(name, sum(map(len, pieces)) / 16000, len(wave) / 16000, speaker.name))
            pieces.append(wave)
        soundfile.write(folder / "dev" / f"{name}.wav", np.concatenate(pieces), 16000)
    write_rttms(folder / "dev.rttm", turns)


def test_every_command_has_an_example() -> None:
    assert list(EXAMPLES) == list(LIBRARY)


@pytest.mark.parametrize(
    "command", [pytest.param(name, marks=[pytest.mark.slow] * (name in SLOW)) for name in LIBRARY]
)
def test_the_example_runs(command: str, folder: Path, request: pytest.FixtureRequest) -> None:
    if command == "simulate":
        corpus = request.getfixturevalue("shared_data") / "speechocean762" / "dev"
        (folder / "corpus").mkdir()
        for speaker in sorted(corpus.iterdir())[:2]:
            (folder / "corpus" / speaker.name).symlink_to(speaker)
    if command == "enroll":
        speaker = request.getfixturevalue("shared_data") / "speechocean762/dev/0003"
        sentences = [soundfile.read(clip)[0] for clip in sorted(speaker.glob("*.opus"))[:4]]
        soundfile.write(folder / "anna.wav", np.concatenate(sentences), 16000)
    if command == "words":
        heard = [{"word": "hello", "start": 1.2, "end": 1.6}]
        (folder / "asr.json").write_text(json.dumps({"words": heard}))
    if command in ("edit", "link"):
        write_rttm(folder / "speech.rttm", "meeting", [Turn("meeting", 0.2, 3.5, "x")])
        words = ["--format", "json", "--embeddings", "--reference-speech", "speech.rttm", "--quiet"]
        assert main(["diarize", "meeting.wav", "--out", "out", *words]) == 0
    if command == "tune":
        write_meetings(request.getfixturevalue("shared_data") / "speechocean762/dev", folder)
    if command == "benchmark":
        write_corpora(folder / "corpora")
    before = {path for path in folder.rglob("*") if path.is_file()}
    exec(compile(EXAMPLES[command], f"{PAGE.name}, sdpn {command}", "exec"), {"__name__": "example"})
    writes = command not in {"compare", "verify", "drift", "score", "models"}
    wrote = {path for path in folder.rglob("*") if path.is_file()} - before
    assert bool(wrote) == writes or command == "report"

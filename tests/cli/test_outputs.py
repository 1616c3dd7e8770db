"""Every output of every command: what cannot be written is one line and exit code 2, before the work."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from sdpn.cli.commands import COMMANDS, command_module, make_parser
from sdpn.cli.main import main
from sdpn.errors import InputError
from sdpn.io.atomic import check_writable
from sdpn.pretrained import model_path

#: Options that name files to be read. An option of paths that is neither here nor among its command's
#: ``OUTPUTS`` fails below: nobody can forget to say which it is.
INPUTS = {
    "train": {"config", "data", "init", "labels", "teacher"},
    "average": {"averaged"},
    "finetune": {"config", "data", "labels", "model", "test", "unlabelled", "valid"},
    "adapt": {"data", "audio", "rehearse", "model"},
    "extract": {"data", "audio", "model"},
    "compare": {"audio", "model", "back_end"},
    "backend": {"model", "data", "audio", "classes", "noise", "rir"},
    "verify": {"trials", "embeddings", "mean", "plda", "cohort", "utt2spk", "utt2dur", "back_end"},
    "diarize": {"audio", "model", "ref", "reference_speech", "people", "back_end", "config"},
    "serve": {"model", "token_file", "config"},
    "tune": {"audio", "ref", "uem", "model"},
    "search": {"dev", "test"},
    "cross-validate": {"data", "before"},
    "ensemble": {"models", "data", "fit"},
    "prune": {"model", "data", "trials"},
    "enroll": {"audio", "model", "back_end"},
    "words": {"asr", "turns"},
    "edit": {"document", "corrections", "audio", "model"},
    "link": {"documents", "back_end"},
    "verify-receipt": {"document", "audio", "model"},
    "cluster": {"embeddings", "segments", "transform", "plda"},
    "kmeans": {"chunks", "model", "kmeans", "data", "init", "utt2spk"},
    "simulate": {"corpus", "rir", "noise", "manifest", "statistics"},
    "degrade": {"data", "noise", "rir"},
    "pseudo-label": {"model", "data", "embeddings", "halves", "utt2spk"},
    "benchmark": {"model", "data", "manifest", "config"},
    "pack": {"data"},
    "batch": set(),
    "data": {"directories", "utt_list", "spk_list"},
    "drift": {"experiment"},
    "score": {"ref", "hyp", "compare", "uem"},
    "report": {"experiment"},
    "explain": {"data", "model", "against", "trials", "embeddings", "ref", "hyp", "table"},
    "models": set(),
    "convert": {"adapters", "model", "head"},
    "config": {"config"},
    "completion": set(),
}

#: Arguments that a command needs besides the output; paths are relative to the folder of the inputs. None of
#: these would get beyond its first file, so that an error about the output has come before the work.
NEEDED = {
    "train": ["--data", "none", "--out", "OUT"],
    "average": ["none", "--out", "OUT"],
    "finetune": ["--data", "none", "--out", "OUT"],
    "adapt": ["--data", "none", "--out", "OUT"],
    "extract": ["--data", "none", "--out", "OUT"],
    "compare": ["none", "none"],
    "backend": ["--data", "none", "--out", "OUT"],
    "verify": ["--trials", "none", "--embeddings", "none"],
    "diarize": ["none", "--out", "OUT"],
    "serve": ["--model", "none", "--port", "0", "--out", "OUT"],
    "tune": ["none", "--ref", "none", "--out", "OUT"],
    "search": ["--try", "a=1", "--dev", "none", "--out", "OUT"],
    "cross-validate": ["--data", "none", "--out", "OUT"],
    "ensemble": ["--model", "none", "--data", "none", "--fit", "none", "--out", "OUT"],
    "prune": ["--model", "none", "--data", "none", "--out", "OUT"],
    "enroll": ["--name", "Anna", "none", "--people", "OUT"],
    "words": ["--asr", "none", "--turns", "none", "--out", "OUT"],
    "edit": ["none", "--same", "A", "B", "--out", "OUT"],
    "link": ["none", "--out", "OUT"],
    "verify-receipt": ["none"],
    "cluster": ["--embeddings", "none", "--segments", "none", "--out", "OUT"],
    "kmeans": ["none.npy", "--clusters", "2", "--out", "OUT"],
    "simulate": ["--corpus", "none", "--num", "1", "--out", "OUT"],
    "degrade": ["--data", "none", "--telephone", "--out", "OUT"],
    "pseudo-label": ["--data", "none", "--out", "OUT"],
    "benchmark": ["--data", "none", "--out", "OUT"],
    "pack": ["--data", "none", "--out", "OUT"],
    "batch": ["--jobs", "2"],
    "data": ["fix", "none", "--out", "OUT"],
    "drift": ["none"],
    "score": ["--ref", "none", "--hyp", "none"],
    "report": ["none"],
    "explain": ["utterance", "none", "--out", "OUT"],
    "models": ["none"],
    "convert": ["--model", "none", "--out", "OUT"],
    "config": ["none"],
    "completion": ["bash"],
}


def _outputs(command: str) -> dict[str, str]:
    return {**command_module(command).OUTPUTS, "json": "file"}


EVERY = [(command, option) for command in COMMANDS for option in _outputs(command)]


def _arguments(command: str, option: str, path: Path | str) -> list[str]:
    flag = f"--{option.replace('_', '-')}"
    needed = NEEDED[command]
    given = [
        str(path) if before == flag else each for before, each in zip(["", *needed], needed, strict=False)
    ]
    return [command, *given, *([] if flag in needed else [flag, str(path)])]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_path_is_known_to_be_read_or_written(command: str) -> None:
    paths = {action.dest for action in make_parser(command)._actions if action.type in (Path, model_path)}
    assert paths == INPUTS[command] | _outputs(command).keys()


@contextmanager
def _file(folder: Path) -> Iterator[Path]:
    (folder / "file").write_text("there")
    yield folder / "file"
    assert (folder / "file").read_text() == "there"


def _lines(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return capsys.readouterr().err.splitlines()


@pytest.mark.parametrize(("command", "option"), EVERY)
def test_unwritable_outputs_are_reported_before_the_work(
    command: str,
    option: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    suffix = {"plot": ".png", "det": ".png"}.get(option, "")
    is_file = _outputs(command)[option] == "file"
    with _file(tmp_path) as file:
        (tmp_path / f"folder{suffix}").mkdir()
        wrong = {
            f"{file}/below/it{suffix}": "Not a directory",
            f"/proc/none{suffix}": "No such file",
            f"{'x' * 300}{suffix}": "File name too long",
            f"missing/{'x' * 300}{suffix}": "File name too long",
        }
        if is_file:
            wrong[f"folder{suffix}"] = "Is a directory"
        elif _outputs(command)[option] == "new":
            wrong[str(file)] = "already exists"
        else:
            wrong[str(file)] = "Not a directory"
        for path, why in wrong.items():
            assert main(_arguments(command, option, path)) == 2, path
            (line,) = _lines(capsys)
            assert line.startswith(f"sdpn {command}: error: {path}: ") and why in line, line
    assert sorted(os.listdir(tmp_path)) == ["file", f"folder{suffix}"]


@pytest.mark.parametrize(("command", "option"), EVERY)
def test_two_outputs_are_not_one_file(
    command: str,
    option: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    if option == "json":
        return
    monkeypatch.chdir(tmp_path)
    same = "x.png" if option in ("plot", "det") else "x"
    assert main([*_arguments(command, option, same), "--json", f"./{same}"]) == 2
    (line,) = _lines(capsys)
    assert f"given for both --{option.replace('_', '-')} and --json" in line


@pytest.fixture
def full(tmp_path: Path) -> Iterator[Path]:
    """A disk of 64 KiB without a free byte."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)]
    try:
        mounted = subprocess.run(command, capture_output=True).returncode == 0
    except OSError:
        mounted = False
    if not mounted:
        pytest.skip("mounting a small disk is not allowed here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def _fill(disk: Path) -> None:
    with pytest.raises(OSError, match="No space"), open(disk / "filler", "wb", buffering=0) as stream:
        while True:
            stream.write(bytes(4096))


@pytest.mark.parametrize(("command", "option"), EVERY)
def test_a_full_disk_is_found_before_the_work(
    command: str, option: str, full: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _fill(full)
    suffix = {"plot": ".png", "det": ".png"}.get(option, "")
    assert main(_arguments(command, option, full / f"new{suffix}")) == 2
    (line,) = _lines(capsys)
    assert "No space left on device" in line and "free some space" in line
    assert os.listdir(full) == ["filler"]


def _limited(arguments: list[str], limit: int) -> subprocess.CompletedProcess[str]:
    """Run ``sdpn`` where no file may grow beyond ``limit`` bytes: EFBIG, as on a disk that fills up."""

    def limited() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))

    program = [sys.executable, "-m", "sdpn.cli.main"]
    return subprocess.run(
        [*program, *arguments], preexec_fn=limited, text=True, capture_output=True, timeout=120
    )


@pytest.mark.parametrize("command", ["kmeans", "convert"])
def test_a_disk_that_fills_up_on_the_way_ends_with_one_line(command: str, tmp_path: Path) -> None:
    """The errors of NumPy and safetensors on a full disk become one line."""
    import numpy as np

    rows, out = tmp_path / "rows.npy", tmp_path / "out"
    np.save(rows, np.random.default_rng(0).standard_normal((4000, 8)).astype(np.float32))
    arguments = {"kmeans": [str(rows), "--clusters", "4"], "convert": []}
    done = _limited([command, *arguments[command], "--out", str(out), "--quiet"], 8192)
    assert done.returncode == 2, done.stderr
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"sdpn {command}: error: ") and "File too large" in line
    assert not list(tmp_path.rglob(".*.tmp*"))


@pytest.mark.slow
def test_output_that_goes_nowhere() -> None:
    program = f"{sys.executable} -m sdpn.cli.main"
    for command, code, message in (
        (f"{program} --help | head -c 1; exit ${{PIPESTATUS[0]}}", 1, ""),
        (f"{program} score --help | head -c 1; exit ${{PIPESTATUS[0]}}", 1, ""),
        (f"{program} models xvector | true; exit ${{PIPESTATUS[0]}}", 1, ""),
        (f"{program} models xvector > /dev/full", 2, "No space left on device"),
        (f"{program} models xvector --json /dev/full", 2, "/dev/full: cannot be written (No space left"),
        (f"{program} models xvector --json /dev/null > /dev/null", 0, ""),
        (f"{program} models xvector >&-", 0, ""),
    ):
        done = subprocess.run(["bash", "-c", command], text=True, capture_output=True)
        if code == 1 and done.returncode == 0:  # the pipe took all before its reader was gone
            code = 0
        assert done.returncode == code, (command, done.stderr)
        assert message in done.stderr and len(done.stderr.splitlines()) == bool(message), (
            command,
            done.stderr,
        )
    assert Path("/dev/full").is_char_device() and Path("/dev/null").is_char_device()


def test_json_to_standard_output_follows_the_table(tmp_path: Path) -> None:
    done = subprocess.run(
        f"{sys.executable} -m sdpn.cli.main models xvector --json /dev/stdout > {tmp_path / 'x'}",
        shell=True, text=True, capture_output=True, check=True,
    )  # fmt: skip
    table, brace, document = (tmp_path / "x").read_text().partition("{")
    assert table.startswith("encoder") and json.loads(brace + document)["schema"] == "sdpn.models/1"
    assert not done.stderr


def test_checking_leaves_nothing_behind(tmp_path: Path) -> None:
    for kind in ("file", "folder", "whole folder", "new"):
        check_writable(tmp_path / "a" / "b", kind)  # type: ignore[arg-type]
    assert not os.listdir(tmp_path)
    with pytest.raises(InputError, match="already exists"):
        check_writable(tmp_path, "new")

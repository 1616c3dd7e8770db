"""The sdpn command itself: help, exit codes, the document, and how fast it starts."""

from __future__ import annotations

import argparse
import json
import os
import re
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sdpn import __version__
from sdpn.cli.commands import COMMANDS, command_module
from sdpn.cli.main import main
from sdpn.errors import InputError

HEAVY = ("torch", "torchaudio", "numpy", "scipy", "sklearn", "matplotlib", "pyannote", "pandas", "soundfile")


class Command:
    """A subcommand whose ``run`` is handed to it, as a test needs it."""

    DESCRIPTION = "Try something."
    EXAMPLE = "  sdpn train --number 3"
    OUTPUTS = {"out": "folder"}  # noqa: RUF012 - as a module has it

    def __init__(self, run: Any) -> None:
        self.run = run

    @staticmethod
    def add_arguments(parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--number", type=int, default=1)
        parser.add_argument("--out", type=Path)


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Put a function in the place of ``sdpn train``."""

    def install(run: Any) -> None:
        monkeypatch.setitem(sys.modules, "sdpn.cli.train", Command(run))  # type: ignore[arg-type]

    return install


def python(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, check=False)


def test_help_lists_every_command_and_an_example(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["--help"])
    assert caught.value.code == 0
    shown = capsys.readouterr().out
    for name, summary in COMMANDS.items():
        assert f"  {name:<14} {summary}\n" in shown
        assert f"sdpn {name}" in shown


def test_no_command_shows_help_and_fails(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert "commands:" in capsys.readouterr().out


def test_version_and_unknown_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["--version"])
    assert caught.value.code == 0
    assert capsys.readouterr().out == f"sdpn {__version__}\n"
    with pytest.raises(SystemExit):
        main(["-V"])
    assert capsys.readouterr().out == f"sdpn {__version__}\n"
    assert main(["diarise"]) == 2
    assert capsys.readouterr().err == (
        "sdpn: error: unknown command 'diarise'; did you mean 'diarize'? ('sdpn --help' lists them)\n"
    )


def test_help_is_a_command_too(capsys: pytest.CaptureFixture[str]) -> None:
    shown = []
    for words in (["help"], ["--help"], ["help", "score"], ["score", "--help"]):
        with pytest.raises(SystemExit) as caught:
            main(words)
        assert caught.value.code == 0
        shown.append(capsys.readouterr().out)
    assert shown[0] == shown[1]
    assert shown[2] == shown[3]
    assert "usage: sdpn score" in shown[2]
    assert main(["help", "scoer"]) == 2
    assert "did you mean 'score'?" in capsys.readouterr().err


def test_a_mistyped_option_is_named_before_a_missing_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--dta", "x"]) == 2
    assert capsys.readouterr().err == "sdpn train: error: unknown option --dta; did you mean '--data'?\n"
    assert main(["train", "--zzzzzz=4"]) == 2
    assert capsys.readouterr().err == "sdpn train: error: unknown option --zzzzzz\n"
    with pytest.raises(SystemExit):  # after -- there are no options
        main(["compare", "--", "--a.wav"])
    assert "arguments are required" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["diarize", "--num-speakers", "x", "a.wav"], "diarize: error: argument --num-speakers: invalid int"),
        (["completion", "tcsh"], "completion: error: argument shell: invalid choice: 'tcsh'"),
        (["data", "valid", "x"], "data: error: argument"),
        (["score"], "score: error: the following arguments are required"),
        (["compare", "a", "b", "c\nd\x1b[2J"], r"compare: error: unrecognized arguments: c d\x1b[2J"),
        (["--unknown"], "sdpn: error: unrecognized arguments: --unknown"),
    ],
)
def test_a_wrong_command_line_is_one_line(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(words)
    said = capsys.readouterr().err
    assert ended.value.code == 2 and message in said
    assert said.count("\n") == 1 and said.endswith("\n")


def test_how_much_is_said_may_come_before_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    outcome = python("-m", "sdpn", "--verbose", "config", "diarize")
    assert outcome.returncode == 0 and "DEBUG: sdpn" in outcome.stderr
    assert main(["--quiet", "--debug", "config", "diarize"]) == 0
    capsys.readouterr()
    with pytest.raises(SystemExit):
        main(["--quiet", "--verbose", "config", "diarize"])
    assert "not allowed with" in capsys.readouterr().err


@pytest.mark.slow
def test_verbose_says_what_was_used(command: Any, capsys: pytest.CaptureFixture[str]) -> None:
    command(lambda _: {})
    outcome = python("-m", "sdpn", "models", "--verbose")
    assert outcome.returncode == 0
    assert f"DEBUG: sdpn {__version__}, Python " in outcome.stderr
    memory = re.search(r"s in others, (\d+) MB of memory at most", outcome.stderr)
    assert memory is not None and 20 < int(memory[1]) < 4000
    with pytest.raises(SystemExit):
        main(["train", "--verbose", "--quiet"])
    assert "not allowed with" in capsys.readouterr().err


def test_the_help_of_a_command_has_its_example(command: Any, capsys: pytest.CaptureFixture[str]) -> None:
    command(lambda _: {})
    with pytest.raises(SystemExit) as caught:
        main(["train", "--help"])
    assert caught.value.code == 0
    shown = capsys.readouterr().out
    assert "usage: sdpn train" in shown
    assert "example:\n  sdpn train --number 3" in shown
    assert all(option in shown for option in ("--json FILE", "--debug", "--quiet"))


def test_input_errors_are_one_line_and_code_2(command: Any, capsys: pytest.CaptureFixture[str]) -> None:
    def run(_: argparse.Namespace) -> dict[str, Any]:
        raise InputError("is wrong\nthrough and through", path="x", line=3, hint="mend it")

    command(run)
    assert main(["train"]) == 2
    captured = capsys.readouterr()
    assert captured.err == "sdpn train: error: x:3: is wrong through and through (mend it)\n"
    assert captured.out == ""
    with pytest.raises(InputError):
        main(["train", "--debug"])


def test_the_traceback_is_shown_on_demand(tmp_path: Path) -> None:
    arguments = ["-m", "sdpn.cli.main", "score", "--ref", str(tmp_path / "absent.rttm"), "--hyp", "x.rttm"]
    plain, debug = python(*arguments), python(*arguments, "--debug")
    assert plain.returncode == 2
    assert plain.stderr == f"sdpn score: error: {tmp_path / 'absent.rttm'}: no such file\n"
    assert debug.returncode != 0
    assert "Traceback" in debug.stderr
    assert "absent.rttm: no such file" in debug.stderr


def test_bugs_are_not_hidden(command: Any) -> None:
    def run(_: argparse.Namespace) -> dict[str, Any]:
        raise ValueError("a bug")

    command(run)
    with pytest.raises(ValueError, match="a bug"):
        main(["train"])


def test_an_interrupted_command_reports_it(command: Any, capsys: pytest.CaptureFixture[str]) -> None:
    def run(_: argparse.Namespace) -> dict[str, Any]:
        raise KeyboardInterrupt

    command(run)
    assert main(["train"]) == 130
    assert capsys.readouterr().err == "sdpn train: interrupted\n"


def test_the_document_has_the_command_and_its_results(command: Any, tmp_path: Path) -> None:
    command(lambda args: {"double": np.float32(2.5) * args.number, "count": np.int64(3), "where": args.out})
    out = tmp_path / "deep" / "out.json"
    arguments = ["--number", "2", "--out", "some where", "--json", str(out)]
    assert main(["train", *arguments]) == 0
    assert json.loads(out.read_text()) == {
        "schema": "sdpn.train/1",
        "command": ["sdpn", "train", *arguments],
        "configuration": {"number": 2, "out": "some where"},
        "results": {"double": 5.0, "count": 3, "where": "some where"},
    }


def test_a_command_may_judge_its_results(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    class Judging(Command):
        @staticmethod
        def exit_code(args: argparse.Namespace, results: dict[str, Any]) -> int:
            return int(results["found"] < args.number)

    monkeypatch.setitem(sys.modules, "sdpn.cli.train", Judging(lambda _: {"found": 2}))  # type: ignore[arg-type]
    out = tmp_path / "out.json"
    assert main(["train", "--number", "2"]) == 0
    assert main(["train", "--number", "3", "--json", str(out)]) == 1
    assert json.loads(out.read_text())["results"] == {"found": 2}


@pytest.mark.parametrize("value", [float("nan"), object()])
def test_results_that_are_no_json_are_a_bug(command: Any, tmp_path: Path, value: object) -> None:
    command(lambda _: {"value": value})
    with pytest.raises((TypeError, ValueError)):
        main(["train", "--json", str(tmp_path / "out.json")])
    assert list(tmp_path.iterdir()) == []


def test_a_document_that_cannot_be_written_is_named(
    command: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command(lambda _: {})
    assert main(["train", "--json", str(tmp_path)]) == 2
    assert f"{tmp_path}: cannot be written (Is a directory)" in capsys.readouterr().err


def test_the_reader_of_the_output_may_leave(tmp_path: Path) -> None:
    (tmp_path / "trials").write_text("1 a b\n0 a c\n")
    (tmp_path / "x.ark").write_text("a  [ 1 0 ]\nb  [ 1 1 ]\nc  [ 0 1 ]\n")
    read_end, write_end = os.pipe()
    os.close(read_end)
    arguments = ["verify", "--trials", str(tmp_path / "trials"), "--embeddings", str(tmp_path / "x.ark")]
    done = subprocess.run(
        [sys.executable, "-m", "sdpn.cli.main", *arguments],
        stdout=write_end,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    os.close(write_end)
    assert (done.returncode, done.stderr) == (1, "")


def test_help_imports_nothing_heavy() -> None:
    program = (
        "import sys; from sdpn.cli.main import main\n"
        "try: main(sys.argv[1:])\n"
        f"finally: print('heavy:', sorted({{name.split('.')[0] for name in sys.modules}} & set({HEAVY})))"
    )
    for arguments in (["--help"], ["score", "--help"], ["verify", "--help"]):
        done = python("-c", program, *arguments)
        assert done.returncode == 0, done.stderr
        assert done.stdout.endswith("heavy: []\n")


def test_importing_the_package_imports_nothing_heavy() -> None:
    done = python("-c", f"import sys, sdpn; sys.exit(sorted(set(sys.modules) & set({HEAVY})) or 0)")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("arguments", [["--help"], ["score", "--help"], ["verify", "--help"]])
def test_help_takes_less_than_half_a_second_of_processor_time(arguments: list[str]) -> None:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert python("-m", "sdpn.cli.main", *arguments).returncode == 0
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 0.5


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_keeps_the_contract(name: str) -> None:
    module = command_module(name)
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    module.add_arguments(parser)
    assert module.DESCRIPTION.strip()
    assert f"sdpn {name} " in module.EXAMPLE
    assert callable(module.run)
    taken = {option for action in parser._actions for option in action.option_strings}
    assert not taken & {"--json", "--debug", "--quiet", "--help", "-h"}  # which main adds
    assert all(action.help for action in parser._actions), "every option explains itself"

"""tools/parse_options.sh, sourced by a script of its own."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

TOOLS = Path(__file__).resolve().parents[2] / "tools"

_SCRIPT = f"""#!/usr/bin/env bash
set -euo pipefail
stage=0
force=false
model=
stop_stage=6
corpus=()
secret=1
help_message="usage: demo
  --stage N   first stage (default $stage)
  --stop_stage N   last
  --force     run anyhow
  --model M   model
  --corpus D  repeatable"
source '{TOOLS}/parse_options.sh'
echo "stage=$stage stop_stage=$stop_stage force=$force model=$model secret=$secret"
for one in ${{corpus[@]+"${{corpus[@]}}"}} "$@"; do echo "<$one>"; done
"""


@pytest.fixture(scope="module")
def script(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("options") / "demo.sh"
    path.write_text(_SCRIPT)
    return path


def run(script: Path, *args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["bash", str(script), *args], capture_output=True, text=True, timeout=30)


def test_without_options_the_declared_values_stay(script: Path) -> None:
    done = run(script)
    assert done.returncode == 0
    assert done.stdout == "stage=0 stop_stage=6 force=false model= secret=1\n"


def test_values_flags_and_arguments(script: Path) -> None:
    done = run(script, "--stage", "2", "--force", "--model", "a b/c", "--stop-stage=4", "left", "--over")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "stage=2 stop_stage=4 force=true model=a b/c secret=1",
        "<left>",
        "<--over>",
    ]


def test_repeated_option_collects_every_value_unharmed(script: Path) -> None:
    values = ["one", "two words", "$(echo no) `no` \"quoted\" 'too' *"]
    done = run(script, *(word for value in values for word in ("--corpus", value)))
    assert done.stdout.splitlines()[1:] == [f"<{value}>" for value in values]


def test_double_dash_ends_the_options(script: Path) -> None:
    assert run(script, "--", "--stage").stdout.splitlines()[1:] == ["<--stage>"]


def test_value_may_be_negative_or_a_list_of_options(script: Path) -> None:
    done = run(script, "--stage", "-1", "--model", "--deep 2 --wide 3")
    assert done.stdout == "stage=-1 stop_stage=6 force=false model=--deep 2 --wide 3 secret=1\n"


def test_help_prints_the_message_with_defaults(script: Path) -> None:
    done = run(script, "--stage", "1", "--help")
    assert done.returncode == 0
    assert "--stage N   first stage (default 0)" in done.stdout
    assert "stage=" not in done.stdout


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--bogus", "1"], "unknown option --bogus"),
        (["--bogus=1"], "unknown option --bogus"),
        (["--secret", "1"], "unknown option --secret"),  # a variable, but no option that the help names
        (["--PATH", "x"], "unknown option --PATH"),
        (["--sta", "1"], "unknown option --sta"),  # no abbreviations
        (["--x[$(touch hacked)]", "1"], "unknown option --x["),
        (["--stage"], "--stage needs a value"),
        (["--model", "--force"], "--model needs a value"),
        (["--stage", "two"], "--stage needs a whole number, not 'two'"),
        (["--force=maybe"], "--force is a flag: true or false, not 'maybe'"),
    ],
)
def test_mistakes_are_one_line_and_exit_code_2(
    script: Path, args: list[str], message: str, tmp_path: Path
) -> None:
    done = subprocess.run(
        ["bash", str(script), *args], capture_output=True, text=True, timeout=30, cwd=tmp_path
    )
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith(f"demo.sh: error: {message}")
    assert done.stderr.count("\n") == 1
    assert not list(tmp_path.iterdir())

"""tools/stages.sh and tools/fingerprint.py: what makes a stage run again, and what does not."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

TOOLS = Path(__file__).resolve().parents[2] / "tools"

# two stages: the first copies 'in/table' to 'out/copy' (in a folder that it also fills with 'partial'), the
# second counts the lines of that copy; 'log' records each time that a stage's commands run
_SCRIPT = f"""#!/usr/bin/env bash
set -euo pipefail
stage=0 stop_stage=9 force=false fail=false option=a stage_markers=.stages python='{sys.executable}'
help_message="--stage N --stop_stage N --force --fail --option X"
source '{TOOLS}/parse_options.sh'
source '{TOOLS}/stages.sh'
copy_table() {{
  echo first >>log
  mkdir -p out
  echo begun >>out/partial
  if $fail; then false; fi
  cp in/table out/copy
}}
count_lines() {{ echo second >>log; wc -l <out/copy >count; }}
run_stage 1 first copy_table --text "option=$option" in --outputs out/copy --clears out
run_stage 2 second count_lines out/copy --outputs count
"""


class Recipe:
    """The script above in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "in").mkdir()
        (folder / "in" / "table").write_text("a\nb\n")
        (folder / "demo.sh").write_text(_SCRIPT)

    def run(self, *args: str, code: int = 0) -> list[str]:
        """Names of the stages whose commands ran."""
        self.log.unlink(missing_ok=True)
        self.done = subprocess.run(
            ["bash", "demo.sh", *args], capture_output=True, text=True, timeout=60, cwd=self.folder
        )
        assert self.done.returncode == code, self.done.stdout + self.done.stderr
        return self.log.read_text().split() if self.log.exists() else []

    @property
    def log(self) -> Path:
        return self.folder / "log"


@pytest.fixture
def recipe(tmp_path: Path) -> Recipe:
    return Recipe(tmp_path)


def test_second_run_does_nothing(recipe: Recipe) -> None:
    assert recipe.run() == ["first", "second"]
    assert recipe.run() == []
    assert recipe.done.stdout == "stage 1: first: up to date\nstage 2: second: up to date\n"


def test_changed_content_reruns_the_stage_and_those_that_read_its_output(recipe: Recipe) -> None:
    recipe.run()
    (recipe.folder / "in" / "table").write_text("a\nb\nc\n")
    assert recipe.run() == ["first", "second"]
    assert "(changed: in)" in recipe.done.stdout
    assert (recipe.folder / "count").read_text().strip() == "3"


def test_stage_whose_input_came_out_the_same_does_not_rerun(recipe: Recipe) -> None:
    recipe.run()
    (recipe.folder / "in" / "unrelated").write_text("x")
    assert recipe.run() == ["first"]  # the copy it makes is the same, so the count holds


def test_touching_a_table_changes_nothing(recipe: Recipe) -> None:
    recipe.run()
    os.utime(recipe.folder / "in" / "table", ns=(1, 1))
    assert recipe.run() == []


def test_changed_option_reruns_and_is_named(recipe: Recipe) -> None:
    recipe.run()
    assert recipe.run("--option", "b") == ["first"]
    assert "(changed: option)" in recipe.done.stdout


def test_changed_commands_rerun(recipe: Recipe) -> None:
    recipe.run()
    script = recipe.folder / "demo.sh"
    script.write_text(script.read_text().replace("wc -l", "wc -c"))
    assert recipe.run() == ["second"]
    assert "(changed: commands)" in recipe.done.stdout


def test_removed_or_damaged_output_reruns(recipe: Recipe) -> None:
    recipe.run()
    (recipe.folder / "count").unlink()
    assert recipe.run() == ["second"]
    (recipe.folder / "out" / "copy").write_text("damaged")
    assert recipe.run() == ["first"]


def test_force_reruns_the_chosen_stages_only(recipe: Recipe) -> None:
    recipe.run()
    assert recipe.run("--force", "--stage", "2") == ["second"]
    assert recipe.run("--force", "--stop_stage", "1") == ["first"]


def test_interrupted_stage_leaves_no_marker_and_goes_on(recipe: Recipe) -> None:
    assert recipe.run("--fail", code=1) == ["first"]
    assert not (recipe.folder / ".stages" / "1.done").exists()
    assert recipe.run() == ["first", "second"]
    # same inputs: what the interrupted stage left was kept, so that training can resume from it
    assert (recipe.folder / "out" / "partial").read_text().split() == ["begun", "begun"]


def test_interrupted_stage_starts_clean_when_its_inputs_changed(recipe: Recipe) -> None:
    recipe.run("--fail", code=1)
    assert recipe.run("--option", "b") == ["first", "second"]
    assert (recipe.folder / "out" / "partial").read_text().split() == ["begun"]


def test_failed_rerun_of_a_done_stage_is_not_done(recipe: Recipe) -> None:
    recipe.run()
    assert recipe.run("--force", "--fail", code=1) == ["first"]
    assert recipe.run() == ["first"]


def test_missing_input_names_the_file_and_the_remedy(recipe: Recipe) -> None:
    assert recipe.run("--stage", "2", code=2) == []
    assert "missing: out/copy" in recipe.done.stderr
    assert "run the stages before it" in recipe.done.stderr


def fingerprint(*args: str | Path, code: int = 0) -> str:
    done = subprocess.run(
        [sys.executable, str(TOOLS / "fingerprint.py"), *map(str, args)],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == code, done.stderr
    return done.stdout


def test_audio_of_a_data_directory_counts_by_size_and_time(
    tmp_path: Path, write_tone: Callable[..., Path]
) -> None:
    wave = write_tone(tmp_path / "far away" / "a.wav")
    data = tmp_path / "data"
    data.mkdir()
    (data / "wav.scp").write_text(f"a {wave}\n")
    before = fingerprint(data)
    assert fingerprint(data) == before
    os.utime(wave, ns=(1, 1))
    touched = fingerprint(data)
    assert touched != before
    write_tone(wave, duration_s=0.6)
    os.utime(wave, ns=(1, 1))
    assert fingerprint(data) not in (before, touched)
    wave.unlink()
    assert fingerprint(data, code=2) == ""


def test_renamed_file_changes_a_folder(tmp_path: Path, write_tone: Callable[..., Path]) -> None:
    write_tone(tmp_path / "corpus" / "s1" / "a.wav")
    before = fingerprint(tmp_path / "corpus")
    (tmp_path / "corpus" / "s1").rename(tmp_path / "corpus" / "s2")
    assert fingerprint(tmp_path / "corpus") != before


def test_code_covers_what_a_command_imports_and_nothing_else(tmp_path: Path) -> None:
    """A package shaped like sdpn, found through PYTHONPATH."""
    sources = {
        "__init__.py": "from pack.report import page  # the lazy public face\n",
        "cli/__init__.py": "",
        "cli/score.py": "def run():\n    from pack.metrics.der import der\n    return der\n",
        "cli/report.py": "import pack.report\n",
        "metrics/__init__.py": "",
        "metrics/der.py": "from pack.io import rttm\n",
        "metrics/registered_by_name.py": "",
        "io/__init__.py": "",
        "io/rttm.py": "",
        "report/__init__.py": "",
        "report/page.py": "",
    }
    root = tmp_path / "pack"
    for name, text in sources.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)

    def of(module: str) -> str:
        done = subprocess.run(
            [sys.executable, str(TOOLS / "fingerprint.py"), "--code", module],
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
            env={**os.environ, "PYTHONPATH": str(tmp_path)},
        )
        return done.stdout

    before = of("pack.cli.score")
    changes = {}
    for name, text in sources.items():
        (root / name).write_text(text + "# changed\n")
        changes[name] = of("pack.cli.score") != before
        (root / name).write_text(text)
    assert [name for name, changed in changes.items() if not changed] == [
        "__init__.py",
        "cli/__init__.py",
        "cli/report.py",
        "report/__init__.py",
        "report/page.py",
    ]


def test_a_table_of_places_in_archives_names_the_archives(tmp_path: Path) -> None:
    """``x.tar:1536``, as in packed speech: what matters is the archive."""
    (tmp_path / "x.tar").write_bytes(b"one")
    (tmp_path / "data").mkdir()
    (tmp_path / "data/wav.scp").write_text("a ../x.tar:512\nb ../x.tar:2048\n")
    before = fingerprint(tmp_path / "data")
    (tmp_path / "x.tar").write_bytes(b"two")
    assert fingerprint(tmp_path / "data") not in ("", before)
    (tmp_path / "x.tar").unlink()
    assert fingerprint(tmp_path / "data", code=2) == ""

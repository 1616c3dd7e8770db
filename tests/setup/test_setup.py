"""Packaging: constraints, console script, Makefile, set-up script, CI entry."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from importlib.metadata import distribution, requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]


def constraints() -> dict[str, Requirement]:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    found = [Requirement(line) for line in lines if line and not line.startswith("#")]
    return {canonicalize_name(requirement.name): requirement for requirement in found}


def needed(name: str, extras: frozenset[str]) -> set[str]:
    """Every installed distribution that ``name`` with ``extras`` pulls in, however indirectly."""
    seen: dict[str, frozenset[str]] = {}
    waiting = [(name, extras)]
    while waiting:
        name, extras = waiting.pop()
        name = canonicalize_name(name)
        if seen.get(name, frozenset({"-"})) >= extras | {"-"}:
            continue
        seen[name] = seen.get(name, frozenset()) | extras | {"-"}
        for text in requires(name) or []:
            requirement = Requirement(text)
            if requirement.marker is None or any(
                requirement.marker.evaluate({"extra": extra}) for extra in (extras | {""})
            ):
                waiting.append((requirement.name, frozenset(requirement.extras)))
    return set(seen)


def test_constraints_pin_everything_that_an_installation_pulls_in() -> None:
    everything = needed("sdpn", frozenset({"demo", "docs", "test", "lint"})) - {"sdpn"}
    # what a CUDA build of torch brings along is pinned by torch itself
    everything = {
        name for name in everything if not name.startswith(("nvidia-", "cuda-")) and name != "triton"
    }
    assert everything - constraints().keys() == set()


def test_constraints_are_exact_and_name_no_build() -> None:
    for requirement in constraints().values():
        assert re.fullmatch(r"==[0-9][0-9a-z.]*", str(requirement.specifier)), requirement


def test_constraints_admit_what_setup_py_asks_for() -> None:
    pinned = constraints()
    for text in requires("sdpn") or []:
        requirement = Requirement(text)
        version = str(pinned[canonicalize_name(requirement.name)].specifier).removeprefix("==")
        assert requirement.specifier.contains(version), f"{requirement} against {version}"


def test_the_package_itself_does_not_need_espeak() -> None:
    """It is GPL-3: fine for the demo and the tests, not as a dependency."""
    assert "espeakng-loader" not in needed("sdpn", frozenset())
    for path in (ROOT / "sdpn").rglob("*.py"):
        assert re.search(r"\bespeak", path.read_text(encoding="utf-8")) is None, path  # not wespeaker


def test_console_script_runs_and_agrees_on_the_version() -> None:
    script = Path(sys.executable).parent / "sdpn"
    done = subprocess.run([script, "--version"], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == f"sdpn {distribution('sdpn').version}"


def test_licence_is_the_complete_apache_text() -> None:
    text = (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert text.split()[:4] == ["Apache", "License", "Version", "2.0,"]
    for number, title in enumerate(
        (
            *("Definitions", "Grant of Copyright License", "Grant of Patent License", "Redistribution"),
            *("Submission of Contributions", "Trademarks", "Disclaimer of Warranty"),
            *("Limitation of Liability", "Accepting Warranty or Additional Liability"),
        ),
        start=1,
    ):
        assert f"{number}. {title}" in text
    assert "END OF TERMS AND CONDITIONS" in text


def test_ci_runs_the_readmes_command_and_nothing_else(tmp_path: Path) -> None:
    """With a make that only says how it was called."""
    make = tmp_path / "make"
    make.write_text('#!/bin/sh\necho "make $* in $(pwd)"\nexit 7\n')
    make.chmod(0o755)
    done = subprocess.run(
        ["bash", str(ROOT / ".ci" / "run")],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=tmp_path,
        env={**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"},
    )
    assert done.stdout == f"make test in {ROOT}\n"
    assert done.returncode == 7  # a failure of the tests is a failure of CI


@pytest.mark.parametrize(("target", "marked"), [("test", True), ("test-all", False)])
def test_only_make_test_all_runs_the_slow_tests(target: str, marked: bool) -> None:
    """``make -n`` prints its commands; in both it is the same call of pytest, but for the marker."""
    done = subprocess.run(["make", "-n", "-C", str(ROOT), target], capture_output=True, text=True, timeout=60)
    (command,) = [line for line in done.stdout.splitlines() if "-m pytest" in line]
    assert command.partition("-m pytest ")[2].startswith("-n 2 --dist worksteal -ra tests")
    assert ('-m "not slow"' in command) is marked


def test_make_explains_itself() -> None:
    done = subprocess.run(["make", "-C", str(ROOT)], capture_output=True, text=True, timeout=60, check=True)
    targets = ("demo", "test", "test-all", "docs", "lint", "clean")
    for word in (*(f"make {target}" for target in targets), "TORCH_BACKEND"):
        assert word in done.stdout


class Checkout:
    """A copy of what the set-up reads, with a Python whose pip only notes what it was asked to install."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "tools").mkdir()
        for name in ("setup.py", "constraints.txt", "tools/setup_venv.sh"):
            shutil.copy(ROOT / name, folder / name)
        self.python = folder / "fake python"
        self.set_version("3.11.7")

    def set_version(self, version: str) -> None:
        """Let the fake Python say that it is ``version``; it makes 'environments' that hold itself."""
        old = tuple(map(int, version.split("."))) < (3, 10)
        self.python.write_text(f"""#!/bin/bash
case "$*" in
  *_base_executable*) echo "$0" ;;
  *"%d.%d.%d"*) echo {version} ;;
  *"version_info < (3, 10)"*) exit {int(old)} ;;
  "-m venv .venv") mkdir -p .venv/bin; cp "$0" .venv/bin/python; echo venv >>calls ;;
  "-m pip "*) echo "pip $*" >>calls; [ ! -e pip_fails ] ;;
  *) echo "unexpected: $*" >&2; exit 9 ;;
esac
""")
        self.python.chmod(0o755)

    def setup(self, code: int = 0, **variables: str) -> list[str]:
        """Run the set-up; returns what it called."""
        calls = self.folder / "calls"
        calls.unlink(missing_ok=True)
        environment = {key: value for key, value in os.environ.items() if key != "TORCH_BACKEND"}
        self.done = subprocess.run(
            ["bash", str(self.folder / "tools" / "setup_venv.sh")],
            capture_output=True,
            text=True,
            timeout=60,
            env={**environment, "PYTHON": str(self.python), **variables},
        )
        assert self.done.returncode == code, self.done.stderr
        return calls.read_text().splitlines() if calls.exists() else []


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    return Checkout(tmp_path)


def test_set_up_once_then_nothing(checkout: Checkout) -> None:
    made, installed = checkout.setup()
    assert made == "venv"
    assert installed.endswith("--editable .[demo,docs,test,lint]")
    assert "--extra-index-url" not in installed
    assert checkout.setup() == []
    assert checkout.done.stdout == ""


@pytest.mark.parametrize("name", ["setup.py", "constraints.txt"])
def test_changed_requirements_install_again_in_the_same_environment(checkout: Checkout, name: str) -> None:
    checkout.setup()
    with open(checkout.folder / name, "a") as stream:
        stream.write("# changed\n")
    (call,) = checkout.setup()
    assert call.startswith("pip ")
    assert checkout.setup() == []


def test_torch_backend_adds_its_index_and_stays(checkout: Checkout) -> None:
    _, installed = checkout.setup(TORCH_BACKEND="cpu")
    assert "--extra-index-url https://download.pytorch.org/whl/cpu " in installed
    assert checkout.setup() == []  # without the variable the environment keeps its build
    made, installed = checkout.setup(TORCH_BACKEND="cu130")
    assert made == "venv"
    assert "/whl/cu130 " in installed


def test_another_python_makes_another_environment(checkout: Checkout) -> None:
    checkout.setup()
    checkout.set_version("3.12.1")
    assert checkout.setup()[0] == "venv"


def test_failed_installation_is_tried_again(checkout: Checkout) -> None:
    (checkout.folder / "pip_fails").touch()
    checkout.setup(code=1)
    (checkout.folder / "pip_fails").unlink()
    assert any(call.startswith("pip ") for call in checkout.setup())


def test_two_set_ups_at_once_install_once(checkout: Checkout) -> None:
    command = ["bash", str(checkout.folder / "tools" / "setup_venv.sh")]
    both = [
        subprocess.Popen(
            command, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHON": str(checkout.python)}
        )
        for _ in range(2)
    ]
    printed = [process.communicate(timeout=60)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0]
    if shutil.which("flock"):
        assert sorted(map(bool, printed)) == [False, True]


@pytest.mark.parametrize(
    ("variables", "version", "message"),
    [
        ({}, "3.8.18", "is Python 3.8.18, and 3.10 or newer is needed"),
        ({"PYTHON": "/no/such/python"}, "3.11.7", "there is no '/no/such/python'"),
        ({"TORCH_BACKEND": "cpu/../x"}, "3.11.7", "TORCH_BACKEND='cpu/../x' is no name of a build"),
    ],
)
def test_set_up_reports_what_is_wrong(
    checkout: Checkout, variables: dict[str, str], version: str, message: str
) -> None:
    checkout.set_version(version)
    assert checkout.setup(code=2, **variables) == []
    assert checkout.done.stderr.startswith("setup: error: ")
    assert message in checkout.done.stderr
    assert not (checkout.folder / ".venv").exists()

"""Every version of Python that setup.py names: the environment of `make` can be resolved for it.

Nothing is installed, and no such Python is needed: uv reads what the packages say about themselves.
"""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.conftest import ROOT

VERSIONS = re.findall(r'"Programming Language :: Python :: (3\.\d+)"', (ROOT / "setup.py").read_text())
EXTRAS = ("demo", "docs", "test", "lint", "serve")
#: Where pip is configured to look, as uv's options.
OPTIONS = {"index-url": "--index-url", "extra-index-url": "--extra-index-url", "find-links": "--find-links"}


def where_pip_looks() -> list[str]:
    """The indices of pip's configuration, which uv does not read."""
    listed = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=True
    )
    found = []
    for line in listed.stdout.splitlines():
        key, _, value = line.partition("=")
        option = OPTIONS.get(re.split(r"[.:]", key)[-1].lstrip("."))
        if option is not None:
            found += [word for each in ast.literal_eval(value).split() for word in (option, each)]
    return found


def test_the_versions_begin_with_the_one_that_is_required() -> None:
    (oldest,) = re.findall(r'python_requires=">=([\d.]+)"', (ROOT / "setup.py").read_text())
    assert VERSIONS[0] == oldest and VERSIONS[1:] == ["3.11", "3.12", "3.13"]


@pytest.mark.slow
def test_an_environment_is_found_for_every_version(tmp_path: Path) -> None:
    """All at once, since it is a matter of waiting for the index."""
    uv = shutil.which("uv", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
    assert uv is not None, "it is in the extra 'test'"
    command = [uv, "pip", "compile", "setup.py", "--constraint", "constraints.txt", "--quiet"]
    command += [word for extra in EXTRAS for word in ("--extra", extra)]
    command += ["--index-strategy", "unsafe-best-match", "--python-platform", "linux", *where_pip_looks()]
    running = {
        version: subprocess.Popen(
            [*command, "--python-version", version, "--output-file", str(tmp_path / version)],
            cwd=ROOT,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        for version in VERSIONS
    }
    said = {version: process.communicate(timeout=240)[1] for version, process in running.items()}
    if any("Failed to fetch" in text or "client error" in text for text in said.values()):
        pytest.skip("no package index can be reached")
    assert {version: process.returncode for version, process in running.items()} == dict.fromkeys(
        VERSIONS, 0
    ), said
    pinned = {
        canonicalize_name(Requirement(line).name): Requirement(line)
        for line in (ROOT / "constraints.txt").read_text().splitlines()
        if line and not line.startswith("#")
    }
    for version in VERSIONS:
        resolved = dict(
            re.findall(r"^([\w.-]+)==(\S+)", (tmp_path / version).read_text(), flags=re.MULTILINE)
        )
        assert {"torch", "numpy", "fastapi", "pytest", "sphinx"} <= resolved.keys(), version
        environment = {"python_version": version, "python_full_version": f"{version}.99"}
        for name, requirement in pinned.items():
            holds = requirement.marker is None or requirement.marker.evaluate(environment)
            if holds and name in resolved and version != "3.11":
                assert requirement.specifier.contains(resolved[name]), (version, name, resolved[name])


def test_every_file_is_read_by_the_oldest() -> None:
    oldest = tuple(map(int, VERSIONS[0].split(".")))
    for folder in ("sdpn", "tests", "tools", "egs"):
        for file in (ROOT / folder).rglob("*.py"):
            ast.parse(file.read_text(encoding="utf-8"), str(file), feature_version=(oldest[0], oldest[1]))

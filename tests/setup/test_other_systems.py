"""What macOS and Windows lack is not needed: modules and functions that only Linux has are taken away.

This is no test on those systems; it finds what would fail there at once.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import sdpn

_TAKEN_AWAY = """
import os, signal, sys
LACKS = {
    "macos": (["_posixshmem"], ["sched_getaffinity"], ["sigwaitinfo"]),
    "windows": (
        ["fcntl", "resource", "pwd", "grp", "termios"],
        [
            *("sched_getaffinity", "sched_setaffinity", "uname", "mkfifo", "fork", "statvfs", "pathconf"),
            *("sysconf", "geteuid", "getuid", "getgid", "getpgid", "killpg", "setsid", "nice"),
            *("getloadavg", "wait4", "chown", "pread", "pwrite", "posix_fadvise", "posix_fallocate"),
            *("set_blocking", "fdatasync"),
        ],
        ["sigwaitinfo", "pthread_sigmask", "SIGHUP", "SIGUSR1", "SIGUSR2", "SIG_BLOCK"],
    ),
}
modules, of_os, of_signal = LACKS[sys.argv[1]]
import concurrent.futures, multiprocessing, tempfile, numpy, torch, tensorboard  # these have their own ways
import fcntl as unix, select
for name in modules:
    sys.modules[name] = None
for name in of_os:
    delattr(os, name)
for name in of_signal:
    delattr(signal, name)
if sys.argv[1] == "windows":  # what it has, and does otherwise
    fsync, rename = os.fsync, os.rename
    def fsync_of_what_is_written(number):
        if unix.fcntl(number, unix.F_GETFL) & os.O_ACCMODE == os.O_RDONLY:
            raise OSError(9, "Bad file descriptor")
        fsync(number)
    def rename_to_what_is_new(source, target, **options):
        if os.path.exists(target):
            raise FileExistsError(17, "exists already", target)
        rename(source, target, **options)
    def select_among_sockets(*_):
        raise OSError(10038, "no socket")
    os.fsync, os.rename, select.select = fsync_of_what_is_written, rename_to_what_is_new, select_among_sockets
"""

_EVERY_MODULE = """
import importlib, pkgutil, sdpn
for module in pkgutil.walk_packages(sdpn.__path__, "sdpn."):
    if module.name != "sdpn.__main__":
        importlib.import_module(module.name)
"""

_WORK = """
from sdpn.cli.main import main
from sdpn.threads import usable_threads
from sdpn.stopping import inherited_without_signals, obeys_its_parent
assert usable_threads() >= 1
with inherited_without_signals():
    obeys_its_parent()
assert main(["extract", "--model", sys.argv[2], "--out", "vectors", "tone.wav", "--quiet"]) == 0
for _ in range(2):  # into new folders, and over old files
    words = ["--format", "rttm,json", "--report", "--cut", "--force", "--quiet"]
    assert main(["diarize", "--model", sys.argv[2], "--out", "turns", "tone.wav", *words]) == 0
"""


def run(system: str, code: str, folder: Path, *arguments: str) -> None:
    found = subprocess.run(
        [sys.executable, "-c", _TAKEN_AWAY + code, system, *arguments],
        cwd=folder,
        env={
            "PYTHONPATH": str(Path(sdpn.__file__).parents[1]),
            "HOME": str(folder),
            "PATH": "",
            "OMP_NUM_THREADS": "1",
        },
        capture_output=True,
        text=True,
    )
    assert found.returncode == 0, found.stderr[-2000:]


#: What differs from Linux on macOS differs on Windows, too.
EACH = pytest.mark.parametrize("system", [pytest.param("macos", marks=pytest.mark.slow), "windows"])


@EACH
def test_every_module_is_imported(system: str, tmp_path: Path) -> None:
    run(system, _EVERY_MODULE, tmp_path)


@EACH
def test_recordings_are_extracted_and_diarized(system: str, tmp_path: Path) -> None:
    import numpy as np
    import soundfile

    soundfile.write(tmp_path / "tone.wav", np.random.default_rng(0).normal(0, 0.1, 32000), 16000)
    run(system, _WORK, tmp_path, str(Path(sdpn.__file__).parent / "pretrained/small"))
    assert (tmp_path / "turns/tone.rttm").exists()

"""The graphs of models that are no folder of graphs: written once, and kept in ``$SDPN_HOME/graphs``.

Another process writes them with torch (``sdpn convert --to graphs``), so that this one imports none. The name
of a folder there is a digest of everything that its graphs are made of; folders may be removed at any time.
"""

from __future__ import annotations

import hashlib
import logging
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import sdpn
from sdpn.errors import InputError
from sdpn.interop.segmentation_path import segmentation_path
from sdpn.io.checksum import files_sha256
from sdpn.io.onnx_graph import import_runtime
from sdpn.models.graph_folder import FORMAT, GraphFolder, is_graph_folder, read_graph_folder
from sdpn.pretrained import model_name, model_path
from sdpn.pretrained.home import home
from sdpn.pretrained.names import refuse_missing

_log = logging.getLogger(__name__)


def graphs_of_model(path: str | os.PathLike[str] | None = None, format: str | None = None) -> GraphFolder:
    """The graphs of an embedding model.

    Args:
        path: as for `sdpn.load_model`, or a folder of graphs.
        format: as there.

    Raises:
        InputError: there is no such model, or its graphs cannot be written or are damaged.
    """
    import_runtime()  # before graphs are written that nothing here could run
    found = model_path(path)
    if is_graph_folder(found):
        return read_graph_folder(found)
    refuse_missing(found)
    if found.suffix == ".onnx":
        raise InputError(
            "is a single graph, and --runtime onnx takes a whole folder of them",
            path=found,
            hint="write one: sdpn convert --to graphs; or leave out --runtime onnx",
        )
    options = ["--model", model_name(found), *(() if format is None else ("--format", format))]
    return _cached(found, options, str(format))


def graphs_of_segmentation(path: str | os.PathLike[str]) -> GraphFolder:
    """The graph of a segmentation network.

    Args:
        path: as for `sdpn.load_segmentation`, or a folder of graphs.

    Raises:
        InputError: as `graphs_of_model`.
    """
    import_runtime()
    if is_graph_folder(Path(path)):
        return read_graph_folder(Path(path))
    found = segmentation_path(path)
    return _cached(found, ["--segmentation", os.fspath(path)], "segmentation")


def _cached(model: Path, options: Sequence[str], kind: str) -> GraphFolder:
    contents = files_sha256(model, lambda name: name.suffix != ".md")
    digest = hashlib.sha256(f"{FORMAT} {sdpn.__version__} {kind} {contents}".encode()).hexdigest()[:24]
    folder = home() / "graphs" / digest
    if not is_graph_folder(folder):
        _log.info("writing the graphs of %s to %s, once", model, folder)
        _write(folder, options, model)
    try:
        return read_graph_folder(folder)
    except InputError as error:
        raise InputError(
            error.message, path=error.path, hint=f"remove the folder {folder}: it is written again then"
        ) from error


def _write(folder: Path, options: Sequence[str], model: Path) -> None:
    package = str(Path(sdpn.__file__).resolve().parents[1])
    path = os.pathsep.join(filter(None, [package, os.environ.get("PYTHONPATH")]))
    command = [sys.executable, "-m", "sdpn", "convert", "--to", "graphs", *options, "--out", str(folder)]
    done = subprocess.run(
        [*command, "--quiet"],
        env={**os.environ, "PYTHONPATH": path},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        check=False,
    )
    if done.returncode == 0 or is_graph_folder(folder):  # perhaps another process was faster
        return
    reason = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
    raise InputError(
        f"its graphs for --runtime onnx cannot be written ({reason.removeprefix('sdpn convert: error: ')})",
        path=model,
        hint="graphs are written once, with torch: run 'sdpn convert --to graphs --out FOLDER' where it is "
        "installed, and give FOLDER as --model",
    )

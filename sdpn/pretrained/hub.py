"""Fetching a model from the Hugging Face hub, only when asked: the one place that touches a network.

The commit and the SHA-256 of every file are given beforehand, so that nobody, the hub included, can hand out
anything else under the same name. Weights are read without executing code, as any others.
"""

from __future__ import annotations

import json
import logging
import os
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path

from sdpn.errors import InputError
from sdpn.io.atomic import atomic_directory, check_writable
from sdpn.io.checksum import file_sha256
from sdpn.io.parsing import reason_of
from sdpn.io.text import is_file_name
from sdpn.pretrained.home import SOURCE, HomeModel, find_home_model, home
from sdpn.pretrained.included import INCLUDED, SEGMENTATION
from sdpn.pretrained.wheels import WHEEL_MODELS

_REFERENCE = re.compile(r"([\w.-]+/[\w.-]+)@([0-9a-f]{40})")
_SHA256 = re.compile(r"[0-9a-f]{64}")


def fetch_model(reference: str, files: Mapping[str, str], name: str) -> HomeModel:
    """Fetch files of a repository into ``$SDPN_HOME/models/NAME``.

    >>> fetch_model("OWNER/REPO@<commit>", {"avg_model.pt": "<sha256>", "config.yaml": "<sha256>"}, "resnet")

    Args:
        reference: ``OWNER/REPO@REVISION``; the revision is a commit of 40 hexadecimal digits.
        files: SHA-256 of the files to fetch, by their names in the repository.
        name: name that the model gets.

    Returns:
        the model; one that is there already, of the same source and files, is checked and not fetched again.

    Raises:
        InputError: an argument is no such thing, `huggingface_hub` is not installed, the files cannot be
            fetched, or are other ones than announced.
    """
    repository, revision = _checked(reference, files, name)
    folder = home() / "models" / name
    before = find_home_model(name)
    if before is not None:
        if (before.source, before.files) != (reference, dict(files)):
            raise InputError(
                "is there already, from elsewhere",
                path=folder,
                hint="choose another name with --as, or remove that folder",
            )
        before.check()
        return before
    check_writable(folder, "new")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    try:
        import huggingface_hub
    except ImportError:
        raise InputError(
            "fetching models needs the package huggingface_hub",
            hint="pip install 'sdpn[hub]'; or fetch the files yourself and give their path",
        ) from None
    huggingface_hub.logging.set_verbosity_error()  # else it logs every retry,
    logging.getLogger("httpx2").setLevel(logging.ERROR)  # and its client every request
    with tempfile.TemporaryDirectory(prefix="sdpn-") as download:
        for file, sha256 in files.items():
            try:
                path = Path(
                    huggingface_hub.hf_hub_download(repository, file, revision=revision, local_dir=download)
                )
            except Exception as error:  # of the hub, the HTTP client or the system: no list would be complete
                raise InputError(
                    f"{file} of {reference} cannot be fetched ({reason_of(error)})",
                    hint="without a network: run the same command where there is one, and copy "
                    f"{folder} here; the models of 'sdpn models --available' marked 'included' need none",
                ) from error
            if (found := file_sha256(path)) != sha256:
                raise InputError(
                    f"{file} of {reference} has the SHA-256 {found}, not {sha256}; it was not kept",
                    hint="compare the commit and the digest with what the publisher states",
                )
        with atomic_directory(folder) as unfinished:
            for file in files:
                (unfinished / file).write_bytes((Path(download) / file).read_bytes())
            record = {"source": reference, "files": dict(files)}
            (unfinished / SOURCE).write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    return HomeModel(name=name, folder=folder, source=reference, files=dict(files))


def _checked(reference: str, files: Mapping[str, str], name: str) -> tuple[str, str]:
    found = _REFERENCE.fullmatch(reference)
    if found is None:
        raise InputError(
            f"--fetch {reference!r} names no commit of a repository",
            hint="expected OWNER/REPO@REVISION with the 40 hexadecimal digits of a commit: branches move",
        )
    if not files:
        raise InputError("no file to fetch is given", hint="give --file FILE=SHA256 for each")
    for file, sha256 in files.items():
        if not is_file_name(file) or file == SOURCE or file.startswith(".") or not _SHA256.fullmatch(sha256):
            raise InputError(
                f"--file {file}={sha256} is no file with its SHA-256",
                hint="expected FILE=SHA256: a name in the repository's top folder, and 64 hexadecimal digits",
            )
    if not is_file_name(name) or name.startswith("."):
        raise InputError(f"--as {name!r} is no name for a model", hint="expected a word without '/'")
    if name in (*INCLUDED, SEGMENTATION, *WHEEL_MODELS):
        raise InputError(f"--as {name}: a model has that name already", hint="choose another one")
    return found[1], found[2]

"""Which recordings of a folder of turns are finished, so that an interrupted run can be resumed.

After the files of each recording, ``.diarized/<recording>.json`` is written next to them, with the audio
file, the settings and the summary of the recording.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sdpn.errors import InputError
from sdpn.io.atomic import atomic_write_text
from sdpn.io.checksum import file_sha256
from sdpn.io.json_text import read_json

_FOLDER, _FORMAT = ".diarized", 2


class Finished:
    """The finished recordings of a folder.

    Args:
        out: the folder.
        settings: all settings that the turns of a recording depend on, except its audio and its given speech.
    """

    def __init__(self, out: Path, settings: Mapping[str, Any]) -> None:
        self._folder = out / _FOLDER
        self._settings = dict(settings)

    def find(
        self, recording: str, audio: Path, outputs: Mapping[str, Path], speech: object
    ) -> dict[str, Any] | None:
        """The summary stored when a recording was finished.

        Args:
            recording: its id.
            audio: its file.
            outputs: the files of its turns, by format.
            speech: the given speech that its turns depend on, if any.

        Returns:
            None if it is not finished: the audio file or the settings differ, or a file of its turns is
            missing or has changed since it was written.
        """
        try:
            record = read_json(self._folder / f"{recording}.json", "record of a finished recording")
            written = record["outputs"]
            if record["made_from"] != self._made_from(audio, speech) or any(
                written[name] != file_sha256(path) for name, path in outputs.items()
            ):
                return None
            row = record["summary"]
        except (InputError, OSError, KeyError, TypeError):
            return None  # an unreadable entry counts as unfinished
        return row if isinstance(row, dict) else None

    def store(
        self,
        recording: str,
        audio: Path,
        outputs: Mapping[str, Path],
        speech: object,
        summary: Mapping[str, Any],
    ) -> None:
        """Store the summary of a finished recording; the other arguments are those of `find`.

        Raises:
            InputError: the file cannot be written.
        """
        record = {
            "made_from": self._made_from(audio, speech),
            "outputs": {name: file_sha256(path) for name, path in outputs.items()},
            "summary": summary,
        }
        atomic_write_text(self._folder / f"{recording}.json", json.dumps(record, indent=2) + "\n")

    def _made_from(self, audio: Path, speech: object) -> str:
        status = os.stat(audio)
        parts = [_FORMAT, self._settings, os.path.realpath(audio), status.st_size, status.st_mtime_ns, speech]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()

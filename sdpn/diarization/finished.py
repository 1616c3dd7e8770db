"""Which recordings of a folder of RTTM files are finished, so that an interrupted run can be resumed.

After each RTTM file, ``.diarized/<recording>.json`` is written next to it, with the audio file, the settings
and the summary of the recording.
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

_FOLDER, _FORMAT = ".diarized", 1


class Finished:
    """The finished recordings of a folder.

    Args:
        out: the folder.
        settings: all settings that the turns of a recording depend on, except its audio and its given speech.
    """

    def __init__(self, out: Path, settings: Mapping[str, Any]) -> None:
        self._folder = out / _FOLDER
        self._settings = dict(settings)

    def find(self, recording: str, audio: Path, rttm: Path, speech: object) -> dict[str, Any] | None:
        """The summary stored when a recording was finished.

        Args:
            recording: its id.
            audio: its file.
            rttm: the RTTM file of its turns.
            speech: the given speech that its turns depend on, if any.

        Returns:
            None if it is not finished: the audio file or the settings differ, or the RTTM file is missing or
            has changed since it was written.
        """
        try:
            record = read_json(self._folder / f"{recording}.json", "record of a finished recording")
            if record["made_from"] != self._made_from(audio, speech) or record["rttm"] != file_sha256(rttm):
                return None
            row = record["summary"]
        except (InputError, OSError, KeyError):
            return None  # an unreadable entry counts as unfinished
        return row if isinstance(row, dict) else None

    def store(
        self, recording: str, audio: Path, rttm: Path, speech: object, summary: Mapping[str, Any]
    ) -> None:
        """Store the summary of a finished recording; the other arguments are those of `find`.

        Raises:
            InputError: the file cannot be written.
        """
        record = {"made_from": self._made_from(audio, speech), "rttm": file_sha256(rttm), "summary": summary}
        atomic_write_text(self._folder / f"{recording}.json", json.dumps(record, indent=2) + "\n")

    def _made_from(self, audio: Path, speech: object) -> str:
        status = os.stat(audio)
        parts = [_FORMAT, self._settings, os.path.realpath(audio), status.st_size, status.st_mtime_ns, speech]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()

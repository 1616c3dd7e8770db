"""Which model a service diarizes with: settings that travel to other processes, which load it once each."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sdpn.diarization.pipeline import DiarizationConfig

if TYPE_CHECKING:
    from sdpn.diarization.pipeline import Diarizer
    from sdpn.models.embedder import Embedder


@dataclass(frozen=True, kw_only=True)
class ServiceModel:
    """Which model a service diarizes with.

    Attributes:
        model: as `sdpn.load_model` takes it; None is the default model.
        format: its format; None detects it.
        device: such as ``cuda:0``; None is a GPU if there is one.
        segmentation: as `sdpn.load_segmentation` takes it; None for none.
        config: settings of the pipeline.
    """

    model: Path | None = None
    format: str | None = None
    device: str | None = None
    segmentation: str | None = None
    config: DiarizationConfig = field(default_factory=DiarizationConfig)

    def load(self) -> Embedder:
        """Load the model.

        Raises:
            InputError: as `sdpn.load_model`, or there is no such device.
        """
        from sdpn.interop.load import load_model
        from sdpn.models.device import find_device

        return load_model(self.model, self.format, device=find_device(self.device))

    def diarizer(self) -> tuple[Diarizer, dict[str, Any]]:
        """Load everything; returns the diarizer, and the origin for receipts, without paths of the server.

        Raises:
            InputError: as `load`, or the segmentation network cannot be read.
        """
        from sdpn.diarization.pipeline import Diarizer
        from sdpn.interop.segmentation import load_segmentation
        from sdpn.receipt import origin_of

        embedder = self.load()
        segmenter = None if self.segmentation is None else load_segmentation(self.segmentation)
        origin = origin_of(embedder, self.model, self.format, segmenter, self.segmentation)
        for network in ("model", "segmentation"):
            if origin[network] is not None:
                origin[network] = {**origin[network], "path": Path(origin[network]["path"]).name}
        return Diarizer(embedder, config=self.config, segmentation=segmenter), origin

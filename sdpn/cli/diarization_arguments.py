"""The settings of the diarization pipeline on the command line, shared by the commands that diarize."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from sdpn.cli.clusterer_arguments import clusterer_settings
from sdpn.errors import InputError

if TYPE_CHECKING:
    from sdpn.cli.settings import Sections
    from sdpn.diarization.pipeline import DiarizationConfig


def diarization_settings() -> Sections:
    """The settings of the diarization pipeline, and of each clusterer."""
    from sdpn.clustering.registry import CLUSTERERS
    from sdpn.diarization.pipeline import PipelineConfig

    return {"": PipelineConfig, **CLUSTERERS}


def diarization_config(args: argparse.Namespace) -> DiarizationConfig:
    """The settings of the pipeline and of the chosen clusterer.

    Raises:
        InputError: as `clusterer_settings`, or a setting of the pipeline is wrong or has no effect.
    """
    from sdpn.clustering.registry import CLUSTERERS
    from sdpn.config import load_config, parse_override
    from sdpn.diarization.pipeline import DiarizationConfig, PipelineConfig

    of_clusterers: list[str] = []
    of_pipeline: list[str] = []
    for setting in args.settings:
        if setting.startswith("segmentation.") and getattr(args, "segmentation", None) is None:
            raise InputError(f"{setting} has no effect without --segmentation")
        is_clusterer = setting.partition(".")[0] in CLUSTERERS
        (of_clusterers if is_clusterer else of_pipeline).append(setting)
    chosen = clusterer_settings(args, map(parse_override, of_clusterers))
    pipeline = load_config(PipelineConfig, None, of_pipeline)
    return DiarizationConfig(**vars(pipeline), method=args.method, settings=chosen)

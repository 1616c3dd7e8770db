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

    return {**pipeline_sections(), **CLUSTERERS}


def pipeline_sections() -> Sections:
    """The settings of the diarization pipeline without those of the clusterers."""
    from sdpn.diarization.pipeline import PipelineConfig

    return {"": PipelineConfig}


def diarization_config(args: argparse.Namespace) -> DiarizationConfig:
    """The settings of the pipeline and of the chosen clusterer; sets ``args.method`` if it was not given.

    Those of ``--config`` first, then those of the command line.

    Raises:
        InputError: as `clusterer_settings`, a setting of the pipeline is wrong or has no effect, or the
            file is wrong.
    """
    from sdpn.clustering.registry import CLUSTERERS
    from sdpn.config import from_dict, load_config, parse_override
    from sdpn.diarization.pipeline import DiarizationConfig, PipelineConfig
    from sdpn.io.yaml_text import read_yaml

    content = {} if args.config is None else dict(read_yaml(args.config))
    method = content.pop("method", None)
    sections = {name: content.pop(name) for name in CLUSTERERS if name in content}
    if method is not None and method not in list(CLUSTERERS):
        raise InputError(
            f"unknown clusterer {method!r}", path=args.config, hint=f"one of: {', '.join(CLUSTERERS)}"
        )
    args.method = args.method or method or DiarizationConfig().method
    for name, values in sections.items():
        if name != args.method:
            raise InputError(f"has settings of {name}, but the method is {args.method}", path=args.config)
        from_dict(CLUSTERERS[name], values, path=args.config)
    of_clusterers: list[str] = []
    of_pipeline: list[str] = []
    for setting in args.settings:
        if setting.startswith("segmentation.") and getattr(args, "segmentation", None) is None:
            raise InputError(f"{setting} has no effect without --segmentation")
        is_clusterer = setting.partition(".")[0] in CLUSTERERS
        (of_clusterers if is_clusterer else of_pipeline).append(setting)
    chosen = {**sections.get(args.method, {}), **clusterer_settings(args, map(parse_override, of_clusterers))}
    of_file = from_dict(PipelineConfig, content, path=args.config)
    pipeline = load_config(PipelineConfig, None, of_pipeline, base=of_file)
    return DiarizationConfig(**vars(pipeline), method=args.method, settings=chosen)

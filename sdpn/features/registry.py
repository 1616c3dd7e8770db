"""Every kind of features; a model's ``config.yaml`` names one as ``features.kind``."""

from __future__ import annotations

from typing import Annotated, TypeAlias

from sdpn.config import Choice
from sdpn.features.frontend import FrontEnd
from sdpn.features.kaldi_fbank import KaldiFbank, KaldiFbankConfig
from sdpn.features.log_mel import FeatureConfig, LogMel
from sdpn.features.redimnet_mel import ReDimNetMel, ReDimNetMelConfig
from sdpn.features.speechbrain_fbank import SpeechBrainFbank, SpeechBrainFbankConfig
from sdpn.features.waveform import Waveform, WaveformConfig

AnyFeatureConfig: TypeAlias = FeatureConfig | KaldiFbankConfig | SpeechBrainFbankConfig | ReDimNetMelConfig

#: As a field of a configuration: a section whose ``kind`` is one of these.
FeatureChoice: TypeAlias = Annotated[
    AnyFeatureConfig,
    Choice(
        "features",
        {
            "log-mel": FeatureConfig(),
            "kaldi-fbank": KaldiFbankConfig(),
            "speechbrain-fbank": SpeechBrainFbankConfig(),
            "redimnet-mel": ReDimNetMelConfig(),
        },
    ),
]


def build_features(config: AnyFeatureConfig | WaveformConfig) -> FrontEnd:
    """Build the front end that a configuration describes."""
    if isinstance(config, WaveformConfig):
        return Waveform(config)
    if isinstance(config, KaldiFbankConfig):
        return KaldiFbank(config)
    if isinstance(config, SpeechBrainFbankConfig):
        return SpeechBrainFbank(config)
    if isinstance(config, ReDimNetMelConfig):
        return ReDimNetMel(config)
    return LogMel(config)

"""Every kind of features; a model's ``config.yaml`` names one as ``features.kind``."""

from __future__ import annotations

from typing import Annotated, TypeAlias

from sdpn.config import Choice
from sdpn.data.features import FeatureConfig, LogMel
from sdpn.data.frontend import FrontEnd
from sdpn.data.kaldi_fbank import KaldiFbank, KaldiFbankConfig
from sdpn.data.redimnet_mel import ReDimNetMel, ReDimNetMelConfig
from sdpn.data.speechbrain_fbank import SpeechBrainFbank, SpeechBrainFbankConfig
from sdpn.data.waveform import Waveform, WaveformConfig

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

"""Plot a diarized recording: waveform, reference and hypothesis of each speaker, and the DER.

sdpn diarize meeting.flac --out out/
python tools/plot_result.py --audio meeting.flac --ref reference.rttm --hyp out/meeting.rttm --png picture.png
"""

from __future__ import annotations

import argparse
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from sdpn.io import audio
from sdpn.io.rttm import read_rttm
from sdpn.metrics.diarization import score_recordings
from sdpn.report.alignment import align


def main() -> None:
    """Score the recording and write the picture."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for name in ("audio", "ref", "hyp", "png"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    args = parser.parse_args()
    recording = args.audio.stem
    reference, hypothesis = read_rttm(args.ref)[recording], read_rttm(args.hyp)[recording]
    (score,) = score_recordings({recording: reference}, {recording: hypothesis})
    lanes = align(reference, hypothesis).lanes
    wave_S = audio.read(args.audio)

    figure, (top, bottom) = plt.subplots(
        2, sharex=True, figsize=(10, 1.6 + 0.55 * len(lanes)), height_ratios=(1.2, 0.7 * len(lanes))
    )
    block = audio.RATE_HZ // 100  # a column per 10 ms, of the loudest sample
    peaks = np.abs(wave_S[: len(wave_S) // block * block]).reshape(-1, block).max(axis=1)
    top.fill_between(np.arange(len(peaks)) * block / audio.RATE_HZ, -peaks, peaks, color="0.5", linewidth=0)
    top.set_yticks([])
    for row, lane in enumerate(lanes):
        for spans, offset, alpha in ((lane.reference_spans, 0.05, 1.0), (lane.hypothesis_spans, -0.35, 0.5)):
            bars = [(start_s, end_s - start_s) for start_s, end_s in spans]
            bottom.broken_barh(bars, (offset - row, 0.3), color=f"C{row}", alpha=alpha, linewidth=0)
    bottom.set_yticks(
        -np.arange(len(lanes)), [f"{lane.reference or '–'}\n{lane.hypothesis or '–'}" for lane in lanes]
    )
    bottom.tick_params(axis="y", length=0)
    bottom.set_ylim(-len(lanes) + 0.5, 0.5)
    bottom.set_xlabel("seconds; reference above, sdpn below (paler)")
    bottom.set_xlim(0, len(wave_S) / audio.RATE_HZ)
    der, nist = 100 * score.components.der, 100 * score.nist.der
    top.set_title(f"{recording}: DER {der:.1f} % (collar 0), {nist:.1f} % (±0.25 s), overlap scored")
    figure.tight_layout()
    figure.savefig(args.png, dpi=100)


if __name__ == "__main__":
    main()

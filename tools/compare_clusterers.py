"""Every clusterer on the same recordings: DER with the number of speakers estimated and given.

    python tools/compare_clusterers.py --model EXP/model --recordings DIR [--vad] [--markdown]

DIR is an output folder of ``sdpn simulate``: wav.scp, audio and reference.rttm. Windows are embedded once.
Speech is taken from the reference unless --vad is given; in overlaps, one speaker is always missed.
Thresholds are those of the model's calibration; all other settings are the defaults.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path

from sdpn.cli.table import format_markdown, format_table
from sdpn.clustering.base import Clusterer
from sdpn.clustering.registry import CLUSTERERS
from sdpn.diarization.pipeline import Diarizer, EmbeddedRecording, calibrated_clusterer, label_recording
from sdpn.interop.load import load_model
from sdpn.io.kaldi import read_data_dir
from sdpn.io.rttm import Turn, from_annotation, read_rttm
from sdpn.metrics.diarization import score_recordings, total_figures

HEADER = ["clusterer", "DER %", "±0.25 s %", "count right", "DER % (count given)", "±0.25 s % (given)"]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", type=Path, required=True, help="model folder: EXP/model")
    parser.add_argument("--recordings", type=Path, required=True, help="wav.scp and reference.rttm")
    parser.add_argument(
        "--vad", action="store_true", help="use voice activity detection instead of the reference"
    )
    parser.add_argument("--markdown", action="store_true", help="print a Markdown table")
    args = parser.parse_args()

    reference = read_rttm(args.recordings / "reference.rttm")
    model = load_model(args.model)
    diarizer = Diarizer(model)
    embedded = {}
    for recording in read_data_dir(args.recordings):
        turns = reference[recording.id]
        speech = None if args.vad else [(turn.onset_s, turn.end_s) for turn in turns]
        embedded[recording.id] = diarizer.embed(recording.path, speech=speech)
    rows = [
        [method, *figures(calibrated_clusterer(method, {}, model.calibration), embedded, reference)]
        for method in CLUSTERERS
    ]
    print((format_markdown if args.markdown else format_table)(HEADER, rows))


def figures(
    clusterer: Clusterer, embedded: Mapping[str, EmbeddedRecording], reference: Mapping[str, list[Turn]]
) -> list[str]:
    """Cells of one row after the method's name."""
    estimated, right = [], 0
    given = []
    for name, recording in embedded.items():
        count = len({turn.speaker for turn in reference[name]})
        guess = label_recording(recording, clusterer).annotation
        right += len(guess.labels()) == count
        estimated.append((name, from_annotation(guess, name)))
        guess = label_recording(recording, clusterer, num_speakers=count).annotation
        given.append((name, from_annotation(guess, name)))
    cells = []
    for hypothesis in (dict(estimated), dict(given)):
        whole = total_figures(score_recordings(reference, hypothesis)).components.der
        nist = total_figures(
            score_recordings(reference, hypothesis, collar_s=0.25, skip_overlap=True)
        ).components.der
        cells += [f"{100 * whole:.2f}", f"{100 * nist:.2f}"]
    return [*cells[:2], f"{right} of {len(embedded)}", *cells[2:]]


if __name__ == "__main__":
    main()

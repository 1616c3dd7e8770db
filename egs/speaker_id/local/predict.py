#!/usr/bin/env python3
"""Classify the test utterances of a folder in the exercise's layout.

The CSV file has the columns Id and Category: the path of the features, and the name of the speaker.
"""

from __future__ import annotations

import argparse
import csv
import io
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from sdpn.cli.script import script
from sdpn.data.mel_folder import MAPPING, MelReader, read_mapping, read_mel_test
from sdpn.errors import InputError
from sdpn.features.given import GivenFeatures
from sdpn.features.registry import build_features
from sdpn.io.atomic import atomic_write_text
from sdpn.models.classifier import read_classifier
from sdpn.models.folder import read_model
from sdpn.training.classification import embed_mels


def submission(model_path: Path, data: Path) -> str:
    """The text of the CSV file.

    Raises:
        InputError: the model has no classes, or the data cannot be read or have other features or speakers.
    """
    model, classifier = read_model(model_path), read_classifier(model_path)
    test = read_mel_test(data)
    if test.num_mels != model.features.num_mels:
        raise InputError(
            f"has features of {test.num_mels} mel bands; the model takes {model.features.num_mels}",
            path=test.source,
        )
    if (data / MAPPING).is_file():
        _check_speakers(classifier.classes.names, read_mapping(data), data / MAPPING)
    rows_ND = embed_mels(
        model.encoder,
        GivenFeatures(build_features(model.features)),
        MelReader(test, cache_mb=0),
        test.utterances,
        device=torch.device("cpu"),
    )
    names = classifier.names_of(classifier.logits(torch.from_numpy(rows_ND)))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["Id", "Category"])
    writer.writerows(zip([one.id for one in test.utterances], names, strict=True))
    return text.getvalue()


def _check_speakers(known: Sequence[str], mapped: Sequence[str], mapping: Path) -> None:
    """Compare the classes of a model with the speakers of the data.

    Raises:
        InputError: they differ.
    """
    only_here = sorted(set(mapped) - set(known))
    only_there = sorted(set(known) - set(mapped))
    if only_here or only_there:
        example = f"{only_here[0]!r} is only here" if only_here else f"{only_there[0]!r} is only in the model"
        raise InputError(
            f"has {len(mapped)} speakers, the model {len(known)}: {example}",
            path=mapping,
            hint="give a model that was trained on this data",
        )


@script
def main(argv: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--model", type=Path, required=True, metavar="DIR", help="trained with labels")
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="with testdata.json")
    parser.add_argument("--out", type=Path, required=True, metavar="CSV")
    args = parser.parse_args(argv)
    atomic_write_text(args.out, submission(args.model, args.data))


if __name__ == "__main__":
    sys.exit(main())

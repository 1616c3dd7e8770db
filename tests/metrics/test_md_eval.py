"""DER against NIST's own md-eval.pl, directly or by way of meeteval; skipped where it is absent."""

from __future__ import annotations

import os
import random
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from sdpn.io.rttm import Turn, merge_overlaps, read_records, read_rttms
from sdpn.io.uem import read_uem_channels
from sdpn.metrics.channels import match_channels
from sdpn.metrics.diarization import score_recordings, total_components

#: Debian's package sctk keeps the script here, out of the path.
SCTK = Path("/usr/lib/sctk/bin/md-eval.pl")


def md_eval_script() -> Path:
    """NIST's script, or the test is skipped."""
    found = shutil.which("md-eval-22.pl") or shutil.which("md-eval.pl") or (SCTK if SCTK.is_file() else None)
    if found is None:
        pytest.skip("no md-eval.pl here (it is in NIST's SCTK; Debian and Ubuntu: the package sctk)")
    return Path(found)


@pytest.fixture(scope="module")
def md_eval(tmp_path_factory: pytest.TempPathFactory) -> object:
    """The function of meeteval, and a script for it to find: else it would load one from the internet.

    That one is a copy in which dscore's author made the times longer; the same is done here to NIST's.
    """
    module = pytest.importorskip("meeteval.der.md_eval", reason="pip install 'sdpn[meeteval]'")
    found = md_eval_script()
    folder = tmp_path_factory.mktemp("bin")
    script = folder / "md-eval-22.pl"
    script.write_text(re.sub(r"TIME =%\d+\.2f secs", "TIME =%f secs", found.read_text(encoding="latin-1")))
    script.chmod(0o700)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", str(folder), prepend=os.pathsep)
        yield module.md_eval_22_multifile


def damaged(turns: list[Turn], rng: random.Random) -> list[Turn]:
    """What a diarizer might make of the turns: late or early, dropped, of the wrong speaker."""
    speakers = [turn.speaker for turn in turns]
    return merge_overlaps(
        sorted(
            replace(
                turn,
                onset_s=round(max(0.0, turn.onset_s + rng.uniform(-0.6, 0.6)), 3),
                duration_s=round(max(0.05, turn.duration_s + rng.uniform(-0.5, 0.5)), 3),
                speaker=f"found-{turn.speaker if rng.random() > 0.15 else rng.choice(speakers)}",
            )
            for turn in turns
            if rng.random() > 0.08
        )
    )


@pytest.mark.parametrize(("collar_s", "skip_overlap"), [(0.0, False), (0.25, False), (0.25, True)])
def test_voxconverse_is_scored_as_by_md_eval(
    shared_data: Path, md_eval: object, collar_s: float, skip_overlap: bool
) -> None:
    references = read_rttms(sorted((shared_data / "voxconverse_rttm").glob("*.rttm"))[::9])
    rng = random.Random(0)
    hypotheses = {name: damaged(turns, rng) for name, turns in references.items()}
    end_s = {
        name: max(turn.end_s for turn in (*references[name], *hypotheses[name])) + 1 for name in references
    }

    from meeteval.io import RTTM, UEM

    def table(recordings: dict[str, list[Turn]]) -> object:
        return RTTM.parse(
            "".join(
                f"SPEAKER {turn.recording} 1 {turn.onset_s:.3f} {turn.duration_s:.3f} <NA> <NA>"
                f" {turn.speaker} <NA> <NA>\n"
                for turns in recordings.values()
                for turn in turns
            )
        )

    theirs = md_eval(  # type: ignore[operator]
        table(references),
        table(hypotheses),
        collar=collar_s,
        regions="nooverlap" if skip_overlap else "all",
        uem=UEM.parse("".join(f"{name} 1 0.000 {end:.3f}\n" for name, end in end_s.items())),
    )
    ours = score_recordings(
        references,
        hypotheses,
        regions={name: [(0, end)] for name, end in end_s.items()},
        collar_s=collar_s,
        skip_overlap=skip_overlap,
    )
    assert len(ours) == len(theirs) == 24
    for score in ours:
        expected = theirs[score.recording]
        found = score.components
        assert found.total_s == pytest.approx(float(expected.scored_speaker_time), abs=1e-5)
        assert found.missed_s == pytest.approx(float(expected.missed_speaker_time), abs=1e-5)
        assert found.false_alarm_s == pytest.approx(float(expected.falarm_speaker_time), abs=1e-5)
        assert found.confusion_s == pytest.approx(float(expected.speaker_error_time), abs=1e-5)
    assert total_components(ours).der > 0.05


@pytest.mark.parametrize("seed", range(40))
def test_zones_and_channels_are_scored_as_by_md_eval(seed: int, tmp_path: Path) -> None:
    """Random turns, no-score records, sounds and words on one or two channels.

    Times are in milliseconds, so that hardly any coincide: where zones touch to the digit, md-eval's order of
    events is not defined, and it may go on scoring inside of a zone.
    """
    script = md_eval_script()
    rng = random.Random(seed)
    channels = ("1", "2") if rng.random() < 0.4 else ("1",)
    sides: dict[str, list[str]] = {"ref": [], "hyp": [], "uem": []}

    def seconds(most: int) -> float:
        return rng.randint(1, most) / 1000

    def add(side: str, kind: str, channel: str, onset_s: float, duration_s: float, what: str) -> None:
        sides[side].append(f"{kind} rec {channel} {onset_s:.3f} {duration_s:.3f} <NA> {what} <NA> <NA>")

    for channel in channels:
        for side, speakers in (("ref", "AB"), ("hyp", "xyz")):
            for speaker in speakers:
                at_s = 0.0
                for _ in range(rng.randint(1, 5)):
                    onset_s, duration_s = at_s + seconds(4000), 0.2 + seconds(4800)
                    add(side, "SPEAKER", channel, onset_s, duration_s, f"<NA> {speaker}")
                    at_s = onset_s + duration_s
        for kind, what, most, longest in (
            ("NOSCORE", "<NA> <NA>", 3, 4000),
            ("NON-LEX", "laugh A", 1, 2000),
            ("LEXEME", "lex A", rng.choice([0, 8]), 600),
        ):
            for _ in range(rng.randint(0, most)):
                add("ref", kind, channel, seconds(28000), seconds(longest), what)
        sides["uem"] += [f"rec {channel} 0.000 12.000", f"rec {channel} 13.000 40.000"]
    for name, lines in sides.items():
        (tmp_path / name).write_text("".join(f"{line}\n" for line in lines))

    collar_s = rng.choice([0.0, 0.25])
    printed = subprocess.run(
        ["perl", str(script), "-c", str(collar_s), "-u", "uem", "-r", "ref", "-s", "hyp"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
    ).stdout
    matched = match_channels(
        read_records([tmp_path / "ref"]),
        read_records([tmp_path / "hyp"]),
        read_uem_channels(tmp_path / "uem"),
    )
    ours = total_components(
        score_recordings(
            matched.reference,
            matched.hypothesis,
            regions=matched.regions,
            unscored=matched.unscored,
            collar_s=collar_s,
        )
    )
    for name, found in (("SCORED", ours.total_s), ("MISSED", ours.missed_s), ("FALARM", ours.false_alarm_s)):
        theirs = re.search(rf"{name} SPEAKER TIME =\s*([\d.]+) secs", printed)
        assert theirs is not None, printed
        assert found == pytest.approx(float(theirs[1]), abs=0.006), name

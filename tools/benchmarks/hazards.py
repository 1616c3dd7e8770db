"""Twenty ways to get SDPN wrong, each beside what sdpn does: what the mistake costs, measured.

python tools/benchmarks/hazards.py [--only N ...] [--exp EXP] [--data DIR] [--markdown]

Every faulty form is written from its description (docs/hazards.md) and runs in the same process as ours; what
is timed is timed in turn, and only the ratio counts. Seeds are fixed and torch has one thread. Rows that need
real speech look for the shared corpora at --data, $SDPN_SHARED_DATA or ../shared/data; those about a trained
network need --exp, the folder of a finished run of sdpn train. Without them a row says what it lacks.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import time
from pathlib import Path

import torch
from hazard_rows import diarizing, listening, objective, running
from hazard_rows.row import Context, Measured, Row, Skip

ROOT = Path(__file__).resolve().parents[2]

#: In the order of their numbers.
ROWS = [
    Row(
        1,
        "Prototypes are a bare tensor in no module: not averaged by DDP, not clipped, not in `state_dict`",
        "a parameter of the network like any other; the optimizer is checked to hold it",
        ["sdpn/distill/base.py", "sdpn/training/guards.py"],
        [
            "tests/distill/test_base.py::test_prototypes_are_a_parameter_in_one_group_without_decay",
            "tests/training/test_distributed.py::test_two_processes_train_as_one",
            "tests/training/test_resume.py::test_the_keys_of_a_state_are_pinned",
            "tests/training/test_guards.py::test_a_tensor_that_the_optimizer_does_not_hold",
        ],
        objective.prototypes_outside,
    ),
    Row(
        2,
        "Checkpoints hold NumPy scalars, no random state, step or sampler; written over the only copy",
        "tensors and plain values; data depend on the step alone; renamed into place last, damage is skipped",
        ["sdpn/training/checkpoint.py", "sdpn/data/dataset.py"],
        [
            "tests/training/test_resume.py::test_kill_9_and_the_same_command_give_the_uninterrupted_run",
            "tests/training/test_checkpoint.py::test_a_damaged_checkpoint_is_passed_over_for_the_one_before",
        ],
        running.restart,
    ),
    Row(
        3,
        "Prototype gradients summed over processes while the student's are averaged",
        "every process has the loss of all rows; DDP averages all gradients alike",
        ["sdpn/distill/gather.py"],
        ["tests/training/test_distributed.py::test_two_processes_train_as_one"],
        objective.summed_over_processes,
    ),
    Row(
        4,
        "Every process draws the same augmentation",
        "each view has its own generator, seeded by run, epoch, utterance and view; dropout, one a process",
        ["sdpn/data/dataset.py"],
        [
            "tests/data/test_dataset.py::test_any_start_and_any_number_of_workers_give_the_same_batches",
            "tests/data/test_dataset.py::test_shapes_and_views_differ",
        ],
        running.same_stream,
    ),
    Row(
        5,
        "Softmax multiplied by the K×K identity",
        "no such product",
        ["sdpn/distill/sdpn.py"],
        ["tests/distill/test_sdpn.py::test_golden_numbers_of_the_reference_objective"],
        objective.identity_product,
    ),
    Row(
        6,
        "`log(p ** -t)` and `p ** 4` outside log space; zero rows in Sinkhorn",
        "log space throughout, in float32",
        ["sdpn/distill/assignment.py", "sdpn/distill/losses.py"],
        [
            "tests/distill/test_assignment.py::test_adversarial_logits_give_finite_rows_that_sum_to_one",
            "tests/distill/test_losses.py::test_adversarial_logits_give_finite_loss_and_gradients",
        ],
        objective.outside_log_space,
    ),
    Row(
        7,
        "Anomaly detection left on; `.item()`, `.tolist()` and `synchronize()` at every step",
        "never on; sums stay on the device until a point of the curves is due",
        ["sdpn/training/dashboard.py", "sdpn/training/guards.py"],
        ["tests/tools/test_hazards.py::test_7_a_step_reads_nothing_off_the_device"],
        running.anomaly_detection,
    ),
    Row(
        8,
        "The moving average covers parameters only; the teacher's batch-norm statistics come from elsewhere",
        "decided and documented: `teacher.batch_norm` is `own` (default) or `student`",
        ["sdpn/distill/base.py"],
        ["tests/distill/test_base.py::test_teacher_batch_norm_is_its_own_or_the_students"],
        objective.teacher_batch_norm,
    ),
    Row(
        9,
        "KoLeo of near-duplicate rows",
        "distances in float32 from differences, below a floor a constant",
        ["sdpn/distill/losses.py"],
        ["tests/distill/test_losses.py::test_koleo_of_duplicates_is_floored_and_its_gradient_bounded"],
        objective.near_duplicates,
    ),
    Row(
        10,
        "Short files padded with zeros; an all-silent crop has a constant embedding",
        "short files are repeated; silent crops are drawn again, silent files skipped with a warning",
        ["sdpn/data/crops.py", "sdpn/data/dataset.py"],
        [
            "tests/data/test_crops.py::test_short_waves_are_repeated_not_padded",
            "tests/data/test_crops.py::test_digital_silence_gives_none_and_is_avoided_where_possible",
            "tests/data/test_dataset.py::test_a_silent_utterance_gives_its_place_to_the_next",
        ],
        listening.digital_silence,
    ),
    Row(
        11,
        "A file exactly as long as the crop crashes; the last offset is never drawn",
        "the end of the range is one past the last offset",
        ["sdpn/data/crops.py"],
        [
            "tests/data/test_crops.py::test_exactly_as_long_as_the_crop",
            "tests/data/test_crops.py::test_every_offset_is_drawn_equally_often_the_last_included",
        ],
        listening.off_by_one,
    ),
    Row(
        12,
        "Two local crops concatenated before the STFT",
        "crops are rows of a batch; no frame sees two",
        ["sdpn/features/log_mel.py", "sdpn/distill/base.py"],
        ["tests/data/test_features.py::test_equals_a_plain_computation"],
        listening.crops_joined,
    ),
    Row(
        13,
        "Erasing before the log",
        "erased after the log and its normalisation, to the mean of the band",
        ["sdpn/augmentation/erasing.py", "sdpn/distill/base.py"],
        ["tests/data/test_erasing.py::test_runs_of_frames_and_bands_become_the_mean_of_their_band"],
        listening.erasing_before_log,
    ),
    Row(
        14,
        "Samples in ±32768 in training, in ±1 at extraction, under one floor",
        "one reader and one front end, [-1, 1], for training and use; the model folder holds its settings",
        ["sdpn/io/audio.py", "sdpn/features/log_mel.py", "sdpn/models/embedder.py"],
        ["tests/training/test_evaluation.py::test_the_board_shows_the_eer_of_what_is_exported"],
        listening.two_scales,
    ),
    Row(
        15,
        "Numbers of crops, τ, T and Sinkhorn fixed in the code; keys that nothing reads",
        "every constant is a setting, an unknown key is an error",
        ["sdpn/config.py", "sdpn/training/config.py"],
        [
            "tests/distill/test_sdpn.py::test_every_constant_of_the_objective_is_a_setting",
            "tests/distill/test_base.py::test_any_number_of_views",
            "tests/cli/test_train.py::test_an_unknown_key_names_the_nearest",
        ],
        running.settings,
    ),
    Row(
        16,
        "The guard against NaN raises in one process; the others hang",
        "all processes judge the same loss at the same step",
        ["sdpn/training/guards.py", "sdpn/training/loop.py"],
        ["tests/training/test_distributed.py::test_a_broken_loss_stops_all_processes"],
        running.waiting_for_others,
    ),
    Row(
        17,
        "The whole file read for every 2 s; wav only; the rate unchecked",
        "any format and rate; decoded once while memory lasts, beyond it only the crop of a long utterance",
        ["sdpn/io/audio.py", "sdpn/io/recordings.py"],
        [
            "tests/data/test_recordings.py::test_ranges_are_those_of_the_whole",
            "tests/data/test_dataset.py::test_segments_are_read_as_such",
        ],
        listening.whole_files,
    ),
    Row(
        18,
        "Extraction one utterance at a time; no resampling; two rows for stereo",
        "resampled, one row for any number of channels, batches of like lengths",
        ["sdpn/models/embedder.py", "sdpn/io/audio.py", "sdpn/cli/extract.py"],
        [
            "tests/models/test_embedder.py::test_other_rates_are_resampled",
            "tests/diarization/test_pipeline.py::test_any_rate_and_channels_from_file_and_from_samples",
        ],
        listening.one_at_a_time,
    ),
    Row(
        19,
        "The number of speakers ignored below 40 windows and undone by merging",
        "the number asked for wins, for every clusterer",
        ["sdpn/clustering/base.py", "sdpn/clustering/force_count.py"],
        [
            "tests/clustering/test_contract.py::test_a_given_number_wins_over_the_estimate_and_over_the_bounds",
            "tests/diarization/test_pipeline.py::test_the_number_of_speakers",
        ],
        diarizing.number_of_speakers,
    ),
    Row(
        20,
        "Crash on a recording without speech; channel 0 in the RTTM",
        "an empty, valid RTTM; channel 1",
        ["sdpn/diarization/pipeline.py", "sdpn/io/rttm.py"],
        [
            "tests/cli/test_diarize.py::test_a_recording_without_speech_gives_an_empty_rttm",
            "tests/diarization/test_pipeline.py::test_nobody_speaks",
            "tests/io/test_rttm.py::test_the_written_line_is_the_standard_one",
        ],
        diarizing.empty_recording,
    ),
]


def main(arguments: list[str] | None = None) -> None:
    """Measure the rows asked for and print them as they come."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", type=int, nargs="+", metavar="N", choices=range(1, 21), help="these rows")
    parser.add_argument("--exp", type=Path, help="folder of a finished run of sdpn train")
    parser.add_argument("--data", type=Path, help="folder of the shared corpora")
    parser.add_argument("--markdown", action="store_true", help="the table of docs/hazards.md")
    args = parser.parse_args(arguments)
    torch.set_num_threads(1)
    data = args.data or Path(os.environ.get("SDPN_SHARED_DATA", ROOT.parent / "shared" / "data"))
    context = Context(data=data, exp=args.exp)
    if args.markdown:
        print("| # | hazard | in sdpn | measured |\n|--:|:--|:--|:--|")
    started = time.perf_counter()
    for row in ROWS:
        if args.only is None or row.number in args.only:
            measured = measure(row, context)
            print(as_markdown(row, measured) if args.markdown else as_text(row, measured), flush=True)
    if args.markdown and args.only is None:
        print("\n" + "\n".join(f"- {row.number}: {pinned_by(row)}" for row in ROWS))
    print(f"{time.perf_counter() - started:.0f} s; {machine()}", file=sys.stderr)


def measure(row: Row, context: Context) -> Measured:
    """Run a row; what it lacks is its text."""
    try:
        return row.measure(context)
    except Skip as skip:
        return Measured(f"Skipped: {skip}.")


def as_text(row: Row, measured: Measured) -> str:
    """A row for reading in a terminal."""
    plain = measured.text.replace("**", "")
    return f"#{row.number} {row.what}\n   here: {row.here.replace('**', '')}\n   {plain}\n"


def as_markdown(row: Row, measured: Measured) -> str:
    """A row of the table."""
    where = ", ".join(f"[{Path(file).name}](../{file})" for file in row.files)
    return f"| {row.number} | {row.what} | {row.here}: {where} | {measured.text} |"


def pinned_by(row: Row) -> str:
    """The tests that fail should the hazard come back."""
    return ", ".join(f"`{test}`" for test in row.tests) or "no test"


def machine() -> str:
    """What the figures were measured on."""
    return f"{os.cpu_count()} cores ({platform.machine()}), torch {torch.__version__} with one thread"


if __name__ == "__main__":
    main()

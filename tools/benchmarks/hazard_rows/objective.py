"""Prototypes, gradients and losses: hazards 1, 3, 5, 6, 8 and 9.

Shapes: B batch, V local views, W processes, K prototypes, E projection, D embedding.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from hazard_rows.row import Context, FinishedRun, Measured, Skip, in_turn, tiny_run
from sdpn.augmentation.augment import AugmentationConfig, Augmenter
from sdpn.data.crops import CropBatch
from sdpn.data.dataset import CropDataset, load_batches
from sdpn.distill import losses
from sdpn.distill.assignment import assign
from sdpn.distill.base import Branch, Projections, SelfDistillation
from sdpn.models.cost import cost_of
from sdpn.models.registry import SIZES
from sdpn.report.events import read_event_log
from sdpn.tracking.drift import cosine_drift
from sdpn.tracking.drift_curves import degrees
from sdpn.training.config import RunConfig
from sdpn.training.optim import clip_gradients, make_optimizer
from sdpn.training.pretrain import build

_WORLD = 8
_STEPS = 10
_PUBLISHED_CLIP = 3.0


def prototypes_outside(context: Context) -> Measured:
    """Hazard 1: prototypes that clipping, DDP and ``state_dict`` do not see."""
    apart, turned = _apart_without_averaging()
    parts = [
        f"Not averaged (W = {_WORLD}, {_STEPS} SGD steps, tiny net): the processes end with prototypes "
        f"**{apart:.1f}°** apart, having turned by {turned:.1f}°; here they stay equal."
    ]
    figures = {"apart_deg": apart, "turned_deg": turned}
    try:
        norms = _logged_gradient_norms(context.run)
        largest, above = max(norms), sum(norm > _PUBLISHED_CLIP for norm in norms)
        parts.append(
            f"Not clipped: {'**nil**' if not above else 'it counts'} in this run: their gradient has a norm "
            f"of at most {largest:.2f} at {len(norms)} points of the log, above {_PUBLISHED_CLIP:g} at "
            f"{above}."
        )
        figures |= {"largest_norm": largest}
        before, after = _redrawn(context.run, context)
        log_k = math.log(context.run.config.sdpn.num_prototypes)
        parts.append(
            f"Not saved: continuing at step {context.run.step} with prototypes drawn anew lifts the "
            f"cross-entropy from **{before:.2f} to {after:.2f}** (log K = {log_k:.2f})."
        )
        figures |= {"ce_kept": before, "ce_redrawn": after}
    except Skip as skip:
        parts.append(f"Clipping and resume: skipped, {skip}.")
    return Measured(" ".join(parts), figures)


def summed_over_processes(_context: Context) -> Measured:
    """Hazard 3: prototype gradients summed over W processes, the others averaged."""
    parts: list[str] = []
    figures: dict[str, float] = {}
    for kind, label in (("sgd", "SGD, published rate"), ("adamw", "AdamW")):
        averaged, summed = (_turn(kind, factor) for factor in (1, _WORLD))
        first, last = summed[0] / averaged[0], summed[-1] / averaged[-1]
        parts.append(
            f"{label}: step 1 turns them **{first:.2f}×** as far ({averaged[0]:.2f}° → {summed[0]:.2f}°), "
            f"{_STEPS} steps {last:.2f}× ({averaged[-1]:.0f}° → {summed[-1]:.0f}°)"
            f"{': **nil**.' if abs(last - 1) < 0.02 else '.'}"
        )
        figures |= {f"{kind}_first": first, f"{kind}_last": last}
    return Measured(
        f"Prototypes of W = {_WORLD} processes against those of one, same batches, tiny net. "
        f"{' '.join(parts)} Adam's steps do not depend on the scale of a gradient.",
        figures,
    )


def _tiny_batches(count: int, size: int) -> list[CropBatch]:
    run = tiny_run()
    generator = torch.Generator().manual_seed(0)
    return [
        CropBatch(
            torch.randn(1, size, run.crops.global_samples, generator=generator) * 0.1,
            torch.randn(2, size, run.crops.local_samples, generator=generator) * 0.1,
            torch.arange(size),
        )
        for _ in range(count)
    ]


def _tiny(kind: str, batch_size: int) -> tuple[RunConfig, SelfDistillation]:
    # SGD as published: 0.4 · batch / 256; each tensor of the student clipped, the prototypes not
    lr = 0.4 * batch_size / 256 if kind == "sgd" else 1e-3
    run = tiny_run(
        f"optimizer.kind={kind}",
        f"optimizer.lr={lr}",
        "optimizer.clip=per-tensor",
        "optimizer.clip_prototypes=false",
    )
    torch.manual_seed(0)
    return run, build(run).train()


def _turn(kind: str, factor: int, *, batch_size: int = 32) -> list[float]:
    """Mean angle (degrees) of prototypes to their start after each step, their gradient times ``factor``."""
    run, network = _tiny(kind, batch_size)
    optimizer = make_optimizer(run.optimizer, network)
    initial_KE = network.prototypes.detach().clone()
    trainable = [tensor for group in optimizer.param_groups for tensor in group["params"]]
    angles = []
    for batch in _tiny_batches(_STEPS, batch_size):
        optimizer.zero_grad()
        terms = network(batch)
        terms.total.backward()
        clip_gradients(run.optimizer, trainable, network.prototypes)
        assert network.prototypes.grad is not None
        network.prototypes.grad *= factor
        optimizer.step()
        network.after_step(0.99, terms)
        angles.append(_angle(initial_KE, network.prototypes))
    return angles


def _apart_without_averaging(*, batch_size: int = 32) -> tuple[float, float]:
    """W processes average the student's gradients but not the prototypes': mean angles between and since."""
    run, network = _tiny("sgd", batch_size)
    initial_KE = network.prototypes.detach().clone()
    own_KE = [initial_KE.clone().requires_grad_() for _ in range(_WORLD)]
    student = torch.optim.SGD(network.student.parameters(), lr=run.optimizer.lr, momentum=0.9)
    prototypes = torch.optim.SGD(own_KE, lr=run.optimizer.lr, momentum=0.9)
    share = batch_size // _WORLD
    for batch in _tiny_batches(_STEPS, batch_size):
        student.zero_grad()
        for rank, mine_KE in enumerate(own_KE):
            rows = slice(rank * share, (rank + 1) * share)
            network.set_prototypes(mine_KE.detach())
            network.prototypes.grad = None
            terms = network(batch.rows(rows))
            (terms.total / _WORLD).backward()
            assert network.prototypes.grad is not None
            mine_KE.grad = network.prototypes.grad * _WORLD  # of its own rows, not of a W-th of them
        student.step()
        prototypes.step()
        network.after_step(0.99, terms)
    pairs = [_angle(own_KE[0].detach(), other.detach()) for other in own_KE[1:]]
    return sum(pairs) / len(pairs), _angle(initial_KE, own_KE[0].detach())


@torch.no_grad()
def _angle(before_KE: Tensor, after_KE: Tensor) -> float:
    return float(degrees(cosine_drift(before_KE.double(), after_KE.double())).mean())


def _logged_gradient_norms(run: FinishedRun) -> list[float]:
    logs = sorted((run.folder / "tensorboard").glob("events.*"))
    if not logs:
        raise Skip("the run has no TensorBoard log")
    return list(read_event_log(run.folder / "tensorboard").scalars["prototypes/grad_norm"].values())


@torch.no_grad()
def _redrawn(run: FinishedRun, context: Context, *, batches: int = 3) -> tuple[float, float]:
    """Cross-entropy of the batches after the last step, with the saved prototypes and with new ones."""
    dataset = CropDataset(
        context.utterances, run.config.crops, Augmenter(AugmentationConfig()), seed=0, cache_mb=256
    )
    following = list(
        load_batches(
            dataset,
            batch_size=run.batch_size,
            seed=0,
            start_step=run.step,
            end_step=run.step + batches,
            workers=0,
        )
    )
    network = copy.deepcopy(run.network).train()
    kept = sum(float(network(batch).terms["ce"]) for batch in following) / batches
    torch.manual_seed(1)
    network.set_prototypes(build(run.config).prototypes)
    redrawn = sum(float(network(batch).terms["ce"]) for batch in following) / batches
    return kept, redrawn


def identity_product(_context: Context) -> Measured:
    """Hazard 5: the student's softmax times a K×K identity."""
    parts: list[str] = []
    figures: dict[str, float] = {}
    rows = 4 * 96
    encoder = rows * 2.0 * cost_of(SIZES["ecapa-1024"]).macs_per_s  # crops of 2 s
    for num_prototypes, rounds in ((1024, 12), (8192, 3)):
        timing = in_turn(*_objectives(num_prototypes), rounds=rounds)
        parts.append(f"K = {num_prototypes:,}: the objective takes {timing} as long.")
        figures[f"ratio_{num_prototypes}"] = timing.ratio
    shares = {size: rows * size**2 / encoder for size in (1024, 65536)}
    figures |= {f"share_{size}": share for size, share in shares.items()}
    return Measured(
        f"V·B = 4·96 rows, E = 256, forward and backward. {' '.join(parts)} Counted in multiply-accumulates "
        f"it is {shares[1024]:.2%} of what ECAPA-1024 needs for these crops at K = 1,024, next to nothing of "
        f"a step, and {shares[65536]:.0%} at K = 65,536, which is not run: the identity alone takes "
        f"{65536**2 * 4 / 1e9:.1f} GB.",
        figures,
    )


def _objectives(num_prototypes: int) -> tuple[Callable[[], None], Callable[[], None]]:
    """The whole objective at published sizes, and the same with the product; both with their gradients."""
    torch.manual_seed(0)
    network = build(tiny_run(f"sdpn.num_prototypes={num_prototypes}", "head.projection_dim=256"))
    student_VBE = torch.randn(4, 96, 256).requires_grad_()
    projections = Projections(
        torch.randn(1, 96, 256), student_VBE, torch.randn(4, 96, 512).requires_grad_(), torch.arange(96)
    )
    eye_KK = torch.eye(num_prototypes)
    # the objective has its own softmax: only the product and its way back are what the hazard adds
    probability_NK = torch.softmax(torch.randn(384, num_prototypes), dim=1).requires_grad_()

    def ours() -> None:
        network.objective(projections).total.backward()

    def theirs() -> None:
        (network.objective(projections).total + (probability_NK @ eye_KK).log().mean()).backward()

    return ours, theirs


#: Gaps between logits that are tried.
_GAPS = [0.25 * step for step in range(801)]
_DTYPES = {"fp16": torch.float16, "bf16": torch.bfloat16, "fp32": torch.float32}


def outside_log_space(_context: Context) -> Measured:
    """Hazard 6: ``log(p ** -t)`` and ``p ** 4`` with p = softmax."""
    figures: dict[str, float] = {}
    for name, dtype in _DTYPES.items():
        figures[f"loss_{name}"] = _first(partial(_finite_loss, _plain_loss, dtype))
        figures[f"targets_{name}"] = _first(partial(_finite_targets, _plain_targets, dtype))
        for gap in (*_GAPS, 1e3, 1e4):
            if not (_finite_loss(_our_loss, dtype, gap) and _finite_targets(_our_targets, dtype, gap)):
                raise AssertionError(f"sdpn's own form is not finite at a gap of {gap} in {name}")

    def shown(what: str) -> str:
        return ", ".join(
            f"{name} {'never' if math.isinf(gap) else f'{gap:g}'}"
            for name, gap in ((name, figures[f"{what}_{name}"]) for name in _DTYPES)
        )

    lowest = min(figures["targets_fp32"], figures["loss_fp32"])
    return Measured(
        "Smallest gap between logits, of those up to 200, at which the loss or its gradient is no number: "
        f"**{shown('loss')}**; the assignments (K = 256): **{shown('targets')}** (at 0 all logits are equal: "
        "every `p ** 4` is rounded to 0). Cosines over τ differ by at most 2/τ, 20 as published: "
        f"{'**nil**' if lowest > 20 else 'possible'} in fp32, where τ has to be below {2 / lowest:.3f}, but "
        "not in fp16. Ours: finite at every gap up to 10,000, in all three.",
        figures,
    )


def _first(is_finite: Callable[[float], bool]) -> float:
    """Smallest gap at which something is no number; infinite where there is none."""
    return next((gap for gap in _GAPS if not is_finite(gap)), math.inf)


def _finite_loss(loss: Callable[[Tensor, Tensor], Tensor], dtype: torch.dtype, gap: float) -> bool:
    """Whether loss and gradient are numbers where the student is sure (by the gap) of another prototype."""
    logits_BK = torch.zeros(2, 8, dtype=dtype)
    logits_BK[:, 0] = gap
    logits_BK.requires_grad_()
    targets_BK = torch.full((2, 8), 0.01 / 7, dtype=dtype)
    targets_BK[:, 1] = 0.99
    value = loss(logits_BK, targets_BK)
    value.backward()
    assert logits_BK.grad is not None
    return bool(value.isfinite()) and bool(logits_BK.grad.isfinite().all())


def _plain_loss(logits_BK: Tensor, targets_BK: Tensor) -> Tensor:
    return torch.log(torch.softmax(logits_BK, dim=1) ** (-targets_BK)).sum(1).mean()


def _our_loss(logits_BK: Tensor, targets_BK: Tensor) -> Tensor:
    log_student_VBK = torch.log_softmax(logits_BK.float(), dim=1).unsqueeze(0)
    return losses.cross_entropy(log_student_VBK, targets_BK.float())


def _finite_targets(targets: Callable[[Tensor], Tensor], dtype: torch.dtype, gap: float) -> bool:
    """Whether assignments are numbers where all utterances prefer one prototype by the gap."""
    logits_BK = torch.zeros(32, 256, dtype=dtype)
    logits_BK[:, 0] = gap
    return bool(targets(logits_BK).isfinite().all())


def _plain_targets(logits_BK: Tensor) -> Tensor:
    """Sharpen by a power, then Sinkhorn by division: the published formulas as they stand."""
    balanced_BK = torch.softmax(logits_BK, dim=1) ** 4
    balanced_BK = balanced_BK / balanced_BK.sum(1, keepdim=True)
    for _ in range(3):
        balanced_BK = balanced_BK / balanced_BK.sum(0, keepdim=True)
        balanced_BK = balanced_BK / balanced_BK.sum(1, keepdim=True)
    return balanced_BK


def _our_targets(logits_BK: Tensor) -> Tensor:
    return assign(logits_BK, sharpening=0.25, iterations=3)


def teacher_batch_norm(context: Context) -> Measured:
    """Hazard 8: a moving average over parameters leaves the teacher's batch-norm statistics undecided."""
    run = context.run
    features_BFT = run.network.features(context.speech(100, run.config.crops.global_s)[0])
    own = copy.deepcopy(run.network.teacher)
    student = copy.deepcopy(own)
    for mine, theirs in zip(student.buffers(), run.network.student.buffers(), strict=True):
        mine.copy_(theirs)
    initial = copy.deepcopy(own)
    for norm in initial.modules():
        if isinstance(norm, nn.modules.batchnorm._BatchNorm):
            norm.reset_running_stats()
    reference_BD = _embed(own, features_BFT)
    cosine = {
        name: float((reference_BD * _embed(branch, features_BFT)).sum(1).mean())
        for name, branch in (("student", student), ("initial", initial))
    }
    return Measured(
        f"Trained teacher, 100 utterances, cosine to its embedding with statistics of its own: the student's "
        f"**{cosine['student']:.3f}**, the initial ones (0 and 1) **{cosine['initial']:.3f}**. EER of runs "
        "trained either way: below the table.",
        cosine,
    )


@torch.no_grad()
def _embed(branch: Branch, features_BFT: Tensor) -> Tensor:
    """Embeddings of unit length."""
    return normalize(branch.eval().encoder(features_BFT), dim=1)


def near_duplicates(_context: Context) -> Measured:
    """Hazard 9: −log of the distance of two rows that are nearly the same."""
    parts: list[str] = []
    figures: dict[str, float] = {}
    cases = {f"a pair at {distance:g}": _with_a_pair(distance) for distance in (1e-2, 1e-4, 1e-6, 0.0)}
    for name, case_VBD in {**cases, "all within 1e-6": _all_alike(1e-6)}.items():
        row = []
        for side, term in (("plain", koleo_without_floor), ("ours", losses.koleo)):
            rows_VBD = case_VBD.clone().requires_grad_()
            value = term(rows_VBD)
            value.backward()
            assert rows_VBD.grad is not None
            loss, gradient = value.item(), float(rows_VBD.grad.norm())
            figures |= {f"{side}, {name}": loss, f"{side}, {name}, gradient": gradient}
            row.append(f"{loss:.2f} ({gradient:.1f})" if gradient < 1e3 else f"{loss:.2f} ({gradient:.0e})")
        parts.append(f"{name}: {' → '.join(row)}")
    half = float(koleo_without_floor(_with_a_pair(1e-4).half()))
    figures["plain, half"] = half
    return Measured(
        "32 rows of unit length; loss (norm of its gradient) without → with the floor of 1e-4: "
        f"{'; '.join(parts)}. In fp16 instead of fp32 a pair at 1e-4 gives {half:.2g}. "
        "Below the floor KoLeo no longer pulls rows apart: total collapse is for the guard to find.",
        figures,
    )


def koleo_without_floor(embedding_VBD: Tensor) -> Tensor:
    """−mean log of the distance to the nearest neighbour, summed over views, in whatever precision."""
    unit_VBD = normalize(embedding_VBD, dim=-1)
    difference_VBBD = unit_VBD.unsqueeze(2) - unit_VBD.unsqueeze(1)
    same_BB = torch.eye(embedding_VBD.shape[1], dtype=torch.bool)
    squared_VBB = difference_VBBD.square().sum(-1).masked_fill(same_BB, 5.0)  # no two unit rows are so far
    return -0.5 * squared_VBB.amin(2).log().mean(-1).sum()


def _with_a_pair(distance: float) -> Tensor:
    """(1, 32, 192) rows of unit length, of which two are so close."""
    rows_BD = normalize(torch.randn(32, 192, generator=torch.Generator().manual_seed(0)), dim=1)
    aside_D = normalize(rows_BD[2] - (rows_BD[2] @ rows_BD[0]) * rows_BD[0], dim=0)
    rows_BD[1] = normalize(rows_BD[0] + distance * aside_D, dim=0)
    return rows_BD.unsqueeze(0)


def _all_alike(distance: float) -> Tensor:
    """(1, 32, 192) rows of unit length, all about so close to one."""
    generator = torch.Generator().manual_seed(0)
    one_D = normalize(torch.randn(192, generator=generator), dim=0)
    aside_BD = normalize(torch.randn(32, 192, generator=generator), dim=1)
    return normalize(one_D + distance * aside_BD, dim=1).unsqueeze(0)

"""What every training has in common: batches, schedule, bfloat16, checkpoints, the loop itself.

Own loop rather than sentence-transformers' trainer because it is over 1.3 times faster here
(benchmarks/results/throughput.json): sentences are tokenised once, batches are grouped by
length, and a checkpoint restores the exact step without pickles.
"""

import math
import re
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file, load_model, save_file, save_model
from sentence_transformers import SentenceTransformer
from torch import nn

from hpdistill.encoder import Embeddings
from hpdistill.errors import HpdError, RunError
from hpdistill.files import atomic_directory, read_json, reading_own, write_json
from hpdistill.interrupts import Postponed
from hpdistill.progress import Report, silent
from hpdistill.pytorch import batches_at_once, has_bfloat16, intake_of, rows_that_fit
from hpdistill.recipe import SettledLoop
from hpdistill.student import backbone, is_static

__all__ = [
    "TokenCache",
    "Trained",
    "batches",
    "checkpoint_directory",
    "embed_tokens",
    "fit",
    "forward",
    "random_states",
    "schedule",
    "set_random_states",
    "total_steps",
    "use_bfloat16",
]

GROUP = 64
"""Batches whose sentences are sorted by length together."""

LEAST_GROUPS = 8
"""A small corpus is cut into so many, or all that ever meets in a batch is of one length."""

CHECKPOINT_SECONDS = 300
"""A checkpoint is written at the latest so long after the one before; it decides nothing else."""

_DAMAGE = (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError, HpdError)
"""What reading a damaged checkpoint raises."""


class TokenCache:
    """Token ids of many sentences in one flat array, 4 bytes a token."""

    def __init__(self, rows: Iterator[list[list[int]]], *, max_tokens: int) -> None:
        parts: list[NDArray[np.int32]] = []
        lengths: list[NDArray[np.int32]] = []
        for chunk in rows:
            # The last token closes the sentence ([SEP], </s>) and stays when it is cut.
            cut = [r if len(r) <= max_tokens else [*r[: max_tokens - 1], r[-1]] for r in chunk]
            parts.append(np.fromiter((token for row in cut for token in row), np.int32))
            lengths.append(np.fromiter(map(len, cut), np.int32))
        self.lengths = np.concatenate(lengths)
        self._flat = np.concatenate(parts)
        self._starts = np.concatenate([[0], np.cumsum(self.lengths, dtype=np.int64)])

    def __len__(self) -> int:
        return len(self.lengths)

    def rows(self, indices: Sequence[int] | NDArray[np.int64]) -> list[list[int]]:
        """Token ids of some sentences."""
        return [self._flat[self._starts[i] : self._starts[i + 1]].tolist() for i in indices]


def batches(
    lengths: NDArray[np.int32], batch_size: int, *, seed: int, epoch: int
) -> list[NDArray[np.int64]]:
    """Random batches of sentences of like length; a pure function of its arguments.

    Shuffled sentences are sorted within groups of 64 batches (fewer where there are not enough
    for 8 groups), then the batches are shuffled, so that little padding is computed and chance
    still decides what meets.

    Args:
        lengths: Tokens of each of n sentences, shape (n,).
        batch_size: Sentences in a batch; the last one may be smaller.
        seed: Of the recipe.
        epoch: Each gives another order.

    Returns:
        Index arrays that together hold each of 0 to n-1 once.
    """
    generator = np.random.default_rng([seed, epoch])
    order = generator.permutation(len(lengths))
    total = math.ceil(len(order) / batch_size)
    group = max(1, min(GROUP, total // LEAST_GROUPS)) * batch_size
    result: list[NDArray[np.int64]] = []
    for start in range(0, len(order), group):
        members = order[start : start + group]
        members = members[np.argsort(lengths[members], kind="stable")]
        result += [members[i : i + batch_size] for i in range(0, len(members), batch_size)]
    generator.shuffle(result)  # in place
    return result


@dataclass
class Progress:
    """What a checkpoint remembers beside tensors."""

    step: int = 0
    sentences: int = 0
    best_step: int = -1
    best_score: float = -math.inf
    seconds: float = 0.0
    """Spent training, over all interrupted parts."""
    loss_sum: float = 0.0
    """Of the steps since the last validation."""
    loss_count: int = 0
    history: list[dict[str, float]] = field(default_factory=list)
    """Of each validation: `step`, `loss` (mean since the last), `score` (if there is one),
    `learning_rate`."""


@dataclass(frozen=True)
class Trained:
    """How a training went."""

    steps: int
    best_step: int
    best_score: float
    seconds: float
    sentences: int
    precision: str
    history: list[dict[str, float]]

    def to_dict(self) -> dict[str, Any]:
        """For manifests and reports."""
        return asdict(self)


def fit(
    student: SentenceTransformer,
    backward: Callable[[NDArray[np.int64]], Iterator[float]],
    score: Callable[[], float] | None,
    *,
    lengths: NDArray[np.int32],
    recipe: SettledLoop,
    seed: int,
    directory: Path,
    bfloat16: bool,
    start_may_win: bool = True,
    report: Report = silent,
) -> Trained:
    """Train a model in place and leave it with its best weights.

    Goes on from the newest checkpoint in `directory`; an unbroken run gives the same weights.
    Ctrl-C and SIGTERM do what they do once the step is done and saved; a second one at once.

    Args:
        student: Its last module normalises.
        backward: Computes gradients of a batch's loss, given the indices of its examples; yields
            the loss in parts that add up to it.
        score: Of the weights as they are; higher is better. None: the last weights are the best.
        lengths: Tokens of each of n examples, shape (n,).
        recipe: The choices.
        seed: Decides batches and dropout.
        directory: Of checkpoints.
        bfloat16: Whether `backward` and `score` compute matrix products in it; for the record.
        start_may_win: Whether the weights it starts with count among the best.
        report: Progress, in examples.

    Raises:
        RunError: A checkpoint cannot be written, and the ones before are kept; one is damaged; or
            the loss is no number any more.
    """
    if student.device.type == "cpu" and not is_static(student):
        # The backward pass of PyTorch's fused attention on CPUs takes as long as all matrix
        # products together at sentence length; without it, training is twice as fast here.
        backbone(student).set_attn_implementation("eager")
    steps = total_steps(recipe, len(lengths))
    optimizer = _optimizer(student, recipe)
    torch.manual_seed(seed)
    progress = _restore(directory, student, optimizer)
    if progress is None:
        progress = Progress()
        first = None if score is None else score()
        _record(progress, first, 0.0, 0.0, may_win=start_may_win or steps == 0)
        _checkpoint(directory, student, optimizer, progress)
    student.train(recipe.dropout)
    started = saved = time.perf_counter()
    before = progress.seconds
    with Postponed() as signals:

        def save() -> None:
            nonlocal saved
            progress.seconds = before + time.perf_counter() - started
            _checkpoint(directory, student, optimizer, progress)
            signals.unsaved, saved = False, time.perf_counter()

        for step, batch in _steps_from(progress.step, steps, lengths, recipe, seed):
            rate = recipe.learning_rate * schedule(step, steps, recipe.warmup)
            for group in optimizer.param_groups:
                group["lr"] = rate
            losses = list(backward(batch))
            nn.utils.clip_grad_norm_(student.parameters(), recipe.clip)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            # From here on until they are saved, this step and those before could be lost.
            signals.unsaved = True
            for loss in losses:
                progress.loss_sum += loss
            progress.loss_count += 1
            progress.step = step + 1
            progress.sentences += len(batch)
            try:
                report("training", progress.step * recipe.batch_size, steps * recipe.batch_size)
            except KeyboardInterrupt:  # a program's own; or that of a second Ctrl-C
                if not signals.came:
                    save()
                raise
            validates = progress.step % recipe.evaluate_every == 0 or progress.step == steps
            is_late = time.perf_counter() - saved >= CHECKPOINT_SECONDS
            if not (validates or is_late or signals.came):
                continue
            if not math.isfinite(progress.loss_sum):
                raise RunError(
                    f"the training diverged: its loss is {progress.loss_sum} at step "
                    f"{progress.step:,} of {steps:,}",
                    hint=f"Give a learning rate below {recipe.learning_rate:g}.",
                )
            if validates:
                student.eval()
                reached = None if score is None else score()
                student.train(recipe.dropout)
                _record(progress, reached, progress.loss_sum / progress.loss_count, rate)
                progress.loss_sum, progress.loss_count = 0.0, 0
            save()
            signals.deliver()
    best = directory / f"best-{progress.best_step:08d}"
    with _sound(best):
        load_model(student, best / "model.safetensors")
    student.eval()
    return Trained(
        steps=progress.step,
        best_step=progress.best_step,
        best_score=progress.best_score,
        seconds=round(progress.seconds, 1),
        sentences=progress.sentences,
        precision="bfloat16 autocast" if bfloat16 else "float32",
        history=progress.history,
    )


def checkpoint_directory(run: Path, key: str) -> Path:
    """Where the checkpoints of a training lie in its run; those of others go.

    Args:
        run: The run directory.
        key: Hash of all that decides the training.
    """
    own = run / "checkpoints" / key[:16]
    for other in own.parent.glob("*"):
        if other != own and re.fullmatch("[0-9a-f]{16}", other.name) and other.is_dir():
            shutil.rmtree(other)
    return own


def use_bfloat16(recipe: SettledLoop, device: str) -> bool:
    """Whether matrix products are computed in bfloat16."""
    return recipe.precision == "bfloat16" or (recipe.precision == "auto" and has_bfloat16(device))


def total_steps(recipe: SettledLoop, sentences: int) -> int:
    """Optimiser steps of a training on so many sentences."""
    # 1.1 * 10 is 11.000000000000002, which is 11 steps.
    steps = math.ceil(round(recipe.epochs * math.ceil(sentences / recipe.batch_size), 9))
    return steps if recipe.max_steps is None else min(steps, recipe.max_steps)


def schedule(step: int, steps: int, warmup: float) -> float:
    """Factor on the learning rate: rises linearly over the warm-up, then falls linearly to 0."""
    rise = max(1, round(warmup * steps))
    if step < rise:
        return (step + 1) / rise
    return (steps - step) / max(1, steps - rise)


def forward(student: SentenceTransformer, rows: list[list[int]], *, bfloat16: bool) -> torch.Tensor:
    """Outputs that are compared with targets, shape (len(rows), k), float32.

    Those of a head, before normalisation: it learns their length. A mean of token vectors has a
    length that says how many and how unlike they are; only its direction is taught.
    """
    features = intake_of(student).collate(rows)
    first, *rest = student if is_static(student) else list(student)[:-1]
    with torch.autocast(student.device.type, dtype=torch.bfloat16, enabled=bfloat16):
        features = first(features)
    # Sums over tokens and the head itself are cheap, and worth their float32 digits.
    if "token_embeddings" in features:
        features["token_embeddings"] = features["token_embeddings"].float()
    for module in rest:
        features = module(features)
    outputs: torch.Tensor = features["sentence_embedding"]
    return outputs


def embed_tokens(student: SentenceTransformer, tokens: TokenCache, *, bfloat16: bool) -> Embeddings:
    """Outputs of `forward` for cached sentences, shape (len(tokens), k), float32."""
    budget = 2048 * batches_at_once(student.device.type)
    intake = intake_of(student)
    order = np.argsort(-tokens.lengths, kind="stable")
    width = student.get_embedding_dimension()
    assert width is not None
    vectors = np.empty((len(tokens), width), np.float32)
    start = 0
    with torch.inference_mode():
        while start < len(order):
            count = rows_that_fit(intake, int(tokens.lengths[order[start]]), budget)
            batch = order[start : start + count]
            vectors[batch] = forward(student, tokens.rows(batch), bfloat16=bfloat16).cpu().numpy()
            start += count
    return vectors


def _steps_from(
    first: int, steps: int, lengths: NDArray[np.int32], recipe: SettledLoop, seed: int
) -> Iterator[tuple[int, NDArray[np.int64]]]:
    per_epoch = math.ceil(len(lengths) / recipe.batch_size)
    order: list[NDArray[np.int64]] = []
    for step in range(first, steps):
        epoch, index = divmod(step, per_epoch)
        if index == 0 or not order:
            order = batches(lengths, recipe.batch_size, seed=seed, epoch=epoch)
        yield step, order[index]


def _optimizer(student: SentenceTransformer, recipe: SettledLoop) -> torch.optim.AdamW:
    # Biases and layer norms are not decayed, as usual for transformers.
    decayed = [weight for weight in student.parameters() if weight.ndim > 1]
    kept = [weight for weight in student.parameters() if weight.ndim <= 1]
    groups = [
        {"params": decayed, "weight_decay": recipe.weight_decay},
        {"params": kept, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=recipe.learning_rate, fused=True)


def _record(
    progress: Progress, score: float | None, loss: float, rate: float, *, may_win: bool = True
) -> None:
    scores = {} if score is None else {"score": score}
    progress.history.append({"step": progress.step, "loss": loss, **scores, "learning_rate": rate})
    if score is None:
        progress.best_step = progress.step
        return
    if not may_win:
        return
    # A score that is no number never wins, but the first weights are kept whatever theirs is.
    if progress.best_step < 0 or math.isnan(progress.best_score) or score > progress.best_score:
        progress.best_score, progress.best_step = score, progress.step


def _checkpoint(
    directory: Path,
    student: SentenceTransformer,
    optimizer: torch.optim.AdamW,
    progress: Progress,
) -> None:
    """Write the newest state, and the weights if they are the best; then drop older ones."""
    if progress.best_step == progress.step:
        with atomic_directory(directory / f"best-{progress.step:08d}") as best:
            save_model(student, str(best / "model.safetensors"))
    moments: dict[str, torch.Tensor] = {}
    for index, state in optimizer.state_dict()["state"].items():
        moments |= {f"optimizer.{index}.{key}": value for key, value in state.items()}
    name = f"step-{progress.step:08d}"
    with atomic_directory(directory / name) as newest:
        save_model(student, str(newest / "model.safetensors"))
        save_file({**moments, **random_states(student.device)}, newest / "optimizer.safetensors")
        write_json(newest / "progress.json", asdict(progress))
    _tidy(directory, progress)


def _restore(
    directory: Path, student: SentenceTransformer, optimizer: torch.optim.AdamW
) -> Progress | None:
    found = sorted(directory.glob("step-????????")) if directory.is_dir() else []
    if not found:
        return None
    newest = found[-1]
    with _sound(newest):
        load_model(student, newest / "model.safetensors")
        tensors = load_file(newest / "optimizer.safetensors")
        set_random_states(tensors, student.device)
        state: dict[int, dict[str, torch.Tensor]] = {}
        for name, value in tensors.items():
            _, index, key = name.split(".")
            state.setdefault(int(index), {})[key] = value
        optimizer.load_state_dict({**optimizer.state_dict(), "state": state})
        progress = Progress(**read_json(newest / "progress.json"))
        if newest.name != f"step-{progress.step:08d}":
            raise ValueError(f"progress.json is of step {progress.step}")
    _tidy(directory, progress)  # of a kill between a checkpoint and its own tidying
    return progress


def random_states(device: torch.device) -> dict[str, torch.Tensor]:
    """What dropout draws next: of the processor, and of the device if that draws its own."""
    states = {"random": torch.get_rng_state()}
    if device.type == "cuda":
        states["random_cuda"] = torch.cuda.get_rng_state(device)
    return states


def set_random_states(tensors: dict[str, torch.Tensor], device: torch.device) -> None:
    """Take what `random_states` gave out of a checkpoint's tensors, and go on from there."""
    torch.set_rng_state(tensors.pop("random"))
    on_device = tensors.pop("random_cuda", None)
    if on_device is not None and device.type == "cuda":
        torch.cuda.set_rng_state(on_device, device)


def _tidy(directory: Path, progress: Progress) -> None:
    """Drop the states and weights that are neither the newest nor the best."""
    keep = {f"step-{progress.step:08d}", f"best-{progress.best_step:08d}"}
    for old in [*directory.glob("step-*"), *directory.glob("best-*")]:
        if old.name not in keep and old.is_dir():
            shutil.rmtree(old)


def _sound(checkpoint: Path) -> AbstractContextManager[None]:
    hint = f"Delete {checkpoint.parent} to train from the beginning."
    return reading_own(checkpoint, hint, *_DAMAGE)

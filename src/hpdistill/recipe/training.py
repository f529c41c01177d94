"""How a student learns its targets."""

import dataclasses
from dataclasses import dataclass
from typing import Any, Literal

from hpdistill.recipe._choices import check, check_choice, check_if_set

__all__ = ["SettledLoop", "SettledTraining", "TrainingRecipe", "prefixes_of"]


@dataclass(frozen=True, kw_only=True)
class TrainingRecipe:
    """How the student learns the targets."""

    epochs: float | None = None
    """Passes over the corpus. None: 2; 4 for a static student."""
    max_steps: int | None = None
    """Stop after so many optimiser steps, whatever `epochs` says; 0 trains nothing."""
    batch_size: int | None = None
    """None: 64; 512 for a static student."""
    learning_rate: float | None = None
    """Peak of the schedule. None: 1e-4; 1e-2 for a static student."""
    warmup: float = 0.06
    """Share of the steps over which the learning rate rises; it then falls linearly to 0."""
    weight_decay: float = 0.01
    clip: float = 1.0
    """Largest norm of the gradient."""
    similarity_weight: float | None = None
    """Weight of the similarity-matrix term beside the MSE. None: 0; 1 for a static student."""
    neighbour_weight: float | None = None
    """Weight of the ranking of each sentence's nearest targets beside the MSE. None: 2; 0 for a
    static student. 0 for both leaves the paper's plain MSE."""
    neighbours: int = 512
    """Of how many of its nearest a sentence's candidates for that ranking are drawn."""
    ranking: Literal["teacher", "targets"] | None = None
    """Whose cosines say how neighbours are ranked: those of the teacher's whole vectors, or of the
    targets, which have lost some of it. None: the teacher's."""
    prefix_weight: float = 0.0
    """Weight of the prefixes' losses beside that of whole vectors: those of `prefixes_of`, together
    weighing so much. 0 trains whole vectors only."""
    dropout: bool = False
    max_tokens: int = 128
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """Of the matrix products; weights and optimiser stay float32."""
    evaluate_every: int = 250
    """Steps between validations and checkpoints."""

    def __post_init__(self) -> None:
        self.settled()

    def settled(self, *, static: bool = False) -> "SettledTraining":
        """These choices, with what is unset filled in for the kind of student.

        Raises:
            UsageError: A value is out of range.
        """
        usual = _STATIC_TRAINING if static else _TRANSFORMER_TRAINING
        chosen: dict[str, Any] = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        unset = {name: value for name, value in usual.items() if chosen[name] is None}
        return SettledTraining(**chosen | unset)


_TRANSFORMER_TRAINING: dict[str, Any] = {
    "epochs": 2.0,
    "batch_size": 64,
    "learning_rate": 1e-4,
    "similarity_weight": 0.0,
    "neighbour_weight": 2.0,
    "ranking": "teacher",
}


_STATIC_TRAINING: dict[str, Any] = {
    "epochs": 4.0,
    "batch_size": 512,
    "learning_rate": 1e-2,
    "similarity_weight": 1.0,
    "neighbour_weight": 0.0,
    "ranking": "teacher",
}


@dataclass(frozen=True, kw_only=True)
class SettledLoop:
    """What a training loop needs to know, whatever the loss; nothing is left to choose.

    Raises:
        UsageError: A value is out of range.
    """

    epochs: float
    max_steps: int | None
    batch_size: int
    learning_rate: float
    warmup: float
    weight_decay: float
    clip: float
    dropout: bool
    max_tokens: int
    precision: Literal["auto", "float32", "bfloat16"]
    evaluate_every: int

    def __post_init__(self) -> None:
        check("epochs", self.epochs, 0 <= self.epochs <= 1e9, "0 to 1,000,000,000")
        check_if_set("max_steps", self.max_steps, lambda count: count >= 0, "0 or more")
        check("batch_size", self.batch_size, self.batch_size >= 1, "1 or more")
        check("learning_rate", self.learning_rate, self.learning_rate > 0, "above 0")
        check("warmup", self.warmup, 0 <= self.warmup < 1, "at least 0 and below 1")
        check("weight_decay", self.weight_decay, self.weight_decay >= 0, "0 or more")
        check("clip", self.clip, self.clip > 0, "above 0")
        check("max_tokens", self.max_tokens, self.max_tokens >= 3, "3 or more")
        check("evaluate_every", self.evaluate_every, self.evaluate_every >= 1, "1 or more")
        check_choice("precision", self.precision, ("auto", "float32", "bfloat16"))


@dataclass(frozen=True, kw_only=True)
class SettledTraining(SettledLoop):
    """A loop, and the weights of a distillation's loss."""

    similarity_weight: float
    neighbour_weight: float
    neighbours: int
    ranking: Literal["teacher", "targets"]
    prefix_weight: float

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("similarity_weight", "neighbour_weight", "prefix_weight"):
            weight = getattr(self, name)
            check(name, weight, weight >= 0, "0 or more")
        check("neighbours", self.neighbours, self.neighbours >= 1, "1 or more")
        check_choice("ranking", self.ranking, ("teacher", "targets"))


def prefixes_of(dim: int) -> list[int]:
    """The widths that a k-wide student promises: powers of two from 16, and k itself, last."""
    powers = [2**exponent for exponent in range(4, 20)]
    return [power for power in powers if power < dim] + [dim]

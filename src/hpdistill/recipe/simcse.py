"""Every choice of a contrastive training."""

from dataclasses import dataclass
from typing import Literal, get_args

from hpdistill.errors import UsageError
from hpdistill.recipe._choices import Choices, check, check_choice, check_if_set, check_seed
from hpdistill.recipe.corpus import CorpusRecipe, NliRecipe
from hpdistill.recipe.student import PoolingMode, StudentSpec
from hpdistill.recipe.training import SettledLoop

__all__ = ["SimcseRecipe"]


@dataclass(frozen=True, kw_only=True)
class SimcseRecipe(Choices):
    """Every choice of a contrastive training (Gao et al. 2021, "SimCSE").

    Supervised from `nli`: a premise should be nearer to what follows from it than to all else in
    its batch. Unsupervised from `corpus`: a sentence should be nearest to itself, under another
    dropout.

    Raises:
        UsageError: A value is out of range, or not exactly one of `nli` and `corpus` is given.
    """

    backbone: str
    """A path, a short name, a hub id, or what else a student may be made from."""
    nli: NliRecipe | None = None
    corpus: CorpusRecipe | None = None
    """`validation` decides nothing here: all sentences are trained on."""
    pooling: PoolingMode | None = None
    """None: that of the backbone's own model; a bare one has the mean, or the last token if it is a
    decoder."""
    dim: int | None = None
    """Width of a dense layer that is trained with the rest; None: no such layer."""
    temperature: float = 0.05
    """Cosines are divided by it."""
    epochs: float | None = None
    """Passes over the triplets or sentences. None, as in the paper: 3 supervised, else 1."""
    max_steps: int | None = None
    """Stop after so many optimiser steps, whatever `epochs` says; 0 trains nothing."""
    batch_size: int = 64
    """Triplets or sentences; the paper: 512 supervised, 64 unsupervised."""
    learning_rate: float | None = None
    """Peak of the schedule. None, as in the paper: 5e-5 supervised, else 3e-5."""
    warmup: float = 0.06
    """Share of the steps over which the learning rate rises; it then falls linearly to 0."""
    weight_decay: float = 0.0
    clip: float = 1.0
    """Largest norm of the gradient."""
    max_tokens: int = 64
    """Longer sentences are cut in training; the paper: 32."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """Of the matrix products; weights and optimiser stay float32."""
    evaluate_every: int = 250
    """Steps between validations and checkpoints."""
    seed: int = 0

    def __post_init__(self) -> None:
        if (self.nli is None) == (self.corpus is None):
            raise UsageError(
                "SimCSE is trained either on labelled pairs (nli) or on sentences (corpus): "
                f"{'neither' if self.nli is None else 'both'} given"
            )
        if self.pooling is not None:
            check_choice("pooling", self.pooling, get_args(PoolingMode))
        check_if_set("dim", self.dim, lambda width: width >= 1, "1 or more")
        check("temperature", self.temperature, self.temperature > 0, "above 0")
        check_seed(self.seed)
        if self.backbone_spec.static:
            raise UsageError(f"backbone {self.backbone!r} has no transformer to train")
        self.settled()

    @property
    def backbone_spec(self) -> StudentSpec:
        """What `backbone` says.

        Raises:
            UsageError: It is malformed, which the recipe refuses when it is made.
        """
        return StudentSpec.parse(self.backbone)

    @property
    def supervised(self) -> bool:
        """Whether labelled pairs are learnt from."""
        return self.nli is not None

    def settled(self) -> SettledLoop:
        """What the training loop needs to know, with what is unset filled in."""
        usual = {"epochs": 3.0, "learning_rate": 5e-5}
        if not self.supervised:
            usual = {"epochs": 1.0, "learning_rate": 3e-5}
        return SettledLoop(
            epochs=usual["epochs"] if self.epochs is None else self.epochs,
            max_steps=self.max_steps,
            batch_size=self.batch_size,
            learning_rate=(
                usual["learning_rate"] if self.learning_rate is None else self.learning_rate
            ),
            warmup=self.warmup,
            weight_decay=self.weight_decay,
            clip=self.clip,
            dropout=True,
            max_tokens=self.max_tokens,
            precision=self.precision,
            evaluate_every=self.evaluate_every,
        )

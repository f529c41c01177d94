"""Which sentences or labelled pairs are learnt from."""

import re
from dataclasses import asdict, dataclass
from typing import Any, Literal

from hpdistill.delimited import check_delimiter
from hpdistill.recipe._choices import check, check_choice, check_errors, check_if_set

__all__ = ["AugmentRecipe", "CorpusRecipe", "NliRecipe"]


@dataclass(frozen=True, kw_only=True)
class CorpusRecipe:
    """Which sentences, and how they are cleaned and split."""

    sources: tuple[str, ...]
    column: str | tuple[str, ...] | None = None
    """Column of `.csv`, `.tsv`, `.jsonl` and `.parquet` sources; None: the only
    one, or the one called `text` or `sentence`. Of several, the texts are joined."""
    delimiter: str | None = None
    """What divides the columns of `.csv` and `.tsv` sources; None looks for it in their first
    rows."""
    encoding: str = "utf-8"
    errors: Literal["strict", "replace", "ignore"] = "strict"
    min_words: int = 1
    max_words: int = 200
    # Passages, not sentences, unless told otherwise: what is searched are passages, and a sentence
    # of a long text alone often says too little of what it is about.
    split: Literal["passages", "sentences", "none"] = "passages"
    """What is learnt from a text of more than `max_words`: `passages`, runs of its sentences of at
    most so many words; its `sentences`; `none`: nothing, it is dropped. Of a sentence that is
    longer still each part is. Shorter texts stay whole."""
    exclude: tuple[str, ...] = ()
    """Evaluation folders or files: a sentence found in one of them never enters the corpus."""
    validation: int = 2000
    """Sentences held out; never more than a fifth of the corpus, unless they have sources of their
    own."""
    validation_sources: tuple[str, ...] | None = None
    """Where the sentences held out come from, none of which is trained on; None: drawn from
    `sources`. What both have is trained on and not held out."""
    limit: int | None = None
    """Keep at most so many sentences, a sample drawn by the seed; None keeps all. Sentences held
    out of `validation_sources` come on top."""

    def __post_init__(self) -> None:
        check("sources", self.sources, len(self.sources) > 0, "at least one source of sentences")
        check("min_words", self.min_words, self.min_words >= 1, "1 or more")
        check("max_words", self.max_words, self.max_words >= self.min_words, "at least min_words")
        check_choice("split", self.split, ("passages", "sentences", "none"))
        check("validation", self.validation, self.validation >= 3, "3 or more")
        check_if_set(
            "validation_sources",
            self.validation_sources,
            lambda given: len(given) > 0,
            "at least one",
        )
        # Of 15 at most 3 are held out, which fidelity needs.
        least = 10 if self.validation_sources else 15
        check_if_set("limit", self.limit, lambda count: count >= least, f"{least} or more")
        check_errors(self.errors)
        check_delimiter(self.delimiter)
        if not isinstance(self.column, str | None):
            check("column", self.column, len(self.column) > 0, "one or more columns")
            twice = len(set(self.column)) < len(self.column)
            check("column", self.column, not twice, "columns that differ")
            if len(self.column) == 1:
                # The same choice, said in another way.
                object.__setattr__(self, "column", self.column[0])

    @property
    def reading(self) -> dict[str, Any]:
        """How its sources are read: arguments of `corpus.read_source`."""
        return {
            "column": self.column,
            "delimiter": self.delimiter,
            "encoding": self.encoding,
            "errors": self.errors,
        }

    @property
    def reads(self) -> tuple[str, ...]:
        """All sources, folders and files that decide the sentences."""
        return (*self.sources, *(self.validation_sources or ()), *self.exclude)

    def identity(self) -> dict[str, Any]:
        """All choices by name, as work that is done with them is told from other work."""
        choices = asdict(self)
        if self.split == "passages":
            del choices["split"]  # what was finished before there was this choice stays finished
        if self.delimiter is None:
            del choices["delimiter"]
        return choices


@dataclass(frozen=True, kw_only=True)
class AugmentRecipe:
    """Copies of the training sentences, said in other words (paper, section 4.1)."""

    methods: tuple[str, ...]
    """`wordnet` replaces words by synonyms, `backtranslate` translates there and back."""
    share: float = 0.3
    """WordNet: share of a sentence's content words to replace, at least one."""
    senses: int = 1
    """WordNet: synonyms of so many of a word's senses, the most frequent first."""
    dictionary: str | None = None
    """WordNet: a folder of `data.noun`, `index.noun`...; None: Debian's, nltk's, or one of `wn`."""
    translator: Literal["apertium", "marian"] = "apertium"
    language: str | None = None
    """Back translation goes through this language; None: `spa` for Apertium, `es` for Marian."""
    models: tuple[str, ...] = ()
    """Marian: the models there and back, hub ids or folders; none: OPUS-MT's of `language`."""
    min_similarity: float = 0.8
    """Copies whose cosine to their original, by the teacher, is lower are dropped; 0 keeps all."""

    def __post_init__(self) -> None:
        methods = ("wordnet", "backtranslate")
        good = len(self.methods) > 0 and len(set(self.methods)) == len(self.methods)
        allowed = f"one or more of {', '.join(methods)}, each once"
        check("methods", self.methods, good and set(self.methods) <= set(methods), allowed)
        check("share", self.share, 0 < self.share <= 1, "above 0, at most 1")
        check("senses", self.senses, self.senses >= 1, "1 or more")
        check_choice("translator", self.translator, ("apertium", "marian"))
        check_if_set(
            "language",
            self.language,
            lambda code: re.fullmatch(r"[A-Za-z_]{2,16}", code) is not None,
            "a code of letters such as spa",
        )
        good = len(self.models) in (0, 2)
        check("models", self.models, good, "two, there and back, or none")
        good = 0 <= self.min_similarity < 1
        check("min_similarity", self.min_similarity, good, "at least 0 and below 1")


@dataclass(frozen=True, kw_only=True)
class NliRecipe:
    """Which labelled pairs of sentences."""

    sources: tuple[str, ...]
    """As `corpus.read_nli` takes them; of AllNLI the split `train` unless they name another."""
    encoding: str = "utf-8"
    errors: Literal["strict", "replace", "ignore"] = "strict"
    exclude: tuple[str, ...] = ()
    """Evaluation folders or files: a pair with a sentence of one of them is not trained on."""
    limit: int | None = None
    """Keep at most so many triplets, a sample drawn by the seed; None keeps all."""

    def __post_init__(self) -> None:
        check("nli", self.sources, len(self.sources) > 0, "at least one source of pairs")
        check_if_set("limit", self.limit, lambda count: count >= 1, "1 or more")
        check_errors(self.errors)

    @property
    def reads(self) -> tuple[str, ...]:
        """All sources, folders and files that decide the pairs."""
        return (*self.sources, *self.exclude)

    def identity(self) -> dict[str, Any]:
        """All choices by name."""
        return asdict(self)

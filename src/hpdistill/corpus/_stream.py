"""One pass over the sources: texts in, clean and distinct sentences or passages out."""

from collections.abc import Iterator
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from hpdistill.corpus._passages import count_words, parts_of
from hpdistill.corpus._summary import SourceSummary
from hpdistill.corpus.cleaning import DIGEST_BYTES, clean, exclusion_key, text_digest
from hpdistill.corpus.exclusion import excluded_keys
from hpdistill.corpus.readers import check_source, check_used, read_source, tell_delimiter
from hpdistill.progress import Report
from hpdistill.recipe import CorpusRecipe

_REPORT_EVERY = 5_000


class CleanStream:
    """An iterator of (text, index of its source), once; it tallies what it drops.

    Raises:
        CorpusError: A source or an exclusion is missing, before anything is read; or a source
            proves damaged while it is read.
        UsageError: Columns or a delimiter are given, and no source has a use for them.
    """

    def __init__(self, recipe: CorpusRecipe, seed: int, report: Report) -> None:
        names = (*recipe.sources, *(recipe.validation_sources or ()))
        for source in names:
            check_source(source, **recipe.reading)
        check_used(names, column=recipe.column, delimiter=recipe.delimiter)
        for source in dict.fromkeys(names):
            tell_delimiter(source, **recipe.reading)
        self.sources = [SourceSummary(source=source) for source in names]
        self.boundary: int | None = None
        """How many texts came before those of the validation's own sources, if it has any."""
        self._recipe = recipe
        self._report = report
        self._excluded = excluded_keys(recipe.exclude)
        self._salt = blake2b(str(seed).encode(), digest_size=16).digest()
        self._digests = bytearray()
        self._seen: set[bytes] = set()

    @property
    def keys(self) -> NDArray[np.uint64]:
        """A number for every text given, shape (texts,): distinct, and random but for the seed.

        To be read after the iteration only.
        """
        return np.frombuffer(self._digests, dtype=f"<u{DIGEST_BYTES}")

    def __iter__(self) -> Iterator[tuple[str, int]]:
        recipe = self._recipe
        done = 0
        for index, summary in enumerate(self.sources):
            if index == len(recipe.sources):
                self.boundary = len(self._digests) // DIGEST_BYTES
            for raw in read_source(summary.source, **recipe.reading):
                summary.read += 1
                done += 1
                if not done % _REPORT_EVERY:
                    self._report("reading sentences", done, 0)
                text = clean(raw)
                words = count_words(text)
                if words > recipe.max_words and recipe.split != "none":
                    if self._is_excluded(text):  # of its parts none need be
                        summary.dropped["excluded"] += 1
                        continue
                    parts = parts_of(raw, recipe.max_words, recipe.split)
                    summary.split += 1
                    summary.parts += len(parts)
                    measured = [(part, count_words(part)) for part in parts]
                else:
                    measured = [(text, words)]
                for part, length in measured:
                    if reason := self._fault(part, length):
                        summary.dropped[reason] += 1
                    else:
                        summary.kept += 1
                        yield part, index
        self._report("reading sentences", done, done)

    def _fault(self, text: str, words: int) -> str:
        """Why a text is dropped; if it is not, nothing, and it is noted."""
        if not text:
            return "empty"
        if words < self._recipe.min_words:
            return "too_short"
        if words > self._recipe.max_words:
            return "too_long"
        digest = text_digest(text, self._salt)
        if digest in self._seen:
            return "duplicate"
        self._seen.add(digest)
        if self._is_excluded(text):
            return "excluded"
        self._digests += digest
        return ""

    def _is_excluded(self, text: str) -> bool:
        return bool(self._excluded) and exclusion_key(text) in self._excluded

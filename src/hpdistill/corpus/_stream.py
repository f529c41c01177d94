"""One pass over the sources: sentences in, clean and distinct sentences out."""

from collections.abc import Iterator
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from hpdistill.corpus._summary import SourceSummary
from hpdistill.corpus.cleaning import DIGEST_BYTES, clean, exclusion_key, text_digest
from hpdistill.corpus.exclusion import excluded_keys
from hpdistill.corpus.readers import check_source, read_source
from hpdistill.progress import Report
from hpdistill.recipe import CorpusRecipe

_REPORT_EVERY = 5_000


class CleanStream:
    """An iterator of (text, index of its source), once; it tallies what it drops.

    Raises:
        CorpusError: A source or an exclusion is missing, before anything is read; or a source
            proves damaged while it is read.
    """

    def __init__(self, recipe: CorpusRecipe, seed: int, report: Report) -> None:
        names = (*recipe.sources, *(recipe.validation_sources or ()))
        for source in names:
            check_source(source, column=recipe.column)
        self.sources = [SourceSummary(source=source) for source in names]
        self.boundary: int | None = None
        """How many texts came before those of the validation's own sources, if it has any."""
        self._recipe = recipe
        self._report = report
        self._excluded = excluded_keys(recipe.exclude)
        self._salt = blake2b(str(seed).encode(), digest_size=16).digest()
        self._digests = bytearray()

    @property
    def keys(self) -> NDArray[np.uint64]:
        """A number for every text given, shape (texts,): distinct, and random but for the seed.

        To be read after the iteration only.
        """
        return np.frombuffer(self._digests, dtype=f"<u{DIGEST_BYTES}")

    def __iter__(self) -> Iterator[tuple[str, int]]:
        recipe, excluded, salt, digests = self._recipe, self._excluded, self._salt, self._digests
        seen: set[bytes] = set()
        done = 0
        for index, summary in enumerate(self.sources):
            if index == len(recipe.sources):
                self.boundary = len(digests) // DIGEST_BYTES
            dropped = summary.dropped
            for raw in read_source(
                summary.source,
                column=recipe.column,
                encoding=recipe.encoding,
                errors=recipe.errors,
            ):
                summary.read += 1
                done += 1
                if not done % _REPORT_EVERY:
                    self._report("reading sentences", done, 0)
                text = clean(raw)
                words = text.count(" ") + 1
                if not text:
                    dropped["empty"] += 1
                elif words < recipe.min_words:
                    dropped["too_short"] += 1
                elif words > recipe.max_words:
                    dropped["too_long"] += 1
                elif (digest := text_digest(text, salt)) in seen:
                    dropped["duplicate"] += 1
                else:
                    seen.add(digest)
                    if excluded and exclusion_key(text) in excluded:
                        dropped["excluded"] += 1
                        continue
                    digests += digest
                    summary.kept += 1
                    yield text, index
        self._report("reading sentences", done, done)

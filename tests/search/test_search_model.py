"""Whatever is done to an index, it answers as a dictionary would."""

import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from vectors_for_search import clustered, products, space

from hpdistill.errors import SearchError
from hpdistill.runtime.vectors import fit_ranges
from hpdistill.search import Document, Index, _products

POOL = clustered(64, 16)
RANGES = fit_ranges(POOL)
IDS = st.integers(0, 40).map(str)


class AsADictionary(RuleBasedStateMachine):
    """Ids to rows of the pool."""

    @initialize(precision=st.sampled_from(["float32", "int8", "binary"]), keep=st.booleans())
    def begin(self, precision, keep):
        self.kept = "float32" if keep and precision != "float32" else None
        self.index = Index.create(space(16), precision=precision, keep=self.kept, ranges=RANGES)
        self.model = {}
        self.directory = tempfile.TemporaryDirectory()
        self.path = Path(self.directory.name) / "index"
        self.saved = None

    @rule(items=st.dictionaries(IDS, st.integers(0, 63), max_size=15))
    def add(self, items):
        documents = [Document(id=i, text=f"row {row}") for i, row in items.items()]
        vectors = POOL[list(items.values())]
        known = [i for i in items if i in self.model]
        if known:
            with pytest.raises(SearchError, match=repr(known[0])):
                self.index.add(documents, vectors)
        else:
            self.index.add(documents, vectors)
            self.model |= items

    @rule(ids=st.lists(IDS, max_size=10))
    def delete(self, ids):
        there = set(ids) & set(self.model)
        assert self.index.delete(ids) == len(there)
        for one in there:
            del self.model[one]

    @rule()
    def save(self):
        self.index.save(self.path)
        self.saved = dict(self.model)

    @precondition(lambda self: self.saved is not None)
    @rule(mmap=st.booleans())
    def load(self, mmap):
        self.index.close()
        self.index = Index.load(self.path, space=space(16), mmap=mmap)
        self.model = dict(self.saved)

    @rule(rows=st.lists(st.integers(0, 63), min_size=1, max_size=9), k=st.integers(1, 50))
    def search(self, rows, k):
        self.check(rows, k, self.index.precision, None)
        if self.kept:
            self.check(rows, k, "float32", 50)

    def check(self, rows, k, precision, rescore):
        queries = POOL[rows]
        reference = products(queries, POOL, precision, RANGES)
        scores, ids = self.index.nearest(queries, k, rescore=rescore)
        for values, row, one in zip(reference, scores, ids, strict=True):
            found = [i for i in one if i]
            assert len(set(found)) == len(found) == min(k, len(self.model))
            expected = sorted((values[r] for r in self.model.values()), reverse=True)[:k]
            np.testing.assert_allclose(row[: len(found)], expected, atol=2e-6)
            own = [values[self.model[i]] for i in found]
            np.testing.assert_allclose(row[: len(found)], own, atol=2e-6)

    @invariant()
    def holds_the_same(self):
        if not hasattr(self, "index"):
            return
        assert len(self.index) == len(self.model)
        ids = [str(i) for i in range(41)]
        found = [document and document.text for document in self.index.get(ids)]
        assert found == [f"row {self.model[i]}" if i in self.model else None for i in ids]

    def teardown(self):
        if hasattr(self, "index"):
            self.index.close()
            self.directory.cleanup()


def test_answers_as_a_dictionary(monkeypatch):
    monkeypatch.setattr(_products, "BLOCK", 8)
    AsADictionary.TestCase.settings = settings(
        settings.default, max_examples=10, stateful_step_count=20
    )
    AsADictionary.TestCase("runTest").runTest()

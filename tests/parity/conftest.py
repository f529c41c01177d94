"""Models of the matrix, built once a session, with what sentence-transformers says of them."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import pytest
from parity_models import Case, build
from parity_paths import ROLES, Vectors, has_roles, load_reference, reference
from parity_texts import TEXTS


@dataclass
class Built:
    """A case as a directory, and its reference."""

    case: Case
    directory: Path
    _vectors: dict[str, Vectors] = field(default_factory=dict)

    @cached_property
    def model(self):
        return load_reference(self.directory, limit=self.case.reference_limit)

    @property
    def roles(self) -> tuple[str, ...]:
        """Those that could make a difference."""
        return ROLES if has_roles(self.case) else ROLES[:1]

    def expected(self, role: str = "") -> Vectors:
        """What sentence-transformers says of `TEXTS`."""
        if role not in self._vectors:
            self._vectors[role] = reference(self.model, TEXTS, role, alone=self.case.alone)
        return self._vectors[role]


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Case], Built]:
    """`built(case)`."""
    root = tmp_path_factory.mktemp("parity")
    made: dict[str, Built] = {}

    def make(case: Case) -> Built:
        if case.name not in made:
            made[case.name] = Built(case, build(case, root / case.name))
        return made[case.name]

    return make


@pytest.fixture(autouse=True)
def _quiet(_one_thread: None):
    """Without what libraries say of configurations that are odd on purpose."""
    from transformers.utils import logging

    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    yield
    logging.set_verbosity(verbosity)

from collections.abc import Callable
from pathlib import Path

import pytest
from tiny_tables import Lab, make_lab


@pytest.fixture(scope="session")
def lab(
    tmp_path_factory: pytest.TempPathFactory,
    teacher_dir: Path,
    student_dir: Path,
    sentences: Callable[..., list[str]],
) -> Lab:
    place = tmp_path_factory.mktemp("lab")
    return make_lab(place, teacher_dir, student_dir, sentences(500))

from collections.abc import Callable
from pathlib import Path

import pytest
from evaluation_data import FIRST, SECOND, write_benchmark, write_sick, write_subset
from word_counts import WordCounts


@pytest.fixture
def counts() -> WordCounts:
    return WordCounts()


@pytest.fixture
def senteval(tmp_path: Path) -> Callable[..., Path]:
    """Writes a small SentEval folder with the tasks named; all seven by default."""

    def write(*tasks: str) -> Path:
        data = tmp_path / "senteval"
        (data / "STS").mkdir(parents=True)
        for year in ("STS12", "STS13", "STS14", "STS15", "STS16"):
            if not tasks or year in tasks:
                write_subset(data / "STS" / f"{year}-en-test", "first", FIRST)
                write_subset(data / "STS" / f"{year}-en-test", "second", SECOND)
        if not tasks or "STSBenchmark" in tasks:
            write_benchmark(data / "STS/STSBenchmark", "test", FIRST)
            write_benchmark(data / "STS/STSBenchmark", "dev", SECOND)
        if not tasks or "SICKRelatedness" in tasks:
            write_sick(data / "SICK", "test_annotated", SECOND)
        return data

    return write

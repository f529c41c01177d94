import os
import statistics
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer

from hpdistill.errors import CorpusError, EvaluationError, PackageError, UsageError, WeightsError
from hpdistill.evaluate import (
    Backend,
    Contender,
    Workload,
    evaluate_sts,
    evenly,
    load_tasks,
    manual_sentences,
    measure_speed,
    missing,
    plot_quality_speed,
    summarise,
    texts_of_tokens,
    tokenizer_file,
)
from hpdistill.evaluate._worker import memory
from hpdistill.evaluate.backends import load_backend
from hpdistill.evaluate.plot import short_names
from hpdistill.pytorch import TorchEncoder
from hpdistill.runtime import DEFAULT

WORKER = Path(__file__).with_name("speed_worker.py")


# -- texts


@given(st.lists(st.text(max_size=30), max_size=70), st.integers(0, 5))
def test_evenly_gives_the_same_sentences_in_another_order(sentences, seed):
    assert sorted(evenly(sentences, seed=seed)) == sorted(sentences)


@given(st.integers(16, 300), st.data())
def test_every_beginning_has_the_lengths_of_the_whole(count, data):
    sentences = ["x" * length for length in range(count)]
    cut = data.draw(st.integers(8, count))
    mean = statistics.mean(map(len, evenly(sentences)[:cut]))
    # A plain shuffle's first eight of 300 would be off by 60 now and then.
    assert abs(mean - (count - 1) / 2) <= count / 8


def test_the_manual_is_english_and_always_there():
    sentences = manual_sentences()
    assert len(set(sentences)) == len(sentences) > 500
    assert statistics.mean(" the " in sentence for sentence in sentences) > 0.4


@pytest.mark.parametrize("tokens", [3, 8, 40])
def test_texts_have_exactly_the_tokens_asked_for(student_dir, sentences, tokens):
    file = tokenizer_file(student_dir)
    texts = texts_of_tokens(file, sentences(200), tokens, 50)
    reader = Tokenizer.from_file(str(file))
    assert [len(reader.encode(text).ids) for text in texts] == [tokens] * 50
    assert len(set(texts)) > 20


def test_a_length_without_room_for_text_is_refused(student_dir, sentences):
    with pytest.raises(UsageError, match="2 tokens leaves no room"):
        texts_of_tokens(tokenizer_file(student_dir), sentences(5), 2, 3)


def test_sentences_without_tokens_are_refused(student_dir):
    with pytest.raises(CorpusError, match="cannot be cut to 8 tokens"):
        texts_of_tokens(tokenizer_file(student_dir), [" ", "  "], 8, 3)


# -- measuring, by a clock that only work moves


def test_ratios_are_formed_within_rounds():
    first, own = [10.0, 20.0, 40.0], [20.0, 60.0, 40.0]
    assert summarise(first, own) == {"ratio": 2, "ratio_min": 1, "ratio_max": 3}
    assert summarise(first, first) == {"ratio": 1, "ratio_min": 1, "ratio_max": 1}


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "log"


def contender(name: str, log: Path, *, cost: float = 0.01, backend: str = "", dies: int = 0):
    arguments = [sys.executable, str(WORKER), name, str(cost), str(log)]
    return Contender(
        model=f"model {name}",
        backend=backend,
        path=Path("nowhere"),
        command=[*arguments, *([str(dies)] if dies else [])],
    )


TEXTS = Workload(key="", texts=["x" * (1 + number % 10) for number in range(40)], batch_size=32)
LONG = Workload(key="long", texts=["y" * 99] * 4, batch_size=4)


def test_speed_latency_and_load_are_what_the_clock_says(log):
    slow, fast = contender("A", log, cost=0.02), contender("B", log, cost=0.005)
    speeds = measure_speed([slow, fast], [TEXTS, LONG], rounds=3, queries=20, threads=1)
    a, b = speeds.rows
    assert (a["model"], a["backend"], b["model"]) == ("model A", "A", "model B")
    assert (a["sentences_per_second"], b["sentences_per_second"]) == (50, 200)
    assert [a[key] for key in ("ratio", "ratio_min", "ratio_max")] == [1, 1, 1]
    assert [b[key] for key in ("ratio", "ratio_min", "ratio_max")] == [4, 4, 4]
    assert (b["long_sentences_per_second"], b["long_ratio"]) == (200, 4)
    # Queries of 1 to 10 characters, each twice in 20.
    times = 5 * np.tile(np.arange(1, 11), 2)
    wanted = [np.percentile(times, share) for share in (50, 95, 99)]
    assert [b["p50_ms"], b["p95_ms"], b["p99_ms"]] == pytest.approx(wanted, abs=1e-3)
    assert b["latency_ratio"] == pytest.approx(4)
    assert a["load_s"] == 1.5
    assert (a["threads"], a["rounds"]) == (1, 3)
    assert speeds.compare(0, 1)["ratio"] == 0.25
    assert speeds.compare_latency(0, 1)["ratio"] == pytest.approx(0.25)
    assert None is not a["peak_mb"] >= a["rss_mb"] > 5


def test_contenders_take_turns_of_the_time_asked_for(log):
    slow, fast = contender("A", log, cost=0.02), contender("B", log, cost=0.005)
    measure_speed([slow, fast], [TEXTS], rounds=3, seconds=0.5, queries=1, threads=1)
    turns = log.read_text().split()[-12:]
    # 25 texts of 20 ms, 100 of 5 ms; then a query each.
    assert turns == ["A25", "B100", "A1", "B1"] * 3


def test_an_encoder_that_is_too_slow_still_gets_a_few_texts(log):
    measure_speed([contender("A", log, cost=60)], [TEXTS, LONG], rounds=1, queries=1, threads=1)
    assert log.read_text().split()[-3:] == ["A8", "A4", "A1"]


def test_progress_counts_every_step(log):
    seen = []
    measure_speed(
        [contender("A", log), contender("B", log)],
        [TEXTS, LONG],
        rounds=2,
        queries=1,
        report=lambda *step: seen.append(step),
    )
    total = 2 + 2 * 2 + 2 * 2 * 3
    assert seen == [("measuring speed", done, total) for done in range(1, total + 1)]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rounds": 0}, "rounds is 0; at least 1 is needed"),
        ({"queries": 0}, "queries is 0; at least 1 is needed"),
        ({"threads": 0}, "threads is 0; at least 1 is needed"),
        ({"threads": 4096}, "threads is 4096; this process may use "),
    ],
)
def test_wrong_numbers_are_refused_before_anything_starts(log, options, message):
    with pytest.raises(UsageError, match=message):
        measure_speed([contender("A", log)], [TEXTS], **options)
    assert not log.exists()


def test_what_a_contender_refuses_is_refused_here_in_its_words(log):
    contenders = [contender("A", log), contender("B", log, backend="refuses")]
    with pytest.raises(WeightsError, match=r"^model B is damaged$") as caught:
        measure_speed(contenders, [TEXTS])
    assert caught.value.hint == "Fetch it again."
    assert_gone(log)


def test_any_other_failure_names_the_contender(log):
    with pytest.raises(EvaluationError, match=r"^model A \(breaks\): KeyError: 'no such tensor'$"):
        measure_speed([contender("A", log, backend="breaks")], [TEXTS])


def test_a_process_that_dies_is_reported_with_its_last_words(log):
    contenders = [contender("A", log), contender("B", log, dies=8)]
    with pytest.raises(EvaluationError, match=r"model B \(\) ended with code 3: out of everything"):
        measure_speed(contenders, [TEXTS])
    assert_gone(log)


def test_a_command_that_is_no_worker_is_reported(log):
    broken = Contender(
        model="m", backend="b", path=Path(), command=[sys.executable, "-c", "raise SystemExit(4)"]
    )
    with pytest.raises(EvaluationError, match=r"the process of m \(b\) ended with code 4"):
        measure_speed([broken], [TEXTS])


def assert_gone(log: Path) -> None:
    processes = [int(word.split(":")[1]) for word in log.read_text().split() if ":" in word]
    assert processes
    for process in processes:
        with pytest.raises(ProcessLookupError):
            os.kill(process, 0)


def test_memory_is_that_of_this_process():
    before = memory()
    ballast = np.ones(50_000_000 // 8)
    after = memory()
    assert after["rss_mb"] - before["rss_mb"] > 40
    assert after["peak_mb"] >= after["rss_mb"]
    assert ballast.nbytes == 50_000_000


# -- back ends


@pytest.mark.parametrize("backend", ["onnx-float32", "runtime", "sentence-transformers"])
def test_every_back_end_computes_what_pytorch_does(exported_dir, sentences, backend):
    texts = sentences(20)
    loaded = load_backend(backend, "student", exported_dir, 1)
    reference = TorchEncoder.load(str(exported_dir))
    found, right = loaded.encoder.encode(texts, dim=None), reference.encode(texts)
    assert np.einsum("nd,nd->n", found, right).min() > 0.9999
    assert len(loaded.encode(texts, batch_size=4)) == 20
    facts = loaded.facts()
    assert (facts["dim"], facts["precision"], facts["max_tokens"]) == (24, "float32", 64)
    assert facts["file_mb"] > 0


def test_what_a_model_lacks_is_said(student_dir, exported_dir):
    assert "hpd export" in missing(student_dir, Backend.runtime)
    assert "no int8 version" in missing(exported_dir, Backend.onnx_int8)
    assert missing(exported_dir, Backend.static_int8) == "it is no static model"
    assert missing(DEFAULT, Backend.torch_float32) == "it has no model.safetensors"
    assert missing(DEFAULT, Backend.runtime) == ""
    for backend in (Backend.runtime, Backend.onnx_float32, Backend.torch_float32):
        assert missing(exported_dir, backend) == ""


@pytest.mark.long
def test_real_models_are_measured_and_scored_in_their_own_processes(
    student_dir, exported_dir, senteval, sentences
):
    contenders = [
        Contender(model="small", backend="torch-float32", path=student_dir),
        Contender(model="small", backend="runtime", path=exported_dir),
    ]
    texts = Workload(key="", texts=evenly(sentences(100)), batch_size=16)
    data = senteval()
    speeds = measure_speed(
        contenders, [texts], rounds=2, seconds=0.02, queries=5, threads=1, sts=data
    )
    torch, onnx = speeds.rows
    assert [(row["backend"], row["precision"]) for row in (torch, onnx)] == [
        ("torch", "float32"),
        ("onnx", "float32"),
    ]
    for row in (torch, onnx):
        assert row["model"] == "small"
        assert 0 < row["p50_ms"] <= row["p95_ms"] <= row["p99_ms"]
        assert row["ratio_min"] <= row["ratio"] <= row["ratio_max"]
        assert row["load_s"] > 0
        assert 10 < row["rss_mb"] <= row["peak_mb"]
    assert onnx["rss_mb"] < torch["rss_mb"]
    score = evaluate_sts(TorchEncoder.load(str(student_dir)), load_tasks(data))
    assert torch["average"] == pytest.approx(score.average, abs=1e-6)
    assert onnx["average"] == pytest.approx(score.average, abs=1e-6)
    assert "retention" not in torch


# -- the picture

ROWS = [
    {
        "model": model,
        "backend": backend,
        "precision": "float32",
        "sentences_per_second": speed,
        "average_present": score,
        "tasks_present": 4,
    }
    for model, backend, speed, score in (
        ("mpnet", "torch", 40.0, 79.4),
        ("mpnet", "onnx", 41.0, 79.4),
        ("runs/a/model", "onnx", 1500.0, 77.9),
        ("static", "static", 52_000.0, 73.7),
    )
]


@pytest.mark.parametrize(
    ("suffix", "start"), [(".png", b"\x89PNG"), (".svg", b"<?xml"), (".PDF", b"%PDF")]
)
def test_a_picture_is_written_by_its_suffix(tmp_path, suffix, start):
    path = tmp_path / f"picture{suffix}"
    plot_quality_speed(ROWS, path)
    assert path.read_bytes().startswith(start)
    assert list(tmp_path.iterdir()) == [path]


def test_a_picture_names_models_back_ends_and_axes(tmp_path):
    plot_quality_speed(ROWS, tmp_path / "picture.svg")
    text = (tmp_path / "picture.svg").read_text()
    for label in ("mpnet", "a", "static", "onnx float32", "sentences a second (logarithmic)"):
        assert f"<!-- {label} -->" in text
    assert text.count("<!-- mpnet -->") == 1


def test_a_picture_of_one_point_is_a_picture(tmp_path):
    plot_quality_speed(ROWS[:1], tmp_path / "picture.png")
    assert (tmp_path / "picture.png").stat().st_size > 1000


def test_an_unknown_kind_of_picture_is_refused(tmp_path):
    with pytest.raises(UsageError, match=r"allowed: \.pdf, \.png, \.svg"):
        plot_quality_speed(ROWS, tmp_path / "picture.gif")


def test_a_picture_without_matplotlib_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(PackageError, match="needs the Python package matplotlib") as caught:
        plot_quality_speed(ROWS, tmp_path / "picture.png")
    assert "hpdistill[eval]" in caught.value.hint


@pytest.mark.parametrize(
    ("names", "short"),
    [
        (["mpnet", "minilm"], ["mpnet", "minilm"]),
        (["/a/b/one/model", "/a/b/two/model"], ["one", "two"]),
        (["/a/x/best", "/a/y/best"], ["x/best", "y/best"]),
        (["mpnet", "mpnet"], ["mpnet", "mpnet"]),
        (["a", "x/a"], ["a", "x/a"]),
        (["", "a"], ["", "a"]),
    ],
)
def test_short_names_tell_models_apart(names, short):
    assert short_names(names) == short

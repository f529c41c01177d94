import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from evaluation_data import (
    FIRST,
    SECOND,
    write_benchmark,
    write_sick,
    write_subset,
)
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import spearmanr
from word_counts import WordCounts

from hpdistill.encoder import Encoder
from hpdistill.errors import EvaluationError, UsageError
from hpdistill.evaluate import (
    TASKS,
    StsScores,
    evaluate_sts,
    evaluate_sts_prefixes,
    load_tasks,
)
from hpdistill.evaluate._spearman import spearman

SentEval = Callable[..., Path]


def expected(encoder: Encoder, pairs: list[tuple[str, str, str]]) -> float:
    """The score by scipy, pair by pair."""
    cosines = []
    for first, second, _ in pairs:
        left, right = encoder.encode([first, second])
        cosines.append(float(left @ right))
    return 100 * float(spearmanr(cosines, [float(gold) for *_, gold in pairs]).statistic)


# -- the score


def test_subsets_of_a_year_are_concatenated_not_averaged(counts, senteval: SentEval):
    scores = evaluate_sts(counts, load_tasks(senteval("STS12")))
    by_subset = scores.subsets["STS12"]
    assert by_subset["first"] == pytest.approx(expected(counts, FIRST))
    assert by_subset["second"] == pytest.approx(expected(counts, SECOND))
    assert scores.tasks["STS12"] == pytest.approx(expected(counts, FIRST + SECOND))
    assert abs(scores.tasks["STS12"] - np.mean(list(by_subset.values()))) > 1


def test_every_task_has_its_score_and_the_average_is_their_mean(counts, senteval: SentEval):
    scores = evaluate_sts(counts, load_tasks(senteval()))
    assert tuple(scores.tasks) == TASKS
    assert scores.tasks["STSBenchmark"] == pytest.approx(expected(counts, FIRST))
    assert scores.tasks["SICKRelatedness"] == pytest.approx(expected(counts, SECOND))
    assert (
        scores.average
        == scores.average_present
        == pytest.approx(np.mean(list(scores.tasks.values())))
    )


def test_each_distinct_sentence_is_encoded_once(counts, senteval: SentEval):
    tasks = load_tasks(senteval())
    evaluate_sts_prefixes(counts, tasks, [None, 32, 16])
    assert len(counts.seen) == len(set(counts.seen)) == len(tasks.sentences) == 14


def test_a_prefix_scores_like_an_encoder_of_that_width(counts, senteval: SentEval):
    class Narrow(WordCounts):
        def encode(self, texts, *, batch_size=32, normalize=True, dim=None):
            return counts.encode(texts, dim=dim or 32)

    tasks = load_tasks(senteval())
    full, prefix = evaluate_sts_prefixes(counts, tasks, [None, 32])
    assert (full.dim, prefix.dim) == (64, 32)
    assert prefix.tasks == evaluate_sts(counts, tasks, dim=32).tasks
    assert prefix.tasks == pytest.approx(evaluate_sts(Narrow(dim=32), tasks).tasks)
    assert prefix.tasks != full.tasks


@pytest.mark.parametrize("dim", [0, -1, 65])
def test_a_width_the_encoder_lacks_is_refused_before_encoding(counts, senteval: SentEval, dim):
    with pytest.raises(UsageError, match=rf"dim is {dim}; word counts allows 1 to 64"):
        evaluate_sts(counts, load_tasks(senteval()), dim=dim)
    assert counts.seen == []


def test_zero_vectors_have_cosine_zero_and_a_collapsed_encoder_scores_zero(senteval: SentEval):
    class Nothing(WordCounts):
        def encode(self, texts, *, batch_size=32, normalize=True, dim=None):
            return np.zeros((len(texts), self.dim), np.float32)

    scores = evaluate_sts(Nothing(), load_tasks(senteval()))
    assert scores.average == 0


def test_a_vector_that_is_not_finite_names_its_sentence(senteval: SentEval):
    class Broken(WordCounts):
        def encode(self, texts, *, batch_size=32, normalize=True, dim=None):
            vectors = super().encode(texts)
            vectors[[text == "two women talk" for text in texts], 3] = np.nan
            return vectors

    with pytest.raises(EvaluationError, match="not finite for the sentence 'two women talk'"):
        evaluate_sts(Broken(), load_tasks(senteval()))


def test_progress_ends_at_the_number_of_sentences(counts, senteval: SentEval):
    calls = []
    tasks = load_tasks(senteval())
    evaluate_sts(counts, tasks, report=lambda *call: calls.append(call))
    assert calls[-1] == ("word counts: sentences", len(tasks.sentences), len(tasks.sentences))


numbers = st.integers(-3, 3) | st.floats(-2, 2)


@given(st.lists(st.tuples(numbers, numbers), min_size=3, max_size=40))
def test_spearman_is_scipys_and_zero_where_scipy_has_none(pairs):
    first, second = (np.array(side, np.float64) for side in zip(*pairs, strict=True))
    if len(set(first)) == 1 or len(set(second)) == 1:
        assert spearman(first, second) == 0
    else:
        assert spearman(first, second) == pytest.approx(
            spearmanr(first, second).statistic, abs=1e-12
        )
    assert spearman(first, second) == pytest.approx(-spearman(first, -second), abs=1e-12)


# -- rows


def test_a_row_has_exactly_the_agreed_keys(counts, senteval: SentEval):
    scores = evaluate_sts(counts, load_tasks(senteval("STS12", "STSBenchmark")))
    row = scores.row(reference=scores)
    assert list(row) == [
        *("model", "dim", "precision"),
        *("STS12", "STS13", "STS14", "STS15", "STS16", "STSBenchmark", "SICKRelatedness"),
        *("average", "average_present", "tasks_present", "retention"),
    ]
    assert (row["model"], row["dim"], row["precision"]) == ("word counts", 64, "float32")
    assert row["STS13"] is row["SICKRelatedness"] is row["average"] is None
    assert row["average_present"] == pytest.approx((row["STS12"] + row["STSBenchmark"]) / 2)
    assert row["tasks_present"] == 2
    assert row["retention"] == 100
    assert scores.row()["retention"] is None


def scores_of(**tasks: float | None) -> StsScores:
    return StsScores(model="m", dim=2, precision="float32", tasks=tasks, subsets={})


def test_retention_compares_the_tasks_that_both_have():
    reference = scores_of(STS12=80, STS13=60, STS14=None)
    assert scores_of(STS12=40, STS13=30, STS14=99).retention(reference) == pytest.approx(50)
    assert scores_of(STS12=None, STS13=45, STS14=99).retention(reference) == pytest.approx(75)


@pytest.mark.parametrize(
    "reference", [scores_of(STS13=70), scores_of(STS12=0), scores_of(STS12=-5)]
)
def test_retention_of_nothing_comparable_is_none(reference):
    assert scores_of(STS12=40).retention(reference) is None


# -- reading the files


def test_the_sts_folder_itself_will_do(senteval: SentEval):
    tasks = load_tasks(senteval() / "STS")
    assert [task.name for task in tasks.tasks] == list(TASKS[:-1])
    assert tasks.missing == ("SICKRelatedness",)


def test_missing_tasks_are_named(senteval: SentEval):
    tasks = load_tasks(senteval("STS12", "STS16"))
    assert [task.name for task in tasks.tasks] == ["STS12", "STS16"]
    assert tasks.missing == ("STS13", "STS14", "STS15", "STSBenchmark", "SICKRelatedness")


def test_sick_train_and_trial_never_stand_in_for_the_test(senteval: SentEval):
    data = senteval("STS12")
    write_sick(data / "SICK", "train", FIRST)
    write_sick(data / "SICK", "trial", FIRST)
    assert "SICKRelatedness" in load_tasks(data).missing


def test_dev_reads_the_development_set_alone(counts, senteval: SentEval):
    tasks = load_tasks(senteval(), dev=True)
    assert [(task.name, task.pairs) for task in tasks.tasks] == [("STSBenchmark-dev", 3)]
    row = evaluate_sts(counts, tasks).row()
    assert (
        row["STSBenchmark-dev"] == row["average_present"] == pytest.approx(expected(counts, SECOND))
    )
    assert row["average"] is None
    assert "STSBenchmark" not in row


def test_a_pair_with_a_blank_gold_line_is_not_scored(senteval: SentEval):
    data = senteval("STS15")
    left_out = ("left", "out", "")
    write_subset(data / "STS/STS15-en-test", "third", [left_out, *FIRST, left_out, left_out])
    write_subset(data / "STS/STS15-en-test", "unscored", [left_out])
    (task,) = load_tasks(data).tasks
    assert {subset.name: len(subset.gold) for subset in task.subsets} == {
        "first": 4, "second": 3, "third": 4,
    }  # fmt: skip
    assert "left" not in load_tasks(data).sentences


def test_gold_without_sentences_and_the_concatenation_are_no_subsets(senteval: SentEval):
    data = senteval("STS13")
    folder = data / "STS/STS13-en-test"
    write_subset(folder, "ALL", FIRST + SECOND)
    (folder / "STS.gs.SMT.txt").write_text("1.0\n2.0\n")
    (task,) = load_tasks(data).tasks
    assert [subset.name for subset in task.subsets] == ["first", "second"]


def test_official_subsets_that_a_year_lacks_are_named(senteval: SentEval):
    data = senteval("STS13")
    folder = data / "STS/STS13-en-test"
    assert load_tasks(data).incomplete == {"STS13": ("FNWN", "OnWN", "headlines")}
    for name in ("FNWN", "OnWN", "headlines"):
        write_subset(folder, name, FIRST)
    assert load_tasks(data).incomplete == {}


def test_further_fields_quotes_and_unusual_line_ends_inside_sentences_survive(tmp_path: Path):
    pairs = [
        ('He said "no', "an open quote", "1"),
        ("next\u0085line", "u\u2028sep", "2"),
        ("naïve  \xa0café ", "x", "5"),
    ]
    write_benchmark(tmp_path / "STSBenchmark", "test", pairs, extra="\tlicence\tmore")
    folder = tmp_path / "STS16-en-test"
    write_subset(folder, "headlines", pairs)
    inputs = folder / "STS.input.headlines.txt"
    inputs.write_bytes(b"\xef\xbb\xbf" + inputs.read_bytes().replace(b"\n", b"\turl\turl\r\n"))
    year, benchmark = load_tasks(tmp_path).tasks
    for subset in (*year.subsets, *benchmark.subsets):
        assert subset.first == ('He said "no', "next line", "naïve café")
        assert subset.second == ("an open quote", "u sep", "x")
        assert subset.gold.tolist() == [1, 2, 5]


def test_a_last_line_without_its_newline_counts(senteval: SentEval):
    data = senteval("STSBenchmark")
    path = data / "STS/STSBenchmark/sts-test.csv"
    path.write_bytes(path.read_bytes().rstrip(b"\n"))
    assert load_tasks(data).tasks[0].pairs == 4


# -- faults


def test_a_missing_folder_is_named(tmp_path: Path):
    with pytest.raises(EvaluationError, match="nowhere does not exist"):
        load_tasks(tmp_path / "nowhere")


@pytest.mark.parametrize("dev", [False, True])
def test_a_folder_without_tasks_explains_the_layout(tmp_path: Path, dev):
    with pytest.raises(EvaluationError, match=r"no .* found in") as caught:
        load_tasks(tmp_path, dev=dev)
    assert "STS/STS12-en-test/STS.input.*.txt" in caught.value.hint


def test_files_that_do_not_pair_are_refused_with_both_counts(senteval: SentEval):
    data = senteval()
    gold = data / "STS/STS14-en-test/STS.gs.second.txt"
    gold.write_text(gold.read_text() + "3.0\n")
    with pytest.raises(EvaluationError, match=r"STS\.gs\.second\.txt has 4 lines, .* has 3"):
        load_tasks(data)


def test_sentences_without_a_gold_file_are_refused(senteval: SentEval):
    data = senteval()
    (data / "STS/STS14-en-test/STS.gs.first.txt").unlink()
    with pytest.raises(EvaluationError, match=r"cannot read .*STS\.gs\.first\.txt: No such file"):
        load_tasks(data)


@pytest.mark.parametrize("score", ["four", "nan", "inf", "4,5"])
def test_a_malformed_score_is_refused_with_file_and_line(senteval: SentEval, score):
    data = senteval()
    write_subset(data / "STS/STS12-en-test", "first", [FIRST[0], (*FIRST[1][:2], score)])
    with pytest.raises(EvaluationError, match=rf"STS\.gs\.first\.txt, line 2: '{score}' is not"):
        load_tasks(data)


def test_in_a_single_file_the_line_counts_the_header(senteval: SentEval):
    data = senteval()
    write_sick(data / "SICK", "test_annotated", [FIRST[0], (*FIRST[1][:2], "")])
    with pytest.raises(EvaluationError, match=r"SICK_test_annotated\.txt, line 3: '' is not"):
        load_tasks(data)


def test_a_line_with_too_few_fields_is_refused(senteval: SentEval):
    data = senteval()
    path = data / "STS/STSBenchmark/sts-test.csv"
    path.write_text(path.read_text() + "a,b,c\n")
    with pytest.raises(EvaluationError, match=r"sts-test\.csv, line 5: 1 tab-separated fields"):
        load_tasks(data)


def test_text_that_is_not_utf8_is_refused_with_the_byte(senteval: SentEval):
    data = senteval()
    (data / "STS/STS12-en-test/STS.input.first.txt").write_bytes(b"caf\xe9\tcoffee\n")
    with pytest.raises(EvaluationError, match=r"STS\.input\.first\.txt is not UTF-8: byte 3"):
        load_tasks(data)


def test_gold_that_ranks_nothing_is_refused(senteval: SentEval):
    data = senteval("STSBenchmark")
    write_benchmark(data / "STS/STSBenchmark", "test", [FIRST[0], FIRST[0]])
    with pytest.raises(EvaluationError, match=r"STSBenchmark .* at least two gold scores"):
        load_tasks(data)


def test_scores_are_finite_numbers(counts, senteval: SentEval):
    row = evaluate_sts(counts, load_tasks(senteval())).row()
    assert all(math.isfinite(row[name]) and isinstance(row[name], float) for name in TASKS)


# -- some of the pairs


def test_some_pairs_are_spread_over_the_gold_scores(senteval: SentEval):
    (task,) = load_tasks(senteval("STS12")).at_most(3).tasks
    # Of seven pairs the one with the lowest score, the middle one, and the highest.
    kept = {
        subset.name: list(zip(subset.first, subset.gold, strict=True)) for subset in task.subsets
    }
    assert kept == {
        "first": [("a man plays a guitar", 4.2), ("two women talk", 0.0)],
        "second": [("stocks fell sharply", 3.0)],
    }
    assert task.pairs == 3


def test_a_subset_of_which_nothing_is_kept_is_none(counts, senteval: SentEval):
    whole = load_tasks(senteval("STS12"))
    tasks = whole.at_most(2)
    assert [subset.name for subset in tasks.tasks[0].subsets] == ["first"]
    assert math.isfinite(evaluate_sts(counts, tasks).tasks["STS12"])
    assert tasks.hash != whole.hash


def test_tasks_with_no_more_pairs_stay_as_they_are(senteval: SentEval):
    whole = load_tasks(senteval())
    some = whole.at_most(4)
    assert [task.pairs for task in some.tasks] == [min(4, task.pairs) for task in whole.tasks]
    assert whole.at_most(whole.pairs) == whole
    assert some.missing == whole.missing

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import ortho_group, spearmanr

from hpdistill.encoder import unit
from hpdistill.errors import EvaluationError
from hpdistill.evaluate import evaluate_fidelity, fidelity


def vectors(count: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((count, width), np.float32)


def by_hand(student: np.ndarray, teacher: np.ndarray) -> tuple[float, float]:
    """Spearman over all pairs, and neighbour overlap, in the plainest way."""
    cosines = [
        unit(side).astype(np.float64) @ unit(side).astype(np.float64).T
        for side in (student, teacher)
    ]
    upper = np.triu_indices(len(student), 1)
    rank = spearmanr(cosines[0][upper], cosines[1][upper]).statistic
    shares = []
    for row in range(len(student)):
        lists = []
        for side in cosines:
            order = [other for other in np.argsort(-side[row]) if other != row]
            lists.append(set(order[:10]))
        shares.append(len(lists[0] & lists[1]) / len(lists[0]))
    return float(rank), float(np.mean(shares))


@settings(max_examples=20, deadline=None)
@given(count=st.integers(3, 60), width=st.integers(2, 8), seed=st.integers(0, 99))
def test_agrees_with_the_plain_computation(count, width, seed):
    teacher = vectors(count, 8, seed)
    student = teacher[:, :width] + 0.3 * vectors(count, width, seed + 1)
    scores = evaluate_fidelity(student, teacher)
    assert (scores.spearman, scores.overlap10) == pytest.approx(by_hand(student, teacher), abs=1e-4)


def test_a_perfect_student_scores_one_whatever_the_rotation_and_length():
    teacher = vectors(200, 16)
    turned = 7 * teacher @ ortho_group.rvs(16, random_state=0).astype(np.float32)
    scores = evaluate_fidelity(turned, teacher)
    assert scores.spearman == pytest.approx(1, abs=1e-5)
    assert scores.overlap10 == pytest.approx(1, abs=1e-3)  # but for rounding at the tenth
    assert scores.cosine == pytest.approx(0, abs=0.2)  # another space: the cosine sees it
    assert evaluate_fidelity(turned, teacher, target_vectors=turned).cosine == pytest.approx(1)


def test_an_unrelated_student_scores_about_zero():
    scores = evaluate_fidelity(vectors(400, 32, 1), vectors(400, 64, 2))
    assert scores.spearman == pytest.approx(0, abs=0.02)
    assert scores.overlap10 == pytest.approx(10 / 399, abs=0.01)


def test_the_cosine_is_to_the_target_or_else_to_a_teacher_of_equal_width():
    student, teacher = vectors(50, 4, 1), vectors(50, 6, 2)
    assert evaluate_fidelity(student, teacher).cosine is None
    target = teacher[:, :4]
    known = float((unit(student) * unit(target)).sum(axis=1).mean())
    assert evaluate_fidelity(student, teacher, target_vectors=target).cosine == pytest.approx(known)
    assert evaluate_fidelity(student, target).cosine == pytest.approx(known)


def test_pairs_beyond_a_thousand_sentences_are_a_faithful_sample():
    teacher = vectors(1300, 16)
    student = teacher[:, :8].copy()
    sampled = evaluate_fidelity(student, teacher)
    assert sampled == evaluate_fidelity(student, teacher)
    assert sampled != evaluate_fidelity(student, teacher, seed=1)
    cosines = [(unit(side) @ unit(side).T)[np.triu_indices(1300, 1)] for side in (student, teacher)]
    assert sampled.spearman == pytest.approx(spearmanr(*cosines).statistic, abs=3e-3)


@pytest.mark.parametrize("count", [3, 4, 1000, 1001, 1500, 8000])
def test_pairs_are_distinct_and_ordered(count):
    first, second = fidelity._pairs(count, seed=3)
    assert len(first) == min(count * (count - 1) // 2, 500_000)
    assert ((first >= 0) & (first < second) & (second < count)).all()
    assert (np.diff(first * count + second) > 0).all()


def test_few_pairs_are_all_pairs():
    first, second = fidelity._pairs(40, seed=0)
    rows, columns = np.triu_indices(40, 1)
    assert first.tolist() == rows.tolist()
    assert second.tolist() == columns.tolist()


def test_blocks_do_not_change_the_figures(monkeypatch):
    student, teacher = vectors(120, 8, 1), vectors(120, 16, 2)
    whole = evaluate_fidelity(student, teacher)
    monkeypatch.setattr(fidelity, "_BLOCK_CELLS", 120 * 7)
    blocked = evaluate_fidelity(student, teacher)
    assert blocked.spearman == pytest.approx(whole.spearman, abs=1e-6)
    assert blocked.overlap10 == whole.overlap10
    monkeypatch.setattr(fidelity, "_BLOCK_CELLS", 1)  # at least one row at a time
    assert evaluate_fidelity(student, teacher).overlap10 == whole.overlap10


def test_of_few_sentences_all_others_are_neighbours():
    assert evaluate_fidelity(vectors(5, 4, 1), vectors(5, 4, 2)).overlap10 == 1


def test_zero_vectors_are_no_error():
    student = vectors(30, 4)
    student[3] = 0
    assert np.isfinite(evaluate_fidelity(student, vectors(30, 4)).spearman)
    nothing = evaluate_fidelity(np.zeros((30, 4), np.float32), vectors(30, 4))
    assert (nothing.spearman, nothing.cosine) == (0, 0)


def test_the_inputs_are_left_alone():
    student, teacher = vectors(30, 4, 1), vectors(30, 4, 2)
    copies = student.copy(), teacher.copy()
    evaluate_fidelity(student, teacher)
    assert np.array_equal(student, copies[0])
    assert np.array_equal(teacher, copies[1])


def test_a_row_is_flat_with_the_agreed_keys():
    row = evaluate_fidelity(vectors(30, 4, 1), vectors(30, 6, 2)).row("mine")
    assert list(row) == ["model", "dim", "sentences", "spearman", "cosine", "overlap10"]
    assert (row["model"], row["dim"], row["sentences"], row["cosine"]) == ("mine", 4, 30, None)
    assert all(type(row[key]) is float for key in ("spearman", "overlap10"))


def test_vectors_that_cannot_be_compared_are_refused():
    good = vectors(30, 4)
    with pytest.raises(EvaluationError, match="29 teacher vectors for 30 sentences"):
        evaluate_fidelity(good, good[:29])
    with pytest.raises(EvaluationError, match="at least 3 sentences, and there are 2"):
        evaluate_fidelity(good[:2], good[:2])
    with pytest.raises(EvaluationError, match="31 target vectors for 30 sentences"):
        evaluate_fidelity(good, good, target_vectors=vectors(31, 4))
    with pytest.raises(EvaluationError, match="target's vectors have width 5, the student's 4"):
        evaluate_fidelity(good, good, target_vectors=vectors(30, 5))


@pytest.mark.parametrize("whose", ["student", "teacher", "target"])
def test_a_vector_that_is_not_finite_is_named(whose):
    sides = {name: vectors(30, 4) for name in ("student", "teacher", "target")}
    sides[whose][7, 2] = np.inf
    with pytest.raises(EvaluationError, match=f"the {whose}'s vector of sentence 8 is not finite"):
        evaluate_fidelity(sides["student"], sides["teacher"], target_vectors=sides["target"])

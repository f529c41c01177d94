import numpy as np
import pytest
from measuring import hpd, rows_of
from word_counts import WordCounts

from hpdistill.encoder import unit
from hpdistill.errors import WeightsError
from hpdistill.projection import fit_pca


def test_fidelity_compares_models_with_the_teacher(loaded, corpus):
    result = hpd("fidelity", "small", "big", "--teacher", "big", "--data", corpus, "--json")
    small, big = rows_of(result, "eval fidelity")
    assert list(small) == ["model", "dim", "sentences", "spearman", "cosine", "overlap10"]
    assert (small["model"], small["dim"], small["sentences"]) == ("small", 16, 60)
    assert small["cosine"] is None
    assert 0.2 < small["spearman"] < 1
    assert [big[key] for key in ("spearman", "cosine", "overlap10")] == pytest.approx([1, 1, 1])


def test_fidelity_prints_a_table(loaded, corpus):
    result = hpd("fidelity", "small", "--teacher", "big", "--data", corpus)
    assert result.exit_code == 0, result.output
    assert "Agreement with big on 60 sentences" in result.stdout
    assert "overlap10" in result.stdout


def test_fidelity_takes_a_sample_of_a_larger_corpus(loaded, corpus):
    options = ("--teacher", "big", "--data", corpus, "--limit", "20", "--json")
    first, second = (rows_of(hpd("fidelity", "small", *options), "eval fidelity") for _ in range(2))
    assert first[0]["sentences"] == 20
    assert first == second


def test_fidelity_measures_the_cosine_to_the_projected_teacher(loaded, corpus, tmp_path):
    sentences = corpus.read_text().splitlines()
    teacher = WordCounts("big", 64).encode(sentences)
    projection = fit_pca([teacher], 16, centred=False)
    projection.save(tmp_path / "small/projection.safetensors")
    result = hpd("fidelity", "small", "--teacher", "big", "--data", corpus, "--json")
    student = WordCounts("small", 16).encode(sentences)
    known = (student * unit(projection.apply(teacher))).sum(axis=1).mean()
    assert rows_of(result, "eval fidelity")[0]["cosine"] == pytest.approx(float(known), abs=1e-5)


def test_fidelity_with_a_projection_of_another_teacher_says_why_there_is_no_cosine(
    loaded, corpus, tmp_path
):
    other = np.random.default_rng(0).standard_normal((50, 32), np.float32)
    fit_pca([other], 16).save(tmp_path / "small/projection.safetensors")
    result = hpd("fidelity", "small", "--teacher", "big", "--data", corpus, "--json")
    assert rows_of(result, "eval fidelity")[0]["cosine"] is None
    assert (
        "its projection leads from width 32 to 16, and this teacher's width is 64" in result.stderr
    )


def test_fidelity_finds_a_wrong_name_before_loading_the_teacher(loaded, corpus):
    result = hpd("fidelity", "smal", "--teacher", "big", "--data", corpus)
    assert isinstance(result.exception, WeightsError)
    assert loaded == []

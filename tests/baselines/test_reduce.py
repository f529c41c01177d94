"""Whitening is what twenty lines of NumPy say; the model with it is one that all readers take."""

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from huggingface_hub import ModelCard
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Normalize, Pooling

from hpdistill import Encoder
from hpdistill.baselines import pca, whiten
from hpdistill.corpus import Corpus, build_corpus
from hpdistill.encoder import unit
from hpdistill.errors import CorpusError, RunError, UsageError
from hpdistill.export import export_model
from hpdistill.projection import fit_pca, fit_whitening
from hpdistill.pytorch import TorchEncoder, load_model
from hpdistill.recipe import CorpusRecipe
from hpdistill.student import build_static

Sentences = Callable[..., list[str]]
Matrix = NDArray[np.float64]
K = 6


def reference(vectors: Matrix, dim: int) -> tuple[Matrix, Matrix]:
    """Algorithm 1 of Su et al. 2021: W and mean, such that (x - mean) W is white."""
    mean = vectors.mean(axis=0, keepdims=True)
    covariance = np.cov(vectors.T)
    u, s, _ = np.linalg.svd(covariance)
    w = u @ np.diag(1 / np.sqrt(s))
    # Which of two opposite directions a decomposition gives is chance; cosines do not see it.
    for column in range(w.shape[1]):
        largest = np.abs(w[:, column]).argmax()
        w[:, column] *= np.sign(w[largest, column])
    return w[:, :dim], mean


def embeddings(count: int = 500, width: int = 12, *, seed: int = 0) -> NDArray[np.float32]:
    generator = np.random.default_rng(seed)
    raw = generator.normal(size=(count, width)) @ generator.normal(size=(width, width)) + 2
    return unit(raw.astype(np.float32))


@pytest.mark.parametrize("dim", [1, 5, 12])
def test_whitening_agrees_with_the_reference(dim: int) -> None:
    vectors = embeddings()
    w, mean = reference(vectors.astype(np.float64), dim)
    projection = fit_whitening(np.array_split(vectors, 7), dim)
    expected = (vectors - mean) @ w
    found = projection.apply(vectors)
    # Its values have a standard deviation of 1.
    np.testing.assert_allclose(found, expected, atol=1e-5 * np.abs(expected).max())
    assert projection.centred
    np.testing.assert_allclose(
        projection.explained_variance, np.linalg.eigvalsh(np.cov(vectors.T))[::-1][:dim], rtol=1e-3
    )


def test_whitened_vectors_have_mean_0_and_the_identity_as_covariance() -> None:
    vectors = embeddings()
    white = fit_whitening([vectors], 8).apply(vectors).astype(np.float64)
    np.testing.assert_allclose(white.mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(np.cov(white.T), np.eye(8), atol=1e-4)


def test_directions_in_which_nothing_differs_are_not_blown_up() -> None:
    vectors = embeddings(width=6)
    flat = np.hstack([vectors, vectors[:, :3]])  # 9 numbers, 6 directions
    assert fit_whitening([flat], 6).dim == 6
    with pytest.raises(UsageError, match=r"dim 7 cannot be whitened: .* in 6 directions only"):
        fit_whitening([flat], 7)
    with pytest.raises(UsageError, match="in 4 directions only"):
        fit_whitening([embeddings(5, 12)], 5)
    with pytest.raises(UsageError, match="dim 13 is larger"):
        fit_whitening([embeddings()], 13)


# The model ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def corpus(corpus_file: Path) -> CorpusRecipe:
    return CorpusRecipe(sources=(str(corpus_file),), validation=50, limit=300)


@pytest.fixture(scope="module")
def splits(corpus: CorpusRecipe, tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    folder = tmp_path_factory.mktemp("corpus")
    build_corpus(corpus, folder, seed=0)
    return Corpus.open(folder)


@pytest.fixture(scope="module")
def whitened(teacher_dir: Path, corpus: CorpusRecipe, tmp_path_factory: Any) -> Path:
    out: Path = tmp_path_factory.mktemp("whitened") / "model"
    whiten(str(teacher_dir), corpus, out, dim=K, precision="float32")
    return out


def test_a_whitened_model_gives_what_the_reference_says(
    teacher_dir: Path, splits: Corpus, whitened: Path
) -> None:
    base = SentenceTransformer(str(teacher_dir), device="cpu")
    fitted = base.encode(splits.texts("train")).astype(np.float64)
    texts = splits.texts("validation")
    w, mean = reference(fitted, K)
    expected = (base.encode(texts) - mean) @ w
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    found = SentenceTransformer(str(whitened), device="cpu").encode(texts)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_a_whitened_model_has_a_card(
    teacher_dir: Path, corpus: CorpusRecipe, splits: Corpus, whitened: Path
) -> None:
    card = ModelCard.load(whitened / "README.md")
    assert card.data.library_name == "sentence-transformers"
    assert card.data.pipeline_tag == "sentence-similarity"
    assert "whitening" in card.data.tags
    assert card.data.language is card.data.base_model is card.data.license is None
    said = " ".join(card.text.split())
    for text in (
        f"# teacher, whitening to {K} numbers",
        "`hpd whiten`",
        f"{splits.count('train'):,} unlabelled sentences ({Path(corpus.sources[0]).name})",
        "- **fidelity**: ",
        "| teacher, whitening | 6 | 48 | 250 |",
    ):
        assert text in said
    assert str(teacher_dir.parent) not in said
    (with_torch, _) = re.findall("```python\n(.*?)```", card.text, re.DOTALL)
    names: dict[str, Any] = {}
    exec(with_torch.replace("path/to/this/directory", str(whitened)), names)
    assert names["vectors"].shape == (2, K)


@pytest.mark.parametrize(("centred", "whitening"), [(False, 0.0), (True, 0.0), (False, 0.5)])
def test_a_cut_model_gives_its_principal_components(
    teacher_dir: Path,
    corpus: CorpusRecipe,
    splits: Corpus,
    tmp_path: Path,
    centred: bool,
    whitening: float,
) -> None:
    out, how = tmp_path / "model", {"centred": centred, "whitening": whitening}
    result = pca(str(teacher_dir), corpus, out, dim=K, precision="float32", **how)
    encoder = TorchEncoder.load(str(teacher_dir), device="cpu")
    projection = fit_pca([encoder.encode(splits.texts("train"))], K, **how)
    texts = splits.texts("validation")
    expected = unit(projection.apply(encoder.encode(texts)))
    model = SentenceTransformer(str(out), device="cpu")
    np.testing.assert_allclose(model.encode(texts), expected, atol=1e-5)
    kinds = [type(module).__name__ for module in model]
    between = ["Normalize"] if centred else []
    assert kinds == ["Transformer", "Pooling", *between, "Dense", "Normalize"]
    card = (out / "README.md").read_text("utf-8")
    assert f"cut to their first {K} principal components" in card
    assert ("power 0.5" in card) == (whitening == 0.5)
    row = dict(result.row)
    assert row.pop("seconds") >= 0
    assert row.pop("spearman") > 0.5
    assert row == {
        "model": str(out),
        "base": str(teacher_dir),
        "kind": "pca",
        "whitening": whitening,
        "dim": K,
        "width": 48,
        "sentences": 250,
        "excluded": 0,
        "explained_share": round(projection.explained_share, 4),
        "precision": "float32",
        "seed": 0,
    }
    assert not (tmp_path / "model.partial").exists()


def test_the_runtime_takes_a_whitened_model(whitened: Path, splits: Corpus, tmp_path: Path) -> None:
    texts = splits.texts("validation")
    expected = load_model(whitened).encode(texts)
    export_model(whitened, texts, precisions=("float32",), out=tmp_path / "exported")
    with Encoder.load(tmp_path / "exported") as encoder:
        np.testing.assert_allclose(encoder.encode(texts), expected, atol=1e-4)


def test_a_model_that_pools_otherwise_and_does_not_normalise_is_taken(
    teacher_dir: Path, corpus: CorpusRecipe, splits: Corpus, tmp_path: Path
) -> None:
    transformer = load_model(teacher_dir)[0]
    raw = SentenceTransformer(
        modules=[transformer, Pooling(48, pooling_mode=("cls", "max"))],
        device="cpu",
        prompts={"query": "the "},
        default_prompt_name="query",
    )
    raw.save(str(tmp_path / "raw"), create_model_card=False)
    whiten(str(tmp_path / "raw"), corpus, tmp_path / "model", dim=K, precision="float32")
    model = SentenceTransformer(str(tmp_path / "model"), device="cpu")
    assert isinstance(model[2], Normalize)
    fitted = raw.encode(splits.texts("train"), normalize_embeddings=True).astype(np.float64)
    texts = splits.texts("validation")
    w, mean = reference(fitted, K)
    expected = unit((raw.encode(texts, normalize_embeddings=True) - mean) @ w)
    np.testing.assert_allclose(model.encode(texts), expected, atol=2e-5)


# Again, and refusals -----------------------------------------------------------------------------


def test_what_was_embedded_is_not_embedded_again(
    teacher_dir: Path, corpus: CorpusRecipe, whitened: Path, tmp_path: Path
) -> None:
    arguments: dict[str, Any] = {"dim": K, "precision": "float32"}
    out = tmp_path / "model"

    class StoppedError(Exception):
        """Stands for a kill."""

    def stop(task: str, done: int, total: int) -> None:
        if task.startswith("embedding") and done == total:
            raise StoppedError

    with pytest.raises(StoppedError):
        whiten(str(teacher_dir), corpus, out, report=stop, **arguments)
    shards = {p: p.stat().st_mtime_ns for p in (tmp_path / "model.partial").rglob("*.npy")}
    assert shards
    seen: list[dict[Path, int]] = []

    def look(task: str, done: int, total: int) -> None:
        seen.append({path: path.stat().st_mtime_ns for path in shards})

    first = whiten(str(teacher_dir), corpus, out, report=look, **arguments)
    assert all(times == shards for times in seen)
    # And a finished one is only looked up.
    assert whiten(str(teacher_dir), corpus, out, **arguments).row == first.row
    one, other = (load_model(place).state_dict() for place in (out, whitened))
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_a_store_is_shared(teacher_dir: Path, corpus: CorpusRecipe, tmp_path: Path) -> None:
    arguments: dict[str, Any] = {"precision": "float32", "store": tmp_path / "store"}
    whiten(str(teacher_dir), corpus, tmp_path / "a", dim=4, **arguments)
    shards = {p: p.stat().st_mtime_ns for p in (tmp_path / "store").rglob("*.npy")}
    pca(str(teacher_dir), corpus, tmp_path / "b", dim=5, **arguments)
    assert {p: p.stat().st_mtime_ns for p in (tmp_path / "store").rglob("*.npy")} == shards


def test_a_store_that_would_be_replaced_is_refused(
    teacher_dir: Path, corpus: CorpusRecipe, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    with pytest.raises(UsageError, match="which is replaced when it is done"):
        pca(str(teacher_dir), corpus, out, dim=4, store=out / "store")
    assert list(tmp_path.iterdir()) == []


def test_a_model_of_other_choices_is_replaced_only_if_told_to(
    teacher_dir: Path, corpus: CorpusRecipe, whitened: Path, tmp_path: Path
) -> None:
    out = shutil.copytree(whitened, tmp_path / "out")
    with pytest.raises(RunError, match="was made of other choices"):
        whiten(str(teacher_dir), corpus, out, dim=K - 1, precision="float32")
    whiten(str(teacher_dir), corpus, out, dim=K - 1, precision="float32", overwrite=True)
    assert load_model(out).get_embedding_dimension() == K - 1
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("place", ["file", "folder", "folder/inside/..", "simcse"])
def test_a_place_of_something_else_is_left_alone(
    place: str, overwrite: bool, teacher_dir: Path, corpus: CorpusRecipe, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("years of work")
    (tmp_path / "folder/inside").mkdir(parents=True)
    (tmp_path / "folder/thesis.tex").write_text("years of work")
    (tmp_path / "simcse").mkdir()
    (tmp_path / "simcse/hpd.json").write_text('{"baseline": {"kind": "simcse"}}')
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(RunError, match="exists and is not what this command makes"):
        pca(str(teacher_dir), corpus, tmp_path / place, dim=K, overwrite=overwrite)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_folder_where_the_work_would_be_is_left_alone(
    teacher_dir: Path, corpus: CorpusRecipe, tmp_path: Path
) -> None:
    (tmp_path / "out.partial").mkdir()
    (tmp_path / "out.partial/thesis.tex").write_text("years of work")
    with pytest.raises(RunError, match=r"out\.partial is in the way"):
        pca(str(teacher_dir), corpus, tmp_path / "out", dim=K)
    assert [path.name for path in tmp_path.rglob("*")] == ["out.partial", "thesis.tex"]


def test_two_processes_do_not_make_one_model(
    teacher_dir: Path, corpus: CorpusRecipe, tmp_path: Path
) -> None:
    out, called = tmp_path / "out", 0

    def second(task: str, done: int, total: int) -> None:
        nonlocal called
        if task.startswith("embedding") and not called:
            called += 1
            with pytest.raises(RunError, match="another process is working in"):
                pca(str(teacher_dir), corpus, out, dim=K, precision="float32")

    pca(str(teacher_dir), corpus, out, dim=K, precision="float32", report=second)
    assert called
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_an_empty_folder_is_taken(teacher_dir: Path, corpus: CorpusRecipe, tmp_path: Path) -> None:
    model = pca(str(teacher_dir), corpus, tmp_path, dim=K, precision="float32").model
    assert (model / "modules.json").is_file()


def test_what_cannot_be_is_refused_before_anything_is_embedded(
    teacher_dir: Path, student_dir: Path, corpus: CorpusRecipe, tmp_path: Path
) -> None:
    def refuse(task: str, done: int, total: int) -> None:
        assert not task.startswith("embedding")

    model = str(teacher_dir)
    for dim in (0, 49):
        with pytest.raises(UsageError, match=f"dim is {dim}; .* has 1 to 48"):
            pca(model, corpus, tmp_path / "out", dim=dim, report=refuse)
    few = tmp_path / "few.txt"
    few.write_text("\n".join(f"the dog {i}" for i in range(12)), "utf-8")
    small = CorpusRecipe(sources=(str(few),))
    with pytest.raises(CorpusError, match="12 sentences are too few"):
        pca(model, small, tmp_path / "out", dim=2, report=refuse)
    few.write_text("\n".join(f"the dog {i}" for i in range(25)), "utf-8")
    with pytest.raises(UsageError, match="dim 30 needs at least 30 training sentences"):
        pca(model, small, tmp_path / "out", dim=30, report=refuse)
    static = build_static(
        load_model(student_dir).tokenizer.backend_tokenizer, np.ones((64, 4), np.float32)
    )
    static.save(str(tmp_path / "static"), create_model_card=False)
    with pytest.raises(UsageError, match="starts with a StaticEmbedding"):
        pca(str(tmp_path / "static"), corpus, tmp_path / "out", dim=2, report=refuse)
    assert not (tmp_path / "out").exists()

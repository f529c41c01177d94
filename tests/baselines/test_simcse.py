"""SimCSE learns, is exact however often broken off, and leaves a model that all readers take."""

import json
import math
import shutil
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from huggingface_hub import ModelCard
from safetensors.torch import load_file
from scipy.stats import spearmanr
from sentence_transformers import SentenceTransformer

from hpdistill import Encoder
from hpdistill.baselines import train_simcse
from hpdistill.encoder import unit
from hpdistill.errors import EvaluationError, RunError, UsageError
from hpdistill.evaluate import load_tasks
from hpdistill.export import export_model
from hpdistill.manifest import clean_run
from hpdistill.pytorch import load_model
from hpdistill.recipe import CorpusRecipe, NliRecipe, SimcseRecipe

Sentences = Callable[..., list[str]]
STEPS = 12


class StoppedError(Exception):
    """Stands for a kill."""


def stop_at(step: int, batch_size: int) -> Callable[[str, int, int], None]:
    def report(task: str, done: int, total: int) -> None:
        if task == "training" and done >= step * batch_size:
            raise StoppedError

    return report


@pytest.fixture(scope="module")
def nli(tmp_path_factory: pytest.TempPathFactory, sentences: Sentences) -> str:
    """What follows from a sentence is a part of it; what contradicts it is another sentence."""
    rows = ["split\tdataset\tfilename\tsentence1\tsentence2\tlabel"]
    texts = sentences(160)
    for one, other in zip(texts[:80], texts[80:], strict=True):
        part = " ".join(one.split()[1:])
        rows.append(f"train\tSNLI\tf\t{one}\t{part}\tentailment")
        rows.append(f"train\tSNLI\tf\t{one}\t{other}\tcontradiction")
    rows.append("train\tSNLI\tf\tthe dog\tthe cat\t-")
    path = tmp_path_factory.mktemp("nli") / "AllNLI.tsv"
    path.write_text("\n".join(rows) + "\n", "utf-8")
    return str(path)


@pytest.fixture(scope="module")
def sts(tmp_path_factory: pytest.TempPathFactory, sentences: Sentences) -> Path:
    """A development set; one of its sentences is the first premise."""
    folder = tmp_path_factory.mktemp("sts") / "STS" / "STSBenchmark"
    folder.mkdir(parents=True)
    first, second = [sentences(1)[0], *sentences(29, seed=5)], sentences(30, seed=6)
    lines = [
        f"a\tb\tc\td\t{index % 6}\t{one}\t{other}"
        for index, (one, other) in enumerate(zip(first, second, strict=True))
    ]
    (folder / "sts-dev.csv").write_text("\n".join(lines) + "\n", "utf-8")
    return folder.parent.parent


@pytest.fixture(scope="module")
def recipe(student_dir: Path, nli: str) -> SimcseRecipe:
    return SimcseRecipe(
        backbone=str(student_dir),
        nli=NliRecipe(sources=(nli,)),
        batch_size=16,
        max_steps=STEPS,
        learning_rate=1e-3,
        precision="float32",
        evaluate_every=3,
    )


@pytest.fixture(scope="module")
def unbroken(recipe: SimcseRecipe, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("unbroken") / "run"
    train_simcse(recipe, out)
    return out


def model_files(run: Path) -> dict[str, Any]:
    model = run / "model"
    return {
        path.relative_to(model).as_posix(): path.read_bytes()
        for path in sorted(model.rglob("*"))
        # The card says how long it took.
        if path.is_file() and path.suffix != ".safetensors" and path.name != "README.md"
    }


def weights(run: Path) -> dict[str, torch.Tensor]:
    model = run / "model"
    return {
        f"{path.relative_to(model)}:{name}": tensor
        for path in sorted(model.rglob("*.safetensors"))
        for name, tensor in load_file(path).items()
    }


def assert_same(one: Path, other: Path) -> None:
    assert model_files(one) == model_files(other)
    mine, yours = weights(one), weights(other)
    assert mine.keys() == yours.keys()
    for name, tensor in mine.items():
        assert torch.equal(tensor, yours[name]), name


def history(run: Path) -> list[dict[str, float]]:
    stages = json.loads((run / "manifest.json").read_text("utf-8"))["stages"]
    found: list[dict[str, float]] = stages["training"]["facts"]["history"]
    return found


def test_supervised_training_lowers_the_loss(unbroken: Path) -> None:
    losses = [entry["loss"] for entry in history(unbroken)[1:]]
    assert len(losses) == STEPS // 3
    assert losses[-1] < 0.9 * losses[0]


def test_what_is_returned_says_how_it_went(recipe: SimcseRecipe, unbroken: Path) -> None:
    # A finished run is not done again.
    result = train_simcse(recipe, unbroken, report=stop_at(0, 16))
    row = dict(result.row)
    assert result.model == unbroken / "model"
    assert row.pop("seconds") > 0
    assert row.pop("loss") == history(unbroken)[-1]["loss"]
    assert row.pop("parameters") > 1000
    assert row == {
        "model": str(unbroken / "model"),
        "backbone": recipe.backbone,
        "supervised": True,
        "pooling": "mean",
        "dim": 24,
        "examples": 80,
        "excluded": 0,
        "unlabelled": 1,
        "steps": STEPS,
        "best_step": STEPS,
        "sts_dev": None,
        "precision": "float32",
        "seed": 0,
    }


def test_the_model_has_a_card(recipe: SimcseRecipe, unbroken: Path) -> None:
    card = ModelCard.load(unbroken / "model/README.md")
    assert card.data.library_name == "sentence-transformers"
    assert {"simcse", "supervised"} <= set(card.data.tags)
    assert card.data.language is card.data.base_model is None
    said = " ".join(card.text.split())
    for text in ("# student by supervised SimCSE", "(AllNLI.tsv)", f"| {STEPS} |", "- **loss**: "):
        assert text in said
    assert str(Path(recipe.backbone).parent) not in said


def test_two_trainings_are_equal_bit_for_bit(
    recipe: SimcseRecipe, unbroken: Path, tmp_path: Path
) -> None:
    train_simcse(recipe, tmp_path / "again")
    assert_same(tmp_path / "again", unbroken)
    train_simcse(replace(recipe, seed=1), tmp_path / "other")
    assert any(
        not torch.equal(tensor, weights(unbroken)[name])
        for name, tensor in weights(tmp_path / "other").items()
    )


def test_a_broken_training_ends_like_an_unbroken_one(
    recipe: SimcseRecipe, unbroken: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    for step in (4, 8):
        with pytest.raises(StoppedError):
            train_simcse(recipe, out, report=stop_at(step, 16))
        assert not (out / "model").exists()
    train_simcse(recipe, out)
    assert_same(out, unbroken)
    steps = [entry["step"] for entry in history(out)]
    assert steps == [0, 3, 6, 9, 12]


def test_ctrl_c_costs_no_step(recipe: SimcseRecipe, unbroken: Path, tmp_path: Path) -> None:
    def report(task: str, done: int, total: int) -> None:
        if (task, done) == ("training", 7 * 16):
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        train_simcse(recipe, tmp_path / "run", report=report)
    (newest,) = (tmp_path / "run").glob("checkpoints/*/step-*")
    assert newest.name == "step-00000007"
    train_simcse(recipe, tmp_path / "run")
    assert_same(tmp_path / "run", unbroken)
    assert history(tmp_path / "run") == history(unbroken)


def test_a_cleaned_run_is_complete(recipe: SimcseRecipe, unbroken: Path, tmp_path: Path) -> None:
    run = shutil.copytree(unbroken, tmp_path / "run")
    before = train_simcse(recipe, run).row
    assert [part.path.name for part in clean_run(run)] == ["checkpoints"]
    assert not (run / "checkpoints").exists()
    assert train_simcse(recipe, run, report=stop_at(0, 16)).row == before
    shutil.rmtree(run / "model")
    with pytest.raises(RunError, match="was cleaned, and its stage 'training' would have to"):
        train_simcse(recipe, run)


def test_a_directory_of_another_recipe_is_left_alone(recipe: SimcseRecipe, unbroken: Path) -> None:
    other = replace(recipe, temperature=0.1)
    with pytest.raises(RunError, match="holds a run of another recipe"):
        train_simcse(other, unbroken)


def test_the_best_weights_on_the_development_set_are_kept(
    recipe: SimcseRecipe, sts: Path, tmp_path: Path
) -> None:
    nli = replace(recipe.nli, exclude=(str(sts),))
    result = train_simcse(replace(recipe, nli=nli), tmp_path / "run", evaluation=sts)
    # The premise that is a development sentence is not trained on, in either of its pairs.
    assert (result.row["examples"], result.row["excluded"]) == (79, 2)
    scores = {entry["step"]: entry["score"] for entry in history(tmp_path / "run")}
    assert list(scores) == [0, 3, 6, 9, 12]
    assert result.row["sts_dev"] == max(scores.values()) == scores[result.row["best_step"]]
    (subset,) = load_tasks(sts, dev=True).tasks[0].subsets
    model = SentenceTransformer(str(result.model), device="cpu")
    cosines = np.einsum("pd,pd->p", model.encode(subset.first), model.encode(subset.second))
    expected = 100 * spearmanr(cosines, subset.gold).statistic
    assert result.row["sts_dev"] == pytest.approx(expected, abs=0.5)  # of near-ties
    again = train_simcse(replace(recipe, nli=nli), tmp_path / "run", evaluation=sts)
    assert again.row == result.row


def test_a_development_set_is_scored_by_some_of_its_pairs(
    recipe: SimcseRecipe, sts: Path, tmp_path: Path
) -> None:
    few = replace(recipe, max_steps=1)
    row = train_simcse(few, tmp_path / "run", evaluation=sts, evaluation_pairs=2).row
    # Two pairs are ranked as their scores are, or the other way round.
    assert abs(row["sts_dev"]) == pytest.approx(100)
    row = train_simcse(few, tmp_path / "whole", evaluation=sts, evaluation_pairs=30).row
    assert abs(row["sts_dev"]) < 99


def test_a_folder_without_a_development_set_is_refused_at_once(
    recipe: SimcseRecipe, tmp_path: Path
) -> None:
    with pytest.raises(EvaluationError, match=r"sts-dev\.csv"):
        train_simcse(recipe, tmp_path / "run", evaluation=tmp_path)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("measured", [False, True])
def test_a_training_that_diverges_gives_no_model(
    recipe: SimcseRecipe, sts: Path, tmp_path: Path, measured: bool
) -> None:
    wild = replace(recipe, learning_rate=1e30)
    with pytest.raises(RunError, match="the training diverged: its loss is nan at step") as raised:
        train_simcse(wild, tmp_path / "run", evaluation=sts if measured else None)
    assert raised.value.hint == "Give a learning rate below 1e+30."
    assert not (tmp_path / "run/model").exists()


@pytest.mark.parametrize(("pooling", "dim", "spec"), [("cls", 6, "layers:{}:1"), ("mean", 6, "{}")])
def test_the_model_is_one_that_every_reader_takes(
    recipe: SimcseRecipe,
    student_dir: Path,
    sentences: Sentences,
    tmp_path: Path,
    pooling: Any,
    dim: int,
    spec: str,
) -> None:
    chosen = replace(recipe, backbone=spec.format(student_dir), pooling=pooling, dim=dim)
    model = train_simcse(replace(chosen, max_steps=2), tmp_path / "run").model
    texts = sentences(20, seed=9)
    expected = load_model(model).encode(texts)
    assert expected.shape == (20, dim)
    plain = SentenceTransformer(str(model), device="cpu")
    np.testing.assert_allclose(plain.encode(texts), expected, atol=1e-6)
    assert [type(module).__name__ for module in plain] == [
        "Transformer",
        "Pooling",
        "Dense",
        "Normalize",
    ]
    config = json.loads((model / "1_Pooling" / "config.json").read_text("utf-8"))
    assert config["pooling_mode_cls_token"] is (pooling == "cls")
    assert config["pooling_mode_mean_tokens"] is (pooling == "mean")
    features = plain[0](plain.tokenizer(texts[:1], return_tensors="pt"))
    if pooling == "cls":
        head = plain[2].linear
        with torch.no_grad():
            first = head(features["token_embeddings"][:, 0]).numpy()
        np.testing.assert_allclose(expected[:1], unit(first), atol=1e-5)
    export_model(model, texts, precisions=("float32",))
    with Encoder.load(model) as encoder:
        np.testing.assert_allclose(encoder.encode(texts), expected, atol=1e-4)


def test_without_a_projection_the_backbone_keeps_its_width(unbroken: Path) -> None:
    modules = json.loads((unbroken / "model" / "modules.json").read_text("utf-8"))
    kinds = [module["type"].rpartition(".")[2] for module in modules]
    assert kinds == ["Transformer", "Pooling", "Normalize"]
    assert SentenceTransformer(str(unbroken / "model"), device="cpu").encode("dog").shape == (24,)


# Unsupervised ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def unsupervised(recipe: SimcseRecipe, corpus_file: Path) -> SimcseRecipe:
    corpus = CorpusRecipe(sources=(str(corpus_file),), limit=120)
    return replace(recipe, nli=None, corpus=corpus, max_steps=None, epochs=1.5)


def test_unsupervised_training_runs_and_resumes(unsupervised: SimcseRecipe, tmp_path: Path) -> None:
    whole = train_simcse(unsupervised, tmp_path / "whole")
    steps = math.ceil(1.5 * math.ceil(120 / 16))
    assert (whole.row["supervised"], whole.row["examples"]) == (False, 120)
    assert whole.row["steps"] == steps
    assert 0 < whole.row["loss"] < history(tmp_path / "whole")[1]["loss"]
    with pytest.raises(StoppedError):
        train_simcse(unsupervised, tmp_path / "broken", report=stop_at(5, 16))
    train_simcse(unsupervised, tmp_path / "broken")
    assert_same(tmp_path / "broken", tmp_path / "whole")


def test_a_backbone_without_dropout_cannot_be_trained_so(
    unsupervised: SimcseRecipe, student_dir: Path, tmp_path: Path
) -> None:
    model = load_model(student_dir)
    config = model[0].auto_model.config
    config.hidden_dropout_prob = config.attention_probs_dropout_prob = 0.0
    model.save(str(tmp_path / "dry"), create_model_card=False)
    with pytest.raises(UsageError, match="has no dropout"):
        train_simcse(replace(unsupervised, backbone=str(tmp_path / "dry")), tmp_path / "run")


# Choices -----------------------------------------------------------------------------------------


def test_a_recipe_survives_toml(
    recipe: SimcseRecipe, unsupervised: SimcseRecipe, tmp_path: Path
) -> None:
    for one in (recipe, unsupervised):
        one.save(tmp_path / "recipe.toml")
        again = SimcseRecipe.load(tmp_path / "recipe.toml")
        assert again == one
        assert again.hash == one.hash
    assert recipe.hash != unsupervised.hash


def test_what_is_unset_depends_on_the_kind(recipe: SimcseRecipe, corpus_file: Path) -> None:
    supervised = SimcseRecipe(backbone="minilm", nli=recipe.nli).settled()
    assert (supervised.epochs, supervised.learning_rate) == (3, 5e-5)
    corpus = CorpusRecipe(sources=(str(corpus_file),))
    unsupervised = SimcseRecipe(backbone="minilm", corpus=corpus).settled()
    assert (unsupervised.epochs, unsupervised.learning_rate) == (1, 3e-5)
    assert supervised.dropout
    assert unsupervised.dropout


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"nli": None}, "neither given"),
        ({"corpus": CorpusRecipe(sources=("a.txt",))}, "both given"),
        ({"temperature": 0.0}, "temperature is 0.0; allowed: above 0"),
        ({"pooling": "most"}, "pooling is 'most'; allowed: mean, cls"),
        ({"dim": 0}, "dim is 0; allowed: 1 or more, or unset"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"epochs": -1.0}, r"epochs is -1\.0"),
        ({"precision": "half"}, "precision is 'half'"),
    ],
)
def test_a_choice_out_of_range_is_named(
    recipe: SimcseRecipe, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        replace(recipe, **changes)


def test_a_backbone_that_was_refused_does_not_stand_in_the_way(
    recipe: SimcseRecipe, tmp_path: Path
) -> None:
    backbone = recipe.backbone
    with pytest.raises(UsageError, match="layer 9 does not exist"):
        train_simcse(replace(recipe, backbone=f"layers:{backbone}:0,9"), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_static_backbone_is_refused(recipe: SimcseRecipe, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="has no transformer to train"):
        train_simcse(replace(recipe, backbone="static:minilm"), tmp_path / "run")

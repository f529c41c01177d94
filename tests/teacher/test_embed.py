"""A corpus is embedded once: what is in the store is kept, what is not is computed."""

import json
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Dense, StaticEmbedding
from tokenizers import Tokenizer
from tokenizers.models import WordLevel

from hpdistill.corpus import Corpus, build_corpus
from hpdistill.encoder import Encoder, Role, encode_as, unit
from hpdistill.errors import StoreError, UsageError
from hpdistill.files import json_hash, read_json, sha256_file, write_json
from hpdistill.projection import fit_pca
from hpdistill.pytorch import Calibration, TorchEncoder, reference_vectors
from hpdistill.recipe import CorpusRecipe, TeacherRecipe, WeightedModel
from hpdistill.teacher import (
    EmbeddedCorpus,
    JointEncoder,
    ProjectedEncoder,
    Remembering,
    Store,
    StoredEncoder,
    embed_corpus,
    encoder_identity,
    load_teacher,
    open_store,
    side_by_side,
)
from hpdistill.weights import ModelSource, resolve

Sentences = Callable[..., list[str]]
Embed = Callable[..., EmbeddedCorpus]

TRAIN, VALIDATION, SHARD = 80, 20, 32
PLAIN = TeacherRecipe(precision="float32", shard_sentences=SHARD)


def make_corpus(directory: Path, texts: list[str]) -> Corpus:
    source = directory / "sentences.txt"
    source.write_text("\n".join(texts), "utf-8")
    (directory / "corpus").mkdir()
    recipe = CorpusRecipe(sources=(str(source),), validation=VALIDATION)
    build_corpus(recipe, directory / "corpus", seed=0)
    return Corpus.open(directory / "corpus")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory, sentences: Sentences) -> Corpus:
    """80 training sentences, 3 shards; 20 of validation, 1 shard."""
    found = make_corpus(tmp_path_factory.mktemp("corpus"), sentences(TRAIN + VALIDATION))
    assert (found.count("train"), found.count("validation")) == (TRAIN, VALIDATION)
    return found


@pytest.fixture(scope="module")
def teacher(teacher_dir: Path) -> ModelSource:
    return resolve(str(teacher_dir))


@pytest.fixture(scope="module")
def full(
    corpus: Corpus, teacher: ModelSource, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, EmbeddedCorpus]:
    """A complete store and where it lies; not to be written to."""
    root = tmp_path_factory.mktemp("full")
    return root, embed_corpus(teacher, corpus, root, recipe=PLAIN)


@pytest.fixture
def root(full: tuple[Path, EmbeddedCorpus], tmp_path: Path) -> Path:
    """A copy of the complete store."""
    return shutil.copytree(full[0], tmp_path / "store")


@pytest.fixture
def no_loading(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise AssertionError("the model was loaded")

    monkeypatch.setattr(TorchEncoder, "load", refuse)


def shard_files(root: Path) -> list[Path]:
    return sorted(root.rglob("*.npy"))


@pytest.mark.parametrize("name", ["vocab.txt", "merges.txt", "spiece.model"])
def test_what_a_tokenizer_is_made_from_is_part_of_the_identity(
    teacher_dir: Path, name: str, tmp_path: Path
) -> None:
    model = shutil.copytree(teacher_dir, tmp_path / "model")
    whole = encoder_identity(resolve(str(model)))
    (model / name).write_text("a\nb\n")
    assert encoder_identity(resolve(str(model))) == whole  # tokenizer.json says it all
    (model / "tokenizer.json").rename(model / "away")
    (model / "vocab.json").write_text("{}")
    first = encoder_identity(resolve(str(model)))
    (model / name).write_text("b\na\n")
    assert encoder_identity(resolve(str(model))) != first


def test_a_run_in_the_directory_of_a_model_is_no_part_of_it(
    teacher_dir: Path, tmp_path: Path
) -> None:
    model = shutil.copytree(teacher_dir, tmp_path / "model")
    before = encoder_identity(resolve(str(model)))
    (model / "run").mkdir()
    (model / "run" / "manifest.json").write_text("{}")
    assert encoder_identity(resolve(str(model))) == before


def test_vectors_are_those_of_the_encoder(
    full: tuple[Path, EmbeddedCorpus], corpus: Corpus, teacher: ModelSource
) -> None:
    root, embedded = full
    encoder = TorchEncoder.load(teacher)
    for split in ("train", "validation"):
        shards = list(embedded.shards(split))
        expected = encoder.encode(corpus.texts(split))
        np.testing.assert_allclose(np.concatenate(shards), expected, atol=1e-5)
    assert [len(shard) for shard in embedded.shards("train")] == [32, 32, 16]
    assert embedded.computed == TRAIN + VALIDATION
    assert (embedded.precision, embedded.calibration) == ("float32", None)
    assert embedded.seconds >= 0
    assert len(shard_files(root)) == 4


def test_a_complete_store_is_read_without_the_model(
    root: Path, full: tuple[Path, EmbeddedCorpus], corpus: Corpus, teacher: ModelSource, no_loading
) -> None:
    again = embed_corpus(teacher, corpus, root, recipe=PLAIN)
    assert again.computed == 0
    assert again.keys == full[1].keys
    for new, old in zip(again.shards("train"), full[1].shards("train"), strict=True):
        np.testing.assert_array_equal(new, old)


def test_a_missing_shard_is_computed_and_only_that(
    root: Path, full: tuple[Path, EmbeddedCorpus], corpus: Corpus, teacher: ModelSource
) -> None:
    files = shard_files(root)
    before = {path: path.stat().st_mtime_ns for path in files}
    key = full[1].keys["train"][2]
    gone = next(path for path in files if path.name.startswith(key[:16]))
    content = gone.read_bytes()
    gone.unlink()
    again = embed_corpus(teacher, corpus, root, recipe=PLAIN)
    assert again.computed == 16
    assert gone.read_bytes() == content
    rest = [path for path in files if path != gone]
    assert {path: path.stat().st_mtime_ns for path in rest} == {p: before[p] for p in rest}


def test_a_damaged_shard_is_named_and_repaired_as_its_hint_says(
    root: Path, full: tuple[Path, EmbeddedCorpus], corpus: Corpus, teacher: ModelSource
) -> None:
    path = shard_files(root)[1]
    path.write_bytes(path.read_bytes()[:-100])
    embedded = embed_corpus(teacher, corpus, root, recipe=PLAIN)
    with pytest.raises(StoreError, match="is damaged") as caught:
        [list(embedded.shards(split)) for split in embedded.keys]
    assert str(path) in caught.value.hint
    path.unlink()
    repaired = embed_corpus(teacher, corpus, root, recipe=PLAIN)
    assert repaired.computed in (SHARD, 16, VALIDATION)
    for new, old in zip(repaired.shards("train"), full[1].shards("train"), strict=True):
        np.testing.assert_allclose(new, old, atol=1e-6)


def test_an_interrupted_embedding_goes_on_where_it_stopped(
    tmp_path: Path, full: tuple[Path, EmbeddedCorpus], corpus: Corpus, teacher: ModelSource
) -> None:
    def stop_in_the_third_shard(task: str, done: int, total: int) -> None:
        if done > 2 * SHARD:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        embed_corpus(teacher, corpus, tmp_path, recipe=PLAIN, report=stop_in_the_third_shard)
    assert len(shard_files(tmp_path)) == 2
    resumed = embed_corpus(teacher, corpus, tmp_path, recipe=PLAIN)
    assert resumed.computed == TRAIN + VALIDATION - 2 * SHARD
    for split in ("train", "validation"):
        for new, old in zip(resumed.shards(split), full[1].shards(split), strict=True):
            np.testing.assert_allclose(new, old, atol=1e-6)


def test_progress_ends_at_the_total(
    tmp_path: Path, root: Path, corpus: Corpus, teacher: ModelSource
) -> None:
    for place in (tmp_path / "new", root):
        calls: list[tuple[int, int]] = []
        embed_corpus(
            teacher,
            corpus,
            place,
            recipe=PLAIN,
            report=lambda task, done, total: calls.append((done, total)),  # noqa: B023
        )
        assert {total for _, total in calls} == {TRAIN + VALIDATION}
        assert calls[-1][0] == TRAIN + VALIDATION
        assert [done for done, _ in calls] == sorted(done for done, _ in calls)


def test_other_texts_are_never_taken_from_the_store(
    root: Path, tmp_path: Path, corpus: Corpus, teacher: ModelSource, sentences: Sentences
) -> None:
    changed = corpus.texts("train") + corpus.texts("validation")
    changed[changed.index(corpus.texts("train")[0])] = "one other sentence of the teacher"
    other = make_corpus(tmp_path, changed)
    embedded = embed_corpus(teacher, other, root, recipe=PLAIN)
    assert embedded.computed > 0
    vectors = np.concatenate(list(embedded.shards("train")))
    expected = TorchEncoder.load(teacher).encode(other.texts("train"))
    np.testing.assert_allclose(vectors, expected, atol=1e-5)
    # The first corpus is still there, whole.
    assert embed_corpus(teacher, corpus, root, recipe=PLAIN).computed == 0


def test_a_larger_corpus_costs_its_new_sentences_only(
    root: Path, tmp_path: Path, corpus: Corpus, teacher: ModelSource, sentences: Sentences
) -> None:
    old = corpus.texts("train") + corpus.texts("validation")
    new = [f"{text} and more" for text in sentences(30)]
    # Drawn anew: other sentences are held out, and all chunks are other ones.
    larger = make_corpus(tmp_path, new + old[::-1])
    embedded = embed_corpus(teacher, larger, root, recipe=PLAIN)
    assert embedded.computed == len(new)
    vectors = np.concatenate([*embedded.shards("train"), *embedded.shards("validation")])
    texts = larger.texts("train") + larger.texts("validation")
    assert len(texts) == len(new + old)
    np.testing.assert_allclose(vectors, TorchEncoder.load(teacher).encode(texts), atol=1e-5)


def test_a_smaller_corpus_is_embedded_without_the_model(
    root: Path, tmp_path: Path, corpus: Corpus, no_loading: None, teacher: ModelSource
) -> None:
    smaller = make_corpus(tmp_path, corpus.texts("train")[5:60])
    embedded = embed_corpus(teacher, smaller, root, recipe=PLAIN)
    assert embedded.computed == 0
    # What they took is told as before, sentence by sentence.
    whole = embed_corpus(teacher, corpus, root, recipe=PLAIN)
    assert embedded.seconds == pytest.approx(whole.seconds * 55 / 100, abs=0.5)


def test_another_encoder_is_never_taken_from_the_store(
    root: Path, corpus: Corpus, student_dir: Path
) -> None:
    student = resolve(str(student_dir))
    embedded = embed_corpus(student, corpus, root, recipe=PLAIN)
    assert embedded.computed == TRAIN + VALIDATION
    assert {shard.shape[1] for shard in embedded.shards("train")} == {24}
    assert len(list(root.iterdir())) == 2


def test_other_weights_under_the_same_name_are_another_encoder(
    root: Path, corpus: Corpus, teacher_dir: Path, tmp_path: Path
) -> None:
    copy = shutil.copytree(teacher_dir, tmp_path / "moved" / teacher_dir.name)
    assert embed_corpus(resolve(str(copy)), corpus, root, recipe=PLAIN).computed == 0
    weights = load_file(copy / "model.safetensors")
    weights["embeddings.word_embeddings.weight"] *= 1.5
    save_file(weights, copy / "model.safetensors", metadata={"format": "pt"})
    again = embed_corpus(resolve(str(copy)), corpus, root, recipe=PLAIN)
    assert again.computed == TRAIN + VALIDATION


def test_another_configuration_is_another_encoder(teacher_dir: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(teacher_dir, tmp_path / "copy")
    before = encoder_identity(resolve(str(copy)))
    assert before == encoder_identity(resolve(str(teacher_dir)))
    (copy / "hpd.json").write_text("{}", "utf-8")  # what a run notes down changes no vector
    assert encoder_identity(resolve(str(copy))) == before
    pooling = copy / "1_Pooling" / "config.json"
    pooling.write_text(pooling.read_text("utf-8").replace("mean", "cls"), "utf-8")
    after = encoder_identity(resolve(str(copy)))
    assert after["weights"] == before["weights"]
    assert after["configuration"] != before["configuration"]


def test_an_encoder_that_only_pytorch_runs_has_an_identity(tmp_path: Path) -> None:
    words = [*"abc", "[UNK]"]
    tokenizer = Tokenizer(WordLevel({word: place for place, word in enumerate(words)}, "[UNK]"))
    table = StaticEmbedding(tokenizer, embedding_dim=6)
    model = SentenceTransformer(modules=[table, Dense(6, 4)], device="cpu")
    model.save(str(tmp_path / "model"), create_model_card=False)
    source = resolve(str(tmp_path / "model"))
    assert TorchEncoder.load(source, device="cpu").dim == 4
    assert encoder_identity(source)["weights"] == source.sha256


@pytest.mark.parametrize(
    ("file", "setting"),
    [
        ("1_Pooling/config.json", {"include_prompt": False}),
        ("sentence_bert_config.json", {"processing_kwargs": {"text": {"max_length": 9}}}),
    ],
)
def test_vectors_from_before_a_setting_was_obeyed_are_anothers(
    file: str, setting: dict[str, object], teacher_dir: Path, tmp_path: Path
) -> None:
    copy = shutil.copytree(teacher_dir, tmp_path / "copy")
    write_json(copy / file, {**read_json(copy / file), **setting})
    folders = (copy, copy / "1_Pooling")
    files = sorted(path for folder in folders for path in folder.glob("*.json"))
    as_before = {str(path.relative_to(copy)): sha256_file(path) for path in files}
    assert encoder_identity(resolve(str(copy)))["configuration"] != json_hash(as_before)


def test_another_precision_is_never_taken_from_the_store(
    root: Path, full: tuple[Path, EmbeddedCorpus], corpus: Corpus, teacher: ModelSource
) -> None:
    half = TeacherRecipe(precision="bfloat16", shard_sentences=SHARD)
    embedded = embed_corpus(teacher, corpus, root, recipe=half)
    assert embedded.computed == TRAIN + VALIDATION
    assert embedded.precision == "bfloat16"
    vectors = np.concatenate(list(embedded.shards("train")))
    exact = np.concatenate(list(full[1].shards("train")))
    assert not np.array_equal(vectors, exact)
    assert (unit(vectors) * exact).sum(axis=1).min() > Calibration.MIN_TOLERANCE
    # And the other way round: float32 is still what it was.
    again = embed_corpus(teacher, corpus, root, recipe=PLAIN)
    assert again.computed == 0
    np.testing.assert_array_equal(np.concatenate(list(again.shards("train"))), exact)


def test_a_store_opened_on_the_wrong_directory_is_refused(root: Path, teacher: ModelSource) -> None:
    directory = shard_files(root)[0].parent
    identity = encoder_identity(teacher)
    assert Store(directory, {**identity, "precision": "float32"}).shards
    with pytest.raises(StoreError, match="belongs to another encoder"):
        Store(directory, {**identity, "precision": "bfloat16"})


def test_an_edited_manifest_stops_the_embedding(
    root: Path, corpus: Corpus, teacher: ModelSource
) -> None:
    path = next(root.rglob("manifest.json"))
    path.write_text(path.read_text("utf-8").replace('"seconds": ', '"seconds": 1'), "utf-8")
    with pytest.raises(StoreError, match=r"manifest\.json was edited"):
        embed_corpus(teacher, corpus, root, recipe=PLAIN)


@pytest.mark.parametrize("faster", [True, False])
def test_a_precision_once_chosen_stays(
    tmp_path: Path,
    corpus: Corpus,
    teacher: ModelSource,
    monkeypatch: pytest.MonkeyPatch,
    faster: bool,
) -> None:
    automatic = TeacherRecipe(shard_sentences=SHARD)
    monkeypatch.setattr("hpdistill.pytorch.has_bfloat16", lambda device: True)
    monkeypatch.setattr(Calibration, "LEAST_SPEEDUP", 0.0 if faster else 1e9)
    first = embed_corpus(teacher, corpus, tmp_path, recipe=automatic)
    assert first.precision == ("bfloat16" if faster else "float32")
    assert first.calibration is not None
    assert first.calibration["cosine_mean"] > 0.999
    # The clock says otherwise next time, and half of the work is still to do.
    monkeypatch.setattr(Calibration, "LEAST_SPEEDUP", 1e9 if faster else 0.0)
    for path in shard_files(tmp_path)[:2]:
        path.unlink()
    second = embed_corpus(teacher, corpus, tmp_path, recipe=automatic)
    assert second.precision == first.precision
    assert second.calibration == first.calibration
    assert 0 < second.computed < TRAIN + VALIDATION
    assert {path.parent.name for path in shard_files(tmp_path)} == {first.precision}


def test_without_bfloat16_a_trial_is_not_made(
    tmp_path: Path, corpus: Corpus, teacher: ModelSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hpdistill.pytorch.has_bfloat16", lambda device: False)
    embedded = embed_corpus(teacher, corpus, tmp_path, recipe=TeacherRecipe())
    assert (embedded.precision, embedded.calibration) == ("float32", None)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_vector_that_is_not_finite_stops_with_its_sentence(
    tmp_path: Path, teacher_dir: Path, sentences: Sentences, precision: str
) -> None:
    from transformers import AutoTokenizer

    broken = shutil.copytree(teacher_dir, tmp_path / "broken")
    weights = load_file(broken / "model.safetensors")
    row = AutoTokenizer.from_pretrained(broken).convert_tokens_to_ids("winter")
    weights["embeddings.word_embeddings.weight"][row] = np.nan
    save_file(weights, broken / "model.safetensors", metadata={"format": "pt"})
    texts = [text for text in sentences(150) if "winter" not in text.split()]
    corpus = make_corpus(tmp_path, [*texts, "the winter of the small teacher"])
    recipe = TeacherRecipe(precision=precision, shard_sentences=1000)  # type: ignore[arg-type]
    with pytest.raises(StoreError) as caught:
        embed_corpus(resolve(str(broken)), corpus, tmp_path / "store", recipe=recipe)
    message = str(caught.value)
    assert "not finite for 1 sentence" in message
    assert '"the winter of the small teacher"' in message
    # Of no option: the commands that embed call theirs differently.
    assert caught.value.hint == "Remove the sentence, or embed in float32."


# Several encoders as one ------------------------------------------------------------------------


@pytest.fixture(scope="module")
def encoders(teacher_dir: Path, student_dir: Path) -> list[TorchEncoder]:
    return [TorchEncoder.load(str(path), device="cpu") for path in (teacher_dir, student_dir)]


@pytest.fixture(scope="module")
def joint(encoders: list[TorchEncoder]) -> JointEncoder:
    return JointEncoder(encoders, [1.0, 0.5])


@pytest.fixture(scope="module")
def projected(joint: JointEncoder, sentences: Sentences) -> ProjectedEncoder:
    return ProjectedEncoder(joint, fit_pca([joint.encode(sentences(60))], 10), name="target")


@pytest.mark.parametrize("weights", [[1.0, 1.0], [2.0, 0.5], [3.0, 1e-3]])
def test_cosines_side_by_side_are_the_mean_weighted_by_squares(
    encoders: list[TorchEncoder], sentences: Sentences, weights: list[float]
) -> None:
    parts = [encoder.encode(sentences(20)) for encoder in encoders]
    joint = side_by_side(parts, weights)
    assert joint.dtype == np.float32
    assert joint.shape == (20, 48 + 24)
    np.testing.assert_allclose(np.linalg.norm(joint, axis=1), 1, atol=1e-6)
    squares = np.square(weights)
    expected = sum(w * part @ part.T for w, part in zip(squares, parts, strict=True))
    np.testing.assert_allclose(joint @ joint.T, expected / squares.sum(), atol=1e-5)


def test_only_the_ratio_of_weights_counts(encoders: list[TorchEncoder]) -> None:
    parts = [encoder.encode(["the dog", "a cat sleeps"]) for encoder in encoders]
    np.testing.assert_allclose(
        side_by_side(parts, [1, 0.5]), side_by_side(parts, [4, 2]), atol=1e-7
    )
    np.testing.assert_allclose(side_by_side(parts[:1], [3.0]), parts[0], atol=1e-7)


def test_all_kinds_are_encoders(joint: JointEncoder, projected: ProjectedEncoder) -> None:
    for encoder in (joint, projected, Remembering(joint)):
        assert isinstance(encoder, Encoder)
    assert not isinstance(fit_pca, Encoder)


def test_a_joint_encoder_is_its_parts_side_by_side(
    joint: JointEncoder, encoders: list[TorchEncoder], sentences: Sentences
) -> None:
    texts = sentences(12)
    big, small = (encoder.encode(texts) for encoder in encoders)
    expected = np.hstack([big, small * 0.5]) / np.sqrt(1.25)
    np.testing.assert_allclose(joint.encode(texts), expected, atol=1e-6)
    np.testing.assert_allclose(joint.encode(texts, dim=50), unit(expected[:, :50]), atol=1e-6)
    raw = joint.encode(texts, normalize=False, dim=50)
    np.testing.assert_allclose(raw, expected[:, :50], atol=1e-6)
    assert joint.dim == 72
    assert joint.parameters == sum(encoder.parameters for encoder in encoders)
    assert joint.name == f"{encoders[0].name} + {encoders[1].name}:0.5"


def test_a_projected_encoder_projects(
    joint: JointEncoder, projected: ProjectedEncoder, sentences: Sentences
) -> None:
    texts = sentences(12, seed=5)
    projection = fit_pca([joint.encode(sentences(60))], 10)
    expected = joint.encode(texts) @ projection.components.T
    np.testing.assert_allclose(projected.encode(texts, normalize=False), expected, atol=1e-5)
    np.testing.assert_allclose(projected.encode(texts), unit(expected), atol=1e-5)
    np.testing.assert_allclose(projected.encode(texts, dim=3), unit(expected[:, :3]), atol=1e-5)
    assert (projected.dim, projected.name) == (10, "target")
    assert projected.parameters == joint.parameters + 10 * 72
    assert ProjectedEncoder(joint, projection).name == f"{joint.name}, PCA-10"


def test_remembering_encodes_once(encoders: list[TorchEncoder], sentences: Sentences) -> None:
    inner = encoders[0]
    texts = sentences(12)
    calls: list[int] = []

    class Counting(TorchEncoder):
        def encode(self, texts, **options):  # type: ignore[no-untyped-def, override]
            calls.append(len(texts))
            return super().encode(texts, **options)

    memory = Remembering(Counting(inner.model, name="counted"))
    np.testing.assert_allclose(memory.encode(texts), inner.encode(texts), atol=1e-6)
    np.testing.assert_allclose(memory.encode(texts, dim=5), inner.encode(texts, dim=5), atol=1e-6)
    np.testing.assert_allclose(
        memory.encode(tuple(texts), normalize=False), inner.encode(texts, normalize=False)
    )
    assert calls == [12]
    memory.encode(texts[:5])
    assert calls == [12, 5]
    assert (memory.name, memory.dim, memory.parameters) == ("counted", 48, inner.parameters)


def test_what_is_kept_for_no_role_is_not_given_for_another(
    teacher_dir: Path, sentences: Sentences, tmp_path: Path
) -> None:
    copy = shutil.copytree(teacher_dir, tmp_path / "model")
    (copy / "sentence_bert_config.json").write_text(
        json.dumps(
            {
                "transformer_task": "feature-extraction",
                "modality_config": {
                    "text": {"method": "forward", "method_output_name": "last_hidden_state"}
                },
                "module_output_name": "token_embeddings",
                "query_length": 4,
                "document_length": 6,
            }
        )
    )
    source = resolve(str(copy))
    plain = TorchEncoder.load(source, device="cpu")
    texts = [
        f"{one} {other}" for one, other in zip(sentences(3), sentences(3, seed=1), strict=True)
    ]
    roles: list[Role] = ["query", "document"]
    expected = {role: unit(reference_vectors(plain.model, texts, role)) for role in roles}
    store = open_store(source, tmp_path / "store", "float32")
    keeping: list[Encoder] = [Remembering(plain), StoredEncoder(plain, store)]
    for encoder in keeping:
        whole = encoder.encode(texts)
        for role in roles:
            found = encode_as(encoder, texts, role)
            np.testing.assert_allclose(found, expected[role], atol=1e-5)
            assert (found * whole).sum(1).min() < 0.999


def test_what_is_remembered_cannot_be_changed_from_outside(
    encoders: list[TorchEncoder],
) -> None:
    memory = Remembering(encoders[0])
    first = memory.encode(["the dog"], normalize=False)
    expected = first.copy()
    with suppress(ValueError):  # read-only is as good as a copy
        first *= 2
    np.testing.assert_array_equal(memory.encode(["the dog"], normalize=False), expected)


@pytest.mark.parametrize("kind", ["joint", "projected", "remembering"])
@pytest.mark.parametrize("dim", [0, -1, 1000])
def test_a_dim_out_of_range_is_named(
    joint: JointEncoder, projected: ProjectedEncoder, kind: str, dim: int
) -> None:
    kinds = {"joint": joint, "projected": projected, "remembering": Remembering(joint)}
    encoder = kinds[kind]
    with pytest.raises(UsageError, match=f"dim is {dim}; .* allows 1 to {encoder.dim}"):
        encoder.encode(["the dog"], dim=dim)


def test_no_texts_give_no_vectors(joint: JointEncoder, projected: ProjectedEncoder) -> None:
    assert joint.encode([]).shape == (0, 72)
    assert projected.encode([], dim=4).shape == (0, 4)
    assert Remembering(joint).encode([]).shape == (0, 72)


def test_a_teacher_of_one_is_itself(teacher_dir: Path, student_dir: Path) -> None:
    one = WeightedModel(model=str(teacher_dir), weight=3.0)
    two = WeightedModel(model=str(student_dir), weight=1.5)
    alone, both = load_teacher([one]), load_teacher([one, two])
    assert isinstance(alone, TorchEncoder)
    assert isinstance(both, JointEncoder)
    assert (alone.dim, both.dim) == (48, 72)
    joint = both.encode(["the dog"])
    np.testing.assert_allclose(joint[:, :48], alone.encode(["the dog"]) / np.sqrt(1.25), atol=1e-6)

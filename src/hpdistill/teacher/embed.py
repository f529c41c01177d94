"""Filling a store: every chunk of a corpus through one encoder, resumable at each shard."""

import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from hpdistill.corpus import Corpus, Split
from hpdistill.encoder import Around, Embeddings, Role, check_prefix, encode_as, unit
from hpdistill.errors import RunError, StoreError
from hpdistill.files import json_hash, read_json, sha256_file, write_json
from hpdistill.notices import Notices, noticing, shown
from hpdistill.progress import Report, caution, silent
from hpdistill.pytorch import Precision, TorchEncoder, choose_precision
from hpdistill.recipe import TeacherRecipe
from hpdistill.teacher.store import Store, text_hash
from hpdistill.weights import ModelSource, module_folders, vocabulary_files

__all__ = [
    "EmbeddedCorpus",
    "StoredEncoder",
    "embed_corpus",
    "encoder_identity",
    "fill",
    "open_store",
]

SPLITS: tuple[Split, ...] = ("train", "validation")
CALIBRATION_SENTENCES = 32


@dataclass
class EmbeddedCorpus:
    """Unit vectors of a corpus by one encoder, read shard by shard."""

    store: Store
    keys: dict[Split, list[str]]
    precision: Precision
    calibration: dict[str, Any] | None
    computed: int = field(default=0)
    """Sentences embedded in this call; the rest was in the store."""
    kept: NDArray[np.bool_] | None = None
    """Training sentences whose vectors are given; None: all."""
    notices: Notices = field(default_factory=lambda: Notices(told=True))
    """Of the sentences embedded in this call, by their beginnings."""

    def unread(self, name: str) -> list[str]:
        """In words, which sentences the encoder read in part or not at all, whenever that was.

        Args:
            name: Of the encoder.
        """
        shards = self.store.shards
        keys = dict.fromkeys(key for split in self.keys.values() for key in split)
        of_shards = [shards[key].get("unread", {}) for key in keys]
        found = Notices(texts=sum(int(shards[key]["shape"][0]) for key in keys))
        found.cut.add(sum(one.get("cut", 0) for one in of_shards), self.notices.cut.first)
        found.unknown.add(
            sum(one.get("unknown", 0) for one in of_shards), self.notices.unknown.first
        )
        limit = max((one.get("max_tokens", 0) for one in of_shards), default=0)
        return found.lines(name, limit or None)

    @property
    def seconds(self) -> float:
        """What computing these shards took, whenever that was."""
        keys = [key for split in self.keys.values() for key in split]
        shards = self.store.shards
        return round(sum(float(shards[key]["seconds"]) for key in keys), 1)

    def shards(self, split: Split) -> Iterator[Embeddings]:
        """Arrays of shape (n_i, width), float32, in the order of the corpus."""
        done = 0
        for key in self.keys[split]:
            vectors = self.store.read(key)
            if self.kept is not None and split == "train":
                mask = self.kept[done : done + len(vectors)]
                done += len(vectors)
                vectors = vectors[mask]
            if len(vectors):
                yield vectors


def encoder_identity(source: ModelSource) -> dict[str, str]:
    """What decides an encoder's vectors: hashes of its weights and of its configuration."""
    # Nothing below that an export or a run adds; and hpd.json says what was measured.
    files = sorted(
        path
        for folder in module_folders(source.path)
        for path in (*folder.glob("*.json"), *vocabulary_files(folder))
        if path.name != "hpd.json"
    )
    configuration = {str(p.relative_to(source.path)): sha256_file(p) for p in files}
    # Before, prompts were always pooled, too, and such limits not read: those vectors are others.
    read = [read_json(p) for p in files if p.name in ("config.json", "sentence_bert_config.json")]
    if any(settings.get("include_prompt") is False for settings in read):
        configuration["include_prompt"] = "obeyed"
    if any("text" in (settings.get("processing_kwargs") or {}) for settings in read):
        configuration["processing_kwargs"] = "obeyed"
    return {"weights": source.sha256, "configuration": json_hash(configuration)}


def embed_corpus(
    source: ModelSource,
    corpus: Corpus,
    root: Path,
    *,
    recipe: TeacherRecipe,
    report: Report = silent,
) -> EmbeddedCorpus:
    """Embed both splits of a corpus with one encoder; what is there already is kept.

    Of a shard that is missing, sentences that other shards have are taken from those. The model is
    loaded only if a sentence is missing.

    Args:
        source: The encoder, from `weights.resolve`.
        corpus: What to embed.
        root: Directory of stores.
        recipe: Precision and shard size.
        report: Progress, in sentences.

    Raises:
        StoreError: A shard is damaged, or the encoder gives a vector that is not finite.
        RunError: The disk is full; finished shards are kept.
    """
    home = _home(source, root, encoder_identity(source))
    encoder: TorchEncoder | None = None
    decision_path = home / "precision.json"
    decision: dict[str, Any]
    if recipe.precision != "auto":
        decision = {"precision": recipe.precision, "calibration": None}
    elif decision_path.is_file():
        decision = _decision(decision_path)
    else:
        encoder = TorchEncoder.load(source)
        sample = corpus.texts("validation", CALIBRATION_SENTENCES)
        calibration = choose_precision(encoder, sample)
        decision = {
            "precision": encoder.precision,
            "calibration": calibration.to_dict() if calibration else None,
        }
        # Kept, so that a resumed run goes on as it began, whatever the clock says today.
        write_json(decision_path, decision)
    precision: Precision = decision["precision"]
    store = open_store(source, root, precision)
    result = EmbeddedCorpus(store, {}, precision, decision["calibration"])
    load = cache(lambda: encoder or TorchEncoder.load(source, precision=precision))
    task = f"embedding with {_label(source)}"
    total, done = sum(corpus.count(split) for split in SPLITS), 0
    for split in SPLITS:
        result.keys[split] = []
        for texts in corpus.chunks(split, recipe.shard_sentences):
            result.keys[split].append(text_hash(texts))
            result.computed += fill(
                store,
                texts,
                load,
                task=task,
                before=done,
                total=total,
                notices=result.notices,
                report=report,
            )
            done += len(texts)
    if result.computed:
        for line in result.unread(source.name):
            caution(line)
    return result


def open_store(
    source: ModelSource, root: Path, precision: Precision, *, part: str | None = None
) -> Store:
    """The shards of an encoder at one precision.

    Args:
        source: The encoder.
        root: Directory of stores.
        precision: In which it computes.
        part: What of it computes, if it is not the whole.

    Raises:
        StoreError: The store is damaged.
    """
    identity = encoder_identity(source)
    if part is not None:
        identity["part"] = part
    return Store(_home(source, root, identity) / precision, {**identity, "precision": precision})


def _home(source: ModelSource, root: Path, identity: dict[str, str]) -> Path:
    return root / f"{_label(source)}-{json_hash(identity)[:12]}"


def _label(source: ModelSource) -> str:
    return source.name.rstrip("/").rpartition("/")[2]


class StoredEncoder(Around):
    """An encoder whose vectors are kept in a store; satisfies the Encoder protocol.

    A text of no role is embedded once, in whichever run, and by several rows of a table once.
    """

    def __init__(self, inner: TorchEncoder, store: Store) -> None:
        super().__init__(inner)
        self._load = lambda: inner
        self._store = store

    def encode(
        self,
        texts: Sequence[str],
        *,
        batch_size: int = 32,
        normalize: bool = True,
        dim: int | None = None,
        role: Role | None = None,
    ) -> Embeddings:
        """Embed texts; always of length 1 unless cut, see `hpdistill.encoder.Encoder.encode`."""
        check_prefix(self, dim)
        if role is not None:
            # The store holds texts as they are read without a role, which may have another limit
            # though it has no other prompt.
            return encode_as(
                self.inner, texts, role, batch_size=batch_size, normalize=normalize, dim=dim
            )
        if not texts:
            return np.empty((0, dim or self.dim), np.float32)
        fill(self._store, list(texts), self._load, task=self.name, total=len(texts))
        vectors = self._store.read(text_hash(texts))
        return unit(vectors, dim=dim) if normalize else vectors[:, :dim]


def _decision(path: Path) -> dict[str, Any]:
    """The precision that was chosen for a store, and why."""
    try:
        found = read_json(path)
    except RunError:
        found = None
    if not isinstance(found, dict) or found.get("precision") not in get_args(Precision):
        raise StoreError(
            f"{path} is damaged", hint=f"Delete {path} to have the precision chosen again."
        )
    return {"calibration": None, **found}


def fill(
    store: Store,
    texts: list[str],
    load: Callable[[], TorchEncoder],
    *,
    task: str,
    before: int = 0,
    total: int,
    notices: Notices | None = None,
    report: Report = silent,
) -> int:
    """Write the shard of one chunk of texts, if it is missing.

    Args:
        store: Of the encoder. Texts that its other shards have are taken from those.
        texts: At least one.
        load: Gives the encoder; called only if a text is missing.
        task: What progress is reported of.
        before: Texts of the task that are done.
        total: Texts of the task.
        notices: Counts, too, what the encoder does not read.
        report: Progress; ends at `before` and these texts.

    Returns:
        How many texts were embedded.

    Raises:
        StoreError: The encoder gives a vector that is not finite.
        RunError: The disk is full; finished shards are kept.
    """
    key, missing = text_hash(texts), 0
    unread: dict[str, int] = {}
    if key not in store:
        known, vectors, seconds = store.gather(texts)
        new = [text for text, there in zip(texts, known, strict=True) if not there]
        missing = len(new)
        if new:
            encoder = load()
            started = time.perf_counter()
            with noticing(
                encoder, lambda place: shown(new[place]), to=notices or Notices()
            ) as found:
                computed = _embed(encoder, new, task, before + len(texts) - missing, total, report)
            seconds += time.perf_counter() - started
            vectors = _merged(known, vectors, computed)
            if found.cut.count or found.unknown.count:
                unread = {"cut": found.cut.count, "unknown": found.unknown.count}
                unread["max_tokens"] = found.limit or 0
        store.write(key, vectors, seconds=seconds, texts=texts, unread=unread)
    if missing or before + len(texts) == total:
        # What was there took no time, and would make what is left look short.
        report(task, before + len(texts), total)
    return missing


def _merged(known: NDArray[np.bool_], old: Embeddings, new: Embeddings) -> Embeddings:
    vectors = np.empty((len(known), new.shape[1]), np.float32)
    if len(old):
        vectors[known] = old
    vectors[~known] = new
    return vectors


def _embed(
    encoder: TorchEncoder, texts: list[str], task: str, before: int, total: int, report: Report
) -> Embeddings:
    done = before

    def advance(count: int) -> None:
        nonlocal done
        done += count
        report(task, done, total)

    vectors = encoder.encode(texts, advance=advance)
    bad = np.flatnonzero(~np.isfinite(vectors).all(axis=1))
    if bad.size:
        shown = json.dumps(texts[bad[0]][:100], ensure_ascii=False)
        raise StoreError(
            f"{encoder.name} gives a vector that is not finite for {bad.size} sentence(s), "
            f"first: {shown}",
            hint="Remove the sentence, or embed in float32.",
        )
    return vectors

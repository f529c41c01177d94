"""The model card, `README.md` of a model directory, as sentence-transformers and the hub read it.

What it says of use is read from the directory: prompts, limits, graphs. Nothing is made up: a
language that nobody stated is not there, nor a licence, nor a base model that is a directory of
one's own.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCardData

from hpdistill.evaluate import Section, short_names
from hpdistill.files import atomic_path, read_json
from hpdistill.weights import known_models

__all__ = ["licences", "model_name", "source_name", "write_card"]

_QUESTION = "how do I remove duplicate rows"
_ANSWER = "drop_duplicates returns the rows that differ"


def write_card(
    directory: Path,
    *,
    title: str,
    summary: str,
    sections: Sequence[Section],
    name: str,
    models: Sequence[str] = (),
    sources: Sequence[str] = (),
    tags: Sequence[str] = (),
    scores: Mapping[str, float] | None = None,
) -> None:
    """Write `README.md` into a complete model directory; replaced if it is there.

    Args:
        directory: Of the model, with `hpd.json`.
        title: Plain text.
        summary: What it is and what it comes from; Markdown.
        sections: What was measured and what it was made from.
        name: Of the model, for those who list figures.
        models: What it was made from, as users name models; those of the hub are named to it.
        sources: Of its text, as users name them; data sets of the hub are named to it.
        tags: Beside the usual ones.
        scores: By STS task, 0 to 100, as sentence-transformers computes the vectors.
    """
    data = ModelCardData(
        library_name="sentence-transformers",
        pipeline_tag="sentence-similarity",
        tags=[
            *("sentence-transformers", "sentence-similarity", "feature-extraction"),
            *(["onnx"] if _has_graph(directory) else []),
            *("hpdistill", *tags),
        ],
        base_model=_all_or_none(map(_hub_id, models)),
        datasets=_all_or_none(map(_data_set, sources)),
        metrics=["spearman_cosine"] if scores else None,
        model_name=name if scores else None,
        eval_results=[_result(task, points) for task, points in (scores or {}).items()] or None,
    )
    if data.base_model is not None:
        data["base_model_relation"] = "finetune"  # several would else pass for a merge
    parts = [
        f"---\n{data.to_yaml()}\n---\n\n# {title}\n\n{summary}\n",
        _usage(directory),
        *(section.to_markdown() for section in sections),
        _limits(directory, models).to_markdown(),
    ]
    with atomic_path(directory / "README.md") as temporary:
        temporary.write_text("\n".join(parts), "utf-8")


def source_name(source: str) -> str:
    """A source of text without the folders of this machine."""
    return source if source.startswith("hf:") else re.split(r"[/\\]", source)[-1]


def model_name(name: str) -> str:
    """A model as users name it; a directory without the folders of this machine."""
    path = Path(name).expanduser()
    return short_names([str(path.absolute())])[0] if path.is_dir() else name


def licences(models: Iterable[str]) -> list[str]:
    """A line for each model; models that have no short name have a card of their own."""
    known = {alias.casefold(): m.licence for m in known_models() for alias in m.aliases}
    return [
        f"`{model_name(name)}`: {known.get(name.casefold(), 'see its own model card')}"
        for name in dict.fromkeys(filter(None, models))
    ]


def _usage(directory: Path) -> str:
    prompts = _prompts(directory)
    roles = {"query", "document"} & set(prompts)
    if roles:
        calls = (
            f'queries = model.encode_query(["{_QUESTION}"])\n'
            f'documents = model.encode_document(["{_ANSWER}"])\n'
            "scores = model.similarity(queries, documents)"
        )
    else:
        calls = (
            f'vectors = model.encode(["{_QUESTION}", "{_ANSWER}"])'
            f"  # (2, {_description(directory)['dim']})\n"
            "scores = model.similarity(vectors, vectors)"
        )
    said = "".join(f"- `{name}`: `{text!r}`\n" for name, text in prompts.items())
    default = _configuration(directory).get("default_prompt_name")
    before = f"\nBefore each text stands the prompt of its role:\n\n{said}" if prompts else ""
    if prompts and default:
        before += f"\nWhere none is asked for: `{default}`.\n"
    ready = _has_graph(directory) or _is_static(directory)
    export = "" if ready else "\nFirst `hpd export path/to/this/directory --out NEW`; then:\n"
    path = "path/to/this/directory" if ready else "NEW"
    call = "encode_query" if roles else "encode"
    return f"""## Use

With [sentence-transformers](https://www.sbert.net) (`pip install sentence-transformers`):

```python
from sentence_transformers import SentenceTransformer

model = SentenceTransformer("path/to/this/directory")
{calls}
```
{before}
Without PyTorch, and faster (`pip install hpdistill`):
{export}
```python
from hpdistill import Encoder

with Encoder.load("{path}") as encoder:
    vectors = encoder.{call}(["{_QUESTION}"])
```
"""


def _limits(directory: Path, models: Sequence[str]) -> Section:
    limit = _optional(directory / "sentence_bert_config.json").get("max_seq_length")
    prefixes: dict[str, float] = _description(directory).get("prefixes", {})
    cuts = ", ".join(f"{dim}: {value:.4f}" for dim, value in prefixes.items())
    return Section(
        title="Limits",
        paragraphs=[
            *([f"A text longer than {limit:,} tokens is cut."] if limit else []),
            "In which languages it is of use was not stated and not measured; text of other "
            "kinds than it was made from gives other figures. `hpd eval` measures it on yours. "
            "Whoever publishes it should add `language` and `license` at the top of this file.",
            *(
                [f"Fidelity to what it was made from, by how many first numbers are kept: {cuts}."]
                if len(prefixes) > 1
                else []
            ),
            "Licences of the models it was made from: " + "; ".join(licences(models)) + ".",
        ],
    )


def _result(task: str, points: float) -> EvalResult:
    return EvalResult(
        task_type="semantic-similarity",
        task_name="Semantic Similarity",
        dataset_type=task.casefold(),
        dataset_name=task,
        dataset_split="test",
        metric_type="spearman_cosine",
        metric_name="Spearman Cosine",
        metric_value=round(points / 100, 4),
    )


def _all_or_none(names: Iterable[str | None]) -> list[str] | None:
    return list(dict.fromkeys(name for name in names if name)) or None


def _hub_id(name: str) -> str | None:
    """The hub's name of a model; None of a directory."""
    if not name or Path(name).expanduser().is_dir():
        return None
    for model in known_models():
        if name.casefold() in {alias.casefold() for alias in model.aliases}:
            return model.hub_id
    return name if re.fullmatch(r"\w[\w.-]*/[\w.-]+", name) else None


def _data_set(source: str) -> str | None:
    return source.split(":")[1] if re.match(r"hf:[\w.-]+/[\w.-]+(:|$)", source) else None


def _prompts(directory: Path) -> dict[str, str]:
    prompts = _configuration(directory).get("prompts") or {}
    return {name: text for name, text in prompts.items() if text}


def _has_graph(directory: Path) -> bool:
    return any(directory.glob("onnx/*.onnx"))


def _is_static(directory: Path) -> bool:
    return bool(read_json(directory / "modules.json")[0]["type"].endswith("StaticEmbedding"))


def _description(directory: Path) -> dict[str, Any]:
    return dict(read_json(directory / "hpd.json"))


def _configuration(directory: Path) -> dict[str, Any]:
    return _optional(directory / "config_sentence_transformers.json")


def _optional(path: Path) -> dict[str, Any]:
    return dict(read_json(path)) if path.is_file() else {}

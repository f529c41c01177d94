"""`hpd index`: a corpus to an index that `hpd search` searches."""

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hpdistill.cli._command import DelimiterOption, named

if TYPE_CHECKING:
    from hpdistill.cli._models import OpenModel
    from hpdistill.encoder import Embeddings
    from hpdistill.progress import Report
    from hpdistill.search import Index, Space

__all__ = ["register"]


class Engine(StrEnum):
    """What searches."""

    flat = "flat"
    hnsw = "hnsw"
    ivf_pq = "ivf-pq"
    milvus = "milvus"


class Precision(StrEnum):
    """Of the vectors that are searched."""

    float32 = "float32"
    int8 = "int8"
    binary = "binary"


class Kept(StrEnum):
    """Of the vectors kept beside those."""

    float32 = "float32"
    int8 = "int8"


class TeacherPrecision(StrEnum):
    """In which a teacher computes."""

    auto = "auto"
    float32 = "float32"
    bfloat16 = "bfloat16"


def register(app: typer.Typer) -> None:
    """Add the command `index`."""
    app.command()(index)


@named({"text_columns": "text_column", "metadata_columns": "metadata"})
def index(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL",
            help="Path, short name or hub id; `default` is the small model that comes with hpd.",
        ),
    ],
    corpus: Annotated[
        str,
        typer.Argument(
            metavar="CORPUS",
            help="File: .jsonl, .csv, .tsv, .txt (each also .gz), .parquet; folder of the BEIR "
            "layout; hf:DATASET; or pydoc, the documentation of the Python packages here.",
        ),
    ],
    *,
    out: Annotated[Path, typer.Option(metavar="INDEX", help="Directory of the index.")],
    engine: Annotated[
        Engine | None,
        typer.Option(help="flat is exact, hnsw and ivf-pq nearly so. [default: flat]"),
    ] = None,
    precision: Annotated[
        Precision | None, typer.Option(help="Of the vectors searched. [default: float32]")
    ] = None,
    keep: Annotated[
        Kept | None, typer.Option(help="Vectors to keep beside those, for --rescore.")
    ] = None,
    dim: Annotated[
        int | None, typer.Option(help="Keep only so many dimensions. [default: all]")
    ] = None,
    allow_unvalidated: Annotated[
        bool,
        typer.Option("--allow-unvalidated", help="Allow a --dim that the model was not tested at."),
    ] = False,
    doc_encoder: Annotated[
        str | None,
        typer.Option(
            metavar="TEACHER",
            help="Embed the documents with MODEL's teacher and projection, the queries with MODEL.",
        ),
    ] = None,
    doc_precision: Annotated[
        TeacherPrecision, typer.Option(help="In which TEACHER computes.")
    ] = TeacherPrecision.auto,
    id_column: Annotated[
        str | None,
        typer.Option(help="Column of the ids. [default: _id or id, else the number of the row]"),
    ] = None,
    text_column: Annotated[
        list[str] | None,
        typer.Option(
            help="Column of the texts; repeat it to join several. "
            "[default: title, and text or sentence]"
        ),
    ] = None,
    metadata: Annotated[
        list[str] | None, typer.Option(metavar="COLUMN", help="Column to keep; may be repeated.")
    ] = None,
    delimiter: DelimiterOption = None,
    encoding: Annotated[str, typer.Option(help="Of text files.")] = "utf-8",
    errors: Annotated[
        str, typer.Option(help="Undecodable bytes: strict, replace or ignore.")
    ] = "strict",
    uri: Annotated[
        str | None,
        typer.Option(help="milvus: PATH.db, or http://host:port. [default: inside INDEX]"),
    ] = None,
    collection: Annotated[
        str | None, typer.Option(help="milvus: name of the collection. [default: hpdistill]")
    ] = None,
    option: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=VALUE", help="Of the engine, such as ef_search=128."),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace INDEX if it is there.")
    ] = False,
    add: Annotated[
        bool, typer.Option("--add", help="Add to INDEX, as it was built, what is in CORPUS.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Embed the documents of a corpus and build an index of them.

    Interrupted, the same command goes on where it stopped.
    """
    from hpdistill.cli._models import check_width
    from hpdistill.cli._shared import err, parse_options, print_json, progress, say
    from hpdistill.cli._shared import out as console
    from hpdistill.corpus.documents import read_documents
    from hpdistill.encoder import Role, prompt_of
    from hpdistill.notices import Notices
    from hpdistill.recipe import check_errors
    from hpdistill.search import Index, Space
    from hpdistill.search.build import build_index, check_place, has_embedded

    choices = _Choices(
        engine=engine,
        precision=precision,
        keep=keep,
        dim=dim,
        uri=uri,
        collection=collection,
        options=parse_options(option),
    )
    check_errors(errors)
    _check_out(out, choices, overwrite=overwrite, add=add)
    reader = read_documents(
        corpus,
        id_column=id_column,
        text_column=text_column,
        metadata_columns=metadata or (),
        encoding=encoding,
        errors=errors,
        delimiter=delimiter,
    )
    with progress() as report, ExitStack() as closing:
        old = closing.enter_context(Index.load(out)) if add else None
        if old is not None and doc_encoder is None:
            doc_encoder = old.space.documents
        queries, documents = _encoders(model, doc_encoder, doc_precision, report)
        encoder = documents.encoder
        notices = Notices(told=True)
        if hasattr(encoder, "notices"):
            encoder.notices = notices
        by_teacher = documents.name if doc_encoder else None
        if old is not None:
            chosen = old.space.dim
        else:
            chosen = check_width(
                queries.path, queries.name, encoder.dim, dim, anyway=allow_unvalidated
            )
        # An index that was built without roles goes on without.
        without = old is not None and old.space.document_prompt is None
        role: Role | None = None if without else "document"
        prompt = prompt_of(encoder, role)
        space = Space(
            id=queries.space,
            dim=chosen,
            model=queries.name,
            documents=by_teacher,
            document_prompt=prompt if role else None,
        )
        if old is not None:
            old.space.check(space)
        else:
            choices.check(out, space, overwrite=overwrite)

        def check() -> None:
            if old is not None:
                old.check_unchanged(out)
            else:
                check_place(out, overwrite=overwrite)

        def make(count: int, vectors: "Embeddings") -> Index:
            if old is not None:
                return old
            return choices.create(out, space, count, vectors, overwrite=overwrite)

        rows = reader if old is None else _new(reader, old, going_on=has_embedded(out))
        built_index, built = build_index(
            out,
            rows,
            encode=lambda texts: documents.encode(texts, chosen, role),
            key=_key(queries, documents, doc_encoder, doc_precision, chosen, prompt),
            dim=chosen,
            make=make,
            check=check,
            check_count=choices.check_count,  # of --add there are none, and so nothing to refuse
            block=documents.block,
            notices=notices,
            overwrite=overwrite,
            report=report,
        )
        closing.pop_all()  # what was built is that index, and still wanted
    with built_index:
        row: dict[str, Any] = {
            "index": str(out),
            "model": space.model,
            "doc_encoder": by_teacher,
            "document_prompt": prompt,
            "dim": chosen,
            "engine": built_index.engine,
            "precision": built_index.precision,
            "keep": built_index.keep,
            "documents": len(built_index),
            "added": built.documents,
            "empty": reader.empty,
            "resumed": built.resumed,
            "truncated": built.truncated,
            "unknown": notices.unknown.count,
            "encode_s": round(built.encode_seconds, 3),
            "build_s": round(built.build_seconds, 3),
            "vector_bytes": built_index.vector_bytes,
            "kept_bytes": built_index.kept_bytes,
            "index_bytes": sum(f.stat().st_size for f in out.rglob("*") if f.is_file()),
        }
    if prompt:
        say(err, f"each document was put behind the prompt {prompt!r} of {encoder.name}")
    if reader.empty:
        say(err, f"documents without text, left out: {reader.empty:,}; first: {reader.first_empty}")
    # An interrupted call has cut some, too.
    notices.cut.count, notices.texts = built.truncated, built.documents
    for line in notices.lines(encoder.name, getattr(encoder, "max_tokens", None)):
        say(err, line)
    if as_json:
        print_json("index", [row])
        return
    say(
        console,
        f"{out}: {row['documents']:,} documents, {chosen} x {row['precision']}, {row['engine']}; "
        f"vectors {row['vector_bytes'] / 1e6:,.1f} MB, all {row['index_bytes'] / 1e6:,.1f} MB; "
        f"encoded in {built.encode_seconds:.1f} s, built in {built.build_seconds:.1f} s",
    )


@dataclass(frozen=True, kw_only=True)
class _Choices:
    """Of a new index; an old one has made them."""

    engine: Engine | None
    precision: Precision | None
    keep: Kept | None
    dim: int | None
    uri: str | None
    collection: str | None
    options: Mapping[str, Any]

    def __post_init__(self) -> None:
        from hpdistill.errors import UsageError

        if self.collection is not None and self.engine is not Engine.milvus:
            raise UsageError(f"--collection {self.collection} is a choice of --engine milvus")

    def check(self, out: Path, space: "Space", *, overwrite: bool) -> None:
        """Refuse, before the work, what cannot be made."""
        from hpdistill.search.build import check_new_index

        check_new_index(out, space, overwrite=overwrite, **self._arguments(dict(self.options)))

    def check_count(self, count: int) -> None:
        """Refuse, before they are embedded, documents that are too few for the engine."""
        from hpdistill.search.build import check_trainable

        check_trainable(count, (self.engine or Engine.flat).value, self.options)

    def create(
        self,
        out: Path,
        space: "Space",
        count: int,
        vectors: "Embeddings",
        *,
        overwrite: bool,
    ) -> "Index":
        """Make the index, for so many vectors."""
        from hpdistill.search import corpus_ranges
        from hpdistill.search.build import create_index

        options = dict(self.options)
        if self.engine is Engine.ivf_pq:
            options.setdefault("expected", count)
        arguments = self._arguments(options)
        if "int8" in (arguments["precision"], arguments["keep"]):
            arguments["ranges"] = corpus_ranges(vectors)
        return create_index(out, space, overwrite=overwrite, **arguments)

    def _arguments(self, options: dict[str, Any]) -> dict[str, Any]:
        """Of `Index.create`."""
        return {
            "engine": (self.engine or Engine.flat).value,
            "precision": (self.precision or Precision.float32).value,
            "keep": self.keep.value if self.keep else None,
            "uri": self.uri,
            "collection": self.collection or "hpdistill",
            "options": options,
        }


def _check_out(out: Path, choices: _Choices, *, overwrite: bool, add: bool) -> None:
    """Refuse, before a model is loaded, what cannot be written."""
    from hpdistill.errors import UsageError
    from hpdistill.search.build import check_place

    if not add:
        check_place(out, overwrite=overwrite)
        return
    if overwrite:
        raise UsageError("--add and --overwrite exclude each other")
    for name, value in vars(choices).items():
        if value:
            option = "--option" if name == "options" else f"--{name}"
            raise UsageError(f"{option} is a choice of a new index; --add keeps those of {out}")


def _encoders(
    model: str, teacher: str | None, precision: TeacherPrecision, report: "Report"
) -> "tuple[OpenModel, OpenModel]":
    """What encodes the queries, and what the documents."""
    from hpdistill.cli._models import OpenModel, open_model, run_by
    from hpdistill.cli._shared import err, say

    if teacher is None:
        both = open_model(model, report)
        if note := run_by(both):
            say(err, note)
        return both, both
    from hpdistill.cli._shared import require_train_extra

    require_train_extra()
    from hpdistill.runtime import find_model
    from hpdistill.teacher.space import projected_teacher

    name, path = find_model(model, report)
    if Path(teacher).expanduser().is_dir():
        # The index must find it again from anywhere.
        teacher = str(Path(teacher).expanduser().absolute())
    encoder = projected_teacher(path, teacher=teacher, precision=precision.value, report=report)
    # The queries' model itself is not needed here.
    return (
        OpenModel(name=name, path=path, encoder=encoder, block=1024),
        OpenModel(name=teacher, path=path, encoder=encoder, block=1024),
    )


def _key(
    queries: "OpenModel",
    documents: "OpenModel",
    teacher: str | None,
    precision: TeacherPrecision,
    dim: int,
    prompt: str,
) -> dict[str, object]:
    """What decides the vectors of the documents."""
    from hpdistill.cli._models import weights_of
    from hpdistill.files import json_hash

    if teacher is None:
        computed = getattr(documents.encoder, "precision", "float32")
        key: dict[str, object] = {
            "model": json_hash(weights_of(documents.path)),
            "model precision": computed,
        }
    else:
        # The space is the hash of the teacher and the projection.
        key = {"model": f"teacher of {queries.space}", "model precision": precision.value}
    return {**key, "dim": dim, **({"prompt": prompt} if prompt else {})}


def _new(reader: Any, old: "Index", *, going_on: bool) -> Any:  # noqa: ANN401 - an iterator of rows
    """Documents that are to be added, refused at once where one is there.

    An interrupted call may have added some to a collection of Milvus.
    """
    from itertools import islice

    from hpdistill.errors import SearchError

    going_on = going_on and old.engine == "milvus"
    while batch := list(islice(reader, 1000)):
        for row, there in zip(batch, old.get([row.id for row in batch]), strict=True):
            if there is not None and not (going_on and there.text == row.text):
                raise SearchError(
                    f"the id {row.id!r} is in the index already",
                    hint="Leave it out, or build the index again with --overwrite.",
                )
        yield from batch

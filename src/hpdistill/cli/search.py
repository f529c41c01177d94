"""`hpd search`: what an index holds that is nearest to a query."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from hpdistill.cli._models import OpenModel
    from hpdistill.encoder import Embeddings, Encoder, Role
    from hpdistill.progress import Report
    from hpdistill.search import Hit, Index

__all__ = ["register"]

_SNIPPET = 240
_ROOMY = 60
"""Characters of a line from which on texts are set in as far as ids are."""
_RESCORED = 200
"""Hits of the first pass that kept vectors rank again."""


def register(app: typer.Typer) -> None:
    """Add the command `search`."""
    app.command()(search)


def search(
    index: Annotated[Path, typer.Argument(metavar="INDEX", help="What `hpd index` built.")],
    query: Annotated[
        str | None,
        typer.Argument(
            metavar="[QUERY]",
            help="What to find; without it, a prompt, or a query for each line of standard input.",
        ),
    ] = None,
    *,
    k: Annotated[int, typer.Option("-k", min=1, help="Hits.")] = 10,
    rescore: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=0,
            help="Rank the best N again by the vectors kept beside; 0: do not. [default: 200, or "
            "4 times -k if that is more, where the index keeps any]",
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(help="Of the queries. [default: the one that the index was built with]"),
    ] = None,
    option: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=VALUE", help="Of the engine, as ef_search=200 or nprobe=64."),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object, with the whole texts.")
    ] = False,
) -> None:
    """Search an index."""
    from hpdistill.cli._shared import err, parse_options, print_json, progress, say
    from hpdistill.cli._shared import out as console
    from hpdistill.encoder import prompt_of
    from hpdistill.errors import UsageError
    from hpdistill.search import Index

    if query is not None and not query.strip():
        raise UsageError(
            f"the query {query!r} has no text",
            hint="Leave it out for a prompt, or pipe queries in.",
        )
    rows: list[dict[str, Any]] = []
    with Index.load(index, options=parse_options(option)) as opened:
        with progress() as report:
            encoder = _encoder(opened, model, report)
        role = _role(opened, encoder.encoder)
        if role is None:
            say(
                err,
                "the documents of this index are without the prompt for documents, and queries "
                "without theirs; built again by `hpd index --overwrite`, both have them",
            )
        elif prompt := prompt_of(encoder.encoder, role):
            say(err, f"each query is put behind the prompt {prompt!r} of {encoder.name}")
        if rescore is None and opened.keep is not None:
            rescore = max(_RESCORED, 4 * k)
        single = query is not None
        for text in [query] if query is not None else _queries(prompt=not as_json):
            vectors = _encode(encoder, text, opened.space.dim, role)
            (hits,) = opened.search(vectors, k, rescore=rescore or None)
            if as_json:
                rows += [_row(text, rank, hit) for rank, hit in enumerate(hits, start=1)]
            else:
                _print(console, hits, heading="" if single or sys.stdin.isatty() else text)
    if as_json:
        print_json("search", rows)


def _encode(encoder: "OpenModel", query: str, dim: int, role: "Role | None") -> "Embeddings":
    """The vector of a query, shape (1, dim); what the model did not read of it is said."""
    from hpdistill.cli._shared import err, say
    from hpdistill.notices import Notices, shown

    notices = Notices(named=lambda _: shown(query), told=True)
    model = encoder.encoder
    if hasattr(model, "notices"):
        model.notices = notices
    vectors, _ = encoder.encode([query], dim, role)
    for line in notices.lines(model.name, getattr(model, "max_tokens", None)):
        say(err, line)
    return vectors


def _role(index: "Index", encoder: "Encoder") -> "Role | None":
    """What queries are to the model: none where documents that it has a prompt for have none."""
    from hpdistill.encoder import prompt_of

    old = index.space.document_prompt is None
    return None if old and prompt_of(encoder, "document") != prompt_of(encoder, None) else "query"


def _encoder(index: "Index", model: str | None, report: "Report") -> "OpenModel":
    """What encodes the queries.

    Raises:
        SearchError: It is of another space than the index.
        WeightsError: It cannot be found or loaded.
    """
    from hpdistill.cli._models import open_model
    from hpdistill.errors import WeightsError
    from hpdistill.runtime import find_model, space_of
    from hpdistill.search import Space

    name = model or index.space.model
    try:
        _, path = find_model(name, report)
        # Before it is loaded, which takes long where PyTorch runs it.
        index.space.check(Space(id=space_of(path), dim=index.space.dim, model=name))
        return open_model(name, report)
    except WeightsError as error:
        if model is None:
            raise WeightsError(
                f"the model that the index was built with cannot be loaded: {error}",
                hint="Say where it is now: --model.",
            ) from error
        raise


def _queries(*, prompt: bool) -> Iterator[str]:
    """Lines of standard input: up to an empty one if they are typed, all others if not."""
    if sys.stdin is None:  # closed by the shell
        return
    if not sys.stdin.isatty():
        # Not iter(stdin): a program that writes queries and waits for answers gets them at once.
        yield from (line for text in iter(sys.stdin.readline, "") if (line := text.strip()))
        return
    if prompt:
        import readline  # noqa: F401 - gives input() a history

    while line := (_ask() if prompt else sys.stdin.readline()).strip():
        yield line


def _ask() -> str:
    try:
        return input("search> ")
    except EOFError:
        return ""


def _row(query: str, rank: int, hit: "Hit") -> dict[str, Any]:
    return {
        "query": query,
        "rank": rank,
        "id": hit.id,
        "score": round(float(hit.score), 6),
        "text": hit.text,
        "metadata": dict(hit.metadata),
    }


def _print(console: "Console", hits: "list[Hit]", *, heading: str) -> None:
    from rich.text import Text

    indent = 12 if console.width >= _ROOMY else 4

    if heading:
        console.print(Text(_clean(heading), style="bold underline"))
    if not hits:
        console.print("nothing found: the index is empty")
    for rank, hit in enumerate(hits, start=1):
        line = Text(f"{rank:>3}  {hit.score:.3f}  ")
        line.append(_clean(hit.id), style="bold")
        console.print(line, soft_wrap=True)
        text = _clean(hit.text)
        shown = text if len(text) <= _SNIPPET else f"{text[: _SNIPPET - 1]}…"
        if shown and shown != hit.id:
            # In cells, of which a character of Chinese takes two.
            lines = Text(shown).wrap(console, max(20, console.width - indent), overflow="fold")
            for one in lines:
                console.print(Text(f"{' ' * indent}{one.plain.rstrip()}"), soft_wrap=True)


def _clean(text: str) -> str:
    """On one line, without what a terminal would obey."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())

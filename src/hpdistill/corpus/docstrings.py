"""English prose from the documentation of the Python packages on this machine.

Modules are parsed, never imported: reading documentation must not run anyone's code.
"""

import ast
import os
import sysconfig
import warnings
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

from hpdistill.corpus._prose import is_english_sentence, paragraphs
from hpdistill.extras import extra

__all__ = ["pydoc_entries", "pydoc_passages", "pydoc_sentences"]

# Tests document themselves, not a package; the others are copies of what is read elsewhere.
_SKIPPED_FOLDERS = {
    "__pycache__",
    "_vendor",
    "dist-packages",
    "idle_test",
    "site-packages",
    "test",
    "testing",
    "tests",
    "vendor",
}
_Definition = ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


def pydoc_sentences(
    roots: Iterable[Path] | None = None, *, packages: Collection[str] | None = None
) -> Iterator[str]:
    """Stream the English sentences of docstrings, up to where they list parameters.

    Args:
        roots: Folders to search for Python files; None: the standard library's and the
            installed packages'.
        packages: Names of packages and modules to read; None: all.

    Yields:
        Sentences of at least four words, without markup, in the order of sorted paths and then
        of the source. The same sentence may come more than once.

    Raises:
        PackageError: The `train` extra is not installed.
    """
    segment = extra("sentencex").segment
    for _, docstring in _docstrings(roots, packages):
        for paragraph in paragraphs(docstring):
            sentences = (sentence.strip() for sentence in segment("en", paragraph))
            yield from filter(is_english_sentence, sentences)


def pydoc_passages(
    roots: Iterable[Path] | None = None, *, packages: Collection[str] | None = None
) -> Iterator[tuple[str, str]]:
    """Stream what every documented public module, class and function is said to be for.

    Args:
        roots: As for `pydoc_sentences`.
        packages: Names of packages and modules to read; None: all.

    Yields:
        Qualified name, such as `json.decoder.JSONDecoder.decode`, and the first paragraph of its
        docstring, without markup. A paragraph that several names share comes with the first.

    Raises:
        PackageError: The `train` extra is not installed.
    """
    segment = extra("sentencex").segment
    seen: set[str] = set()
    for name, prose in pydoc_entries(roots, packages=packages):
        first = next(prose, "")
        if first in seen or not any(map(is_english_sentence, map(str.strip, segment("en", first)))):
            continue
        seen.add(first)
        yield name, first


def pydoc_entries(
    roots: Iterable[Path] | None = None, *, packages: Collection[str] | None = None
) -> Iterator[tuple[str, Iterator[str]]]:
    """Stream the documentation of every public module, class and function.

    Args:
        roots: As for `pydoc_sentences`.
        packages: Names of packages and modules to read; None: all.

    Yields:
        Qualified name, and the paragraphs of its docstring up to where it lists parameters,
        without markup; there may be none.
    """
    for name, docstring in _docstrings(roots, packages):
        if not any(part.startswith("_") for part in name.split(".")):
            yield name, paragraphs(docstring)


def _docstrings(
    roots: Iterable[Path] | None, packages: Collection[str] | None = None
) -> Iterator[tuple[str, str]]:
    """Qualified name and docstring of everything that has one."""
    for root in _installed() if roots is None else roots:
        for path in _python_files(root):
            parts = path.relative_to(root).with_suffix("").parts
            if packages is not None and parts[0] not in packages:
                continue
            module = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
            tree = _parse(path)
            if tree is not None:
                yield from _walk(tree, module)


def _installed() -> list[Path]:
    paths = sysconfig.get_paths()
    return [
        Path(root) for root in dict.fromkeys(paths[k] for k in ("stdlib", "purelib", "platlib"))
    ]


def _python_files(root: Path) -> Iterator[Path]:
    for folder, inner, files in os.walk(root):
        inner[:] = sorted(name for name in inner if name not in _SKIPPED_FOLDERS)
        for name in sorted(files):
            if name.endswith(".py") and not name.startswith(("test_", "conftest.")):
                yield Path(folder, name)


def _parse(path: Path) -> ast.Module | None:
    """The syntax tree; None for a file of another Python version, or not Python at all."""
    try:
        source = path.read_bytes()
        # Parsing is what takes the time, and many files document nothing.
        if b'"""' not in source and b"'''" not in source:
            return None
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # other people's invalid escapes
            return ast.parse(source)
    except (OSError, SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def _walk(node: ast.Module | _Definition, name: str) -> Iterator[tuple[str, str]]:
    docstring = ast.get_docstring(node)
    if docstring:
        yield name, docstring
    if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        for inner in _definitions(node.body):
            yield from _walk(inner, f"{name}.{inner.name}")


def _definitions(body: Iterable[ast.AST]) -> Iterator[_Definition]:
    """Those of a body, also inside `if` and `try`."""
    for node in body:
        if isinstance(node, _Definition):
            yield node
        elif isinstance(node, ast.If | ast.Try | ast.ExceptHandler):
            yield from _definitions(ast.iter_child_nodes(node))

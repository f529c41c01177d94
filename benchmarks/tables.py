"""Write the tables of README.md and of docs from the results files.

    python benchmarks/tables.py            # writes what has changed
    python benchmarks/tables.py --check    # only says whether something would change

A table lies between `<!-- table: NAME -->` and `<!-- end -->` in a Markdown file; how NAME is made
is said in `TABLES`, by a function of `_quality_tables` or `_search_tables`.
"""

import argparse
import re
import sys
from collections.abc import Callable
from textwrap import indent

import _quality_tables as quality
import _search_tables as search
from _results import ROOT

PLACE = re.compile(r"^( *)<!-- table: ([\w-]+) -->\n.*?<!-- end -->", re.DOTALL | re.MULTILINE)


def main() -> None:
    """Rewrite every file with a table in it; with --check, exit 1 if one is not as it would be."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--check", action="store_true", help="write nothing")
    options = parser.parse_args()
    stale = []
    for path in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]:
        text = path.read_text("utf-8")
        fresh = filled(text)
        if fresh != text:
            stale.append(str(path.relative_to(ROOT)))
            if not options.check:
                path.write_text(fresh, "utf-8")
    if stale:
        print(f"{'stale' if options.check else 'written'}: {', '.join(stale)}")
    sys.exit(1 if stale and options.check else 0)


def filled(text: str) -> str:
    """A Markdown text with its tables made anew.

    Raises:
        KeyError: It names a table that `TABLES` does not have.
    """

    def made(found: re.Match[str]) -> str:
        name = found[2]
        return indent(f"<!-- table: {name} -->\n{TABLES[name]()}\n<!-- end -->", found[1])

    return PLACE.sub(made, text)


TABLES: dict[str, Callable[[], str]] = {
    "students": quality.students,
    "reproduce-cpu": quality.reproduced,
    "captions-loss": quality.ablation("captions-loss"),
    "augmentation": quality.ablation("augmentation"),
    "mixed": quality.ablation("mixed", differences=True),
    "ranking": quality.ablation("ranking", differences=True),
    "prefixes": quality.sts_by_width,
    "temperature": search.searched_by_temperature,
    "data": quality.ablation("data"),
    "neighbours": quality.ablation("neighbours", differences=True),
    "static": quality.ablation("static"),
    "scale": quality.ablation("scale"),
    "retrieval-20k-loss": search.search_by_loss,
    "targets": quality.heads("targets", {"target": 4, "fidelity": 4, "dev": 2, "tests": 2}),
    "targets-captions": quality.heads("targets-captions", {"target": 4, "fidelity": 4, "mrr10": 4}),
    "targets-pydoc": quality.heads(
        "targets-pydoc", {"target": 4, "fidelity": 4, "dev": 2, "mrr10": 4}
    ),
    "retrieval-68k": search.searched_68k(
        search.SEARCHED_68K, ("numbers", *search.QUALITY, "search ms")
    ),
    "retrieval-short": search.searched_68k(search.SHORT_68K, search.QUALITY),
    "retrieval-widths": search.searched_by_width,
    "retrieval-times": search.searched_alone,
    "pydoc": search.searched_pydoc,
    "target-whitening": quality.whitened,
    "left-out": quality.left_out,
    "scan": search.scanned,
}


if __name__ == "__main__":
    main()

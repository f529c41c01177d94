"""Put a static student into the package, as what `Encoder.load()` loads.

    python scripts/default_text.py WORDNET_DIR TEXT
    cd TEXT
    hpd distill --recipe .../scripts/default_teacher.toml --exclude STS_DIR --out teacher
    hpd distill --recipe .../scripts/default_static.toml --exclude STS_DIR --out RUN
    python .../scripts/pack_default.py RUN sources.json

Keeps the table in int8 only: `src/hpdistill/models/default` must stay under 4 MB.
"""

import argparse
import json
import shutil
from pathlib import Path

TARGET = Path(__file__).parent.parent / "src" / "hpdistill" / "models" / "default"
FILES = ("embedding_ranges.safetensors", "hpd.json", "modules.json", "recipe.toml")
TABLE = "static_int8.safetensors"
LIMIT = 4_000_000
TEACHER = "minilm-128"
"""What the model calls its teacher, which is of no hub; the card says how it was made."""

WORDNET_NOTICE = """\
This software and database is being provided to you, the LICENSEE, by Princeton University under the
following license. By obtaining, using and/or copying this software and database, you agree that you
have read, understood, and will comply with these terms and conditions.:

Permission to use, copy, modify and distribute this software and database and its documentation for
any purpose and without fee or royalty is hereby granted, provided that you agree to comply with the
following copyright notice and statements, including the disclaimer, and that the same appear on ALL
copies of the software, database and documentation, including modifications that you make for
internal use or for distribution.

WordNet 3.0 Copyright 2006 by Princeton University. All rights reserved.

THIS SOFTWARE AND DATABASE IS PROVIDED "AS IS" AND PRINCETON UNIVERSITY MAKES NO REPRESENTATIONS OR
WARRANTIES, EXPRESS OR IMPLIED. BY WAY OF EXAMPLE, BUT NOT LIMITATION, PRINCETON UNIVERSITY MAKES NO
REPRESENTATIONS OR WARRANTIES OF MERCHANTABILITY OR FITNESS FOR ANY PARTICULAR PURPOSE OR THAT THE
USE OF THE LICENSED SOFTWARE, DATABASE OR DOCUMENTATION WILL NOT INFRINGE ANY THIRD PARTY PATENTS,
COPYRIGHTS, TRADEMARKS OR OTHER RIGHTS.

The name of Princeton University or Princeton may not be used in advertising or publicity pertaining
to distribution of the software and/or database. Title to copyright in this software, database and
any associated documentation shall at all times remain with Princeton University and LICENSEE agrees
to preserve same.
"""


def main() -> None:
    """Copy the files, write the card, check the size."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("sources", type=Path)
    options = parser.parse_args()
    model = options.run / "model"
    shutil.rmtree(TARGET, ignore_errors=True)
    TARGET.mkdir(parents=True)
    for name in FILES:
        shutil.copyfile(model / name, TARGET / name)
    folder = json.loads((model / "modules.json").read_text("utf-8"))[0]["path"]
    (TARGET / folder).mkdir(exist_ok=True)
    shutil.copyfile(model / folder / TABLE, TARGET / folder / TABLE)
    tokenizer = json.loads((model / folder / "tokenizer.json").read_text("utf-8"))
    compact = json.dumps(tokenizer, ensure_ascii=False, separators=(",", ":"))
    (TARGET / folder / "tokenizer.json").write_text(compact, "utf-8")
    # The recipe names files of the machine it ran on.
    recipe = (TARGET / "recipe.toml").read_text("utf-8")
    report = json.loads((options.run / "report.json").read_text("utf-8"))
    for source in [*report["recipe"]["corpus"]["sources"], *report["recipe"]["corpus"]["exclude"]]:
        recipe = recipe.replace(source, Path(source).name)
    named = report["recipe"]["teachers"][0]["model"]
    (TARGET / "recipe.toml").write_text(recipe.replace(named, TEACHER), "utf-8")
    description = (TARGET / "hpd.json").read_text("utf-8")
    (TARGET / "hpd.json").write_text(description.replace(named, TEACHER), "utf-8")
    card = write_card(
        sentences=trained_on(model),
        taught=trained_on(Path(named)),
        sources=json.loads(options.sources.read_text("utf-8")),
    )
    (TARGET / "README.md").write_text(card, "utf-8")
    size = sum(path.stat().st_size for path in TARGET.rglob("*") if path.is_file())
    print(f"{TARGET}: {size:,} bytes")
    if size > LIMIT:
        raise SystemExit(f"larger than {LIMIT:,} bytes")


def trained_on(model: Path) -> int:
    """Sentences and copies that a model was trained on."""
    return int(json.loads((model / "hpd.json").read_text("utf-8"))["corpus"]["sentences"])


def write_card(*, sentences: int, taught: int, sources: dict[str, object]) -> str:
    """What it was made from, under which licences."""
    packages = sources["packages"]
    assert isinstance(packages, dict)
    listed = "\n".join(f"- {name} {licence}" for name, licence in packages.items())
    return f"""# The static student that comes with hpdistill

**For English only.** It learnt from English text, and its tokenizer keeps the tokens of English.
Chinese, Thai and emoji are unknown to it, and such texts all get nearly one vector, which
`hpd encode` says; other scripts it spells letter by letter, which says little of what they mean.

128 numbers a text, no transformer, int8. Distilled by hpdistill from `{TEACHER}`, a student that
hpdistill made of `sentence-transformers/all-mpnet-base-v2` (Apache-2.0) and
`sentence-transformers/all-MiniLM-L6-v2` (Apache-2.0) on {taught:,} of the sentences below. The
static one learnt from {sentences:,} of them and of copies in which synonyms stand for some words.

- definitions, examples and entries (words and definition) of {sources["wordnet"]}
- docstrings of Python's {sources["python"]}, and of these packages:

{listed}

The tokenizer is that of MiniLM, cut to the tokens that occur at least three times.
Licence: Apache-2.0, as hpdistill. WordNet's notice:

{WORDNET_NOTICE}"""


if __name__ == "__main__":
    main()

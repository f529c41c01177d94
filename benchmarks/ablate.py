"""Compare choices of a recipe: every arm of a grid, every seed, one table.

    python benchmarks/ablate.py GRID.toml --sentences SRC... --data SENTEVAL --work DIR

A grid is a recipe that all arms share, and what each arm changes in it:

    title = "Loss"
    against = "mse"             # the arm that all others are compared with, seed by seed
    seeds = [0, 1, 2]
    finalists = ["mse"]         # also scored on the test tasks; nothing is chosen by those
    [recipe]                    # as in recipe.toml; sentences and exclusions come from the options
    student = "minilm"
    [[arm]]
    name = "mse"
    [arm.training]
    similarity_weight = 0.0

`fidelity` is Spearman's correlation with the teacher's similarities, on sentences held out;
`overlap10` the share of the ten nearest there that teacher and student agree on; `dev` the STS
benchmark's development set.

Sentences are drawn once, as `[recipe.corpus]` says (`limit`, `validation`), and shared by all arms
and seeds, with the teacher's vectors; a seed decides the order of training and the rest. An arm's
own `corpus.limit` takes a part of them.

A file of sentences is a kind of text, named by its first word (`news.txt.gz`: news). An arm
`without = ["news"]` trains on the other kinds only. With `kinds = true`, fidelity is also measured
among the sentences of each kind, of the student and of the untrained one it started as.

Interrupted, the same command goes on: a run in `WORK/GRID/ARM/SEED` that is complete is not made
again, and its figures are kept beside it. `--jobs` runs several at once, as a GPU needs to be busy;
the first run is made alone, since it embeds what the others share. `--arms` and `--seeds` take a
part of the grid. Results go to `results/NAME.json` (`--name`).
"""

import argparse
import json
import multiprocessing
import shutil
import statistics
import tomllib
from concurrent.futures import ProcessPoolExecutor, as_completed
from copy import deepcopy
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from _quality_tables import ablated
from _results import command_without_paths, write

from hpdistill.cli._shared import progress
from hpdistill.corpus import Corpus, build_corpus, content_hashes
from hpdistill.distill import distill
from hpdistill.evaluate import evaluate_fidelity, evaluate_sts, load_tasks
from hpdistill.files import atomic_directory, json_hash, read_json, write_json
from hpdistill.progress import Report
from hpdistill.pytorch import TorchEncoder
from hpdistill.recipe import Recipe
from hpdistill.teacher import embed_corpus
from hpdistill.weights import resolve

SEED = 0
"""Draws the sentences."""
FIGURES = ("fidelity", "cosine", "overlap10", "dev", "tests")


def main() -> None:
    """Run what is missing of the grid, then print and write its table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("grid")
    parser.add_argument("--sentences", nargs="+", required=True, metavar="SRC")
    parser.add_argument("--data", type=Path, required=True, help="STS folder, for dev and tests")
    parser.add_argument("--exclude", nargs="*", default=[], help="kept out, beside --data")
    parser.add_argument("--work", type=Path, required=True, help="of the runs")
    parser.add_argument("--store", type=Path, help="of the teacher's vectors; else in WORK")
    parser.add_argument("--arms", nargs="*", help="these only")
    parser.add_argument("--seeds", nargs="*", type=int, help="these only")
    parser.add_argument("--jobs", type=int, default=1, help="runs at once, each in a process")
    parser.add_argument("--name", default="", help="of the results file; none is written without")
    options = parser.parse_args()
    grid = tomllib.loads(Path(options.grid).read_text("utf-8"))
    place = options.work / Path(options.grid).stem
    drawn = draw(grid, options)
    tasks = [
        (grid, arm, seed, drawn, options)
        for seed in options.seeds or grid["seeds"]
        for arm in grid["arm"]
        if not options.arms or arm["name"] in options.arms
    ]
    for _, arm, *_ in tasks:
        training_text(drawn, arm.get("without", []))
    if options.jobs == 1:
        for task in tasks:
            run_one(*task)
    else:
        # Forked processes cannot use a GPU that their parent has touched.
        spawned = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(options.jobs, mp_context=spawned) as pool:
            if tasks:
                pool.submit(run_one, *tasks[0]).result()
            for done in as_completed([pool.submit(run_one, *task) for task in tasks[1:]]):
                done.result()
    about = {
        "title": grid["title"],
        "against": grid["against"],
        "grid": grid,
        "rows": table(grid, place, drawn),
        "beside": beside(grid, place),
    }
    print(ablated(about, differences=True))
    if options.name:
        sources = ", ".join(Path(source).name for source in options.sentences)
        print(write(options.name, sources, about, command=command_without_paths(options)))


def run_one(
    grid: dict[str, Any],
    arm: dict[str, Any],
    seed: int,
    drawn: Path,
    options: argparse.Namespace,
) -> None:
    """Make one run of the grid, unless it is there, and print its figures."""
    recipe = recipe_of(grid, arm, seed, drawn)
    tests = arm["name"] in grid.get("finalists", [])
    out = options.work / Path(options.grid).stem / arm["name"] / str(seed)
    with progress() as report:
        figures = run(recipe, out, options, tests=tests, report=report)
        if grid.get("kinds"):
            figures |= measure_kinds(recipe, out, drawn, store_of(options), report)
    print(arm["name"], seed, json.dumps(figures), flush=True)


def recipe_of(grid: dict[str, Any], arm: dict[str, Any], seed: int, drawn: Path) -> Recipe:
    """The shared choices, the arm's own over them, and the sentences drawn for all."""
    shared = {key: value for key, value in grid["recipe"].items() if key != "corpus"}
    own = {key: value for key, value in arm.items() if key not in ("name", "about", "without")}
    train = training_text(drawn, arm.get("without", []))
    corpus = {"sources": [str(train)], "validation_sources": [str(drawn / "validation.txt")]}
    return Recipe.from_dict(merged(shared, own, {"seed": seed, "corpus": corpus}))


def draw(grid: dict[str, Any], options: argparse.Namespace) -> Path:
    """A folder with the sentences of all runs, one on each line: to train on, and held out."""
    drawn = {"sources": options.sentences, "exclude": [str(options.data), *options.exclude]}
    recipe = Recipe.from_dict(merged(grid["recipe"], {"corpus": drawn})).corpus
    inputs = [asdict(recipe), SEED, content_hashes(recipe.reads)]
    folder: Path = options.work / f"corpus-{json_hash(inputs)[:12]}"
    if not folder.is_dir():
        with atomic_directory(folder) as temporary:
            build_corpus(recipe, temporary, seed=SEED)
            made = Corpus.open(temporary)
            for split in ("train", "validation"):
                lines = "".join(f"{text}\n" for text in made.texts(split))
                (temporary / f"{split}.txt").write_text(lines, "utf-8")
    return folder


def training_text(drawn: Path, without: list[str]) -> Path:
    """The sentences to train on, but those of some kinds.

    Raises:
        SystemExit: There is no such kind.
    """
    if not without:
        return drawn / "train.txt"
    path = drawn / f"train-without-{'-'.join(without)}.txt"
    if not path.is_file():
        kinds = kinds_of(drawn, "train")
        if missing := sorted(set(without) - set(kinds)):
            raise SystemExit(f"no sentences of the kinds {missing}; there are {sorted(set(kinds))}")
        lines = (drawn / "train.txt").read_text("utf-8").splitlines(keepends=True)
        kept = [line for line, kind in zip(lines, kinds, strict=True) if kind not in without]
        path.write_text("".join(kept), "utf-8")
    return path


def kinds_of(drawn: Path, split: str) -> list[str]:
    """The kind of each sentence: the first word of its file's name."""
    sources = pq.read_table(drawn / f"{split}.parquet", columns=["source"])["source"].to_pylist()
    return [Path(source).name.split(".")[0] for source in sources]


def measure_kinds(
    recipe: Recipe, out: Path, drawn: Path, store: Path, report: Report
) -> dict[str, Any]:
    """Fidelity among the held-out sentences of each kind, trained and before training.

    Args:
        recipe: Of a run with one teacher.
        out: Its directory; figures are kept there.
        drawn: From `draw`.
        store: Of the teacher's vectors.
        report: Progress.
    """
    figures: dict[str, Any] = read_json(out / "figures.json")
    if "kinds" not in figures:
        sentences = Corpus.open(drawn)
        texts = sentences.texts("validation")
        source = resolve(recipe.teachers[0].model)
        stored = embed_corpus(source, sentences, store, recipe=recipe.teacher, report=report)
        teacher = np.concatenate(list(stored.shards("validation")))
        kinds = np.array(kinds_of(drawn, "validation"))
        for name, model in (("kinds", out / "model"), ("kinds_at_start", out / "init")):
            outputs = TorchEncoder.load(str(model)).encode(texts)
            figures[name] = {
                str(kind): evaluate_fidelity(
                    outputs[kinds == kind], teacher[kinds == kind]
                ).spearman
                for kind in np.unique(kinds)
            }
        write_json(out / "figures.json", figures)
    return figures


def store_of(options: argparse.Namespace) -> Path:
    """Where the vectors of teachers are kept."""
    given: Path | None = options.store
    return given or Path(options.work) / "store"


def merged(base: dict[str, Any], *changes: dict[str, Any]) -> dict[str, Any]:
    """`base` with `changes` over it, table by table, the last one winning."""
    result = deepcopy(base)
    for change in changes:
        for key, value in change.items():
            inside = isinstance(value, dict) and isinstance(result.get(key), dict)
            result[key] = merged(result[key], value) if inside else value
    return result


def run(
    recipe: Recipe, out: Path, options: argparse.Namespace, *, tests: bool, report: Report
) -> dict[str, Any]:
    """Train and measure; what was measured of the same recipe is read."""
    kept = out / "figures.json"
    figures = read_json(kept) if kept.is_file() else {}
    if figures.get("recipe") != recipe.hash:
        made = distill(
            recipe, out, store=store_of(options), export=False, overwrite=True, report=report
        )
        final = made.rows[-1]
        figures = {
            "recipe": recipe.hash,
            "fidelity": final["spearman"],
            "cosine": final["cosine"],
            "overlap10": final["overlap10"],
            "training_seconds": made.stages["training"]["seconds"],
            "best_step": made.stages["training"]["facts"]["best_step"],
            "steps": made.stages["training"]["facts"]["steps"],
            "dev": sts(made.model, options.data, dev=True),
        }
        shutil.rmtree(out / "checkpoints", ignore_errors=True)
        write_json(kept, figures)
    if tests and "tests" not in figures:
        figures["tests"] = sts(out / "model", options.data, dev=False)
        write_json(kept, figures)
    return figures


def sts(model: Path, data: Path, *, dev: bool) -> float:
    """Points: of the development set, or the average over the test tasks that are there."""
    scores = evaluate_sts(TorchEncoder.load(str(model)), load_tasks(data, dev=dev))
    return scores.average_present


def table(grid: dict[str, Any], place: Path, drawn: Path) -> list[dict[str, Any]]:
    """Mean and standard deviation of each arm, and its difference, over seeds that both have."""
    found: dict[str, dict[int, dict[str, Any]]] = {}
    for arm in grid["arm"]:
        found[arm["name"]] = {}
        for seed in grid["seeds"]:
            path = place / arm["name"] / str(seed) / "figures.json"
            figures = read_json(path) if path.is_file() else {}
            # Of a grid that was changed since, they are another arm's.
            if figures.get("recipe") == recipe_of(grid, arm, seed, drawn).hash:
                found[arm["name"]][seed] = figures
    base = found[grid["against"]]
    rows = []
    for arm in grid["arm"]:
        own = found[arm["name"]]
        row: dict[str, Any] = {"arm": arm["name"], "about": arm.get("about", "")}
        row["seeds"] = sorted(own)
        for figure in FIGURES:
            values = {seed: one[figure] for seed, one in own.items() if one.get(figure) is not None}
            if not values:
                continue
            paired = [v - base[s][figure] for s, v in values.items() if figure in base.get(s, {})]
            row[figure] = {
                "mean": statistics.fmean(values.values()),
                "sd": statistics.stdev(values.values()) if len(values) > 1 else None,
                "by_seed": {str(seed): value for seed, value in values.items()},
                "difference": statistics.fmean(paired) if paired else None,
                "better": sum(difference > 0 for difference in paired),
            }
        for name in ("kinds", "kinds_at_start"):
            by_seed = {str(seed): one[name] for seed, one in own.items() if name in one}
            if by_seed:
                row[name] = mean_of_kinds(list(by_seed.values()))
                row[f"{name}_by_seed"] = by_seed
        row["training_seconds"] = (
            statistics.fmean(one["training_seconds"] for one in own.values()) if own else None
        )
        rows.append(row)
    return rows


def mean_of_kinds(by_seed: list[dict[str, float]]) -> dict[str, float]:
    """Of each kind, over seeds."""
    return {kind: statistics.fmean(one[kind] for one in by_seed) for kind in by_seed[0]}


def beside(grid: dict[str, Any], place: Path) -> list[dict[str, Any]]:
    """What a run measured besides its student: the teacher and what needs no training."""
    report = place / grid["against"] / str(grid["seeds"][0]) / "report.json"
    if not report.is_file():
        return []
    wanted = ("model", "dim", "spearman", "cosine", "overlap10")
    return [{name: row[name] for name in wanted} for row in read_json(report)["rows"][:-1]]


if __name__ == "__main__":
    main()

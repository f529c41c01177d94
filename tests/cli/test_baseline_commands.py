"""`hpd train simcse`, `hpd whiten` and `hpd pca` as the shell starts them."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from command_ends import Ended, hint, refused

HEADER = "split\tdataset\tfilename\tsentence1\tsentence2\tlabel\n"

Hpd = Callable[..., Ended]


@pytest.fixture
def nli(tmp_path: Path) -> Path:
    rows = [
        f"train\tSNLI\tf\tthe dog {word}\tthe old dog {word}\tentailment\n"
        f"train\tSNLI\tf\tthe dog {word}\tthe cat {word}\tcontradiction\n"
        for word in ("runs", "sleeps", "eats", "reads", "writes", "sings", "finds", "loses")
    ]
    path = tmp_path / "AllNLI.tsv"
    path.write_text(HEADER + "".join(rows), "utf-8")
    return path


@pytest.fixture
def sts(tmp_path: Path) -> Path:
    folder = tmp_path / "sts" / "STS" / "STSBenchmark"
    folder.mkdir(parents=True)
    pairs = [("The dog runs.", "a bird", 1), ("a river", "a road", 3), ("a song", "a book", 2)]
    rows = [f"a\tb\tc\td\t{score}\t{one}\t{two}\n" for one, two, score in pairs]
    (folder / "sts-dev.csv").write_text("".join(rows), "utf-8")
    return tmp_path / "sts"


def test_simcse_is_trained_and_measured(
    hpd: Hpd, student_dir: Path, nli: Path, sts: Path, tmp_path: Path
) -> None:
    command = ("train", "simcse", "--backbone", student_dir, "--nli", nli, "--out")
    options = ("--dim", 4, "--pooling", "cls", "--max-steps", 2, "--batch-size", 4)
    ended = hpd(*command, tmp_path / "run", *options, "--evaluate", sts, "--json")
    assert ended.code == 0, ended
    document = json.loads(ended.out)
    assert document["command"] == "train simcse"
    (row,) = document["rows"]
    assert row["model"] == str(tmp_path / "run" / "model")
    assert (row["dim"], row["pooling"], row["steps"]) == (4, "cls", 2)
    # The premise that is an evaluation sentence, in both of its pairs.
    assert (row["examples"], row["excluded"]) == (7, 2)
    assert -100 <= row["sts_dev"] <= 100
    again = hpd(*command, tmp_path / "run", *options, "--evaluate", sts)
    assert again.code == 0, again
    assert "STS-B dev" in again.out


def test_simcse_is_trained_without_labels(
    hpd: Hpd, student_dir: Path, corpus_file: Path, tmp_path: Path
) -> None:
    ended = hpd(
        *("train", "simcse", "--backbone", student_dir, "--unsupervised"),
        *("--sentences", corpus_file, "--limit", 20, "--max-steps", 1),
        *("--out", tmp_path / "run", "--json"),
    )
    assert ended.code == 0, ended
    (row,) = json.loads(ended.out)["rows"]
    assert (row["supervised"], row["examples"], row["dim"]) == (False, 20, 24)


def test_a_training_on_nothing_or_on_both_is_refused(hpd: Hpd, nli: Path, tmp_path: Path) -> None:
    command = ("train", "simcse", "--backbone", "minilm", "--out", tmp_path / "run")
    assert "missing --nli" in refused(hpd(*command))
    assert "missing --sentences" in refused(hpd(*command, "--unsupervised"))
    both = ("--nli", nli, "--sentences", nli)
    assert "--sentences needs --unsupervised" in refused(hpd(*command, *both))
    ended = hpd(*command, *both, "--unsupervised")
    assert "--nli does not go with --unsupervised" in refused(ended)
    assert "--pooling is 'most'" in refused(hpd(*command, "--nli", nli, "--pooling", "most"))


def test_a_column_of_triplets_is_refused(hpd: Hpd, nli: Path, tmp_path: Path) -> None:
    ended = hpd(
        "train", "simcse", "--backbone", "minilm", "--nli", nli, "--column", "x", "--out", tmp_path
    )
    assert "--column needs --unsupervised" in refused(ended)


def test_a_bad_label_is_one_line_that_says_where(
    hpd: Hpd, student_dir: Path, nli: Path, tmp_path: Path
) -> None:
    with nli.open("a", encoding="utf-8") as handle:
        handle.write("train\tSNLI\tf\ta\tb\tmaybe\n")
    ended = hpd(
        *("train", "simcse", "--backbone", student_dir, "--nli", nli, "--out", tmp_path / "run")
    )
    assert refused(ended) == (
        f"error: {nli}, line 18: the label is 'maybe'; allowed: entailment, neutral, "
        "contradiction, and - for none"
    )
    nli.write_text(HEADER.replace("\tlabel", "") + "train\tSNLI\tf\ta\tb\n", "utf-8")
    ended = hpd(
        *("train", "simcse", "--backbone", student_dir, "--nli", nli, "--out", tmp_path / "run")
    )
    assert "no column label; columns: split, dataset" in refused(ended)
    assert "sentence1, sentence2 and label" in hint(ended)


@pytest.mark.parametrize("command", ["whiten", "pca"])
def test_a_model_is_cut_in_closed_form(
    hpd: Hpd, command: str, student_dir: Path, corpus_file: Path, sts: Path, tmp_path: Path
) -> None:
    arguments = (
        *(command, student_dir, "--sentences", corpus_file, "--dim", 4),
        *("--out", tmp_path / "out", "--exclude", sts, "--precision", "float32"),
    )
    ended = hpd(*arguments, "--json")
    assert ended.code == 0, ended
    document = json.loads(ended.out)
    assert document["command"] == command
    (row,) = document["rows"]
    kind = {"whiten": "whitening", "pca": "pca"}[command]
    assert (row["kind"], row["dim"], row["width"], row["excluded"]) == (kind, 4, 24, 0)
    assert (row["model"], row["sentences"]) == (str(tmp_path / "out"), 480)
    assert 0 < row["explained_share"] <= 1
    again = hpd(*arguments)
    assert again.code == 0, again
    assert "fidelity" in again.out
    assert "has 1 to 24" in refused(hpd(*arguments[:5], 25, "--out", tmp_path / "none"))
    other = hpd(*arguments[:5], 5, "--out", tmp_path / "out")
    assert "was made of other choices" in refused(other)
    assert "--overwrite" in hint(other)


def test_sentences_are_held_out_of_sources_of_their_own(
    hpd: Hpd, teacher_dir: Path, student_dir: Path, corpus_file: Path, tmp_path: Path
) -> None:
    held_out = tmp_path / "held-out.txt"
    held_out.write_text("\n".join(f"the dog {i}" for i in range(9)), "utf-8")
    ended = hpd(
        *("distill", "--teacher", teacher_dir, "--student", student_dir, "--dim", 4),
        *("--sentences", corpus_file, "--validation-sentences", held_out, "--max-steps", 0),
        *("--no-export", "--out", tmp_path / "run"),
    )
    assert ended.code == 0, ended
    summary = json.loads((tmp_path / "run" / "corpus" / "summary.json").read_text("utf-8"))
    assert (summary["train"], summary["validation"]) == (600, 9)

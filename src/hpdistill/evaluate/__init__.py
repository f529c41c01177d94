"""Numbers out: STS, fidelity to the teacher, speed, and the table and the picture that show them.

Quality takes any `hpdistill.encoder.Encoder` or its vectors; speed loads models itself, each in
a process of its own. Importing this imports neither torch nor ONNX Runtime.
"""

from hpdistill.evaluate._encode import encode_sentences, sentences_per_second
from hpdistill.evaluate.backends import DEFAULT_BACKENDS, Backend, missing
from hpdistill.evaluate.fidelity import FidelityScores, evaluate_fidelity
from hpdistill.evaluate.page import Section, html_page
from hpdistill.evaluate.plot import check_plot, plot_quality_speed, short_names
from hpdistill.evaluate.speed import Contender, Speeds, Workload, measure_speed, summarise
from hpdistill.evaluate.sts import (
    DEV_TASK,
    TASKS,
    StsData,
    StsScores,
    StsSubset,
    StsTask,
    check_prefixes,
    evaluate_sts,
    evaluate_sts_prefixes,
    load_scored_pairs,
    load_tasks,
)
from hpdistill.evaluate.table import Column, Table
from hpdistill.evaluate.texts import evenly, manual_sentences, texts_of_tokens, tokenizer_file

__all__ = [
    "DEFAULT_BACKENDS",
    "DEV_TASK",
    "TASKS",
    "Backend",
    "Column",
    "Contender",
    "FidelityScores",
    "Section",
    "Speeds",
    "StsData",
    "StsScores",
    "StsSubset",
    "StsTask",
    "Table",
    "Workload",
    "check_plot",
    "check_prefixes",
    "encode_sentences",
    "evaluate_fidelity",
    "evaluate_sts",
    "evaluate_sts_prefixes",
    "evenly",
    "html_page",
    "load_scored_pairs",
    "load_tasks",
    "manual_sentences",
    "measure_speed",
    "missing",
    "plot_quality_speed",
    "sentences_per_second",
    "short_names",
    "summarise",
    "texts_of_tokens",
    "tokenizer_file",
]

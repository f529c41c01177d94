"""Numbers out: STS, fidelity to the teacher, and the table that shows them.

Nothing here loads a model: everything takes an `hpdistill.encoder.Encoder` or its vectors.
"""

from hpdistill.evaluate._encode import encode_sentences
from hpdistill.evaluate.fidelity import FidelityScores, evaluate_fidelity
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
    load_tasks,
)
from hpdistill.evaluate.table import Column, Table, html_page

__all__ = [
    "DEV_TASK",
    "TASKS",
    "Column",
    "FidelityScores",
    "StsData",
    "StsScores",
    "StsSubset",
    "StsTask",
    "Table",
    "check_prefixes",
    "encode_sentences",
    "evaluate_fidelity",
    "evaluate_sts",
    "evaluate_sts_prefixes",
    "html_page",
    "load_tasks",
]

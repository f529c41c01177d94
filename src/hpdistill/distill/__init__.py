"""Distillation: a corpus and a teacher in, a model directory and its measured table out."""

from hpdistill.distill.plan import Plan, plan
from hpdistill.distill.report import report_tables
from hpdistill.distill.run import Distilled, distill

__all__ = ["Distilled", "Plan", "distill", "plan", "report_tables"]

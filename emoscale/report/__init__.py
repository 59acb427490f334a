"""The report: figures and one self-contained page that a psychologist can read top to bottom."""

from emoscale.report.figures import FIGURES
from emoscale.report.page import write_report
from emoscale.report.verdict import ablation_verdict, human_verdict

__all__ = ["FIGURES", "ablation_verdict", "human_verdict", "write_report"]

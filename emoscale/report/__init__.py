"""The report: figures and one self-contained page that a psychologist can read top to bottom."""

from emoscale.report.agreement import human_verdict
from emoscale.report.figures import FIGURES
from emoscale.report.verdicts import ablation_verdict
from emoscale.report.write_report import Opening, write_report

__all__ = ["FIGURES", "Opening", "ablation_verdict", "human_verdict", "write_report"]

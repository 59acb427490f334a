"""The report: figures and one self-contained page that a psychologist can read top to bottom."""

from emoscale.report.agreement import human_verdict
from emoscale.report.figures import FIGURES
from emoscale.report.page import Opening, write_report
from emoscale.report.verdict import ablation_verdict

__all__ = ["FIGURES", "Opening", "ablation_verdict", "human_verdict", "write_report"]

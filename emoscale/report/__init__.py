"""The report: figures and one self-contained page that a psychologist can read top to bottom."""

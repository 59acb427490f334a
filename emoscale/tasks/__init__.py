"""Inference tasks: what a model is asked while its neurons are edited."""

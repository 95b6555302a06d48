"""Runs: a folder with configuration, log, checkpoint and pictures; progress; exact resumption."""

from tinygen.runs.checkpoint import load, save
from tinygen.runs.metrics import read_metrics
from tinygen.runs.run import Run, open_run

__all__ = ["Run", "load", "open_run", "read_metrics", "save"]

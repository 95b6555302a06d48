"""Runs: a folder with configuration, log, checkpoint and pictures; progress; exact resumption."""

from tinygen.runs.checkpoint import CheckpointError, load, save
from tinygen.runs.metrics import read_metrics
from tinygen.runs.run import Run, open_run
from tinygen.runs.threads import blas_threads

__all__ = ["CheckpointError", "Run", "blas_threads", "load", "open_run", "read_metrics", "save"]

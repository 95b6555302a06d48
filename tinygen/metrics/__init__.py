"""How good are samples? Scores, each with its formula and what it does not see.

`modes` counts where places are known, `histogram` compares with a known law, `inception` and `frechet` ask a
classifier, `agreement` asks it whether what was drawn is what was wanted, `parzen` smooths samples into a density,
`neighbours` looks for copies, `disentanglement` whether the entries of a code stand for one property each. Nothing here
knows a model: what needs a network is given its answers, or a function that gives them.
"""

# ruff: noqa: I001  (imports are packed, many to a line)

from tinygen.metrics.agreement import agreement, matched_agreement
from tinygen.metrics.disentanglement import (
    factor_score, information_gap, mean_difference, mutual_information, squared_correlations,
)  # fmt: skip
from tinygen.metrics.frechet import Moments, frechet_distance, gaussian_distance, trace_of_root
from tinygen.metrics.histogram import (
    expected_difference, frequencies, gaussian_probabilities, mixture_probabilities, quadratic_difference,
    square_edges,
)  # fmt: skip
from tinygen.metrics.inception import inception_score, log_inception_score
from tinygen.metrics.modes import expected_quality, mode_histogram, mode_kl, modes_covered
from tinygen.metrics.neighbours import copying, nearest
from tinygen.metrics.parzen import ParzenScore, choose_bandwidth, parzen_log_density, parzen_score

__all__ = [
    "Moments", "ParzenScore", "agreement", "choose_bandwidth", "copying", "expected_difference", "expected_quality",
    "factor_score", "frechet_distance", "frequencies", "gaussian_distance", "gaussian_probabilities", "inception_score",
    "information_gap", "log_inception_score", "matched_agreement", "mean_difference", "mixture_probabilities",
    "mode_histogram", "mode_kl", "modes_covered", "mutual_information", "nearest", "parzen_log_density", "parzen_score",
    "quadratic_difference", "square_edges", "squared_correlations", "trace_of_root",
]  # fmt: skip

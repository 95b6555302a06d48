"""The gradient cases of this floor, at orders 1 and 2, and that nothing was left out of them."""

from __future__ import annotations

import inspect

import numpy as np
import pytest

from tinygen import probability as P
from tinygen.autograd import GradientError, check_grads
from tinygen.autograd.primitive import REGISTRY
from tinygen.cases import Case, check_all
from tinygen.cases import probability as cases
from tinygen.probability import divergences

EVERY = list(cases.cases(np.random.default_rng(0)))


@pytest.mark.parametrize("name", sorted({c.name for c in EVERY}))
def test_gradients(name):
    for verdict in check_all([c for c in EVERY if c.name == name]):
        assert verdict.first < 1e-8 and verdict.second < 1e-7


def test_every_law_and_every_divergence_has_a_case():
    names = {c.name for c in EVERY}
    laws = {n for n, v in vars(P).items() if inspect.isclass(v) and issubclass(v, P.Distribution)} - {"Distribution"}
    assert {f"{n}.log_prob" for n in laws} <= names
    closed = {n for n, v in vars(divergences).items() if inspect.isfunction(v) and not n.startswith("_")
              and v.__module__ == divergences.__name__}  # fmt: skip
    assert {f"divergences.{n}" for n in closed - {"transport_plan"}} <= names
    rows = {n for n, row in REGISTRY.items() if row.definition.__module__.startswith("tinygen.probability")}
    assert rows and rows <= names


def test_a_planted_error_is_caught():
    """A draw that forgets how its shape moves: the check must see it."""
    wrong = Case("wrong", lambda a: P.Gamma(a.detach(), a).log_prob(2.0), (np.array([1.5, 2.5]),))
    with pytest.raises(GradientError):
        check_grads(wrong.function, wrong.args)

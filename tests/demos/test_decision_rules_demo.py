"""The demo of decision rules: what it writes, says, and resumes, and its arithmetic with many digits."""

import importlib
import math
from decimal import Decimal, localcontext
from pathlib import Path

import pytest

import tinygen as tg
from tinygen.runs import Run

pytest.importorskip("sklearn", reason="the demo compares itself with scikit-learn's regressions")
pytest.importorskip("matplotlib", reason="the demo draws with matplotlib")

common = importlib.import_module("demos.common")
rules = importlib.import_module("demos.decision_rules")


def test_it_draws_and_resumes(tmp_path, capsys):
    out = str(tmp_path / "run")
    scores = common.command(rules.main, ["--steps", "30", "--examples", "60", "--out", out])
    assert scores["rules"] < 1e-12 and scores["losses"] < 1e-12
    kept = {"checkpoint.safetensors", "config.json", "metrics.csv"}
    assert {p.name for p in Path(out).iterdir()} == kept | {"rules.png", "fits.png", "far.png"}
    assert "largest relative error of a rule" in capsys.readouterr().out
    assert common.command(rules.main, ["--resume", out]) == scores


def test_claims_are_reproduced_by_name():
    names = list(rules.CARD["claims"])
    values = rules.reproduce(Run(quiet=True), names)
    assert list(values) == names and max(values[n] for n in names[:2]) < 1e-12 and values[names[2]] < 1e-5
    assert "theta" in str(tg.explain(lambda: rules.loss(tg.random.Generator(0))))


def test_many_digits_and_what_counts_as_an_error():
    with localcontext() as context:
        context.prec = 60
        for a in (-2.0, 0.5, 30.0):
            exact = rules.exactly(a)
            assert float(exact["softplus"]) == pytest.approx(math.log1p(math.exp(-abs(a))) + max(a, 0), rel=1e-14)
            assert float(exact["log_softplus"]) == pytest.approx(math.log(float(exact["softplus"])), rel=1e-13)
        assert abs(rules.exactly(-9000.0)["log_softplus"] + 9000) < Decimal("1e-50")
        assert (
            rules.off(1.1, Decimal(1), "1e-9") == pytest.approx(0.1)
            and rules.off(math.nan, Decimal(1), "1") == math.inf
        )
        assert rules.off(math.inf, Decimal("1e400"), "1") == 0 and rules.off(math.inf, Decimal(3), "1") == math.inf

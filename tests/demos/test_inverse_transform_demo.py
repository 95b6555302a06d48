"""The demo of inverse-transform sampling: what it writes, says, claims, and resumes."""

import ast
import importlib
from pathlib import Path

import numpy as np
import pytest

import tinygen as tg
from tinygen.runs import Run

pytest.importorskip("matplotlib", reason="the demo draws with matplotlib")

common = importlib.import_module("demos.common")
inverse_transform = importlib.import_module("demos.inverse_transform")


@pytest.fixture(autouse=True)
def fewer_draws(monkeypatch):
    monkeypatch.setattr(inverse_transform, "N", 4000)


def test_it_fits_draws_and_resumes(tmp_path, capsys, monkeypatch):
    out = str(tmp_path / "run")
    scores = common.command(inverse_transform.main, ["--quick", "--points", "200", "--steps", "20", "--out", out])
    assert scores["laws"] > 0.01 > scores["moved"] and scores["return"] < 1e-9
    pictures = {f"{name}.png" for name in ("inversion", "laws", "warp", "data")}
    assert {p.name for p in Path(out).iterdir()} == {"checkpoint.safetensors", "config.json", "metrics.csv"} | pictures
    assert "least p-value of five laws" in capsys.readouterr().out
    monkeypatch.setattr(inverse_transform, "pictures", lambda *given: None)
    assert common.command(inverse_transform.main, ["--resume", out]) == scores


def test_five_laws_with_draws_of_their_own():
    assert (
        len(inverse_transform.laws()) == 5 and sum(v.quantile is None for v in inverse_transform.laws().values()) == 2
    )
    values = list(inverse_transform.p_values(0).values())
    assert len(set(np.round(values, 6))) == 5


def test_the_tests_notice_a_transform_that_is_not_the_datas(monkeypatch):
    truth, model = inverse_transform.known()
    assert min(inverse_transform.both_ways(0)) > 0.01
    model.mixture.start_at(truth.means + 0.15, covariances=truth.covariances, weights=truth.weights)
    monkeypatch.setattr(inverse_transform, "known", lambda: (truth, model))
    assert min(inverse_transform.both_ways(0)) < 0.01


def test_lines_are_even_in_probability():
    lines = inverse_transform.lattice(5, 9)
    assert len(lines) == 10 and all(z.shape == (9, 2) for _, z in lines)
    firsts = sorted({float(z[0, 0]) for k, z in lines if k == 0})
    np.testing.assert_allclose(inverse_transform.scipy.stats.norm.cdf(firsts), [0.1, 0.3, 0.5, 0.7, 0.9])


def test_claims_are_reproduced_by_name(tmp_path):
    values = inverse_transform.reproduce(Run(tmp_path, quiet=True), inverse_transform.CARD["claims"])
    assert list(values) == list(inverse_transform.CARD["claims"])
    laws, transform, moved = values.values()
    assert laws > 0.01 and transform > 0.01 > moved


def test_the_card_is_a_literal_and_the_model_is_tiny(device):
    tree = ast.parse(Path(inverse_transform.__file__).read_text(encoding="utf-8"))
    (card,) = [n.value for n in tree.body if isinstance(n, ast.Assign) and getattr(n.targets[0], "id", "") == "CARD"]
    assert (
        card.func.id == "dict" and {k.arg: ast.literal_eval(k.value) for k in card.keywords} == inverse_transform.CARD
    )
    model, x = inverse_transform.tiny(tg.random.Generator(0, device=device))
    model.fit(x, steps=3, run=Run(quiet=True))
    assert model.mixture.means.device == device and np.isfinite(model.transform(x)).all()

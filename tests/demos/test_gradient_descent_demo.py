"""The demo of gradient descent: what it writes, says, resumes and claims, and PyTorch's trajectories."""

import ast
import importlib
from pathlib import Path

import numpy as np
import pytest

import tinygen as tg
from tinygen import optim
from tinygen.runs import Run

pytest.importorskip("matplotlib", reason="the demo draws with matplotlib")

common = importlib.import_module("demos.common")
demo = importlib.import_module("demos.gradient_descent")


@pytest.fixture
def small(monkeypatch):
    """Fewer noisy steps."""
    monkeypatch.setattr(demo, "TIME", 300)
    full = demo.noisy
    monkeypatch.setattr(demo, "noisy", lambda runs: full(min(runs, 500)))


def test_it_races_draws_and_resumes(tmp_path, capsys, small, monkeypatch):
    out = str(tmp_path / "run")
    scores = common.command(demo.main, ["--steps", "200", "--runs", "500", "--out", out])
    assert scores["gap"] < 1e-6 and scores["error"] < 0.35 and scores["broken"] > 2
    assert scores["newton"] < 1e-12 and scores["momentum"] < 1e-3 * scores["plain"]
    kept = {"checkpoint.safetensors", "config.json", "metrics.csv"}
    pictures = {"contours.png", "valley.png", "speed.png", "robbins_monro.png"}
    assert {p.name for p in Path(out).iterdir()} == kept | pictures
    assert "largest deviation from plain NumPy" in capsys.readouterr().out
    monkeypatch.setattr(demo, "pictures", lambda *given: None)
    assert common.command(demo.main, ["--resume", out]) == scores


def test_a_race_that_was_saved_goes_on_the_same():
    a, b = demo.Race(0), demo.Race(0)
    a.update()
    b.load_state_dict(a.state_dict())
    assert a.update() == b.update()


def test_claims_are_reproduced_by_name(small):
    claims = demo.CARD["claims"]
    values = demo.reproduce(Run(quiet=True), list(claims))
    assert list(values) == list(claims)
    gap, error, broken = values.values()
    assert 0 <= gap <= 1e-6 and error < 0.35 and broken > 2  # fewer and shorter descents than the claims'


def test_slopes_by_hand_are_the_engines():
    for loss, slope, start in demo.SURFACES.values():
        x = tg.tensor(np.array(start), requires_grad=True)
        np.testing.assert_allclose(tg.grad(loss(x), x).numpy(), slope(np.array(start)), rtol=1e-12)


@pytest.mark.parametrize(
    "kind, option, value",
    [("SGD", "lr", 0.0011), ("Adam", "betas", (0.9, 0.998)), ("RMSprop", "alpha", 0.91), ("Adagrad", "lr_decay", 0.02)],
)
def test_a_wrong_rule_would_show(kind, option, value, monkeypatch):
    """The planted error: an option that is a little off in the plain rule."""
    real = demo.PLAIN[kind]
    monkeypatch.setitem(demo.PLAIN, kind, lambda slope, x, **options: real(slope, x, **{**options, option: value}))
    assert max(demo.gaps().values()) > 1e-6


@pytest.mark.parametrize("surface", list(demo.SURFACES))
@pytest.mark.parametrize("name", list(demo.SETTINGS))
def test_trajectories_are_pytorchs(surface, name):
    torch = pytest.importorskip("torch", reason="PyTorch, the oracle of this test, is not installed")
    (loss, _, start), (kind, options) = demo.SURFACES[surface], demo.SETTINGS[name]
    A = torch.tensor(demo.ravine(30))
    theirs = {"ravine": lambda x: x @ A @ x / 2, "bent valley": demo.bent}[surface]
    x = torch.tensor(start, dtype=torch.float64, requires_grad=True)
    rule, places = getattr(torch.optim, kind)([x], **options), [np.array(start)]
    for _ in range(100):
        rule.zero_grad()
        theirs(x).backward()
        rule.step()
        places.append(x.detach().numpy().copy())
    ours = demo.chapter.path(loss, start, lambda params: getattr(optim, kind)(params, **options), 100)
    np.testing.assert_allclose(ours, places, rtol=0, atol=1e-6)


def test_the_card_is_a_literal_and_the_loss_can_be_explained():
    tree = ast.parse(Path(demo.__file__).read_text(encoding="utf-8"))
    (card,) = [n.value for n in tree.body if isinstance(n, ast.Assign) and getattr(n.targets[0], "id", "") == "CARD"]
    assert {k.arg: ast.literal_eval(k.value) for k in card.keywords} == demo.CARD
    assert np.isfinite(demo.loss(tg.random.Generator(0)).item())
    assert str(tg.explain(lambda: demo.loss(tg.random.Generator(0))))

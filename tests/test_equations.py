r"""Every `\tag{n}` of the source has a test that names it, and the ledger's own tools are tested."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from equations import FACTOR, LEFT_OUT, SEEN, file_of, killed, mutated, scaled

import tinygen as tg
from tinygen.models.vae import vae
from tinygen.models.vae.vae import kl_to_standard_normal

ROOT = Path(__file__).resolve().parents[1]


def tags_in_the_source() -> set[tuple[str, int]]:
    """(file, number) for every tag under tinygen/."""
    found = set()
    for path in (ROOT / "tinygen").rglob("*.py"):
        for number in re.findall(r"\\tag\{(\d+)\}", path.read_text(encoding="utf-8")):
            found.add((path.relative_to(ROOT).as_posix(), int(number)))
    return found


def test_every_tag_is_checked(request):
    """A formula in a docstring that no test looks at may be wrong for years."""
    seen, left_out = request.config.stash.get(SEEN, set()), request.config.stash.get(LEFT_OUT, [])
    if left_out or not {p.resolve() for p in (ROOT / "tests").rglob("test_*.py")} <= seen:
        pytest.skip("only part of the suite was collected")
    checked = {
        (file_of(mark.kwargs["of"] or what).relative_to(ROOT).as_posix(), tag)
        for item in request.session.items
        for mark in item.iter_markers("equation")
        for what, tags in [mark.args]
        for tag in tags
    }
    assert not checked - tags_in_the_source(), "a test names a tag that is not there"
    assert not tags_in_the_source() - checked, "tags without a test"


def test_mutation_reaches_every_name_and_is_undone():
    """A function imported by name elsewhere, a method, and what they return."""
    mu, log_var = np.ones((1, 2)), np.zeros((1, 2))
    right = vae.kl_to_standard_normal(mu, log_var)
    with mutated(vae.kl_to_standard_normal):
        np.testing.assert_allclose(vae.kl_to_standard_normal(mu, log_var), right * FACTOR)
    np.testing.assert_allclose(vae.kl_to_standard_normal(mu, log_var), right)
    x = tg.Tensor(np.ones(2))
    with mutated(tg.Tensor.sum):
        assert x.sum().item() == pytest.approx(2 * FACTOR)
    assert x.sum().item() == 2
    assert scaled({"a": (1.0, [2, True, np.ones(1)])}) == {"a": (FACTOR, [3, True, np.array([FACTOR])])}


class Sample:
    """Every kind of thing that a class may hold."""

    @property
    def half(self):
        return 0.5

    @staticmethod
    def third():
        return 1 / 3

    @classmethod
    def quarter(cls):
        return 0.25

    def __init__(self):
        self.place, self.label = 1.0, "p"

    def move(self):
        self.place += 2

    def power(self, n):
        return lambda x: x**n


@pytest.mark.parametrize("name, right", [("half", 0.5), ("third", 1 / 3), ("quarter", 0.25)])
def test_mutation_of_properties_static_and_class_methods(name, right):
    kind = type(vars(Sample)[name])
    value = lambda: Sample().half if name == "half" else getattr(Sample(), name)()  # noqa: E731
    with mutated(getattr(Sample, name)):
        assert value() == right * FACTOR and type(vars(Sample)[name]) is kind
    assert value() == right
    assert file_of(getattr(Sample, name)) == Path(__file__).resolve()


def test_mutation_reaches_primitives_and_what_tests_imported():
    x = tg.tensor(np.array([0.5]), requires_grad=True)
    with mutated(tg.exp):
        assert tg.exp(x).item() == pytest.approx(np.exp(0.5) * FACTOR, rel=1e-12)
        assert tg.grad(tg.exp(x), x).item() == pytest.approx(np.exp(0.5) * FACTOR, rel=1e-12)
    assert file_of(tg.exp).name == "elementwise.py"
    with mutated(kl_to_standard_normal):  # by the name that this file has for it
        assert kl_to_standard_normal(np.ones((1, 2)), np.zeros((1, 2)))[0] == pytest.approx(FACTOR)


def test_mutation_of_what_is_changed_in_place_and_of_functions_that_are_returned(device):
    p, q = (tg.tensor(np.ones(2), requires_grad=True, device=device) for _ in range(2))
    optimizer = tg.optim.SGD([p, q], 0.5)
    with mutated(tg.optim.Optimizer.step):
        optimizer.step([p.detach(), None])
    assert p.tolist() == [0.5 * FACTOR] * 2 and q.tolist() == [1, 1] and optimizer.lr == 0.5
    sample = Sample()
    with mutated(Sample.move):
        sample.move()
    assert sample.place == 3 * FACTOR and sample.label == "p"
    with mutated(Sample.power):
        power = sample.power(2)
    assert power(3.0) == 9 * FACTOR


def test_what_counts_as_killed():
    """A comparison that failed, alone or among others; not a crash, a skip, or nothing."""
    crash = ValueError("shapes")
    assert killed(AssertionError()) and killed(ExceptionGroup("two", [crash, tg.GradientError()]))
    assert not killed(crash) and not killed(None) and not killed(ExceptionGroup("one", [crash]))
    with pytest.raises(BaseException) as skipped:
        pytest.skip("no PyTorch")
    assert not killed(skipped.value)


PROBE = """
import numpy as np
import pytest
from equations import equation
from hypothesis import given, strategies as st
from tinygen.models.vae import vae

half = lambda: vae.kl_to_standard_normal(np.ones((1, 1)), np.zeros((1, 1)))[0]

@equation(vae.kl_to_standard_normal, 4)
@equation(vae.reparameterise, 3)
def test_one_of_two():
    assert half() == 0.5

@pytest.mark.parametrize("slack", [1e-9, pytest.param(1e-2, marks=equation(vae.kl_to_standard_normal, 4))])
def test_weak(slack):
    assert abs(half() - 0.5) < slack

@equation(vae.kl_to_standard_normal, 4)
def test_crash():
    [1][int(half() > 0.5)]

@equation(vae.kl_to_standard_normal, 4)
@given(st.integers(0, 9))
def test_drawn(k):
    assert k * half() == k / 2

@equation(vae.kl_to_standard_normal, 4)
def test_skips():
    pytest.importorskip("a_library_that_nobody_has")

def test_unmarked():
    assert half() == 0.5
"""


def test_the_mutation_run_tells_strong_tests_from_weak_ones(tmp_path):
    """Each named object is one mutant; a test too weak to notice it fails the run; so do a crash and a skip."""
    (tmp_path / "test_probe.py").write_text(PROBE)
    command = [sys.executable, "-m", "pytest", "-c", ROOT / "pyproject.toml", "--rootdir", tmp_path, "-p", "conftest"]
    run = subprocess.run([*command, "-rA", "--mutate", tmp_path], cwd=ROOT, env=os.environ | {"PYTHONPATH": "tests"},
                         capture_output=True, text=True)  # fmt: skip
    found = {k: set(re.findall(rf"^{k} \S*::(\w+ \S+)", run.stdout, re.M)) for k in ("PASSED", "FAILED")}
    assert found["PASSED"] == {"test_one_of_two kl_to_standard_normal", "test_drawn kl_to_standard_normal"}, run.stdout
    alive = {"test_one_of_two reparameterise", "test_weak kl_to_standard_normal[0.01]"}
    assert found["FAILED"] == alive | {f"test_{k} kl_to_standard_normal" for k in ("crash", "skips")}, run.stdout

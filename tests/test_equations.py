r"""Every `\tag{n}` of the source has a test that names it, and the ledger's own tools are tested."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from equations import FACTOR, file_of, mutated, scaled

import tinygen as tg
from tinygen.models.vae import vae

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
    files = {Path(item.fspath).resolve() for item in request.session.items}
    if not {p.resolve() for p in (ROOT / "tests").rglob("test_*.py")} <= files:
        pytest.skip("only part of the suite was collected")
    checked = {
        (file_of(what).relative_to(ROOT).as_posix(), tag)
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
    assert scaled({"a": (1.0, [2, np.ones(1)])}) == {"a": (FACTOR, [2, np.array([FACTOR])])}

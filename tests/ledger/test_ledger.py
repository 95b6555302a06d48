"""The books: rows are read, cards need no import, outcomes are kept as they came, and staleness shows."""

from __future__ import annotations

import contextlib
import types

import pytest

from tinygen import ledger
from tinygen.ledger import results
from tinygen.ledger.systems import ROOT

SYSTEMS = """# Systems
| id | system | where | bar |
|---|---|---|---|
| A1 | The neuron | S0 | 0 errors |
| F1 | VAE \\| ELBO | S4 | -97 |
"""
DEMO = '''"""A demo that must not be imported to be listed."""
import nowhere
CARD = dict(rows=("F1",), model="vae.vae:VAE", claims={
    "score": {"published": 0.8, "bar": ">= 0.5", "budget_min": 1},
    "long": {"published": None, "bar": "<= 3", "budget_min": 60},
})
'''


@pytest.fixture
def clone(tmp_path):
    """A small clone: two rows, one demo, one chapter."""
    for folder in ("demos", "tinygen/models/vae"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "SYSTEMS.md").write_text(SYSTEMS, encoding="utf-8")
    (tmp_path / "demos/toy.py").write_text(DEMO, encoding="utf-8")
    (tmp_path / "demos/common.py").write_text("x = 1\n", encoding="utf-8")
    (tmp_path / "tinygen/models/vae/vae.py").write_text("chapter", encoding="utf-8")
    return tmp_path


def demo(values):
    """Stands for the demo's module."""
    return lambda name: types.SimpleNamespace(reproduce=lambda run, claims: {c: values[c] for c in claims})


def test_rows_and_cards_are_read(clone):
    assert [s.id for s in ledger.systems(clone / "SYSTEMS.md")] == ["A1", "F1"]
    (card,) = ledger.cards(clone / "demos")
    assert card.demo == "toy" and card.rows == ("F1",) and [c.budget_min for c in card.claims] == [1, 60]
    assert card.claims[0].met(0.5) and not card.claims[0].met(0.4)


def test_the_real_list_is_whole():
    """Every row of the documents is in SYSTEMS.md, once, and every card names rows and a chapter that exist."""
    rows = [s.id for s in ledger.systems()]
    assert len(rows) == len(set(rows)) and {"A1", "A17", "B8", "C9", "D3", "E8", "F5", "G1"} <= set(rows)
    for card in ledger.cards():
        assert set(card.rows) <= set(rows)
        assert (ROOT / card.chapter).exists(), card


def test_short_claims_run_and_long_ones_want_full(clone):
    outcomes = list(ledger.reproduce(["F"], demo({"score": 0.7, "long": 9}), root=clone))
    assert [(o["claim"], o["value"], o["met"]) for o in outcomes] == [("score", 0.7, True)]
    outcomes = list(ledger.reproduce(["F1"], demo({"score": 0.4, "long": 9}), full=True, root=clone))
    assert [(o["claim"], o["met"]) for o in outcomes] == [("score", False), ("long", False)]
    assert [o["value"] for o in ledger.outcomes("F1", clone)] == [9.0, 0.4]  # one outcome a claim, the latest


def test_results_are_rendered_and_marked_when_stale(clone):
    list(ledger.reproduce(["F1"], demo({"score": 0.7}), root=clone))
    assert "| F1 | score | 0.8 | >= 0.5 | 0.7 | met |" in ledger.render(clone)
    (clone / "tinygen/models/vae/vae.py").write_text("changed", encoding="utf-8")
    assert "| 0.7 | met, stale |" in ledger.render(clone)


def test_an_outcome_goes_with_its_claim(clone):
    """When a demo makes another claim in the place of one, the old outcome is dropped; other demos' stay."""
    list(ledger.reproduce(["F1"], demo({"score": 0.7, "long": 2}), full=True, root=clone))
    (clone / "demos/other.py").write_text(DEMO.replace('"score"', '"other"').replace('"long"', '"longer"'))
    list(ledger.reproduce(["F1"], demo({"score": 0.7, "other": 0.6}), root=clone))
    (clone / "demos/toy.py").write_text(DEMO.replace('"long"', '"longest"'))
    list(ledger.reproduce(["F1"], demo({"score": 0.8, "other": 0.6}), root=clone))
    assert [(o["claim"], o["value"]) for o in ledger.outcomes("F1", clone)] == [("other", 0.6), ("score", 0.8)]


def test_prose_makes_no_outcome_stale():
    """Docstrings, comments and blank lines may change; any other line, a string within it included, may not."""
    source = (
        'r"""A chapter.\n\nOf two lines."""\nx = "# 1"  # one\n\ndef f(x):\n    """The double."""\n    return 2 * x\n'
    )
    prose = 'r"""Another."""\n\nx = "# 1"\n# two\ndef f(x):\n    """Twice.\n\n    As much.\n    """\n    return 2 * x\n'
    assert results.code(source) == results.code(prose) == 'x = "# 1"\ndef f(x):\n    return 2 * x'
    assert results.code(source.replace('"# 1"', '"# 2"')) != results.code(source)
    assert results.code(source.replace("2 *", "3 *")) != results.code(source)


def test_of_several_seeds_the_median_counts(clone):
    (found,) = ledger.reproduce(["F1"], demo({"score": [0.9, 0.1, 0.6]}), root=clone)
    assert found["value"] == 0.6 and found["met"] and found["seeds"] == [0.9, 0.1, 0.6]
    assert "| 0.6 (0.1 to 0.9, 3 seeds) | met |" in ledger.render(clone)


def test_verdicts_are_no_failures(clone):
    card = DEMO.replace('"budget_min": 1}', '"budget_min": 1, "verdict": True}')
    (clone / "demos/toy.py").write_text(card, encoding="utf-8")
    list(ledger.reproduce(["F1"], demo({"score": 0.4}), root=clone))
    assert "| 0.4 | not confirmed |" in ledger.render(clone)


@pytest.mark.parametrize("resumes", [True, False])
def test_a_stopped_reproduction_goes_on_if_the_card_says_so(clone, resumes):
    """The third call is a new one: the second has finished."""
    if resumes:
        card = DEMO.replace("dict(rows", "dict(resumes=True, rows")
        (clone / "demos/toy.py").write_text(card, encoding="utf-8")
    seen = []

    def reproduce(run, claims):
        seen.append((run.folder / "half").exists())
        (run.folder / "half").touch()
        if len(seen) == 1:
            raise KeyboardInterrupt
        return {"score": 1.0}

    def call(**options):
        return list(
            ledger.reproduce(["F1"], lambda name: types.SimpleNamespace(reproduce=reproduce), root=clone, **options)
        )

    with pytest.raises(KeyboardInterrupt):
        call()
    (found,) = call()
    assert found["seconds"] >= 0 and found["cpu_seconds"] >= 0
    call()
    assert seen == [False, resumes, False]
    (clone / "tinygen/models/vae/vae.py").write_text("changed", encoding="utf-8")
    call(resume=True)
    assert seen[3] == resumes  # asked for by name: although it had finished, and the chapter has changed


def test_what_was_resumed_after_a_change_goes_on_without_asking(clone):
    (clone / "demos/toy.py").write_text(DEMO.replace("dict(rows", "dict(resumes=True, rows"), encoding="utf-8")
    seen = []

    def reproduce(run, claims):
        seen.append((run.folder / "half").exists())
        (run.folder / "half").touch()
        if len(seen) < 3:
            raise KeyboardInterrupt
        return {"score": 1.0}

    module = types.SimpleNamespace(reproduce=reproduce)
    for resume in (False, True, False):
        with contextlib.suppress(KeyboardInterrupt):
            list(ledger.reproduce(["F1"], lambda name: module, resume=resume, root=clone))
        (clone / "tinygen/models/vae/vae.py").write_text("changed_once", encoding="utf-8")
    assert seen == [False, True, True]


@pytest.mark.parametrize(
    "card, message",
    [
        ("CARD = {'rows': ()}", "literal dict"),
        ("CARD = dict(rows=(), model='a:b', claims={'x': {'bar': '~ 3', 'published': 1, 'budget_min': 1}})", "toy"),
        ("CARD = dict(model='a:b')", "rows"),
        ("CARD = dict(rows=('F1',), model='a:b', claims={'x': {'bar': '>= 1'}})", "published"),
    ],
)
def test_bad_cards_are_named(clone, card, message):
    (clone / "demos/toy.py").write_text(card, encoding="utf-8")
    with pytest.raises(ValueError, match=message):
        ledger.cards(clone / "demos")


def test_unknown_rows_and_wrong_claims_are_refused(clone):
    with pytest.raises(ValueError, match="no row called Z9"):
        list(ledger.reproduce(["Z9"], demo({}), root=clone))
    with pytest.raises(ValueError, match=r"no function reproduce"):
        list(ledger.reproduce(["F1"], lambda name: types.SimpleNamespace(), root=clone))
    wrong = lambda name: types.SimpleNamespace(reproduce=lambda run, claims: {"else": 1.0})
    with pytest.raises(ValueError, match="were wanted"):
        list(ledger.reproduce(["F1"], wrong, root=clone))


def test_the_committed_page_is_what_the_outcomes_give():
    """RESULTS.md is rendered, not typed: it equals what `render` makes of results/, stale marks included."""
    committed = (ROOT / "RESULTS.md").read_text(encoding="utf-8")
    assert committed == ledger.render(), "run `python -m tinygen reproduce`, which renders it"

"""The books: which systems the documents hold, which demos claim to build them, and what the claims came to.

`systems` reads `SYSTEMS.md`, `cards` the literal `CARD` of each demo (without importing it), and `results` runs
claims and keeps their outcomes in `results/ROW.json`, from which `RESULTS.md` is rendered. No number in it is
typed by hand.
"""

from tinygen.ledger.cards import Card, Claim, cards, outcome_name
from tinygen.ledger.results import outcomes, render, reproduce
from tinygen.ledger.systems import System, systems

__all__ = ["Card", "Claim", "System", "cards", "outcome_name", "outcomes", "render", "reproduce", "systems"]

"""What each demo says of itself, in a literal `CARD` that can be read without running the demo.

```python
CARD = dict(
    rows=("F1",),
    model="vae.vae:VAE",
    claims={"test ELBO (nats)": {"published": None, "bar": ">= -24.5", "budget_min": 2}},
)
```

A claim with `"verdict": True` puts a statement of the documents to the test: its bar decides between *confirmed* and
*not confirmed*, and neither is a failure. A card with `resumes=True` has a `reproduce` that goes on with what an
earlier call left in the run's folder.
"""

from __future__ import annotations

import ast
import operator
from dataclasses import dataclass
from pathlib import Path

from tinygen.ledger.systems import ROOT

_RELATIONS = {">=": operator.ge, "<=": operator.le, ">": operator.gt, "<": operator.lt, "==": operator.eq}


@dataclass(frozen=True)
class Claim:
    """One figure that a demo promises: what was published, what it must come to, and how long it may take."""

    name: str
    published: str | float | None
    bar: str  # a relation and a number: ">= 0.9"
    budget_min: float
    verdict: bool = False  # whether the bar decides about a statement, and is no promise

    def met(self, value: float) -> bool:
        """Whether a value reaches the bar."""
        relation, number = self.bar.split()
        return bool(_RELATIONS[relation](value, float(number)))

    def outcome(self, value: float) -> str:
        """What a value is called: met or missed; of a verdict, confirmed or not confirmed."""
        return outcome_name(self.met(value), self.verdict)


def outcome_name(met: bool, verdict: bool) -> str:
    """How an outcome is called."""
    return ("not confirmed", "confirmed")[met] if verdict else ("missed", "met")[met]


@dataclass(frozen=True)
class Card:
    """A demo, the rows of `SYSTEMS.md` it builds, the model's file, and its claims."""

    demo: str
    rows: tuple[str, ...]
    model: str
    claims: tuple[Claim, ...]
    resumes: bool = False

    @property
    def chapter(self) -> Path:
        """The model's file, from the clone's root."""
        return Path("tinygen/models", *self.model.partition(":")[0].split(".")).with_suffix(".py")


def cards(folder: Path = ROOT / "demos") -> list[Card]:
    """The cards of all demos in a folder, by name; an error names the demo whose card cannot be read."""
    found = []
    for path in sorted(folder.glob("*.py")):
        literal = _literal(path)
        if literal is not None:
            found.append(_card(path.stem, literal))
    return found


def _literal(path: Path) -> dict | None:
    """The keywords of `CARD = dict(...)`, or None where there is none."""
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", None) == "CARD":
            if not (isinstance(node.value, ast.Call) and getattr(node.value.func, "id", None) == "dict"):
                raise ValueError(f"{path.name}: CARD must be a literal dict(rows=..., model=..., claims=...)")
            return {k.arg: ast.literal_eval(k.value) for k in node.value.keywords}
    return None


def _card(demo: str, literal: dict) -> Card:
    try:
        claims = tuple([Claim(name, **claim) for name, claim in literal.get("claims", {}).items()])
        for claim in claims:
            claim.met(0.0)
        return Card(demo, tuple(literal["rows"]), literal["model"], claims, literal.get("resumes", False))
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"demos/{demo}.py: CARD is not as it should be ({type(error).__name__}: {error})") from error

r"""The backward pass of a loss, node by node, with the rule that each node applies.

`print(tg.explain(loss))` walks the graph as `grad` does and writes down what it sees: from the loss to the
leaves, each operation with its shape, the norm of its gradient, how often its result was used (its gradient is a
sum of so many contributions), the rule by which it pays its inputs, as printed by the symbols, where a
contribution was summed back from a broadcast shape, and the line of the program that called it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tinygen.autograd.graph import FREED, GraphError, Leaf, Part
from tinygen.autograd.modes import call_sites, no_grad
from tinygen.autograd.tensor import Tensor
from tinygen.autograd.walk import _collect, _contributions, _pay, _seeds, ancestors, fit
from tinygen.backend import arrays as backend
from tinygen.formulas.symbols import rules


@dataclass
class Row:
    """One line of the explanation: a leaf or an operation."""

    label: str
    op: str
    inputs: list[str]
    shape: tuple[int, ...]
    norm: float  # of the gradient
    uses: int
    rules: list[str]
    sums: list[str]  # contributions summed back to a broadcast input's shape
    site: str
    trouble: str = ""


@dataclass
class Explanation:
    """What `explain` found: `rows` from the loss to the leaves, `notes` on what went wrong first. Prints as a table."""

    rows: list[Row]
    notes: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        head = ("value", "operation", "inputs", "shape", "|gradient|", "uses", "rule", "where")
        body = [
            (r.label, r.op, ", ".join(r.inputs), "×".join(map(str, r.shape)) or "scalar", f"{r.norm:.3e}", str(r.uses),
             "; ".join([*r.rules, *r.sums]), r.site)
            for r in self.rows
        ]  # fmt: skip
        widths = [max(_width(line[i]) for line in (head, *body)) for i in range(len(head))]
        lines = ["  ".join(c + " " * (w - _width(c)) for c, w in zip(line, widths, strict=True)).rstrip()
                 for line in (head, *body)]  # fmt: skip
        return "\n".join([lines[0], "─" * sum(widths, 2 * len(widths) - 2), *lines[1:], *self.notes])

    __repr__ = __str__


def _width(text: str) -> int:
    """Columns on a terminal: a combining bar takes none."""
    return len(text) - text.count("\u0304")


def explain(loss: Tensor | Callable[[], Tensor]) -> Explanation:
    """The backward pass of a scalar, as a table (see this module).

    Parameters
    ----------
    loss : a scalar Tensor, whose graph is kept; or a function that computes one, which is then called with the
        file and line of each operation recorded, to fill the last column
    """
    if not isinstance(loss, Tensor):
        with call_sites():
            loss = loss()
    seeds = _seeds([loss], None, create_graph=False, name="explain")
    order = ancestors([loss._node])
    uses = Counter(p for node in order for p in node.parents if p is not None)
    labels = _labels(order)
    grads: dict = dict(seeds)
    rows = []
    with no_grad():
        for node in reversed(order):
            g = grads.pop(node, None)
            if type(node) is not Part:
                rows.append(_row(node, g, grads, uses, labels))
            elif g is not None:
                _collect(grads, node, g)
    return Explanation(rows, _notes(rows))


def _labels(order: list) -> dict:
    """Names for leaves and nodes: a leaf's own, else a number in the order of creation."""
    labels: dict = {}
    for k, node in enumerate(order):
        name = node.name if type(node) is Leaf else None
        labels[node] = name or (f"leaf{k}" if type(node) is Leaf else f"t{k}")
    for node in order:
        if type(node) is Part:
            labels[node] = f"{labels[node.parents[0]]}.{node.index}"
    return labels


def _row(node: Any, g: Any, grads: dict, uses: Counter, labels: dict) -> Row:
    """The line for one node, and its payments to its parents."""
    if type(node) is Leaf:
        return Row(labels[node], "leaf", [], node.shape, _norm(g), uses[node], [], [], "", _trouble(g))
    if node.saved is FREED:
        raise GraphError("explain: the graph was freed by a backward pass; explain first, or retain_graph=True")
    primitive = node.rule.primitive
    sums = []
    if g is not None:
        for p, c in _contributions(node, g, set(p for p in node.parents if p is not None), False):
            if p is not None and c is not None:
                if c.shape != p.shape:
                    sums.append(f"Σ {c.shape}→{p.shape}")
                _pay(grads, set(), p, fit(c, p, node.rule))
    lines = [s.text for s in rules(primitive)]
    paid = [p for p, v in zip(node.parents, primitive.vjps, strict=False) if v is not None] or node.parents
    if len(lines) == len(paid):  # a line for each input that can have a gradient: those of constants go
        lines = [line for line, p in zip(lines, paid, strict=True) if p is not None]
    inputs = [labels.get(p, "constant") for p in node.parents]
    trouble = _trouble(g) or ("a kept value is NaN or Inf" if _broken(node) else "")
    shape, site = node.shape or (), getattr(node, "site", "")
    return Row(labels[node], primitive.name, inputs, shape, _norm(g), uses[node] or 1, lines, sums, site, trouble)


def _norm(g: Any) -> float:
    parts = g if isinstance(g, tuple) else (g,)
    squares = [float(np.sum(np.square(backend.to_numpy(np.asarray(p) if np.isscalar(p) else p), dtype="float64")))
               for p in parts if p is not None]  # fmt: skip
    return float(np.sqrt(sum(squares)))


def _trouble(g: Any) -> str:
    """What is wrong with a gradient."""
    if g is None:
        return "no gradient reaches it"
    norm = _norm(g)
    return "its gradient is NaN or Inf" if not np.isfinite(norm) else "its gradient is zero" if norm == 0 else ""


def _broken(node: Any) -> bool:
    """Whether a kept floating array holds NaN or Inf."""
    kept = [v for v in node.rule.values(node.saved) if backend.is_array(v) and v.dtype.kind == "f"]
    return any(not bool(backend.array_module(v).isfinite(v).all()) for v in kept)


def _notes(rows: list[Row]) -> list[str]:
    """The first trouble of each kind, going back from the loss, and the oldest value that is broken."""
    notes = []
    for kind in ("its gradient is NaN or Inf", "its gradient is zero", "no gradient reaches it"):
        hit = next((r for r in rows if r.trouble == kind), None)
        if hit:
            notes.append(f"first from the loss: {hit.label} ({hit.op}{', ' + hit.site if hit.site else ''}): {kind}")
    broken = [r for r in rows if r.trouble == "a kept value is NaN or Inf"]
    if broken:
        notes.append(f"oldest with a NaN or Inf among its kept values: {broken[-1].label} ({broken[-1].op})")
    if rows and not any(r.site for r in rows if r.op != "leaf"):
        notes.append("for the column 'where', explain a function: tg.explain(lambda: loss_of(batch))")
    return notes

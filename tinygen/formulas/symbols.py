r"""Symbols: run a vjp on letters instead of arrays, and it prints its own formula.

`rules(tanh.primitive)` calls the very function that the backward pass calls, with symbols for $\bar y$, $x$ and
$y$, and gets `x̄ = ȳ·(1 − y·y)`. Each symbol carries two texts, Unicode for terminals and LaTeX for pages, and how
tightly its outermost operation binds, so that parentheses stand where they are needed and nowhere else.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from tinygen.autograd import elementwise as e
from tinygen.autograd.primitive import Primitive, Symbolic, vjp_names

SUM, MINUS, MATMUL, PRODUCT, POWER, ATOM = range(1, 7)  # how tightly an expression binds

#: operations written between their operands: (Unicode, LaTeX, binding, binding wanted on the right)
INFIX = {
    "add": (" + ", " + ", SUM, SUM),
    "subtract": (" − ", " - ", SUM, PRODUCT),
    "multiply": ("·", r" \odot ", PRODUCT, PRODUCT),
    "divide": ("/", " / ", PRODUCT, POWER),
    "matmul": (" ", r"\, ", MATMUL, MATMUL),
    "greater": (" > ", " > ", 0, SUM),
    "less": (" < ", " < ", 0, SUM),
    "greater_equal": (" ≥ ", r" \ge ", 0, SUM),
    "less_equal": (" ≤ ", r" \le ", 0, SUM),
    "equal": (" = ", " = ", 0, SUM),
    "not_equal": (" ≠ ", r" \ne ", 0, SUM),
}
#: functions with a sign of their own in LaTeX
LATEX_NAMES = {n: "\\" + n for n in ("exp", "log", "sin", "cos", "sinh", "cosh", "tanh")} | {"sigmoid": r"\sigma"}


@dataclass(frozen=True, eq=False)
class Symbol(Symbolic):
    """An expression: its text, its LaTeX, and how tightly it binds."""

    text: str
    latex: str
    binding: int = ATOM

    def apply(self, primitive: Primitive, arrays: tuple, options: tuple) -> Symbol:
        name = primitive.name
        if name in INFIX:
            return infix(name, *arrays)
        if name == "negative":
            (x,) = map(symbol, arrays)
            return Symbol("−" + within(x, MATMUL).text, "-" + within(x, MATMUL).latex, MINUS)
        if name == "power":
            a, b = within(arrays[0], ATOM), symbol(arrays[1])
            return Symbol(f"{a.text}^{within(b, ATOM).text}", f"{a.latex}^{{{b.latex}}}", POWER)
        if name in ("square", "reciprocal"):
            a, n = within(arrays[0], ATOM), {"square": ("²", "2"), "reciprocal": ("⁻¹", "-1")}[name]
            return Symbol(a.text + n[0], f"{a.latex}^{{{n[1]}}}", POWER)
        return self.call(name, (*arrays, *options))

    def call(self, name: str, arguments: tuple) -> Symbol:
        if name == "mT":
            x = within(arguments[0], ATOM)
            return Symbol(x.text + "ᵀ", x.latex + r"^\top", POWER)
        if name == "sqrt":
            x = symbol(arguments[0])
            return Symbol(f"√({x.text})", rf"\sqrt{{{x.latex}}}")
        shown = [symbol(a) for a in arguments]
        text = f"{name}({', '.join(s.text for s in shown)})"
        head = LATEX_NAMES.get(name, r"\operatorname{" + name.replace("_", r"\_") + "}")
        return Symbol(text, f"{head}({', '.join(s.latex for s in shown)})")

    def __getitem__(self, index: Any) -> Symbol:
        part = f"[{_index_text(index)}]"
        return Symbol(within(self, ATOM).text + part, within(self, ATOM).latex + part)

    # fmt: off
    def __add__(self, other): return e.add(self, other)
    def __radd__(self, other): return e.add(other, self)
    def __sub__(self, other): return e.subtract(self, other)
    def __rsub__(self, other): return e.subtract(other, self)
    def __mul__(self, other): return e.multiply(self, other)
    def __rmul__(self, other): return e.multiply(other, self)
    def __truediv__(self, other): return e.divide(self, other)
    def __rtruediv__(self, other): return e.divide(other, self)
    def __pow__(self, other): return e.power(self, other)
    def __matmul__(self, other): return infix("matmul", self, other)
    def __neg__(self): return e.negative(self)
    def __gt__(self, other): return e.greater(self, other)
    def __lt__(self, other): return e.less(self, other)
    def __ge__(self, other): return e.greater_equal(self, other)
    def __le__(self, other): return e.less_equal(self, other)
    def __eq__(self, other): return e.equal(self, other)
    def __ne__(self, other): return e.not_equal(self, other)
    # fmt: on
    __hash__ = object.__hash__

    def __bool__(self) -> bool:
        raise TypeError(f"{self.text} has no truth value; give this row formula=, or move the choice to a helper "
                        "marked with @vocabulary")  # fmt: skip


def _index_text(index: Any) -> str:
    parts = index if isinstance(index, tuple) else (index,)
    return ", ".join(
        f"{'' if p.start is None else p.start}:{'' if p.stop is None else p.stop}" if isinstance(p, slice) else str(p)
        for p in parts
    )


def symbol(value: Any) -> Symbol:
    """A value as a symbol; numbers print with four figures."""
    if isinstance(value, Symbol):
        return value
    text = f"{value:.4g}" if isinstance(value, float) else str(value)
    return Symbol(text.replace("-", "−"), text, MINUS if text.startswith("-") else ATOM)


def within(value: Any, binding: int) -> Symbol:
    """A value as an operand of something that binds so tightly: in parentheses where it binds less."""
    s = symbol(value)
    return s if s.binding >= binding else Symbol(f"({s.text})", rf"\left({s.latex}\right)")


def infix(name: str, a: Any, b: Any) -> Symbol:
    """`a op b`."""
    text, latex, binding, right = INFIX[name]
    if binding == MATMUL:  # (a·b) c: products of elements and of matrices do not mix without parentheses
        a, b = (within(s, s.binding if s.binding in (MINUS, MATMUL) else POWER) for s in map(symbol, (a, b)))
    a = within(a, MINUS if binding in (PRODUCT, MATMUL) else binding or SUM)
    a, b = (within(a, PRODUCT) if binding == PRODUCT and a.binding == MATMUL else a), within(b, right)
    b = within(b, PRODUCT) if b.binding == MINUS else b  # a + (−b)
    binding = MINUS if a.binding == MINUS and binding in (PRODUCT, MATMUL) else binding  # −a·b: a minus before all
    return Symbol(a.text + text + b.text, a.latex + latex + b.latex, binding)


def rules(primitive: Primitive, bar: str = "\u0304") -> list[Symbol]:
    """The backward rules of a primitive, one an input that has a gradient: `x̄ = ȳ·y`."""
    if primitive.formula is not None:
        lines = (primitive.formula,) if isinstance(primitive.formula, str) else primitive.formula
        return [Symbol(plain(line), line) for line in lines]
    g = Symbol("y" + bar, r"\bar y")
    found = []
    for name, vjp in zip(primitive.arrays, primitive.vjps, strict=True):
        if vjp is not None:
            arguments = [named(n, primitive) for n in vjp_names(vjp)]
            right = symbol(vjp(g, *arguments))
            found.append(Symbol(f"{name[0]}{bar}{name[1:]} = {right.text}", rf"\bar {_letter(name)} = {right.latex}"))
    return found


def named(name: str, primitive: Primitive) -> Symbol:
    """The symbol for something that a vjp names."""
    if name.endswith("_shape") and name[:-6] in primitive.arrays:
        return Symbol(f"shape({name[:-6]})", rf"\operatorname{{shape}}({_letter(name[:-6])})")
    return Symbol(name, _letter(name))


def _letter(name: str) -> str:
    greek = {"alpha": r"\alpha", "beta": r"\beta", "gamma": r"\gamma", "mu": r"\mu"}
    return greek.get(name, name if len(name) == 1 else rf"\mathit{{{name.replace('_', chr(92) + '_')}}}")


#: LaTeX as it stands in hand-written formulas, and the same for a terminal
_PLAIN = {
    r"^{-\top}": "⁻ᵀ", r"^{-1}": "⁻¹", r"^\top": "ᵀ", r"\odot": "⊙", r"\cdot": "·", r"\sigma": "σ", r"\gamma": "γ",
    r"\beta": "β", r"\sum": "Σ", r"\ne": "≠", r"\le": "≤", r"\,": " ", r"\;": " ", r"\_": "_",
    r"\operatorname{": "{", r"\text{": "{", r"\tfrac": "", r"\left": "", r"\right": "", r"\exp": "exp",
    r"\log": "log",
}  # fmt: skip


def plain(latex: str) -> str:
    """A hand-written formula for a terminal."""
    for long in sorted(_PLAIN, key=len, reverse=True):
        latex = latex.replace(long, _PLAIN[long])
    for sub in ("_i", "_k", "_j"):
        latex = latex.replace(sub, {"_i": "ᵢ", "_k": "ₖ", "_j": "ⱼ"}[sub])
    latex = re.sub(r"\\bar ?(\S)", "\\1\u0304", latex)
    latex = re.sub(r"\\hat ?(\S)", "\\1\u0302", latex)
    return latex.replace("{", "").replace("}", "").replace("  ", " ").strip()

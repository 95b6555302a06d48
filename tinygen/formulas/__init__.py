"""How the engine prints its own formulas: the rules as text and LaTeX, and the backward pass of a loss as a table.

`symbols` runs a vjp on letters; `explanation` walks a graph and writes down which rule applies where.
"""

from tinygen.formulas.explanation import Explanation, Row, explain
from tinygen.formulas.symbols import Symbol, rules

__all__ = ["Explanation", "Row", "Symbol", "explain", "rules"]

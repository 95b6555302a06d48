"""Points for the losses of `tinygen.nn.losses`, away from their corners."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from tinygen.cases import Case
from tinygen.nn import losses as L


def cases(rng: np.random.Generator) -> Iterator[Case]:
    """Every loss, where each option matters."""
    n = rng.normal
    x, scores = n(size=(4, 3)), n(size=(3, 4, 2))
    classes, grid = np.array([0, 2, 1, 1]), rng.integers(0, 4, (3, 2))
    p, law = rng.uniform(0.1, 0.9, (4, 3)), (rng.dirichlet(np.ones(3), 4) + 0.2) / 1.6
    signs = np.where(rng.uniform(size=4) < 0.5, -1, 1)
    t = x + rng.choice([-1, 1], (4, 3)) * rng.choice([0.3, 1.6], (4, 3))  # on both sides of every corner
    weight, few = np.array([0.5, 2.0, 1.0]), np.array([0.5, 2.0, 1.0, 0.1])

    def case(name: str, loss: Any, *args: Any, **options: Any) -> Case:
        """The losses' own entries: a sum would hide what cancels in it."""
        return Case(name, lambda *a: loss(*a, **options, reduction="none"), args)

    yield case("mse_loss", L.mse_loss, x, t)
    yield case("l1_loss", L.l1_loss, x, t)
    yield case("smooth_l1_loss", L.smooth_l1_loss, x, t, beta=0.5)
    yield case("huber_loss", L.huber_loss, x, t, delta=0.7)
    yield case("nll_loss", L.nll_loss, x, classes, weight=weight, ignore_index=1)
    yield case("softmax_cross_entropy", L.cross_entropy, x, classes)
    yield case("softmax_cross_entropy", L.cross_entropy, scores, grid, weight=few, ignore_index=3)
    yield case("soft_cross_entropy", L.cross_entropy, x, law, weight=weight, label_smoothing=0.1)
    yield case("soft_cross_entropy", L.cross_entropy, scores, grid, weight=few, ignore_index=3, label_smoothing=0.2)
    yield Case("cross_entropy", lambda a, c: L.cross_entropy(a, c, weight=weight), (x, classes))
    yield case("bernoulli_cross_entropy", L.binary_cross_entropy, p, p[::-1].copy(), weight=weight)
    yield case("binary_cross_entropy_with_logits", L.binary_cross_entropy_with_logits, x, p)
    yield case("binary_cross_entropy_with_logits", L.binary_cross_entropy_with_logits, x, p, weight=weight,
               pos_weight=np.array([3.0, 1.0, 0.2]))  # fmt: skip
    yield case("kl_div", L.kl_div, np.log(law[::-1]), law)
    yield case("kl_div", L.kl_div, x, np.log(law), log_target=True)
    yield case("hinge_embedding_loss", L.hinge_embedding_loss, x[:, 0], signs, margin=0.2)
    yield case("margin_ranking_loss", L.margin_ranking_loss, x[:, 0], x[:, 1], signs, margin=0.2)
    yield case("multi_margin_loss", L.multi_margin_loss, x, classes, weight=weight, margin=0.7)
    yield case("multi_margin_loss", L.multi_margin_loss, x, classes, p=2)
    yield Case("cosine_similarity", L.cosine_similarity, (x, t))
    yield case("cosine_embedding_loss", L.cosine_embedding_loss, x, t, signs, margin=-0.3)

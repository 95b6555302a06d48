"""Clamped units and their replaced gradient, by hand and by differentiation, and what the model learns from groups."""

import numpy as np
import pytest
from equations import equation

import tinygen as tg
from tinygen.models.vae import InverseGraphics
from tinygen.models.vae import inverse_graphics as chapter
from tinygen.models.vae.vae import kl_to_standard_normal, log_likelihood
from tinygen.runs import Run

rng = np.random.default_rng(0)
Z = rng.normal(size=(3, 4, 5))  # three groups of four codes
ACTIVE = np.array([[[True, False, False, False, False]], [[False, True, False, False, False]],
                   [[False, False, True, True, True]]])  # fmt: skip


def made(seed=0, device="cpu", **options):
    return InverseGraphics(6, 3, 2, group=4, hidden=8, rng=tg.random.Generator(seed, device=device), **options)


X, CHANGING = tg.random.Generator(9).uniform((20, 6)), np.array([0, 1, 0, 1, 1])


# ---- the equations --------------------------------------------------------------------------------------


@equation(chapter.clamped, 1)
def test_inactive_units_are_their_mean():
    found = chapter.clamped(tg.tensor(Z), ACTIVE).numpy()
    for b, i, k in np.ndindex(3, 4, 5):
        assert found[b, i, k] == pytest.approx(Z[b, i, k] if ACTIVE[b, 0, k] else sum(Z[b, :, k]) / 4)


@equation(chapter.scatter, 3)
def test_scatter_by_a_loop():
    for b, i in np.ndindex(3, 4):
        expected = sum((Z[b, i, k] - Z[b, :, k].mean()) ** 2 / 2 for k in range(5) if not ACTIVE[b, 0, k])
        assert chapter.scatter(Z, ACTIVE)[b, i] == pytest.approx(expected)


@equation(chapter.encoder_gradient, 2)
def test_the_replaced_gradient_is_that_of_the_loss():
    """What the paper puts in the gradient's place is the derivative of (3), its means moving along or not."""
    weight = rng.normal(size=Z.shape)
    loss = lambda z: tg.sum(weight * tg.tanh(z))  # noqa: E731  (any loss of the decoder)
    z = tg.tensor(Z, requires_grad=True)
    total = loss(chapter.clamped(z, ACTIVE)) + 0.3 * tg.sum(chapter.scatter(z, ACTIVE))
    clamped = tg.tensor(chapter.clamped(tg.tensor(Z), ACTIVE).numpy(), requires_grad=True)
    expected = chapter.encoder_gradient(tg.grad(loss(clamped), clamped).numpy(), Z, ACTIVE, 0.3)
    np.testing.assert_allclose(tg.grad(total, z).numpy(), expected, rtol=1e-9, atol=1e-12)
    inactive = np.broadcast_to(~ACTIVE, Z.shape)
    np.testing.assert_allclose(expected[inactive], 0.3 * (Z - Z.mean(1, keepdims=True))[inactive])


def test_nothing_comes_back_through_the_mean():
    z = tg.tensor(Z, requires_grad=True)
    found = tg.grad(tg.sum(tg.square(chapter.clamped(z, ACTIVE))), z).numpy()
    np.testing.assert_allclose(found, np.where(ACTIVE, 2 * Z, 0))


@equation(InverseGraphics.losses, 3)
def test_the_models_loss_by_hand():
    model, x = made(), X.reshape(5, 4, 6)
    active = (model.units == CHANGING[:, None])[:, None]
    error, kl, spread = (t.numpy() for t in model.losses(x, active, tg.random.Generator(3)))
    q = model.encoder(x)
    z = q.mu.numpy() + np.exp(q.log_var.numpy() / 2) * tg.random.Generator(3).normal((5, 4, 3))
    for b, i in np.ndindex(5, 4):
        units = [z[b, i, k] if active[b, 0, k] else z[b, :, k].mean() for k in range(3)]
        logits = model.decoder(np.array(units, np.float32)[None]).numpy()
        assert error[b, i] == pytest.approx(-log_likelihood(logits, x[b, i][None])[0], rel=1e-5)
    np.testing.assert_allclose(kl, kl_to_standard_normal(q.mu.numpy(), q.log_var.numpy()), rtol=1e-5)
    np.testing.assert_allclose(spread, chapter.scatter(z, active), rtol=1e-4)


# ---- the model ------------------------------------------------------------------------------------------


def test_the_last_factor_has_the_units_that_are_left():
    assert InverseGraphics(6, 5, 3, rng=tg.random.Generator(0)).units.tolist() == [0, 1, 2, 2, 2]
    assert InverseGraphics(6, 2, 2, rng=tg.random.Generator(0)).units.tolist() == [0, 1]


def test_each_unit_learns_its_own_factor():
    """Two bars, four pixels each, of two brightnesses: a unit for either, though nobody says how bright they are."""
    v = rng.uniform(size=(200, 1, 2)).repeat(4, 1)
    changing = np.arange(200) % 2
    v[np.arange(200), :, changing] = rng.uniform(size=(200, 4))
    x = v.reshape(-1, 2).repeat(4, 1).astype(np.float32)
    model = InverseGraphics(8, 2, 2, group=4, beta=0.1, hidden=16, lr=1e-2, rng=tg.random.Generator(1))
    model.fit(x, changing, steps=500, batch_size=16, run=Run(quiet=True))
    new = rng.uniform(size=(300, 2))
    z = model.transform(new.repeat(4, 1))
    r2 = np.square(np.corrcoef(z.T, new.T)[:2, 2:])
    assert min(r2[0, 0], r2[1, 1]) > 0.8 and max(r2[0, 1], r2[1, 0]) < 0.1


def test_the_scatter_is_pulled_together():
    """With a strong pull, and nothing else to hold them back, the inactive units answer less to what changes."""
    spread = []
    for pull in (0.0, 100.0):
        model = made(pull=pull, beta=0.0, lr=5e-3).fit(X, CHANGING, steps=100, run=Run(quiet=True))
        active = (model.units == CHANGING[:, None])[:, None]
        mu = model.transform(X).reshape(5, 4, 3)
        spread.append(chapter.scatter(mu, active).mean())
    assert spread[1] < spread[0] / 3


@pytest.mark.parametrize("options", [dict(group=1), dict(pull=-1.0)])
def test_bad_options_are_refused(options):
    with pytest.raises(ValueError, match="InverseGraphics: n_factors is .* are wanted"):
        InverseGraphics(6, 3, 2, **options)
    with pytest.raises(ValueError, match="n_factors is 4 for 3 units"):
        InverseGraphics(6, 3, 4)


@pytest.mark.parametrize(
    "x, changing, message",
    [(X[:19], CHANGING, "only whole groups"), (X, CHANGING[:4], r"changing is int64 \(4,\) for 20 pictures"),
     (X, CHANGING * 1.0, "changing is float64"), (X, CHANGING + 1, "values from 1 to 2; factors from 0 to 1")],
)  # fmt: skip
def test_bad_groups_are_refused(x, changing, message):
    with pytest.raises(ValueError, match=message):
        made().fit(x, changing, steps=1, run=Run(quiet=True))


def test_on_every_device(device):
    model = made(device=device).fit(X, CHANGING, steps=3, run=Run(quiet=True))
    np.testing.assert_allclose(model.transform(X), made().fit(X, CHANGING, steps=3, run=Run(quiet=True)).transform(X),
                               rtol=1e-3, atol=1e-5)  # fmt: skip

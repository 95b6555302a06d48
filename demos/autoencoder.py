"""Autoencoders: what a code of few numbers keeps of a digit, when that is PCA, and when it is a mere copy.

It draws digits rebuilt from codes by PCA and by nonlinear networks, under the squared error and under the
cross-entropy; the plane that a linear network finds beside PCA's, with the angle between them falling; maps of codes of
two numbers; both losses, and the floor below which the cross-entropy cannot fall; and what becomes of noise as the code
grows as wide as the image. Units that have died and pixels that are saturated are counted.
"""

import numpy as np

import tinygen as tg
from tinygen import data as sets
from tinygen import plot
from tinygen.models.autoencoder import Autoencoder, fully_connected
from tinygen.models.autoencoder import autoencoder as chapter
from tinygen.models.latent import PCA
from tinygen.optim.schedules import Cosine
from tinygen.runs import Run, blas_threads, open_run, read_metrics

CARD = dict(
    rows=("E1",),
    model="autoencoder.autoencoder:Autoencoder",
    resumes=True,
    claims={
        "largest principal angle between a linear autoencoder's plane and PCA's, digits, 10 of 64 (degrees)": {
            "published": "0: Baldi and Hornik", "bar": "< 1", "budget_min": 2},
        "excess of its loss over the sum of the dropped eigenvalues, relative": {
            "published": "0: Baldi and Hornik", "bar": "<= 0.001", "budget_min": 2},
        "share of the variance that a code as wide as the image misses": {
            "published": "0: S1, NN cheats", "bar": "<= 0.001", "budget_min": 1},
    },
)  # fmt: skip
LINEAR = dict(width=10, steps=4000, batch_size=2000, lr=0.03)  # a plane is found slowly: see (9)
WIDTHS = (1, 2, 4, 8, 16, 32, 64)  # of the codes on their way to a copy


def main(*, data="mnist", code=16, hidden=256, steps=3000, device="cpu", seed=0, quick=False,
         out="runs_out/autoencoder", resume=None):  # fmt: skip
    """Train autoencoders with both losses, linear ones, and ones with codes of two numbers, and draw what they do.

    data: mnist, digits or any other set of grey images; code: numbers in a code; hidden: units of the layer between
    image and code; steps: minibatches of 100 to learn from; quick: a tenth of the steps
    """
    run = open_run(locals())
    steps = steps // 10 if quick else steps
    train, test = sets.load(data)
    x, x_test, labels = train.images, test.images[:1000], test.labels[:1000]
    options = dict(hidden=hidden, steps=steps, device=device, seed=seed)
    with blas_threads(1):
        ae = nonlinear(run, x, code, **options)
        others = {"squared error": nonlinear(run.part("squared"), x, code, loss="squared", **options)}
        maps = {"2 numbers": nonlinear(run.part("map"), x, 2, **options)}
        planes = {n: PCA(x[0].size, n).fit(flat(x[:10_000])) for n in (2, code)}
        pace = dict(steps=1000, batch_size=400) if quick else dict(steps=LINEAR["steps"])
        linear, found = looked_at(run.part("linear"), **pace, device=device, seed=seed)
        copies = copying(WIDTHS[::3] if quick else WIDTHS, steps=300 if quick else 1500, device=device, seed=seed)
    scores = judged(ae, others["squared error"], planes[code], x_test) | {
        **found, "copy": copies["digits"][-1],
        "copied noise": copies["noise"][-1]}  # fmt: skip
    print(WORDS.format(**scores))
    for name, made in pictures(x_test, labels, ae, others, maps, planes, linear, copies, run).items():
        run.save_figure(f"{name}.png", made)
    print(f"pictures in {run.folder}")
    return scores


WORDS = """rebuilt from codes of one length, squared error an image: PCA {PCA:.2f}, network {squared:.2f}, \
network that learns the cross-entropy {ce:.2f}
cross-entropy {cross-entropy:.1f} nats an image, of which {floor:.1f} are the entropy of its grey levels
detected: {idle:.1%} of the units idle, {saturated:.2%} of the pixels saturated (sure to the last digit)
linear network: {angle:.2f} degrees from PCA's plane, loss {excess:.3%} above the sum of the dropped eigenvalues
code as wide as the image: misses {copy:.3%} of the variance of digits, {copied noise:.3%} of that of noise"""


def nonlinear(run, x, code, *, hidden, steps, loss="cross-entropy", device="cpu", seed=0):
    """An autoencoder with ReLU layers on either side of the code, trained on images (n, c, h, w)."""
    rng, n = tg.random.Generator(seed, device=device), x[0].size
    sizes = (n, hidden, code) if code > 2 else (n, hidden, hidden // 4, code)  # a map has to be folded more
    ae = Autoencoder(fully_connected(*sizes, rng=rng), fully_connected(*sizes[::-1], rng=rng), n, loss=loss, lr=1e-3,
                     schedule=Cosine(steps), rng=rng)  # fmt: skip
    return ae.fit(flat(x), steps=steps, run=run)


def flat(images):
    """Images as rows."""
    return images.reshape(len(images), -1)


def judged(ae, squared, plane, x):
    """Errors of PCA and of two networks, and what has gone wrong in the first one."""
    x = flat(x)
    error = lambda x_hat: float(np.square(x - x_hat).sum(1).mean())  # noqa: E731
    with tg.no_grad():
        h = ae.encoder[1](ae.encoder[0](tg.tensor(ae.checked(x))))  # (n, hidden), after the ReLU
        logits = ae.decoder(ae.encoder[2](h))
    return {"PCA": error(plane.reconstruct(x)), "squared": error(squared.reconstruct(x)),
            "ce": error(ae.reconstruct(x)), "cross-entropy": float(ae.errors(x).mean()),
            "floor": float(chapter.entropy(x).mean()), "idle": float(chapter.idle(h.data).mean()),
            "saturated": chapter.saturated(logits.data)}  # fmt: skip


# ---- linear networks ----------------------------------------------------------------------------------------------


def linear_net(n, width, *, lr, steps, device="cpu", seed=0):
    """A linear encoder and a linear decoder."""
    rng = tg.random.Generator(seed, device=device)
    return Autoencoder(fully_connected(n, width, rng=rng), fully_connected(width, n, rng=rng), n, lr=lr,
                       schedule=Cosine(steps), rng=rng)  # fmt: skip


def looked_at(run, *, steps, width=LINEAR["width"], batch_size=LINEAR["batch_size"], lr=LINEAR["lr"], device="cpu",
              seed=0):  # fmt: skip
    """A linear autoencoder of digits, its angle to PCA's plane (degrees) and its excess by (8); both are logged."""
    x = flat(sets.load("digits").train.images)
    cov, best = np.cov(x.astype(float).T, bias=True), PCA(x.shape[1], width).fit(x).components.numpy()
    ae = linear_net(x.shape[1], width, lr=lr, steps=steps, device=device, seed=seed)
    least, known = float(chapter.least_loss(cov, width)), ae.checked(x)

    def seen():
        angles = chapter.principal_angles(ae.decoder[0].weight.numpy().astype(float), best.T)
        return {"angle": float(np.degrees(angles[0])), "excess": float(ae.errors(x).mean(dtype=float)) / least - 1}

    due = {*np.geomspace(1, steps, 60).astype(int).tolist()}
    for step in run.steps(ae, steps):
        run.log(**ae.update(sets.batch(known, ae.rng, batch_size)))
        if step in due:
            run.log(**seen())
    return ae, seen()


def copying(widths, *, steps, device="cpu", seed=0):
    """Which share of the variance of new digits and of noise linear codes of these widths miss.

    Noise has each pixel from another digit: it is as bright as digits are, everywhere, and has no shape.
    """
    train, test = (flat(part.images) for part in sets.load("digits"))
    noise = np.take_along_axis(test, tg.random.Generator(seed).uniform(test.shape).argsort(0), 0)
    found = {"digits": [], "noise": [], "least": [], "images": []}
    cov = np.cov(train.astype(float).T, bias=True)
    for width in widths:
        ae = linear_net(train.shape[1], width, lr=0.01, steps=steps, device=device, seed=seed)
        ae.fit(train, steps=steps, batch_size=200, run=Run(quiet=True))
        for name, x in (("digits", test), ("noise", noise)):
            found[name].append(float(ae.errors(x).mean() / x.var(0).sum()))
        found["least"].append(float(chapter.least_loss(cov, width) / np.trace(cov)))
        found["images"].append((ae.reconstruct(test[:4]), ae.reconstruct(noise[:4])))
    return found | {"widths": widths, "shown": (test[:4], noise[:4])}


def reproduce(run, claims):
    """The claims of the CARD, at the defaults of `main`, from each of three seeds."""
    angle, excess, copy = CARD["claims"]
    values = {claim: [] for claim in CARD["claims"]}
    with blas_threads(1):
        for seed in range(3):
            _, found = looked_at(run.part(f"linear-{seed}"), steps=LINEAR["steps"], seed=seed)
            values[angle].append(found["angle"])
            values[excess].append(found["excess"])
            values[copy].append(copying(WIDTHS[-1:], steps=1500, seed=seed)["digits"][0])
    return {claim: values[claim] for claim in claims}


def tiny(rng):
    """A small autoencoder, with images."""
    return (Autoencoder(fully_connected(6, 5, 2, rng=rng), fully_connected(2, 5, 6, rng=rng), 6, loss="cross-entropy",
                        rng=rng), rng.spawn(1)[0].uniform((20, 6)))  # fmt: skip


def loss(rng):
    """The cross-entropy of a small autoencoder, for `python -m tinygen explain autoencoder`."""
    ae, x = tiny(rng)
    return tg.mean(ae.reconstruction_loss(tg.tensor(x), ae.encoder(tg.tensor(x))))


# ---- pictures -----------------------------------------------------------------------------------------------------


def pictures(x, labels, ae, others, maps, planes, linear, copies, run):
    """All of them, by name."""
    return {"reconstructions": reconstructions(x, ae, others, planes),
            "map": maps_of_codes(x, labels, maps["2 numbers"], planes[2]),
            "decoded": places(maps["2 numbers"]),
            "linear": angles(read_metrics(run.folder / "linear" / "metrics.csv")),
            "plane": both_bases(linear),
            "losses": both_losses(x, run),
            "copying": noise_and_digits(copies)}  # fmt: skip


def square(rows):
    """Rows of pixels as square images."""
    side = round(rows.shape[1] ** 0.5)
    return rows.reshape(-1, side, side)


def enlarged(rows):
    """How many times small images are to be enlarged."""
    return 8 if rows.shape[1] == 64 else 1


def axes_in_a_row(columns, width=4.3, height=3.7):
    """A figure, and so many axes in a row."""
    made = plot.figure(width * columns, height)
    made.set_layout_engine("constrained")
    return made, made.subplots(1, columns)


def reconstructions(x, ae, others, planes):
    """New images, and what each model rebuilds of them."""
    x, code = flat(x)[:12], max(planes)
    rows = {"new image": x, "PCA": planes[code].reconstruct(x), "network,\nsquared error":
            others["squared error"].reconstruct(x), "network,\ncross-entropy": ae.reconstruct(x)}  # fmt: skip
    return plot.image_grid(square(np.concatenate(list(rows.values()))), 12, row_names=list(rows), enlarge=enlarged(x),
                           title=f"Rebuilt from {code} numbers")  # fmt: skip


def maps_of_codes(x, labels, net, plane):
    """Codes of two numbers, by PCA and by a network."""
    x = flat(x)
    error = lambda model: np.square(x - model.reconstruct(x)).sum(1).mean()  # noqa: E731
    y = net.transform(x)
    y = (y - y.mean(0)) / y.std(0)  # a network's units are its own
    h = plane.transform(x)
    made = plot.scatter_panels({f"PCA: squared error {error(plane):.1f} an image": h / h.std(0),
                                f"Network: squared error {error(net):.1f}": y}, labels)  # fmt: skip
    for axes in made.axes:
        axes.set(xlabel="$y_1$", ylabel="$y_2$")
    return made


def places(net, side=15):
    """What the decoder makes of places in the plane where codes lie: between their extreme quantiles."""
    y = net.transform(flat(sets.load("mnist").train.images[:2000]) if net.shape == (784,) else
                      flat(sets.load("digits").train.images))  # fmt: skip
    low, high = np.quantile(y, [0.03, 0.97], axis=0)
    ticks = [np.linspace(a, b, side) for a, b in zip(low, high, strict=True)]
    grid = np.array([(a, b) for b in ticks[1][::-1] for a in ticks[0]])
    sheet = net.decode(grid)
    return plot.image_grid(square(sheet), side, enlarge=enlarged(sheet),
                           title="What the network's decoder draws at places of the map")  # fmt: skip


def angles(metrics):
    """Angle and loss of a linear network against the step."""
    made, (left, right) = axes_in_a_row(2, 5)
    step, told = np.array(metrics["step"]), np.isfinite(metrics["angle"])
    left.loglog(step[told], np.array(metrics["angle"])[told], ".-", markersize=4)
    left.axhline(1, color="grey", linestyle=":", label="1 degree")
    left.set(
        xlabel="step", ylabel="largest principal angle (degrees)", title="A linear network's plane turns into PCA's"
    )
    left.legend()
    right.loglog(step[told], np.maximum(np.array(metrics["excess"])[told], 1e-7), ".-", markersize=4, color="C1")
    right.set(xlabel="step", ylabel="excess of the loss, relative",
              title=r"and its loss falls to $\sum_{j>d} \lambda_j$")  # fmt: skip
    return made


def both_bases(linear):
    """PCA's axes, the columns of W_2, and the axes of PCA within the plane of W_2."""
    x = flat(sets.load("digits").train.images)
    d = linear.decoder[0].weight.shape[1]
    U = PCA(x.shape[1], d).fit(x).components.numpy()
    W = linear.decoder[0].weight.numpy().T
    again = PCA(x.shape[1], d).fit(linear.reconstruct(x)).components.numpy()
    again = again * np.sign((again * U).sum(1, keepdims=True))
    shown = np.concatenate([0.5 + 0.5 * rows / np.abs(rows).max(1, keepdims=True) for rows in (U, W, again)])
    names = [r"PCA: $u_j$", "network:\n" r"columns of $W_2$", "PCA of the\nnetwork's outputs"]
    return plot.image_grid(square(shown), d, enlarge=6, row_names=names,
                           title="One plane, other axes (grey is 0)")  # fmt: skip


def both_losses(x, run):
    """The losses of one pixel, their slopes behind a sigmoid, and the floor of the cross-entropy."""
    made, (left, middle, right) = axes_in_a_row(3)
    p, logits = np.linspace(0.002, 0.998, 400), np.linspace(-8, 8, 401)
    for k, pixel in enumerate((0.0, 0.3, 1.0)):
        cost = chapter.cross_entropy(np.full((400, 1), pixel), np.log(p / (1 - p))[:, None])
        left.plot(p, cost, color=f"C{k}", label=f"$x = {pixel:g}$")
        left.plot(p, (p - pixel) ** 2, color=f"C{k}", linestyle="--")
        left.plot(pixel, chapter.entropy(np.array([[pixel]]))[0], "o", color=f"C{k}", clip_on=False)
    left.set(xlabel=r"$\hat x$", ylabel="loss of a pixel", ylim=(0, 3), title="Cross-entropy (dots: its least value)\n"
             "and squared error (dashed)")  # fmt: skip
    left.legend()
    q = 1 / (1 + np.exp(-logits))
    middle.plot(logits, q - 1, label=r"cross-entropy: $\hat x - x$")
    middle.plot(logits, 2 * (q - 1) * q * (1 - q), "--", label=r"squared: $2 (\hat x - x) \hat x (1 - \hat x)$")
    middle.set(xlabel=r"$\ell$ of a white pixel", ylabel=r"$\partial L / \partial \ell$",
               title="A pixel that is surely wrong ($\\ell \\ll 0$)\nlearns under one of them")  # fmt: skip
    middle.legend(loc="lower right")
    metrics, floor = read_metrics(run.folder / "metrics.csv"), chapter.entropy(flat(x)).mean()
    right.plot(metrics["step"], metrics["loss"], linewidth=0.7, label="minibatches")
    right.axhline(floor, color="C3", linestyle=":", label=f"entropy of the grey levels, {floor:.0f} nats")
    right.set(xlabel="step", ylabel="cross-entropy (nats an image)", title="The loss does not go to 0",
              ylim=(0, 2.5 * np.median(metrics["loss"])))  # fmt: skip
    right.legend()
    return made


def noise_and_digits(copies):
    """The share of the variance that codes of all widths miss, and what they make of digits and of noise."""
    made = plot.figure(13, 4.6)
    made.set_layout_engine("constrained")
    left, right = made.subfigures(1, 2, width_ratios=(1, 1.5))
    axes, widths = left.add_subplot(), copies["widths"]
    axes.plot(widths, copies["digits"], "o-", label="new digits")
    axes.plot(widths, copies["least"], "k:", label=r"$\sum_{j>d} \lambda_j / \sum_j \lambda_j$ (training part)")
    axes.plot(widths, copies["noise"], "s-", color="C3", label="noise")
    axes.set_xscale("log", base=2)
    axes.set(xticks=widths, xticklabels=widths, xlabel="numbers in the code (image: 64 pixels)",
             ylabel="share of the variance missed", title="The wider the code, the less it need know")  # fmt: skip
    axes.legend()
    given = np.concatenate(copies["shown"])
    sheet = [given] + [np.concatenate(images) for images in copies["images"]]
    grid = right.subplots(len(sheet), 8)
    for row, images, name in zip(grid, sheet, ["given", *map(str, widths)], strict=True):
        for cell, image in zip(row, images, strict=True):
            cell.imshow(image.reshape(8, 8), cmap="gray", vmin=0, vmax=1)
            cell.set(xticks=[], yticks=[])
        row[0].set_ylabel(name, rotation=0, ha="right", va="center")
    right.suptitle("Rebuilt by linear networks with so many numbers in the code")
    return made


if __name__ == "__main__":
    from common import command

    command(main)

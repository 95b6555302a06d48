"""Denoising autoencoders learn to repair images and sounds, and are measured against the best that can be done.

Handwritten digits are covered with Gaussian noise, lose half their pixels, or are blurred; notes of five instruments
drown in hiss. The demo draws original, corrupted and restored; what the gain is at other levels of noise, beside the
best linear denoiser and the exact conditional mean of the training set; the arrows of a denoiser in the plane beside
the exact ones, where the density is known; and what the first layer looks for, with noise and without. It writes a
melody with its hiss, and without, to listen to.
"""

import numpy as np

import tinygen as tg
from tinygen import metrics, plot
from tinygen.data import load, mixtures
from tinygen.models.autoencoder import Autoencoder, DenoisingAutoencoder, fully_connected
from tinygen.models.autoencoder import denoising as chapter
from tinygen.models.autoencoder.denoising import Blur, GaussianNoise, Masking
from tinygen.models.supervised import audio
from tinygen.optim.schedules import Cosine
from tinygen.runs import blas_threads, open_run

CARD = dict(
    rows=("E4",),
    model="autoencoder.denoising:DenoisingAutoencoder",
    resumes=True,
    claims={
        "PSNR gain, MNIST test images, Gaussian noise, σ = 0.5 (dB)": {
            "published": None, "bar": ">= 8", "budget_min": 2},
        "PSNR gain, MNIST test images, masking, q = 0.5 (dB)": {"published": None, "bar": ">= 5", "budget_min": 2},
        "PSNR gain, MNIST test images, blur, s = 2 pixels (dB)": {"published": None, "bar": ">= 4", "budget_min": 2},
        "SNR gain, notes of five instruments, noise as loud as they are (dB)": {
            "published": None, "bar": ">= 7", "budget_min": 2},
        "arrows of the denoiser in the plane, squared error as a share of their squared length": {
            "published": None, "bar": "<= 0.02", "budget_min": 1},
    },
)  # fmt: skip
SIGMA = 0.5  # of the Gaussian noise, on images and in the plane
NAMES = {"noise": "Gaussian noise, σ = 0.5", "masking": "masking, q = 0.5", "blur": "blur"}
RATE, LONG, WINDOW = 8000, 2048, 256  # samples a second, of a note, and heard by the denoiser at a time
RING = mixtures.ring(8, radius=2.0, std=0.25)


def main(*, data="mnist", steps=2000, hidden=500, device="cpu", seed=0, quick=False, out="runs_out/denoising",
         resume=None):  # fmt: skip
    """Learn to repair images and sounds, and draw and write what became of them.

    data: mnist, fashion or digits; steps: minibatches of 100 to learn from, for each corruption; hidden: width of the
    layers; quick: digits, a quarter of the steps, and layers half as wide
    """
    run = open_run(locals())
    data, steps, hidden = ("digits", steps // 4, min(hidden, 250)) if quick else (data, steps, hidden)
    options = dict(hidden=hidden, device=device, seed=seed)
    x, test, (y, y_test), side = images(data)
    models = {kind: trained(run.part(kind), x, corruption, steps, **options)
              for kind, corruption in {**corruptions(side), "nothing": None}.items()}  # fmt: skip
    damaged = {kind: damage(models[kind], test, seed) for kind in NAMES}
    restored = {kind: clipped(models[kind].denoise(damaged[kind])) for kind in NAMES}
    scores = {kind: gain(test, damaged[kind], restored[kind]) for kind in NAMES}
    listener, notes = hearing(run.part("sound"), steps, examples=400 if quick else 2500, **options)
    heard = damage(listener, notes, seed)
    scores["sound"] = sound_gain(notes, heard, listener.denoise(heard))
    arrows = in_the_plane(run.part("plane"), steps, device=device, seed=seed)
    scores["arrows"] = error_of_arrows(arrows, seed)
    codes = {name: robustness(models[name], x, y, test, y_test, damaged["noise"]) for name in ("nothing", "noise")}
    print("won, in decibels: " + ", ".join(f"{kind} {scores[kind]:.2f}" for kind in (*NAMES, "sound")))
    print(f"arrows in the plane: {scores['arrows']:.2%} of their squared length is wrong")
    print("noisy test images, class of the nearest training code right: "
          f"{codes['noise']:.1%}; if the autoencoder has never seen noise: {codes['nothing']:.1%}")  # fmt: skip
    print("units of the code that no test image makes answer: "
          + ", ".join(f"{kind} {silent(model, test):.0%}" for kind, model in models.items()))  # fmt: skip
    pictures(run, models, (x, test), damaged, restored, side, (listener, notes, heard), arrows, seed)
    print(f"pictures and sounds in {run.folder}")
    return {**scores, "code of noisy images": codes["noise"], "the same without noise": codes["nothing"]}


# ---- images ---------------------------------------------------------------------------------------------


def images(data, *, stand_in=True, unseen=1000):
    """Rows to learn from and to judge by, their labels, and the side of an image."""
    train, test = load(data, stand_in=stand_in)
    x, seen = (part.images.reshape(len(part.images), -1) for part in (train, test))
    return x, seen[:unseen], (train.labels, test.labels[:unseen]), train.images.shape[-1]


def corruptions(side):
    """The three ways to damage an image; blur is as wide as 2 pixels of 28."""
    return {"noise": GaussianNoise(SIGMA), "masking": Masking(0.5), "blur": Blur(side / 14, (side, side))}


def trained(run, x, corruption, steps, *, hidden=500, device="cpu", seed=0):
    """An autoencoder as wide inside as `hidden`, that has learnt to repair this corruption (None: to copy)."""
    n, rng = x.shape[1], tg.random.Generator(seed, device=device)
    parts = fully_connected(n, hidden, hidden, last=True, rng=rng), fully_connected(hidden, n, rng=rng)
    options = dict(lr=2e-3, schedule=Cosine(steps), rng=rng)
    if corruption is None:
        model = Autoencoder(*parts, n, **options)
    else:
        model = DenoisingAutoencoder(*parts, n, corruption=corruption, **options)
    with blas_threads(1):
        return model.fit(x, steps=steps, run=run)


def damage(model, x, seed):
    """Corrupted images, or sounds, to judge a model by."""
    return model.corrupt(x, rng=tg.random.Generator(seed + 100, device=model.rng.device))


def clipped(x):
    """What can be shown of an image: values below 0 are black, above 1 white."""
    return np.clip(x, 0, 1)


def gain(x, damaged, restored):
    """How many decibels of PSNR are won, on average; over the damaged image as it is shown, which is fair to it."""
    return float(np.mean(chapter.psnr(x, restored) - chapter.psnr(x, clipped(damaged))))


def robustness(model, x, y, test, y_test, damaged, n=5000):
    """How often the nearest code of n clean training images has the class of a damaged test image."""
    nearest, _ = metrics.nearest(model.transform(damaged), model.transform(x[:n]))
    return float(np.mean(y[:n][nearest[:, 0]] == y_test))


def silent(model, x):
    """The share of the code's units that are 0 for all of these images: dead, if it stays so."""
    return float(np.mean(~model.transform(x).any(0)))


# ---- sounds and points ----------------------------------------------------------------------------------


def hearing(run, steps, *, examples, hidden=500, device="cpu", seed=0):
    """A denoiser of windows of sound, and windows to judge it by."""
    x, test = (windows(n, seed + k) for k, n in enumerate((examples, 200)))
    return trained(run, x, GaussianNoise(1.0), steps, hidden=hidden, device=device, seed=seed), test


def windows(n, seed):
    """Notes cut into windows, each brought to a mean square of 1: (m, WINDOW)."""
    s, _ = audio.notes(n, LONG, tg.random.Generator(seed + 200))
    return audio.levelled(s.reshape(-1, WINDOW))


def sound_gain(x, heard, restored):
    """How many decibels of SNR are won, on average."""
    return float(np.mean(chapter.snr(x, restored) - chapter.snr(x, heard)))


def in_the_plane(run, steps, *, device="cpu", seed=0):
    """A denoiser of points drawn from the ring of Gaussians."""
    model_rng, points = tg.random.Generator(seed, device=device), tg.random.Generator(seed + 300)
    parts = (fully_connected(2, 100, 100, last=True, rng=model_rng), fully_connected(100, 2, rng=model_rng))
    model = DenoisingAutoencoder(*parts, 2, corruption=GaussianNoise(SIGMA), lr=5e-3, schedule=Cosine(steps),
                                 rng=model_rng)  # fmt: skip
    with blas_threads(1):
        return model.fit(RING.sample(50_000, points), steps=steps, batch_size=500, run=run)


def error_of_arrows(model, seed):
    """The mean squared error of the arrows, as a share of their mean square, over noisy points."""
    x_tilde = damage(model, RING.sample(20_000, tg.random.Generator(seed + 400)), seed)
    exact = chapter.mixture_denoiser(RING, x_tilde, SIGMA)
    return float(np.square(model.denoise(x_tilde) - exact).sum() / np.square(exact - x_tilde).sum())


# ---- the claims -----------------------------------------------------------------------------------------


def reproduce(run, claims):
    """The claims of the CARD, at the defaults of `main`. Only the real MNIST will do."""
    values = {}
    for claim in claims:
        if "MNIST" in claim:
            x, test, _, side = images("mnist", stand_in=False)
            kind = next(kind for kind, name in NAMES.items() if name in claim)
            model = trained(run.part(kind), x, corruptions(side)[kind], 2000)
            damaged = damage(model, test, 0)
            values[claim] = gain(test, damaged, clipped(model.denoise(damaged)))
        elif "notes" in claim:
            listener, notes = hearing(run.part("sound"), 2000, examples=2500)
            heard = damage(listener, notes, 0)
            values[claim] = sound_gain(notes, heard, listener.denoise(heard))
        else:
            values[claim] = error_of_arrows(in_the_plane(run.part("plane"), 2000), 0)
    return values


def tiny(rng):
    """A small model, with images."""
    parts = fully_connected(6, 5, last=True, rng=rng), fully_connected(5, 6, rng=rng)
    return DenoisingAutoencoder(*parts, 6, corruption=Masking(0.3), rng=rng), rng.spawn(1)[0].uniform((20, 6))


def loss(rng):
    """The loss of a small model, for `python -m tinygen explain denoising`."""
    model, x = tiny(rng)
    y = model.encoder(tg.tensor(model.corrupted(x, rng)))
    return tg.mean(model.reconstruction_loss(tg.tensor(x), y))


# ---- pictures -------------------------------------------------------------------------------------------


def pictures(run, models, sets, damaged, restored, side, sound, arrows, seed):
    """All of them, and the melody."""
    x, test = sets
    run.save_figure("restored.png", triptychs(test, damaged, restored, side))
    run.save_figure("levels.png", levels(models["noise"], x, test, seed))
    run.save_figure("arrows.png", field(arrows, seed))
    run.save_figure("filters.png", filters({k: models[k] for k in ("nothing", "noise", "masking")}, side))
    run.save_figure("sound.png", waves(*sound, sound[0].denoise(sound[2])))
    write_melody(run.folder, sound[0], seed)


def triptychs(test, damaged, restored, side, n=10):
    """For each corruption: original, corrupted, restored."""
    rows = [x[:n] for kind in NAMES for x in (test, damaged[kind], restored[kind])]
    names = [name for kind in NAMES for name in ("original", NAMES[kind], "restored")]
    return plot.image_grid(np.concatenate(rows).reshape(-1, side, side), n, enlarge=4 if side < 20 else 1,
                           row_names=names, title="Test images: original, corrupted, restored")  # fmt: skip


def levels(model, x, test, seed, n=300, examples=5000):
    """PSNR at several levels of noise: of the network, which knows one of them, and of what is told the level."""
    sigmas = np.array([0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0])
    x, test = x[:examples], test[:n]
    found = {"noisy image": [], "network, trained at σ = 0.5": [], "best linear denoiser of each level":
                             [], f"exact mean (5) over {len(x)} examples": []}  # fmt: skip
    for sigma in sigmas:
        noise = GaussianNoise(float(sigma))
        x_tilde = noise(test, tg.random.Generator(seed + 500))
        by_heart = chapter.mean_of_examples(noise.log_density(x_tilde, x), x)
        ways = (x_tilde, model.denoise(x_tilde), chapter.wiener(x, x_tilde, sigma), by_heart)
        for name, x_hat in zip(found, ways, strict=True):
            found[name].append(chapter.psnr(test, clipped(x_hat)).mean())
    made = plot.figure(7, 4.5)
    made.set_layout_engine("constrained")
    axes = made.add_subplot()
    for (name, values), style in zip(found.items(), ("k:", "C0o-", "C1s-", "C2^-"), strict=True):
        axes.plot(sigmas, values, style, label=name, markersize=4)
    axes.axvline(SIGMA, color="C0", alpha=0.3, linewidth=6)
    axes.set(xlabel="σ of the noise", ylabel="PSNR (dB), test images", title="What is won at other levels of noise")
    axes.legend()
    return made


def field(model, seed, half=3.4):
    """Arrows from noisy points to their mean origin: by (6) from the density, as learnt, and the difference."""
    ticks = np.linspace(-half, half, 22)
    at = np.stack(np.meshgrid(ticks, ticks), -1).reshape(-1, 2)
    fine = np.linspace(-half, half, 120)
    p = np.exp(chapter.noisy(RING, SIGMA).log_density(np.stack(np.meshgrid(fine, fine), -1).reshape(-1, 2)))
    exact = chapter.mixture_denoiser(RING, at, SIGMA) - at
    learnt = model.denoise(at) - at
    made = plot.figure(12.5, 4.6)
    made.set_layout_engine("constrained")
    titles = (r"exact: $\sigma^2 \nabla \log p_\sigma$", r"learnt: $r(\tilde x) - \tilde x$", "learnt less exact")
    for axes, arrows, title in zip(made.subplots(1, 3), (exact, learnt, learnt - exact), titles, strict=True):
        axes.contourf(fine, fine, p.reshape(120, 120), 12, cmap="Greys", alpha=0.6)
        axes.quiver(*at.T, *arrows.T, color="C3", angles="xy", scale_units="xy", scale=2, width=0.003)
        axes.set(title=title, aspect="equal", xlim=(-half, half), ylim=(-half, half))
    made.suptitle(f"Half of the way from $\\tilde x$ to the mean of what it may have been; grey: the density of noisy "
                  f"points ({error_of_arrows(model, seed):.1%} of the squared length is wrong, over such points)",
                  fontsize=11)  # fmt: skip
    return made


def filters(models, side, rows=6, columns=8):
    """The weights of the first layer's units that have the largest ones, each on its own scale."""
    titles = {"nothing": "trained to copy", "noise": "trained on Gaussian noise", "masking": "trained on masking"}
    made = plot.figure(12, 3.6)
    made.set_layout_engine("constrained")
    for axes, (kind, model) in zip(made.subplots(1, len(models)), models.items(), strict=True):
        W = next(model.encoder.parameters()).numpy()  # (hidden, pixels)
        chosen = W[np.argsort(-np.square(W).sum(1))[: rows * columns]]
        chosen = np.resize(chosen / np.abs(chosen).max(1, keepdims=True), (rows, columns, side, side))
        framed = np.pad(chosen, [(0, 0), (0, 0), (0, 1), (0, 1)], constant_values=np.nan)  # gaps stay white
        axes.imshow(framed.swapaxes(1, 2).reshape(rows * (side + 1), -1), cmap="RdBu_r", vmin=-1, vmax=1)
        axes.set(title=titles[kind])
        axes.set_axis_off()
    return made


def waves(listener, notes, heard, restored, shown=3):
    """Some notes: as they were, in noise, and restored."""
    chosen = np.arange(shown) * (LONG // WINDOW) * 3 + 1
    milliseconds = 1000 * np.arange(WINDOW) / RATE
    made = plot.figure(12, 1.9 * shown)
    made.set_layout_engine("constrained")
    for row, k in zip(made.subplots(shown, 3, sharex=True, sharey=True), chosen, strict=True):
        values = {"original": notes[k], "with noise": heard[k], "restored": restored[k]}
        for axes, (name, s) in zip(row, values.items(), strict=True):
            axes.plot(milliseconds, s, linewidth=0.8, color="C0" if name != "with noise" else "0.5")
            told = "" if name == "original" else f": {chapter.snr(notes[k : k + 1], s[None])[0]:.1f} dB"
            axes.set_title(name + told, fontsize=10)
            axes.set_ylim(-4, 4)
    for axes in made.axes[-3:]:
        axes.set_xlabel("milliseconds")
    return made


def write_melody(folder, listener, seed):
    """A clarinet's melody with noise, and restored, as WAV files; windows overlap by half, and fade into each other."""
    from tinygen.demos.audio import NAMES, melody

    s = melody(NAMES.index("clarinet"), seed)
    s = s[: len(s) // WINDOW * WINDOW]
    s = s / np.sqrt(np.mean(s**2))
    heard = damage(listener, s.reshape(-1, WINDOW), seed).ravel()
    half, restored = WINDOW // 2, np.zeros(len(s))
    fade = np.sin(np.pi * (np.arange(WINDOW) + 0.5) / WINDOW) ** 2
    for start in (0, half):
        inside = heard[start : start + (len(s) - start) // WINDOW * WINDOW]
        restored[start : start + len(inside)] += (listener.denoise(inside.reshape(-1, WINDOW)) * fade).ravel()
    for name, sound in {"melody-noisy": heard, "melody-restored": restored}.items():
        audio.write_wav(folder / f"{name}.wav", sound / 8, RATE)


if __name__ == "__main__":
    from common import command

    command(main)

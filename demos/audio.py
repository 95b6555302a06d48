"""Sound as it stands in a file: five instruments are synthesised, written as WAV, read back, and told apart.

A dilated causal network learns who plays from raw samples. It is compared with a softmax regression, for which sample
1 is one feature and sample 2 another. The demo draws the notes, what the network believes while it listens, the
confusion matrix, and which samples reach one answer; and it writes a note of each instrument, and a melody, to listen
to.
"""

import numpy as np

import tinygen as tg
from tinygen import data, plot
from tinygen.models.supervised import DilatedNet, SoftmaxRegression
from tinygen.models.supervised import audio as chapter
from tinygen.models.supervised.softmax_regression import confusion
from tinygen.optim.schedules import Cosine
from tinygen.runs import Run, blas_threads, open_run, read_metrics

CARD = dict(
    rows=("A4",),
    model="supervised.audio:DilatedNet",
    claims={
        "instruments told apart, raw samples": {"published": None, "bar": ">= 0.95", "budget_min": 3},
        "the same by softmax regression": {"published": None, "bar": "<= 0.4", "budget_min": 1},
        "largest error of a WAV file, times 32767": {"published": None, "bar": "<= 0.501", "budget_min": 1},
    },
)  # fmt: skip
RATE, T = 8000, 512  # samples a second; samples of a note: 64 ms of it
TRAIN, TEST = 3000, 1000
NAMES = tuple(chapter.INSTRUMENTS)


def main(*, steps=500, channels=16, layers=7, device="cpu", seed=0, quick=False, out="runs_out/audio",
         resume=None):  # fmt: skip
    """Learn instruments from raw audio, and draw and write what was heard.

    steps: minibatches of 32 notes to learn from; channels, layers: of the network, which sees 2^layers samples; quick:
    a fifth of the steps
    """
    run = open_run(locals())
    train, test = heard(seed)
    net = trained(
        run, train, steps // 5 if quick else steps, channels=channels, layers=layers, device=device, seed=seed
    )
    found = net.predict(test[0])
    scores = {"network": float(np.mean(found == test[1])), "softmax": by_softmax(train, test),
              "wav": wav_error(test[0][:100].ravel(), run.folder / "notes.wav")}  # fmt: skip
    print("right on {network:.1%} of the test notes, softmax regression on {softmax:.1%} (guessing: 20%); largest "
          "error of a WAV file: {wav:.3f} / 32767".format(**scores))  # fmt: skip
    pictures(run, net, test, found, seed)
    print(f"pictures and sounds in {run.folder}; last loss {read_metrics(run.folder / 'metrics.csv')['loss'][-1]:.3f}")
    return scores


def heard(seed=0):
    """Notes to learn from and to judge by: two pairs (s, who)."""
    rngs = tg.random.Generator(seed + 100).spawn(2)
    return [chapter.notes(n, T, rng, rate=RATE) for n, rng in zip((TRAIN, TEST), rngs, strict=True)]


def trained(run, train, steps, *, channels=16, layers=7, device="cpu", seed=0):
    """A network that has learnt these notes."""
    net = DilatedNet(T, len(NAMES), channels=channels, dilations=[2**k for k in range(layers)], lr=0.01,
                     schedule=Cosine(steps), rng=tg.random.Generator(seed, device=device))  # fmt: skip
    known = net.checked(*train)
    with blas_threads(1):
        for _ in run.steps(net, steps):
            run.log(**net.update(*data.batch(known, net.rng, 32)))
    return net


def by_softmax(train, test, steps=1000):
    """The share of right answers of a softmax regression on the same samples."""
    model = SoftmaxRegression(T, len(NAMES), lr=0.1, schedule=Cosine(steps), rng=tg.random.Generator(0))
    return model.fit(*train, steps=steps, run=Run(quiet=True)).score(*test)


def wav_error(s, path):
    """The largest difference that writing and reading a file makes, in units of 1 / 32767."""
    chapter.write_wav(path, s, RATE)
    again, rate = chapter.read_wav(path)
    assert rate == RATE and len(again) == len(s)
    return float(np.abs(again.astype(float) - s).max() * chapter.LARGEST)


def reproduce(run, claims):
    """The claims of the CARD, at the defaults of `main`."""
    train, test = heard()
    ways = [lambda: trained(run, train, 500).score(*test), lambda: by_softmax(train, test),
            lambda: wav_error(test[0][:100].ravel(), run.folder / "notes.wav")]  # fmt: skip
    return {claim: way() for claim, way in zip(CARD["claims"], ways, strict=True) if claim in claims}


def tiny(rng):
    """A small network, with sounds and classes."""
    net = DilatedNet(12, 3, channels=3, dilations=(1, 2, 4), rng=rng)
    return net, rng.spawn(1)[0].normal((20, 12)), np.arange(20) % 3


def loss(rng):
    """The cross-entropy of a small network, for `python -m tinygen explain audio`."""
    net, x, y = tiny(rng)
    return net.loss(x, y)


# ---- sounds and pictures ----------------------------------------------------------------------------------------


def pictures(run, net, test, found, seed):
    """All of them, and a melody of each instrument, into the run's folder."""
    for k, name in enumerate(NAMES):
        chapter.write_wav(run.folder / f"{name}.wav", melody(k, seed), RATE)
    run.save_figure("notes.png", instruments(seed))
    run.save_figure("learning.png", plot.curves(run.folder / "metrics.csv"))
    run.save_figure("listening.png", listening(net, *test))
    run.save_figure("confusion.png", plot.confusion(confusion(test[1], found, len(NAMES)), NAMES))
    run.save_figure("field.png", field(net, test[0][:50]))


def melody(kind, seed):
    """Eight notes of one instrument, 0.3 seconds each, up a major scale."""
    tau, phases = np.arange(int(0.3 * RATE)) / RATE, tg.random.Generator(seed).uniform(40, 0, 2 * np.pi)
    multiples, loudness, decay = chapter.INSTRUMENTS[NAMES[kind]]
    found = []
    for half_tones in (0, 2, 4, 5, 7, 9, 11, 12):
        heard = (f := 261.6 * 2 ** (half_tones / 12) * multiples) < RATE / 2
        s = chapter.tone(tau, *(part[heard] for part in (f, loudness, decay, phases[: len(f)])))
        found.append(0.5 * s / np.abs(s).max() * np.minimum(1, 50 * np.minimum(tau, tau[::-1])))  # without a click
    return np.concatenate(found)


def instruments(seed):
    """A note of each instrument at one pitch: its samples, the first of them enlarged, and its partials."""
    made = plot.figure(11, 9)
    made.set_layout_engine("constrained")
    grid = made.subplots(len(NAMES), 3, width_ratios=(1.4, 1, 1))
    tau, pitch = np.arange(RATE // 2) / RATE, 262.0
    phases = tg.random.Generator(seed).uniform(40, 0, 2 * np.pi)
    for row, (name, (multiples, loudness, decay)) in zip(grid, chapter.INSTRUMENTS.items(), strict=True):
        heard = multiples * pitch < RATE / 2
        parts = (pitch * multiples, loudness, decay, phases[: len(multiples)])
        s = chapter.tone(tau, *(part[heard] for part in parts))
        s /= np.abs(s).max()
        row[0].plot(tau, s, linewidth=0.3)
        row[0].axvspan(0, T / RATE, color="C1", alpha=0.25, linewidth=0)
        row[0].set(ylabel=name, ylim=(-1.1, 1.1), yticks=[])
        row[1].plot(1000 * tau[:120], s[:120], ".-", markersize=3, linewidth=0.8)
        row[1].set(ylim=(-1.1, 1.1), yticks=[])
        row[2].stem(multiples[heard] * pitch, loudness[heard], markerfmt=" ", basefmt=" ")
        row[2].set(xlim=(0, RATE / 2), ylim=(0, 1.1), yticks=[])
    for axes, title in zip(grid[0], ("half a second (orange: what the network hears)", "15 ms, sample by sample",
                                     r"partials: loudness $a_k$ at $\omega_k$"), strict=True):  # fmt: skip
        axes.set_title(title, fontsize=10)
    for axes, label in zip(grid[-1], ("seconds", "milliseconds", "a second"), strict=True):
        axes.set_xlabel(label)
    return made


def listening(net, s, who):
    """One test note of each instrument, and the network's belief after every sample."""
    chosen = [int(np.flatnonzero(who == k)[1]) for k in range(len(NAMES))]
    belief, time = net.along(s[chosen]), 1000 * np.arange(T) / RATE
    made = plot.figure(11, 8)
    made.set_layout_engine("constrained")
    grid = made.subplots(len(NAMES), 2, sharex=True)
    for row, k, name in zip(grid, range(len(NAMES)), NAMES, strict=True):
        row[0].plot(time, s[chosen[k]], linewidth=0.6, color=f"C{k}")
        row[0].set(ylabel=name, ylim=(-1, 1))
        for j, other in enumerate(NAMES):
            row[1].plot(time, belief[k, :, j], color=f"C{j}", linewidth=2 if j == k else 1, label=other)
        row[1].set(ylim=(-0.05, 1.05))
    grid[0, 0].set_title("a test note", fontsize=10)
    grid[0, 1].set_title("belief so far", fontsize=10)
    grid[0, 1].legend(fontsize=7, ncols=5, loc="center right")
    for axes in grid[-1]:
        axes.set_xlabel("milliseconds")
    return made


def field(net, s):
    """Which samples the last layer's answer at one moment hears: the slopes, and the receptive field by its formula."""
    leaf, at = tg.tensor(chapter.levelled(net.checked(s)).data, requires_grad=True), T - 100
    slope = np.abs(tg.grad(tg.sum(net.hidden(leaf)[:, :, at]), leaf).numpy()).mean(0)
    R, where = net.receptive_field, at - np.arange(T)
    made = plot.figure(8, 3.4)
    made.set_layout_engine("constrained")
    axes = made.add_subplot()
    slope[slope == 0] = np.nan  # exactly nothing, which a logarithmic scale cannot show
    axes.semilogy(-where, slope, linewidth=0.8)
    axes.set_xlim(-where[0], -where[-1])
    axes.axvspan(-R + 0.5, 0.5, color="C1", alpha=0.25, linewidth=0, label=f"receptive field (4): {R} samples")
    axes.set(xlabel="samples from the moment of the answer (negative: the past)", ylabel="mean slope",
             title="What one answer hears")  # fmt: skip
    axes.legend()
    return made


if __name__ == "__main__":
    from common import command

    command(main)

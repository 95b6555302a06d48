r"""A run: a folder that knows what was asked, how far it came, and how to go on.

| file                     | what                                                                              |
|--------------------------|-----------------------------------------------------------------------------------|
| `config.json`            | what was asked, written first                                                     |
| `metrics.csv`            | what was logged, a row a step                                                     |
| `checkpoint.safetensors` | the last saved state: weights, optimisers, generators, step                       |
| pictures                 | whatever `save_figure` was given                                                  |

The training loop stays in the model's own file:

```python
for step in run.steps(self, n):
    run.log(**self.update(batch(x, self.rng, 64)))
```

`steps` restores the owner, saves it when due, and draws the bar. What survives a kill is what
`owner.state_dict()` gives and `owner.load_state_dict` takes; the loop's only other state is the step. So a run
that was killed and resumed computes what a run left alone computes, bit for bit.

Ctrl-C is honoured between two steps, when the state is whole: the run saves and stops. A second Ctrl-C stops at
once, and the checkpoint before it stays good.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tinygen.runs.checkpoint import atomically, load, save
from tinygen.runs.metrics import Metrics
from tinygen.runs.progress import Progress

SAVE_EVERY = 30.0  # seconds between checkpoints


class Run:
    """A run in a new folder, or, without one, just a bar and the latest numbers.

    Parameters
    ----------
    folder : made if needed; refused if it holds a run already
    config : what was asked: a dictionary that JSON can hold
    quiet : draw no bar

    Attributes
    ----------
    folder : Path, or None
    config : what was asked
    step : how many steps are done
    """

    def __init__(self, folder: str | os.PathLike | None = None, config: dict[str, Any] | None = None, *,
                 quiet: bool = False):  # fmt: skip
        self.folder = None if folder is None else Path(folder)
        self.config = dict(config or {})
        self.quiet = quiet
        self.step = 0
        self._loop = "to come"  # then "running", then "done"
        if self.folder is not None:
            self._claim(self.folder)
        self.metrics = Metrics(self._path("metrics.csv"))

    def _claim(self, folder: Path) -> None:
        """Write what was asked, first of all; refused if the folder holds a run, or gets one at the same moment."""
        folder.mkdir(parents=True, exist_ok=True)
        try:
            with atomically(folder / "config.json", new=True) as temporary:
                temporary.write_text(json.dumps(self.config, indent=2) + "\n", encoding="utf-8")
        except FileExistsError:
            raise FileExistsError(f"{folder} holds a run already: resume it (Run.resume, --resume), "
                                  "or give another folder (--out)") from None  # fmt: skip

    @classmethod
    def resume(cls, folder: str | os.PathLike, *, quiet: bool = False) -> Run:
        """The run in a folder; the next `steps` goes on from its checkpoint."""
        run = cls(quiet=quiet)
        run.folder = Path(folder)
        try:
            run.config = json.loads((run.folder / "config.json").read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise FileNotFoundError(f"resume: {folder} has no config.json, so it holds no run") from None
        run.metrics = Metrics(run._path("metrics.csv"))
        return run

    def part(self, name: str) -> Run:
        """A run of its own in a folder inside this one: the one that is there already, to be resumed, or a new one."""
        folder = self._path(name)
        if folder is None:
            return Run(quiet=self.quiet)
        if (folder / "config.json").exists():
            return Run.resume(folder, quiet=self.quiet)
        return Run(folder, {"part": name}, quiet=self.quiet)

    def _path(self, name: str) -> Path | None:
        return None if self.folder is None else self.folder / name

    # ---- the loop --------------------------------------------------------------------------------------

    def steps(self, owner: Any, n: int, *, save_every: int | None = None) -> Iterator[int]:
        """Step numbers from where the owner's checkpoint stands up to n: 1, ..., n for a new run.

        Parameters
        ----------
        owner : what is trained: anything with `state_dict` and `load_state_dict`
        n : the number of steps in all; when they are done already, the owner is restored and nothing is left to do
        save_every : steps between checkpoints; by default one comes every 30 seconds. The last step always saves.
        """
        if save_every is not None and save_every < 1:
            raise ValueError(f"steps: save_every is {save_every}; at least 1 is wanted, or None for every 30 seconds")
        if self._loop != "to come":
            raise RuntimeError("steps: this run has had its loop; a second loop needs a Run of its own")
        self._loop = "running"
        self._restore(owner)
        saved = time.monotonic()
        try:
            with _interruptible() as interrupted, Progress(n, self.step, quiet=self.quiet) as bar:
                while self.step < n:
                    self.step += 1
                    yield self.step
                    bar.show(self.step, self.metrics.numbers)
                    late = time.monotonic() - saved > SAVE_EVERY if save_every is None else self.step % save_every == 0
                    if late or interrupted() or self.step == n:
                        self._save(owner)
                        saved = time.monotonic()
                    if interrupted():
                        raise KeyboardInterrupt(self._farewell(n))
        finally:
            self._loop = "done"
            self.metrics.write()

    def log(self, **scalars: Any) -> None:
        """Note numbers, 0-d arrays or Tensors of the present step; several calls fill one row."""
        if self._loop != "running":
            raise RuntimeError("log: only inside the loop over run.steps(...), whose step the numbers belong to")
        self.metrics.log(self.step, scalars)

    def save_figure(self, name: str, figure: Any) -> None:
        """Draw a matplotlib figure into the folder, as `name` (such as "samples.png")."""
        if self.folder is not None:
            figure.savefig(self.folder / name)

    # ---- the checkpoint --------------------------------------------------------------------------------

    def _save(self, owner: Any) -> None:
        """First the log, then the checkpoint: the log never ends before the state does."""
        self.metrics.write()
        if self.folder is not None:
            save(self.folder / "checkpoint.safetensors", {"step": self.step, "owner": owner.state_dict()})

    def _restore(self, owner: Any) -> None:
        """The owner as it was saved, and the log up to there; a new run saves where it starts."""
        path = self._path("checkpoint.safetensors")
        if path is None or not path.exists():
            self.metrics.cut(0)
            self._save(owner)
            return
        state = load(path, ours=True)
        owner.load_state_dict(state["owner"])
        self.step = state["step"]
        self.metrics.cut(self.step)

    def _farewell(self, n: int) -> str:
        rest = "nothing is kept: the run has no folder" if self.folder is None else f"go on: --resume {self.folder}"
        return f"stopped after step {self.step} of {n}; {rest}"


def open_run(arguments: dict[str, Any]) -> Run:
    """The run that a demo was asked for: a new one in `out`, or the one in `resume`.

    Parameters
    ----------
    arguments : the demo's own arguments (`locals()` on its first line), with `out` (a folder; a number is added
        if it is taken) and `resume` (a folder or None). All others are the configuration, and in a resumed run
        they must be what they were.
    """
    config = {name: value for name, value in arguments.items() if name not in ("out", "resume")}
    config = json.loads(json.dumps(config))  # as it is read again: a tuple comes back as a list
    if arguments["resume"] is None:
        return Run(_free(Path(arguments["out"])), config)
    run = Run.resume(arguments["resume"])
    if run.config != config:
        other = [f"{k}={config.get(k)!r} (it was {run.config.get(k)!r})"
                 for k in {**run.config, **config} if config.get(k) != run.config.get(k)]  # fmt: skip
        raise ValueError(f"resume: {run.folder} was started with other arguments: {', '.join(other)}")
    return run


def _free(folder: Path) -> Path:
    """The folder itself, or its name with the first free number, if it holds a run."""
    free, number = folder, 2
    while (free / "config.json").exists():
        free, number = folder.with_name(f"{folder.name}-{number}"), number + 1
    return free


@contextlib.contextmanager
def _interruptible() -> Iterator[Any]:
    """Inside, the first Ctrl-C only makes the yielded function true, and the second one interrupts."""
    pressed: list[int] = []
    if threading.current_thread() is not threading.main_thread():  # signals come to the main thread
        yield lambda: False
        return

    def handle(number, frame):
        if pressed:
            raise KeyboardInterrupt
        pressed.append(number)

    before = signal.signal(signal.SIGINT, handle)
    try:
        yield lambda: bool(pressed)
    finally:
        signal.signal(signal.SIGINT, before)

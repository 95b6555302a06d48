"""Killed and resumed is the same as left alone, bit for bit; Ctrl-C leaves a usable checkpoint."""

import itertools
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

import tinygen as tg
from tinygen import nn, optim
from tinygen.data import Batches, batch
from tinygen.models.model import Model
from tinygen.runs import Run, load, open_run, read_metrics
from tinygen.runs.gallery import gallery

FILES = ["checkpoint.safetensors", "config.json", "metrics.csv"]
DATA = np.random.default_rng(0).normal(size=(50, 3)).astype(np.float32)


class Toy(Model):
    """A regression with everything that has a state: weights, a buffer, Adam, a generator, epochs."""

    def __init__(self, seed=0):
        self.rng = tg.random.Generator(seed)
        self.net = nn.Sequential(nn.Linear(3, 8, rng=self.rng), nn.Tanh(), nn.Linear(8, 1, rng=self.rng))
        self.register_buffer("count", tg.tensor(np.array(0)))
        self.optimizer = optim.Adam(self.parameters(), 0.01)
        self.batches = Batches(50, 8, self.rng.spawn(1)[0])

    def update(self, x):
        y = self.net(x + self.rng.normal(x.shape, std=0.1))
        loss = tg.mean((y - x[:, :1] * x[:, 1:2]) ** 2)
        self.optimizer.step(tg.grad(loss, self.optimizer.params))
        self.count.assign(self.count.numpy() + 1)
        return {"loss": loss}

    def fit(self, n, run, stop=None, save_every=None, action=None):
        for step in run.steps(self, n, save_every=save_every):
            run.log(**self.update(DATA[self.batches()] + batch(DATA, self.rng, 8)))
            if step > 5 and step % 4 == 0:
                run.log(late=step)
            if step == stop:
                action()


class Killed(Exception):
    pass


def kill():
    raise Killed


def straight(folder, n=30):
    Toy().fit(n, Run(folder, {"a": 1}, quiet=True))
    return {name: (folder / name).read_bytes() for name in FILES}


@pytest.mark.parametrize(("save_every", "stop"), [(7, 3), (7, 7), (7, 20), (1, 29), (100, 30)])
def test_killed_and_resumed_equals_straight(tmp_path, save_every, stop):
    expected = straight(tmp_path / "straight")
    run = Run(tmp_path / "killed", {"a": 1}, quiet=True)
    with pytest.raises(Killed):
        Toy().fit(30, run, stop, save_every, kill)
    run.metrics.write()
    with open(tmp_path / "killed" / "metrics.csv", "a") as file:
        file.write("31,0.")  # a line cut short
    del run
    again = Run.resume(tmp_path / "killed", quiet=True)
    assert again.config == {"a": 1}
    Toy(seed=5).fit(30, again)
    assert {name: (tmp_path / "killed" / name).read_bytes() for name in FILES} == expected


def test_killed_by_the_system_and_resumed_equals_straight(tmp_path):
    expected = straight(tmp_path / "straight")
    code = (
        "import os, runpy, sys; sys.path[:0] = sys.argv[3:]; m = runpy.run_path(sys.argv[1]);"
        "run = m['Run'](sys.argv[2], {'a': 1}, quiet=True);"
        "m['Toy']().fit(30, run, 17, 5, lambda: os.kill(os.getpid(), 9))"
    )
    root = str(Path(tg.__file__).parents[1])
    done = subprocess.run([sys.executable, "-c", code, __file__, str(tmp_path / "killed"), root], check=False)
    assert done.returncode == -signal.SIGKILL
    assert load(tmp_path / "killed" / "checkpoint.safetensors")["step"] == 15
    Toy(seed=5).fit(30, Run.resume(tmp_path / "killed", quiet=True))
    assert {name: (tmp_path / "killed" / name).read_bytes() for name in FILES} == expected


def test_three_kills_at_random_moments(tmp_path):
    """Each comes from outside, whenever it comes: in a step, in a write, between the two; the end is the same."""
    n, folder, draws = 600, tmp_path / "killed", np.random.default_rng()
    expected = straight(tmp_path / "straight", n)
    code = (
        "import pathlib, runpy, sys; sys.path[:0] = sys.argv[3:]; m = runpy.run_path(sys.argv[1]);"
        "folder = pathlib.Path(sys.argv[2]); there = (folder / 'config.json').exists();"
        "run = m['Run'].resume(folder, quiet=True) if there else m['Run'](folder, {'a': 1}, quiet=True);"
        f"print('ready', flush=True); m['Toy']().fit({n}, run, None, 2)"
    )
    root, kills = str(Path(tg.__file__).parents[1]), 0
    for _ in range(3):
        command = [sys.executable, "-c", code, __file__, str(folder), root]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
            process.stdout.readline()
            time.sleep(draws.uniform(0, 0.4))
            process.kill()
        kills += process.returncode == -signal.SIGKILL
    assert kills  # a fast machine may have ended before the last
    run = resume_or_start(folder)
    Toy(seed=5).fit(n, run)
    assert {name: (folder / name).read_bytes() for name in FILES} == expected


def resume_or_start(folder):
    """The run in a folder, or a new one if the first was stopped before it wrote anything."""
    if (folder / "config.json").exists():
        return Run.resume(folder, quiet=True)
    return Run(folder, {"a": 1}, quiet=True)


def test_ctrl_c_saves_the_finished_step_and_stops(tmp_path):
    expected = straight(tmp_path / "straight")
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt, match="stopped after step 11 of 30; go on: --resume"):
        Toy().fit(30, Run(tmp_path / "stopped", {"a": 1}, quiet=True), 11, None, lambda: os.kill(os.getpid(), 2))
    assert signal.getsignal(signal.SIGINT) is before
    assert load(tmp_path / "stopped" / "checkpoint.safetensors")["step"] == 11
    Toy(seed=5).fit(30, Run.resume(tmp_path / "stopped", quiet=True))
    assert {name: (tmp_path / "stopped" / name).read_bytes() for name in FILES} == expected


def test_resuming_a_finished_run_restores_and_does_nothing(tmp_path):
    expected = straight(tmp_path)
    toy = Toy(seed=5)
    toy.fit(30, Run.resume(tmp_path, quiet=True), 1, None, kill)
    assert {name: (tmp_path / name).read_bytes() for name in FILES} == expected
    assert int(toy.count.item()) == 30


def test_a_folder_is_not_needed_nor_the_main_thread():
    errors = []

    def work():
        try:
            run = Run(quiet=True)
            Toy().fit(6, run)
            assert set(run.metrics.numbers()) == {"loss"}
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert not errors


def test_metrics_have_a_row_a_step_and_gaps(tmp_path):
    straight(tmp_path, 10)
    columns = read_metrics(tmp_path / "metrics.csv")
    assert columns["step"] == list(range(1, 11))
    assert np.isfinite(columns["loss"]).all()
    assert [s for s, v in zip(columns["step"], columns["late"], strict=True) if v == v] == [8]


def test_the_configuration_is_written_first_and_kept(tmp_path):
    Run(tmp_path / "a", {"steps": 3, "name": "ä"})
    assert json.loads((tmp_path / "a" / "config.json").read_text()) == {"steps": 3, "name": "ä"}
    with pytest.raises(FileExistsError, match="--resume"):
        Run(tmp_path / "a", {})
    with pytest.raises(FileNotFoundError, match="holds no run"):
        Run.resume(tmp_path / "b")


def test_open_run_numbers_new_folders_and_guards_old_ones(tmp_path):
    arguments = {"steps": 3, "out": str(tmp_path / "a"), "resume": None}
    assert [open_run(arguments).folder.name for _ in range(3)] == ["a", "a-2", "a-3"]
    resumed = {"out": "ignored", "resume": str(tmp_path / "a-2")}
    assert open_run({"steps": 3, **resumed}).folder.name == "a-2"
    with pytest.raises(ValueError, match=r"steps=4 \(it was 3\)"):
        open_run({"steps": 4, **resumed})


def test_tuples_among_the_arguments_are_resumed(tmp_path):
    arguments = {"sizes": (3, 2), "out": str(tmp_path / "a"), "resume": None}
    assert open_run(arguments).config == open_run({**arguments, "resume": str(tmp_path / "a")}).config


def test_a_run_that_comes_at_the_same_moment_is_not_written_over(tmp_path, monkeypatch):
    monkeypatch.setattr(Path, "exists", lambda path: False)  # as both runs saw it
    Run(tmp_path, {"who": "they"})
    with pytest.raises(FileExistsError, match="--resume"):
        Run(tmp_path, {"who": "me"})
    assert json.loads((tmp_path / "config.json").read_text()) == {"who": "they"}


def test_the_gallery_s_addresses_are_quoted(tmp_path):
    (tmp_path / "a#1").mkdir()
    (tmp_path / "a#1" / "50% & ?.png").write_bytes(b"")
    page = gallery(tmp_path).read_text(encoding="utf-8")
    assert 'href="a%231/50%25 &amp; %3F.png"' in page and 'alt="50% &amp; ?.png"' in page


def test_a_part_is_a_run_of_its_own_and_is_resumed(tmp_path):
    whole = Run(tmp_path, {"a": 1}, quiet=True)
    with pytest.raises(Killed):
        Toy().fit(30, whole.part("b"), 20, 7, kill)
    Toy(seed=5).fit(30, whole.part("b"))
    straight(tmp_path / "straight")
    for name in ("checkpoint.safetensors", "metrics.csv"):
        assert (tmp_path / "b" / name).read_bytes() == (tmp_path / "straight" / name).read_bytes()
    assert Run(quiet=True).part("b").folder is None


def test_plain_lines_where_there_is_no_terminal(capsys):
    Toy().fit(20, Run())
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 10 and lines[-1].startswith("step 20/20  loss ")


def test_misuse():
    run = Run(quiet=True)
    with pytest.raises(RuntimeError, match="inside the loop"):
        run.log(loss=1)
    Toy().fit(1, run)
    with pytest.raises(RuntimeError, match="a Run of its own"):
        Toy().fit(2, run)
    with pytest.raises(ValueError, match=r"loss has shape \(2,\)"):
        for _ in (other := Run(quiet=True)).steps(Toy(), 1):
            other.log(loss=np.ones(2))
    with pytest.raises(ValueError, match="log: step is the first column already"):
        for _ in (other := Run(quiet=True)).steps(Toy(), 1):
            other.log(step=3)
    with pytest.raises(ValueError, match="steps: save_every is 0; at least 1"):
        next(Run(quiet=True).steps(Toy(), 1, save_every=0))


def test_a_models_state_is_refused_whole():
    toy, state = Toy(), Toy(seed=1).state_dict()
    assert set(state) > {"net.0.weight", "count", "rng", "optimizer", "batches"}
    del state["rng"]
    with pytest.raises(ValueError, match="rng is missing"):
        toy.load_state_dict(state)


class Crash(BaseException):
    """Stands for the plug being pulled: nothing catches it."""


class Torn:
    """An open file whose writes go through `crashing`."""

    def __init__(self, file, crashing):
        self.file, self.crashing = file, crashing

    def write(self, text):
        return self.crashing(text)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.file.close()

    def __getattr__(self, name):
        return getattr(self.file, name)


def torn_open(crash_at):
    """`open`, but every write to a file asks `crash_at` first what is to become of it."""

    def opened(path, mode="r", **options):
        file = open(path, mode, **options)
        if not set(mode) & set("wa"):
            return file

        def write(text):
            moment = crash_at()
            part = {"before": "", "half": text[: len(text) // 2]}.get(moment, text)
            written = file.write(part)
            if moment:
                file.flush()
                raise Crash
            return written

        return Torn(file, write)

    return opened


def end_after_crashes(tmp_path, arm):
    """Crash at the first, second, ... moment that `arm(patch, due)` makes of `due()`, and go on; yields the folders."""
    for count in itertools.count(1):
        folder, calls = tmp_path / f"crash {count}", itertools.count(1)
        try:
            with pytest.MonkeyPatch.context() as patch:
                arm(patch, lambda calls=calls, count=count: next(calls) == count)
                Toy().fit(12, Run(folder, {"a": 1}, quiet=True), save_every=5)
        except Crash:
            pass
        else:
            assert count > 1  # and every moment has had its turn
            return
        Toy(seed=0).fit(12, resume_or_start(folder), save_every=5)
        yield folder


def left_whole(folder, expected):
    return {p.name: p.read_bytes() for p in folder.iterdir()} == expected


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("operation", ["write_bytes", "write_text", "fsync", "link", "replace"])
def test_a_crash_around_any_write_fsync_or_rename_loses_nothing(tmp_path, operation, moment):
    """At each call of each operation in turn: the run goes on from what is there and ends as if left alone."""
    expected = straight(tmp_path / "straight", 12)
    owner = Path if operation.startswith("write") else os
    real = getattr(owner, operation)

    def arm(patch, due):
        def crashing(*args, **options):
            hit = due()
            if hit and moment == "before":
                raise Crash
            result = real(*args, **options)
            if hit:
                raise Crash
            return result

        patch.setattr(owner, operation, crashing)

    for folder in end_after_crashes(tmp_path, arm):
        assert left_whole(folder, expected)


@pytest.mark.parametrize("moment", ["before", "half", "after"])
def test_a_crash_in_any_line_of_the_log_loses_nothing(tmp_path, moment):
    """The same where metrics.csv is written, line by line; half a line may have reached the disk."""
    expected = straight(tmp_path / "straight", 12)

    def arm(patch, due):
        patch.setattr("tinygen.runs.metrics.open", torn_open(lambda: moment if due() else None), raising=False)

    for folder in end_after_crashes(tmp_path, arm):
        assert left_whole(folder, expected)

"""How a process that trains ends: with all that it was asked to do, and without the interpreter's last part."""

import subprocess
import sys

import pytest

from training_hub.testing.jobs import make_job

WORKER = """
import atexit, os, sys, threading
from pathlib import Path
from training_hub.plugin import Outcome, run_worker

here = Path(sys.argv[1]).parent


class AbortsWhenTakenApart:
    '''As a library does whose thread still runs when the interpreter has gone.'''

    def __del__(self, abort=os.abort):
        abort()


library = AbortsWhenTakenApart()
ended = threading.Event()


def upload():
    ended.wait()
    (here / "uploaded").touch()


def train(job):
    threading.Thread(target=upload).start()
    atexit.register((here / "left").touch)
    print("trained")
    ended.set()
    return {outcome}


if __name__ == "__main__":
    run_worker(train)
"""


@pytest.mark.parametrize("outcome", ["Outcome(None, {})", "None"])
def test_it_ends_well_once_all_is_written(tmp_path, outcome):
    (tmp_path / "worker.py").write_text(WORKER.replace("{outcome}", outcome))
    job = make_job(tmp_path / "run").write()
    ended = subprocess.run([sys.executable, tmp_path / "worker.py", job], capture_output=True, text=True)
    assert (ended.returncode, ended.stdout) == (0, "trained\n"), ended.stderr
    assert (job.parent / "uploaded").exists() and (job.parent / "left").exists()


def test_an_error_ends_it_as_python_does(tmp_path):
    (tmp_path / "worker.py").write_text(WORKER.replace("return {outcome}", "raise KeyError('x')"))
    job = make_job(tmp_path / "run").write()
    ended = subprocess.run([sys.executable, tmp_path / "worker.py", job], capture_output=True, text=True)
    assert ended.returncode != 0 and "KeyError: 'x'" in ended.stderr

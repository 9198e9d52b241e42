"""A run is never lost: it is stopped, steered and cut short, and goes on. (For runs that are killed see tests/faults.)"""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from training_hub import TrainingHubCallback, lora_sft, sft
from training_hub.errors import NonFiniteLossError, TrainingFailedError
from training_hub.store.checkpoints import checkpoints, newest
from training_hub.store.events import Follower, live_events, read_events
from training_hub.testing.killer import ranks
from training_hub.testing.toy import make_model

COMMAND = """
import json, sys
import torch, training_hub
torch.set_num_threads(1)
asked = json.loads(sys.argv[1])
getattr(training_hub, asked.pop("algorithm"))(**asked)
"""


@pytest.fixture
def long(job):
    """A run of 35 steps, a checkpoint after each seven."""
    return job | {"num_epochs": 5, "checkpoint_at_epoch": True, "weight_decay": 0.1, "warmup_steps": 3}


def live(directory, name="loss"):
    return [e[name] for e in live_events(read_events(directory / "events.jsonl")) if e["event"] == "step"]


def started(asked, algorithm):
    """The run in a process of its own."""
    values = {name: str(value) if hasattr(value, "parts") else value for name, value in asked.items()}
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", COMMAND, json.dumps(values | {"algorithm": algorithm})]
    return subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


class AtStep:
    """Does something when a run reports a step, and waits for that."""

    def __init__(self, directory, step, act):
        self.step, self.act, self.done = step, act, False
        self.follower = Follower(directory / "events.jsonl", self.receive)

    def receive(self, event):
        if event["event"] == "step" and event["step"] >= self.step and not self.done:
            self.done = True
            self.act()

    def __enter__(self):
        self.follower.__enter__()
        return self

    def __exit__(self, *error):
        self.follower.__exit__(*error)


def kill_at(asked, algorithm, step):
    """Start the run, and kill its caller by SIGKILL when it reports the step."""
    process = started(asked, algorithm)
    workers = []

    def kill():
        workers.extend(ranks())
        process.kill()

    with AtStep(asked["ckpt_output_dir"], step, kill):
        process.wait()
    return workers


def _alive(process):
    try:
        with open(f"/proc/{process}/stat") as stat:
            return stat.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.faults
def test_workers_end_with_a_caller_that_is_killed(long, tmp_path):
    workers = kill_at(long | {"nproc_per_node": 2, "num_epochs": 2000}, "sft", 3)
    assert len(workers) == 2
    deadline = time.monotonic() + 30
    while any(map(_alive, workers)) and time.monotonic() < deadline:
        time.sleep(0.1)  # there is no event for the end of another's child
    assert not any(map(_alive, workers))


@pytest.mark.parametrize("processes", [pytest.param(1, marks=pytest.mark.faults), 2])
def test_sigterm_saves_and_ends_and_leaves_no_process(long, tmp_path, processes):
    asked = long | {"nproc_per_node": processes, "num_epochs": 2000}
    process = started(asked, "sft")
    workers = []

    def end():
        workers.extend(ranks())
        process.send_signal(signal.SIGTERM)

    with AtStep(asked["ckpt_output_dir"], 3, end):
        assert process.wait() == 143
    found = json.loads((tmp_path / "out" / "run.json").read_text())
    assert (found["state"], found["cause"]) == ("stopped", "SIGTERM")
    saved = newest(tmp_path / "out", resumable=True)
    assert saved.step == live(tmp_path / "out", "step")[-1]
    assert not any(map(_alive, workers))


def test_a_callback_saves_and_sets_the_learning_rate_on_every_process(job, tmp_path):
    class Steers(TrainingHubCallback):
        def __init__(self):
            self.saved, self.rates = [], []

        def on_log(self, context):
            self.rates.append(context.learning_rate)
            if context.step == 2:
                context.save()
                context.set_learning_rate(1e-4)

        def on_save(self, context):
            self.saved.append(context.checkpoint.name)

    for processes in (1, 2):
        steers = Steers()
        asked = job | {"lr_scheduler": "constant", "num_epochs": 20, "nproc_per_node": processes}
        sft(**asked | {"ckpt_output_dir": tmp_path / str(processes)}, callbacks=steers)
        assert len(steers.saved) == 2 and steers.saved[-1] == "final"
        # The two requests may reach the run in different steps.
        at = steers.rates.index(pytest.approx(1e-4))
        assert at >= 2 and steers.rates == pytest.approx([2e-3] * at + [1e-4] * (140 - at))


def test_a_run_of_a_bfloat16_model_goes_on_exactly(long, model, tmp_path):
    base = tmp_path / "bf16"
    AutoModelForCausalLM.from_pretrained(model, dtype=torch.bfloat16).save_pretrained(base)
    AutoTokenizer.from_pretrained(model).save_pretrained(base)
    asked = long | {"model_path": base, "learning_rate": 1e-4}
    sft(**asked | {"ckpt_output_dir": tmp_path / "steady"})

    class Stop(TrainingHubCallback):
        def on_log(self, context):
            if context.step == 9:
                context.stop()

    assert sft(**asked, callbacks=Stop()).state == "stopped"
    sft(**asked, resume=True)
    assert live(tmp_path / "out") == pytest.approx(live(tmp_path / "steady"), abs=1e-6)


def test_a_loss_that_is_not_finite_ends_the_run_with_its_rows(long, model, tmp_path):
    broken = tmp_path / "broken"
    network = AutoModelForCausalLM.from_pretrained(model)
    with torch.no_grad():
        network.model.norm.weight[0] = float("inf")
    network.save_pretrained(broken)
    AutoTokenizer.from_pretrained(model).save_pretrained(broken)
    with pytest.raises(NonFiniteLossError, match=r"the loss of step 1 is nan; its rows, counted from 1 .*: \d+, \d+"):
        sft(**long | {"model_path": broken})
    assert json.loads((tmp_path / "out" / "run.json").read_text())["state"] == "failed"
    assert not checkpoints(tmp_path / "out")


@pytest.mark.skipif(os.geteuid() != 0, reason="a small disk is mounted, which only root may do")
def test_a_disk_that_fills_leaves_the_older_checkpoint(long, tmp_path):
    small = tmp_path / "small"
    small.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", small], check=False).returncode:
        pytest.skip("this machine mounts no tmpfs")
    try:
        with pytest.raises(
            TrainingFailedError, match=r"no space left on device; it needs about .* had .* left"
        ) as raised:
            sft(**long | {"ckpt_output_dir": small / "out", "num_epochs": 20})
        kept = newest(small / "out", resumable=True)
        assert kept is not None and str(kept.path) in str(raised.value)
    finally:
        # The rows are mapped into this process, so the disk goes when they do.
        subprocess.run(["umount", "--lazy", small], check=True)


def test_what_peft_writes_into_its_arguments_reaches_neither_caller_nor_manifest(job, tmp_path):
    """PEFT adds the embedding to `modules_to_save` that names the tied head; the run goes on as what was asked for."""

    class Stop(TrainingHubCallback):
        def on_log(self, context):
            if context.step == 3:
                context.stop()

    make_model(tmp_path / "tied", tie_word_embeddings=True)
    mine = ["lm_head"]
    asked = job | {"model_path": tmp_path / "tied", "modules_to_save": mine, "ensure_weight_tying": True}
    assert lora_sft(**asked, callbacks=Stop()).state == "stopped"
    assert mine == ["lm_head"]
    assert json.loads((tmp_path / "out" / "run.json").read_text())["backend_kwargs"]["modules_to_save"] == mine
    assert lora_sft(**asked, resume=True).state == "completed"

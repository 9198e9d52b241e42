"""Scripts that a launcher has started in several processes: the call in each is one run, trained by all of them."""

import json
import os
import signal
import socket
import subprocess
import sys
from contextlib import closing

import psutil
import pytest

from training_hub import lora_sft
from training_hub.store.events import Follower

SCRIPT = """
import json, os, sys
from pathlib import Path

import training_hub
from training_hub import TrainingHubCallback


class Told(TrainingHubCallback):
    def on_step_end(self, context):
        Path(PLACE, f"told-by-{os.getpid()}").touch()


given = json.loads(Path(sys.argv[1]).read_text())
PLACE = given.pop("place")
who = os.environ.get("RANK") or os.environ.get("SLURM_PROCID")
calls = given.pop("calls")
if who in given.pop("leaving", []):
    sys.exit()
for number, call in enumerate(calls):
    algorithm = call.pop("algorithm")
    for name, value in call.pop("of_rank", {}).get(who, {}).items():
        algorithm = value if name == "algorithm" else algorithm
    try:
        result = getattr(training_hub, algorithm)(**call, callbacks=Told())
        said = {"state": result.state, "checkpoint": str(result.checkpoint), "loss": result.metrics.get("loss")}
    except training_hub.TrainingHubError as error:
        said = {"error": type(error).__name__, "message": str(error)}
    Path(PLACE, f"said-{who}-{number}.json").write_text(json.dumps(said))
"""
TORCHRUN = [sys.executable, "-m", "torch.distributed.run"]
ALONE = {"OMP_NUM_THREADS": "1"}


@pytest.fixture
def call(job):
    return {
        **job,
        **{"algorithm": "lora_sft", "lora_r": 4, "num_epochs": 1, "effective_batch_size": 10, "micro_batch_size": 1},
    }


@pytest.fixture
def alone(job, call, losses, tmp_path):
    """The losses of the same call in one process."""
    given = {name: value for name, value in call.items() if name != "algorithm"}
    lora_sft(**given | {"ckpt_output_dir": tmp_path / "alone"})
    return losses(tmp_path / "alone")


@pytest.fixture
def script(tmp_path):
    """Writes the script and what it is to call; gives its command."""

    def write(*calls, **further):
        asked = tmp_path / "calls.json"
        asked.write_text(json.dumps({"calls": calls, "place": tmp_path, **further}, default=str))
        (tmp_path / "script.py").write_text(SCRIPT)
        return [str(tmp_path / "script.py"), str(asked)]

    return write


def started(command, **variables):
    return subprocess.Popen(
        command,
        env={**os.environ, **ALONE, **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def said(place, rank, number=0):
    return json.loads((place / f"said-{rank}-{number}.json").read_text())


def test_a_script_under_torchrun_trains_with_the_losses_of_one_process(call, alone, losses, script, tmp_path):
    further = {**call, "algorithm": "sft", "ckpt_output_dir": tmp_path / "second", "max_tokens_per_gpu": 256}
    for name in ("lora_r", "micro_batch_size"):
        del further[name]
    process = started([*TORCHRUN, "--standalone", "--nproc-per-node=2", *script(call, further)])
    output = process.communicate()[0]
    assert process.returncode == 0, output
    assert losses(call["ckpt_output_dir"]) == pytest.approx(alone, abs=1e-5)
    for number, directory in enumerate([call["ckpt_output_dir"], further["ckpt_output_dir"]]):
        assert said(tmp_path, 0, number) == said(tmp_path, 1, number)
        assert said(tmp_path, 0, number)["checkpoint"] == str(directory / "final")
    # One process tells callbacks and the terminal of the run.
    assert len(list(tmp_path.glob("told-by-*"))) == 1
    assert output.count("step 1/5") == output.count("backend trl: named") == 2


def test_so_does_one_of_srun(call, alone, losses, script, tmp_path):
    step = {"SLURM_JOB_ID": "123", "SLURM_STEP_ID": str(os.getpid() % 1000), "SLURM_STEP_NUM_TASKS": "2"}
    command = [sys.executable, *script(call)]
    tasks = [
        started(command, **step, SLURM_STEP_NUM_NODES="1", SLURM_NODEID="0", SLURM_PROCID=str(n), SLURM_LOCALID=str(n))
        for n in range(2)
    ]
    outputs = [task.communicate()[0] for task in tasks]
    assert [task.returncode for task in tasks] == [0, 0], outputs
    assert losses(call["ckpt_output_dir"]) == pytest.approx(alone, abs=1e-5)
    assert said(tmp_path, 0) == said(tmp_path, 1)


def test_and_one_on_several_nodes(call, alone, losses, script, tmp_path):
    with closing(socket.socket()) as free:
        free.bind(("127.0.0.1", 0))
        where = ["--master-addr=127.0.0.1", f"--master-port={free.getsockname()[1]}"]
    command = script(call)
    nodes = [started([*TORCHRUN, "--nnodes=2", f"--node-rank={rank}", *where, *command]) for rank in range(2)]
    outputs = [node.communicate()[0] for node in nodes]
    assert [node.returncode for node in nodes] == [0, 0], outputs
    assert losses(call["ckpt_output_dir"]) == pytest.approx(alone, abs=1e-5)
    assert said(tmp_path, 1)["state"] == "completed"


def test_one_process_that_torchrun_started_trains_alone(call, script, losses, alone):
    process = started([*TORCHRUN, "--standalone", "--nproc-per-node=1", *script(call)])
    assert process.communicate() and process.returncode == 0
    assert losses(call["ckpt_output_dir"]) == alone


def test_a_mistake_is_told_in_each_process_and_nothing_is_written(call, script, tmp_path):
    process = started(
        [*TORCHRUN, "--standalone", "--nproc-per-node=2", *script({**call, "model_path": tmp_path / "none"})]
    )
    assert process.communicate() and process.returncode == 0
    first, second = said(tmp_path, 0), said(tmp_path, 1)
    assert first["error"] == second["error"] == "ModelNotFoundError"
    assert second["message"] == f"rank 0: {first['message']}"
    assert not call["ckpt_output_dir"].exists()


def test_a_process_that_never_calls_is_named(call, script, tmp_path):
    command = script(call, leaving=["1"])
    process = started([*TORCHRUN, "--standalone", "--nproc-per-node=2", *command], TRAINING_HUB_JOIN_SECONDS="8")
    assert process.communicate(timeout=60) and process.returncode == 0
    assert "rank 1 did not make this call within 8 seconds" in said(tmp_path, 0)["message"]
    assert not call["ckpt_output_dir"].exists()


def test_processes_that_call_different_things_are_told(call, script, tmp_path):
    process = started(
        [
            *TORCHRUN,
            "--standalone",
            "--nproc-per-node=2",
            *script({**call, "model_path": tmp_path / "none", "of_rank": {"1": {"algorithm": "sft"}}}),
        ]
    )
    assert process.communicate()
    assert "rank 1 calls sft, and rank 0 lora_sft" in said(tmp_path, 1)["message"]


def test_another_number_of_processes_than_was_started_is_refused(call, script, tmp_path):
    process = started([*TORCHRUN, "--standalone", "--nproc-per-node=2", *script({**call, "nproc_per_node": 1})])
    assert process.communicate()
    for rank in range(2):
        assert (
            "nproc_per_node=1: torchrun has started this script with nproc_per_node=2"
            in said(tmp_path, rank)["message"]
        )


def at_first_step(directory, act):
    """While the block runs: act once the first step is told."""
    done = []

    def receive(event):
        if event["event"] == "step" and not done:
            done.append(act())

    directory.mkdir()
    return Follower(directory / "events.jsonl", receive)


def test_a_process_of_the_run_that_is_killed_is_named_in_each(call, script, tmp_path):
    process = started([*TORCHRUN, "--standalone", "--nproc-per-node=2", *script({**call, "num_epochs": 500})])

    def kill():
        [worker] = [
            child
            for child in psutil.Process(process.pid).children(recursive=True)
            if "training_hub_trl.worker" in child.cmdline() and child.environ().get("RANK") == "1"
        ]
        worker.send_signal(signal.SIGKILL)

    with at_first_step(call["ckpt_output_dir"], kill):
        assert process.communicate(timeout=120)
    for rank in range(2):
        assert "rank 1 was ended by SIGKILL" in said(tmp_path, rank)["message"]


def test_sigterm_to_the_launcher_saves_and_the_next_start_goes_on(call, script, losses, tmp_path):
    command = [*TORCHRUN, "--standalone", "--nproc-per-node=2"]
    process = started([*command, *script({**call, "num_epochs": 8})])
    with at_first_step(call["ckpt_output_dir"], lambda: process.send_signal(signal.SIGTERM)):
        output = process.communicate(timeout=120)[0]
    manifest = json.loads((call["ckpt_output_dir"] / "run.json").read_text())
    assert (manifest["state"], manifest["cause"]) == ("stopped", "SIGTERM"), output
    done = len(losses(call["ckpt_output_dir"]))
    assert done < 40
    process = started([*command, *script({**call, "num_epochs": 8, "resume": True})])
    output = process.communicate(timeout=120)[0]
    assert process.returncode == 0, output
    assert said(tmp_path, 1)["state"] == "completed"
    assert len(losses(call["ckpt_output_dir"])) == 40

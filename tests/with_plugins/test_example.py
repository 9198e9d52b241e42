"""What the hub does for a plugin with an algorithm, rows, figures, parameters, a tracker and a command of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sysconfig
from pathlib import Path

import pytest

from training_hub import SFTAlgorithm, TrainingHubCallback, create_algorithm, sft
from training_hub.data import check_dataset
from training_hub.errors import DatasetError, ParameterError
from training_hub.plugin import read_events
from training_hub.plugins import discovery
from training_hub.plugins.registry import AlgorithmRegistry

COMMAND = str(Path(sysconfig.get_path("scripts")) / "training-hub")


def run(*arguments, cwd=None, **variables):
    return subprocess.run(
        [COMMAND, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        cwd=cwd,
        env=os.environ | variables,
    )


@pytest.fixture
def votes(tmp_path):
    path = tmp_path / "votes.jsonl"
    path.write_text("".join(json.dumps({"better": "yes" * n, "worse": "no"}) + "\n" for n in range(1, 5)))
    return path


@pytest.fixture
def job(model, votes, tmp_path):
    return {"model_path": model, "data_path": votes, "ckpt_output_dir": tmp_path / "out"}


def steps(directory):
    return [event for event in read_events(directory / "events.jsonl") if event["event"] == "step"]


def test_an_algorithm_that_takes_some_groups_of_the_hubs_gets_the_whole_run(job, tmp_path):
    result = create_algorithm("votes").train(**job, strength=0.5)
    assert (result.state, result.backend, result.model) == ("completed", "counting", "the votes")
    told = steps(tmp_path / "out")
    assert [event["step"] for event in told] == list(range(1, 21))
    assert told[-1]["agreement"] == 1 - told[-1]["loss"]
    manifest = json.loads((tmp_path / "out" / "run.json").read_text())
    assert manifest["parameters"]["rounds"] == {"value": 20, "origin": "default"}
    assert "node_rank" not in manifest["parameters"]
    assert manifest["data"]["format"] == "votes" and manifest["data"]["rows"] == 4
    assert manifest["figures"]["agreement"] == {"unit": "share of votes", "less_is_better": False}


def test_a_backends_own_parameter_is_checked_and_translated_like_the_hubs(job):
    algorithm = create_algorithm("votes", "counting")
    with pytest.raises(ParameterError, match="rounds: expected a whole number of at least 1; got 0"):
        algorithm.train(**job, rounds=0)
    assert create_algorithm("votes", "counting").train(**job, rounds=3).metrics["step"] == 3


def test_a_further_keyword_is_the_frameworks_or_refused(job):
    with pytest.raises(ParameterError, match=r"roundz: neither a parameter of votes .*did you mean 'rounds'"):
        create_algorithm("votes", "counting").train(**job, roundz=3)
    with pytest.raises(ParameterError, match="verbose: expected true or false; got 'no'"):
        create_algorithm("votes", "counting").train(**job, verbose="no")


def test_bad_rows_of_a_plugins_form_are_named_by_file_and_line(job, votes, tmp_path):
    with votes.open("a") as lines:
        lines.write(json.dumps({"better": "yes", "worse": ""}) + "\n")
        lines.write(json.dumps({"messages": []}) + "\n")
    with pytest.raises(DatasetError) as raised:
        create_algorithm("votes").train(**job)
    said = str(raised.value)
    assert f"{votes}:5: 'worse' is ''; expected a text" in said
    assert f"{votes}:6: " in said
    assert not (tmp_path / "out").exists()


def test_rows_of_another_algorithm_are_answered_with_its_name(job):
    formats = discovery.formats_of("sft", SFTAlgorithm.row_formats)
    with pytest.raises(DatasetError, match="it is a .* row .'better' and 'worse'., which votes learns from"):
        check_dataset(job["data_path"], formats=formats)


class StopSoon(TrainingHubCallback):
    def __init__(self):
        self.seen = []

    def on_log(self, context):
        self.seen.append(context.metrics["agreement"])
        if context.step == 3:
            context.stop("three are enough")


def test_a_callback_stops_it_and_it_goes_on_to_the_same_end(job, tmp_path):
    rounds = 20_000
    stopped = create_algorithm("votes").train(**job, rounds=rounds, callbacks=StopSoon())
    last = stopped.metrics["step"]
    assert stopped.state == "stopped" and 3 <= last < rounds
    assert stopped.checkpoint == tmp_path / "out" / f"checkpoint-{last}"
    result = create_algorithm("votes").train(**job, rounds=rounds, resume=True)
    assert (result.state, result.metrics["step"]) == ("completed", rounds)
    told = {event["step"]: event["loss"] for event in steps(tmp_path / "out")}
    assert told == {step: 1 / (1 + 0.1 * step) for step in range(1, rounds + 1)}


def test_the_command_line_offers_what_plugins_bring(job, tmp_path, votes):
    helped = run("train", "votes", "--help").stdout
    assert "--strength" in helped and "--rounds" in helped and "Counting votes (backend counting)" in helped
    assert "--patience" in run("train", "sft", "--help").stdout
    schema = json.loads(run("schema", "votes").stdout)
    assert schema["properties"]["rounds"]["default"] == 20 and "strength" in schema["properties"]
    config = tmp_path / "run.yaml"
    config.write_text("".join(f"{name}: {value}\n" for name, value in job.items()) + "algorithm: votes\nrounds: 7\n")
    shown = json.loads(run("plan", "--config", config, "--json").stdout)
    assert {item["parameter"]: item["value"] for item in shown["parameters"]}["rounds"] == 7
    assert not shown["problems"]
    assert run("train", "--config", config).returncode == 0
    assert len(steps(tmp_path / "out")) == 7


def test_a_command_of_a_plugin_is_listed_and_run_and_its_mistakes_are_shown_as_the_hubs(votes, tmp_path):
    assert "count-words" in run("--help").stdout and "Count the words of files." in run("--help").stdout
    (tmp_path / "a.txt").write_text("one two three")
    found = run("count-words", tmp_path / "a.txt")
    assert (found.returncode, found.stdout) == (0, "3\n")
    missing = run("count-words")
    assert missing.returncode == 2 and missing.stderr == "error: count-words: give the files to count\n"


def test_a_tracker_of_a_plugin_follows_the_run_by_parameter_and_by_variable(job, tmp_path):
    noted = tmp_path / "notes.jsonl"
    create_algorithm("votes").train(**job, notebook_file=noted, rounds=2)
    lines = [json.loads(line) for line in noted.read_text().splitlines()]
    assert [line["event"] for line in lines if line["event"] == "step"] == ["step", "step"]
    assert lines[-1] == {"event": "outcome", "state": "completed"}
    found = run(
        *("train", "votes", "--model-path", job["model_path"], "--data-path", job["data_path"]),
        *("--ckpt-output-dir", tmp_path / "other"),
        NOTEBOOK_FILE=str(tmp_path / "others.jsonl"),
    )
    assert found.returncode == 0, found.stderr
    assert (tmp_path / "others.jsonl").exists()


def test_an_own_parameter_of_a_plain_backend_has_its_default():
    assert sft("m", "d", "o", backend="example")["patience"] == 3
    with pytest.raises(ParameterError, match="patience: expected a whole number"):
        sft("m", "d", "o", backend="example", patience="often")


def test_what_is_registered_for_a_test_is_gone_after_it():
    from training_hub_example.backend import ExampleBackend

    with AlgorithmRegistry.registered(backends={("osft", "borrowed"): ExampleBackend}):
        assert "borrowed" in AlgorithmRegistry.list_backends("osft")
    assert "borrowed" not in AlgorithmRegistry.list_backends("osft")

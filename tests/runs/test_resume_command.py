"""`training-hub resume`: a run goes on with what it was asked for."""

import json

import pytest

from training_hub import sft
from training_hub.cli import main
from training_hub.store.events import live_events, read_events


@pytest.fixture
def stopped(model, rows, tmp_path, monkeypatch, stop_at):
    """A run that was called in its own directory, by relative paths, and stopped."""
    monkeypatch.chdir(tmp_path)
    given = {"model_path": "model", "data_path": "rows.jsonl", "ckpt_output_dir": "out", "learning_rate": 1e-4}
    result = sft(**given, backend="counting", callbacks=stop_at(50))
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    return (tmp_path / "out", result.checkpoint.name)


def run_json(out):
    return json.loads((out / "run.json").read_text())


def test_it_goes_on_with_what_was_asked_from_any_directory(stopped, capsys):
    out, _ = stopped
    assert main(["resume", "../out"]) == 0
    assert "done: 400 steps" in capsys.readouterr().out
    told = live_events(read_events(out / "events.jsonl"))
    assert [event["step"] for event in told if event["event"] == "step"] == list(range(1, 401))
    found = run_json(out)
    assert found["state"] == "completed" and found["parameters"]["learning_rate"]["value"] == 1e-4


def test_a_checkpoint_is_gone_on_from_too(stopped):
    out, checkpoint = stopped
    assert main(["resume", str(out / checkpoint)]) == 0
    assert run_json(out)["resumed_from"] == str(out / checkpoint)


def test_what_is_to_differ_is_said_and_thereby_allowed(stopped, rows, capsys):
    out, _ = stopped
    with rows.open("a") as stream:
        stream.write(rows.read_text())
    assert main(["resume", str(out), "--set", "learning_rate=0.001"]) == 2
    assert "data: it was" in (said := capsys.readouterr().err) and "learning_rate: it was" not in said
    assert main(["resume", str(out), "--set", "learning_rate=0.001", "--allow", "data"]) == 0
    assert run_json(out)["parameters"]["learning_rate"]["value"] == 1e-3


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["elsewhere"], "it holds no run.json"),
        (["out", "--set", "ckpt_output_dir=there"], "ckpt_output_dir: it follows from the directory"),
        (["out", "--set", "learning_rat=1"], "learning_rat"),
        (["out", "--set", "learning_rate=fast"], "learning_rate"),
    ],
)
def test_mistakes(stopped, tmp_path, monkeypatch, arguments, said, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["resume", *arguments]) == 2
    printed = capsys.readouterr().err
    assert said in printed and "Traceback" not in printed


def test_a_password_that_was_not_kept_is_asked_for(stopped, capsys):
    out, _ = stopped
    found = run_json(out)
    found["parameters"]["mlflow_tracking_uri"] = {"value": "https://***@tracker", "origin": "call"}
    (out / "run.json").write_text(json.dumps(found))
    assert main(["resume", str(out)]) == 2
    assert "--set mlflow_tracking_uri=" in capsys.readouterr().err

"""What platforms read of a run's progress, and where older scripts look for what it saves, whichever backend trains."""

import json
import math
import os

import pytest

from training_hub import AlgorithmRegistry, FrameworkBackend, TrainingResult, lora_sft, osft, sft
from training_hub.backends.translation import by_hub, translate
from training_hub.errors import OutputDirectoryError
from training_hub.store.checkpoints import checkpoint_path, seal
from training_hub.store.control import ControlReader
from training_hub.store.events import SCHEMA, read_events

ROWS, BATCH, EPOCHS = 20, 8, 3
STEPS = 9
FILES = {
    sft: "training_params_and_metrics_global0.jsonl",
    osft: "training_metrics_0.jsonl",
    lora_sft: "training_metrics.jsonl",
}


class Telling(FrameworkBackend):
    """Trains nothing, and tells of three epochs of 20 rows in batches of 8."""

    algorithms = ("sft", "osft", "lora_sft")
    controls = frozenset({"stop"})
    every = 1
    stops_at = None
    most = STEPS
    loss = staticmethod(lambda step: 1 / step)

    def translate(self, parameters):
        return translate(self.name, {name: by_hub("told") for name in parameters.declared}, parameters)

    def train(self, run):
        done = run.resume_from.step if run.resume_from else 0
        emit, out, control = run.events.emit, run.directory, ControlReader(run.directory)
        emit(
            "start",
            schema=SCHEMA,
            **{"algorithm": run.parameters.algorithm, "backend": self.name, "rows": ROWS, "max_steps": self.most},
            **{"num_epochs": EPOCHS, "world_size": 1, "effective_batch_size": BATCH, "resumed_from": done or None},
        )
        for step in range(done + 1, self.most + 1):
            epoch = min(math.ceil(step / 3), step // 3 + step % 3 * BATCH / ROWS)
            figures = {"loss": self.loss(step), "learning_rate": 1e-5, "grad_norm": 0.5, "tokens": 10 * step}
            logged = figures if step % self.every == 0 else {}
            emit("step", step=step, max_steps=self.most, epoch=epoch, **logged)
            if step % 3 == 0:
                emit("eval", step=step, epoch=epoch, validation_loss=2 / step)
                self.save(checkpoint_path(out.path, step), step, emit)
            if step == self.stops_at or control.orders().stop:
                emit("stop", step=step, reason="asked")
                run.watchdog.control.stop("asked")
                return TrainingResult(checkpoint_path(out.path, step), {"step": step}, self.name, out.path)
        out.final.mkdir()
        for name in ("adapter_config.json", "adapter_model.safetensors"):
            (out.final / name).write_text(name)
        emit("save", step=self.most, checkpoint=str(out.final))
        return TrainingResult(out.final, {"step": self.most, "max_steps": self.most}, self.name, out.path)

    def save(self, saved, step, emit):
        saved.mkdir()
        (saved / "weights").write_text(str(step))
        seal(saved, step, resumable=True)
        emit("save", step=step, checkpoint=str(saved))


@pytest.fixture
def telling(monkeypatch):
    """Registers the backend with other settings."""

    def register(**settings):
        kind = type("Telling", (Telling,), settings)
        for algorithm in Telling.algorithms:
            monkeypatch.setitem(AlgorithmRegistry._backends, (algorithm, "telling"), kind)

    register()
    return register


@pytest.fixture
def train(telling, model, rows, tmp_path):
    def run(algorithm, **asked):
        own = {"unfreeze_rank_ratio": 0.25} if algorithm is osft else {}
        given = {"model_path": model, "data_path": rows, "ckpt_output_dir": tmp_path / "out", "backend": "telling"}
        return algorithm(**given, **own, **asked).run_dir

    return run


def lines(out, algorithm):
    """The lines of a metrics file, as a reader of strict JSON has them."""

    def strict(name):
        raise AssertionError(f"{name} is no JSON")

    return [json.loads(line, parse_constant=strict) for line in (out / FILES[algorithm]).read_text().splitlines()]


def test_sft_tells_its_parameters_first_and_then_each_step(train):
    config, *steps = lines(train(sft, num_epochs=3, learning_rate=3e-5), sft)
    assert (config["num_epochs"], config["learning_rate"], config["num_batches"]) == (3, 3e-5, 3)
    first, last = steps[0], steps[-1]
    assert first["step"] == 1 and first["epoch"] == 0 and first["num_epoch_steps"] == 3
    assert (first["avg_loss"], first["lr"], first["gradnorm"]) == (1.0, 1e-5, 0.5)
    assert first["overall_throughput"] > 0
    # The last line is complete, also where the last thing that was told is a validation.
    assert (last["step"], last["epoch"], last["samples_seen"], last["val_loss"]) == (9, 2, 60, pytest.approx(2 / 9))
    assert last["step"] == last["num_epoch_steps"] * config["num_epochs"]
    assert last["avg_loss"] == pytest.approx(1 / 9)


def test_osft_tells_its_length_in_a_file_of_its_own(train):
    out = train(osft)
    assert json.loads((out / "training_params.json").read_text())["max_epochs"] == 3
    steps = lines(out, osft)
    assert [step["step"] for step in steps] == [1, 2, 3, 3, 4, 5, 6, 6, 7, 8, 9, 9]
    last = steps[-1]
    assert (last["epoch"], last["steps_per_epoch"], last["val_loss"]) == (2, 3, pytest.approx(2 / 9))
    assert steps[0]["val_loss"] is None
    assert all(step["time_per_batch"] >= 0 and step["loss"] == pytest.approx(1 / step["step"]) for step in steps)


def test_lora_sft_tells_the_number_of_steps(train):
    last = lines(train(lora_sft), lora_sft)[-1]
    assert (last["step"], last["max_steps"], last["epoch"]) == (9, 9, 3.0)
    assert (last["loss"], last["learning_rate"], last["grad_norm"]) == (pytest.approx(1 / 9), 1e-5, 0.5)
    assert last["eval_loss"] == pytest.approx(2 / 9)


@pytest.mark.parametrize("algorithm", FILES, ids=lambda algorithm: algorithm.__name__)
def test_a_run_of_other_than_whole_epochs_ends_at_its_end(train, telling, algorithm):
    telling(most=7)
    out = train(algorithm)
    *_, last = lines(out, algorithm)
    assert last["step"] == 7
    if algorithm is sft:
        config = lines(out, sft)[0]
        assert last["num_epoch_steps"] * config["num_epochs"] == 7
    elif algorithm is osft:
        assert last["steps_per_epoch"] * json.loads((out / "training_params.json").read_text())["max_epochs"] == 7


@pytest.mark.parametrize("algorithm", FILES, ids=lambda algorithm: algorithm.__name__)
def test_steps_that_are_not_logged_make_no_line_but_the_last(train, telling, algorithm):
    telling(every=4, most=10)
    steps = [line for line in lines(train(algorithm), algorithm) if "step" in line]
    assert [step["step"] for step in steps] == [3, 4, 6, 8, 9, 10]
    assert steps[-1]["step"] == 10
    assert steps[-1]["avg_loss" if algorithm is sft else "loss"] == 1 / 8


@pytest.mark.parametrize("algorithm", FILES, ids=lambda algorithm: algorithm.__name__)
def test_a_run_that_goes_on_writes_them_anew_from_its_first_step(train, telling, algorithm):
    telling(stops_at=6)
    out = train(algorithm)
    assert lines(out, algorithm)[-1]["step"] == 6
    # A platform deletes what it reads before it starts a run.
    (out / FILES[algorithm]).unlink()
    telling()
    train(algorithm, resume=True)
    steps = [line["step"] for line in lines(out, algorithm) if "step" in line]
    assert steps == [1, 2, 3, 3, 4, 5, 6, 6, 7, 8, 9, 9]


def test_a_loss_that_is_no_number_is_none(train, telling):
    telling(loss=staticmethod(lambda step: math.inf if step == 2 else 1.0))
    assert lines(train(sft), sft)[2]["avg_loss"] is None


def test_a_file_that_cannot_be_written_is_told_of_once_and_training_goes_on(train, telling, tmp_path):
    class Blocked(Telling):
        def train(self, run):
            (run.directory.path / FILES[sft]).mkdir()
            return super().train(run)

    AlgorithmRegistry._backends["sft", "telling"] = Blocked
    out = train(sft)
    warned = [event["message"] for event in read_events(out / "events.jsonl") if event["event"] == "warning"]
    assert len([message for message in warned if "cannot be written any more" in message]) == 1
    assert (out / "final").is_dir()


@pytest.mark.parametrize(("algorithm", "form"), [(sft, "samples_{}"), (osft, "samples_{}.0")])
def test_checkpoints_are_found_by_the_rows_before_them(train, algorithm, form):
    out = train(algorithm)
    found = {path.name: path.resolve().name for path in (out / "hf_format").iterdir()}
    assert found == {form.format(20): "checkpoint-3", form.format(40): "checkpoint-6", form.format(60): "final"}
    assert not (out / "adapter_config.json").exists()


def test_an_adapter_is_found_in_the_output_directory_itself(train):
    out = train(lora_sft)
    assert (out / "adapter_model.safetensors").read_text() == "adapter_model.safetensors"
    assert (out / "adapter_config.json").readlink() == (out / "final" / "adapter_config.json").relative_to(out)
    assert not (out / "hf_format").exists()


@pytest.mark.parametrize("algorithm", FILES, ids=lambda algorithm: algorithm.__name__)
def test_they_are_part_of_the_run_and_go_with_it(train, telling, algorithm):
    out = train(algorithm)
    (out / "notes.txt").write_text("mine")
    with pytest.raises(OutputDirectoryError, match="holds another run"):
        train(algorithm)
    telling(most=3)
    train(algorithm, overwrite_output_dir=True)
    assert lines(out, algorithm)[-1]["step"] == 3
    assert (out / "notes.txt").exists()
    links = [path for path in (*out.iterdir(), *out.glob("hf_format/*")) if path.is_symlink()]
    assert links and all(path.exists() for path in links)
    assert len(list(out.glob("hf_format/*"))) == (0 if algorithm is lora_sft else 1)


def test_of_a_checkpoint_that_is_removed_no_link_is_left(train, telling):
    class Keeping(Telling):
        def save(self, saved, step, emit):
            for older in saved.parent.glob("checkpoint-*"):
                for file in older.iterdir():
                    file.unlink()
                older.rmdir()
            super().save(saved, step, emit)

    AlgorithmRegistry._backends["sft", "telling"] = Keeping
    out = train(sft)
    assert sorted(os.listdir(out / "hf_format")) == ["samples_60"]


def test_what_somebody_else_wrote_there_is_still_refused(train, tmp_path):
    (tmp_path / "out" / "hf_format" / "samples_8").mkdir(parents=True)
    with pytest.raises(OutputDirectoryError, match="hf_format was not written by Training Hub"):
        train(sft, overwrite_output_dir=True)

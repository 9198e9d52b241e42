"""The kinds of call that the older package's examples make, on a small model, as far as a CPU allows."""

import logging
import math
import subprocess
import sys
from pathlib import Path

import pytest

import training_hub
from training_hub import Algorithm, AlgorithmRegistry, Backend, TrainingHubCallback, lora_sft, osft, plot_loss, sft
from training_hub.errors import CallbackError
from training_hub.store.events import read_events
from training_hub.testing.toy import conversations, make_model, write_rows


@pytest.fixture(scope="module")
def given(tmp_path_factory):
    place = tmp_path_factory.mktemp("toy")
    make_model(place / "model")
    write_rows(place / "rows.jsonl", conversations(16))
    # Texts, as scripts have them from their arguments. The backend is the one that trains on a CPU.
    return {"model_path": str(place / "model"), "data_path": str(place / "rows.jsonl"), "backend": "trl"}


@pytest.fixture
def out(tmp_path):
    return str(tmp_path / "out")


ONE_NODE = {"nproc_per_node": 1, "nnodes": 1, "node_rank": 0, "rdzv_id": 100, "rdzv_endpoint": "127.0.0.1:29500"}
BATCHES = {"num_epochs": 1, "effective_batch_size": 8, "learning_rate": 1e-5, "max_seq_len": 256}


def losses(directory):
    return [event["loss"] for event in read_events(Path(directory) / "events.jsonl") if event["event"] == "step"]


def test_sft_and_a_second_phase_from_its_checkpoint_by_every_older_keyword(given, tmp_path):
    phases = [str(tmp_path / name) for name in ("phase07", "phase10")]
    with pytest.deprecated_call(match="max_batch_len is a keyword of the older training_hub: it is max_tokens_per_gpu"):
        result = sft(
            **given,
            ckpt_output_dir=phases[0],
            **BATCHES,
            max_batch_len=1024,
            data_output_dir=phases[0],
            warmup_steps=1,
            save_samples=0,
            checkpoint_at_epoch=True,
            accelerate_full_state_at_epoch=False,
            enable_jit_checkpoint=True,
            checkpoint_storage="pvc",
            **ONE_NODE,
        )
    then = sft(**given | {"model_path": str(result.checkpoint)}, ckpt_output_dir=phases[1], **BATCHES, **ONE_NODE)
    assert len(losses(phases[0])) == len(losses(phases[1])) == 2 and then.state == "completed"

    path = plot_loss(phases, labels=["7", "10"], ema=True, ema_span=30)
    assert f"{path}" == str(Path(phases[0]) / "loss_plot.png")
    assert Path(path).read_bytes().startswith(b"\x89PNG")


def test_an_older_keyword_means_what_it_meant(given, out):
    kind = AlgorithmRegistry.get_algorithm("sft")
    needed = {name: value for name, value in given.items() if name != "backend"} | {"ckpt_output_dir": out}
    assert kind.resolve(needed | {"max_batch_len": 9000})["max_tokens_per_gpu"] == 9000
    assert kind.resolve(needed | {"enable_jit_checkpoint": True})["resume"] is True
    assert kind.resolve(needed | {"enable_jit_checkpoint": False, "checkpoint_storage": None})["resume"] is False
    with pytest.raises(ValueError, match="max_batch_len=1 and max_tokens_per_gpu=2 say different things"):
        kind.resolve(needed | {"max_batch_len": 1, "max_tokens_per_gpu": 2})
    with pytest.raises(ValueError, match="checkpoint_storage='s3://bucket/runs': .* mount the storage there"):
        kind.resolve(needed | {"checkpoint_storage": "s3://bucket/runs"})


def test_osft(given, out):
    osft(
        **given,
        ckpt_output_dir=out,
        unfreeze_rank_ratio=0.25,
        **BATCHES,
        max_tokens_per_gpu=1024,
        warmup_steps=0,
        use_liger=False,
        seed=42,
        lr_scheduler="cosine",
        checkpoint_at_epoch=True,
        save_final_checkpoint=True,
        unmask_messages=False,
        **ONE_NODE,
    )
    assert len(losses(out)) == 2


class Notes(TrainingHubCallback):
    def __init__(self):
        self.hooks = []
        self.told = None

    def on_train_begin(self, context):
        self.hooks.append("on_train_begin")

    def on_epoch_begin(self, context):
        self.hooks.append("on_epoch_begin")

    def on_log(self, context):
        self.hooks.append("on_log")
        self.told = (context.step, context.epoch, context.loss, context.learning_rate, context.is_main_process)
        assert context.output_dir and context.metrics["loss"] == context.loss

    def on_evaluate(self, context):
        self.hooks.append("on_evaluate")

    def on_save(self, context):
        self.hooks.append("on_save")
        assert Path(context.metrics["checkpoint_path"]).is_dir()

    def on_train_end(self, context):
        self.hooks.append("on_train_end")


def test_lora_with_validation_callbacks_and_the_model_that_it_returns(given, out):
    notes = Notes()
    result = lora_sft(
        **given,
        ckpt_output_dir=out,
        num_epochs=1,
        max_seq_len=256,
        micro_batch_size=1,
        gradient_accumulation_steps=4,
        logging_steps=1,
        save_steps=2,
        eval_steps=2,
        eval_data_path=given["data_path"],
        save_total_limit=2,
        warmup_steps=0,
        learning_rate=2e-4,
        lora_r=8,
        lora_alpha=16,
        lora_dropout=0.0,
        target_modules=["q_proj", "v_proj"],
        sample_packing=False,
        dataset_type="chat_template",
        field_messages="messages",
        callbacks=[notes],
    )
    assert set(notes.hooks) == {
        f"on_{name}" for name in ("train_begin", "epoch_begin", "log", "evaluate", "save", "train_end")
    }
    step, epoch, loss, rate, main = notes.told
    assert (step, epoch, main) == (4, 1.0, True) and math.isfinite(loss) and rate >= 0
    assert result["model"].eval() and result["tokenizer"]("a")["input_ids"]


@pytest.mark.parametrize("values", [{"load_in_4bit": True, "bnb_4bit_quant_type": "nf4"}, {"load_in_8bit": True}])
def test_quantised_lora_says_what_it_needs(given, out, values):
    import torch

    if torch.cuda.is_available():
        pytest.skip("it would train")
    with pytest.raises(ValueError, match="bitsandbytes needs a GPU"):
        lora_sft(**given, ckpt_output_dir=out, lora_r=64, lora_alpha=128, **values)


class Breaks(TrainingHubCallback):
    def on_log(self, context):
        raise ZeroDivisionError("by me")


class Asks(TrainingHubCallback):
    """Asks by flags, as default callbacks did."""

    def on_step_end(self, context):
        if context.step == 1 and context.control is not None:
            context.control.should_save = True
            context.control.should_training_stop = True


def test_a_hook_that_raises_ends_the_run_or_is_logged_as_it_was(given, tmp_path, caplog):
    with pytest.raises(CallbackError, match="by me"):
        sft(**given, ckpt_output_dir=str(tmp_path / "a"), **BATCHES, callbacks=Breaks())
    notes = Notes()
    with caplog.at_level(logging.WARNING, "training_hub"):
        asked = {"callbacks": [Breaks(), notes], "callback_errors": "warn"}
        result = sft(**given, ckpt_output_dir=str(tmp_path / "b"), **BATCHES, **asked)
    assert result.state == "completed" and "by me" in caplog.text and notes.hooks.count("on_log") == 2


def test_flags_stop_a_run_with_a_checkpoint(given, out):
    longer = BATCHES | {"num_epochs": 20}
    result = sft(**given, ckpt_output_dir=out, **longer, callbacks=[Asks()])
    assert result.state == "stopped" and result.metrics["step"] < 40
    assert result.checkpoint and (result.checkpoint / "checkpoint.json").exists()
    # What was asked for the next time goes on from there.
    with pytest.deprecated_call(match="resume=True"):
        result = sft(**given, ckpt_output_dir=out, **longer, enable_jit_checkpoint=True)
    assert result.state == "completed" and result.metrics["step"] == 40


def test_create_algorithm_trains_and_tells_its_parameters(given, out):
    from training_hub.algorithms import create_algorithm

    algorithm = create_algorithm("lora_sft", backend_name=given["backend"])
    assert {"model_path", "data_path", "ckpt_output_dir"} <= algorithm.get_required_params().keys()
    assert algorithm.get_optional_params()["lora_r"] is int
    values = {name: value for name, value in given.items() if name != "backend"}
    assert algorithm.train(**values, ckpt_output_dir=out, num_epochs=1, max_seq_len=256).state == "completed"


class Copies(Backend):
    def execute_training(self, algorithm_params):
        return {"checkpoint_path": f"{algorithm_params['ckpt_output_dir']}/{algorithm_params.get('beta', 0.1)}"}


class Preferences(Algorithm):
    """An algorithm as the older package's guide writes one: it declares nothing, and trains by itself."""

    def __init__(self, backend, **kwargs):
        self.backend = backend
        self.kwargs = kwargs

    def train(self, **kwargs):
        missing = [name for name in self.get_required_params() if name not in kwargs]
        if missing:
            raise ValueError(f"missing: {missing}")
        return self.backend.execute_training(self.kwargs | kwargs)

    def get_required_params(self):
        return {"model_path": str, "ckpt_output_dir": str}

    def get_optional_params(self):
        return {"beta": float}


def test_an_algorithm_of_ones_own_is_registered_and_created_as_it_was():
    with AlgorithmRegistry.registered():
        AlgorithmRegistry.register_algorithm("preferences", Preferences)
        AlgorithmRegistry.register_backend("preferences", "copies", Copies)
        assert "preferences" in AlgorithmRegistry.list_algorithms()
        assert AlgorithmRegistry.list_backends("preferences") == ["copies"]
        assert AlgorithmRegistry.get_backend("preferences", "copies") is Copies
        algorithm = training_hub.create_algorithm("preferences", backend_name="copies", beta=0.2)
        assert algorithm.train(model_path="m", ckpt_output_dir="o") == {"checkpoint_path": "o/0.2"}
        with pytest.raises(ValueError, match="missing"):
            algorithm.train(model_path="m")


def test_a_script_sees_its_deprecations_and_no_other(given, out):
    code = (
        "from training_hub.visualization import plot_loss\nfrom training_hub import create_algorithm\n"
        f"try:\n    create_algorithm('sft', 'trl').train('nowhere', 'nowhere', {out!r}, max_batch_len=9)\n"
        "except ValueError:\n    pass\n"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    said = [line for line in ended.stderr.splitlines() if "DeprecationWarning" in line]
    assert [line.partition(": DeprecationWarning")[0] for line in said] == ["<string>:1", "<string>:4"]

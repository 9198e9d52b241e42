"""`dpo` learns what a plain script of TRL's learns, however batches are cut, and goes on to the same end."""

import json
import math

import pytest
import torch
from datasets import Dataset
from peft import LoraConfig
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import DPOConfig, DPOTrainer

from training_hub import TrainingHubCallback
from training_hub_trl.order import EpochOrder

FIGURES = {
    "loss": "loss",
    "grad_norm": "grad_norm",
    "reward_margin": "rewards/margins",
    "reward_accuracy": "rewards/accuracies",
    "reward_chosen": "rewards/chosen",
    "reward_rejected": "rewards/rejected",
}
LORA = {"use_lora": True, "lora_r": 4, "target_modules": ["q_proj", "v_proj"]}


def rows_of(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture
def by_hand(asked, tmp_path):
    """What a script logs that knows nothing of the hub but the order of rows: two epochs, one after the other."""

    def train(peft_config=None, **settings):
        raw = rows_of(asked["data_path"])
        order = EpochOrder(len(raw), len(raw), 42)
        rows = [raw[row] for epoch in range(2) for row in order.of(epoch)]
        trainer = DPOTrainer(
            model=AutoModelForCausalLM.from_pretrained(asked["model_path"], dtype=torch.float32),
            args=DPOConfig(
                output_dir=str(tmp_path / "by_hand"),
                use_cpu=True,
                bf16=False,
                per_device_train_batch_size=2,
                gradient_accumulation_steps=3,
                learning_rate=1e-3,
                lr_scheduler_type="cosine",
                adam_beta2=0.95,
                num_train_epochs=1,
                logging_steps=1,
                save_strategy="no",
                report_to=[],
                max_length=None,
                train_sampling_strategy="sequential",
                dataloader_pin_memory=False,
                optim="adamw_torch",
                disable_tqdm=True,
                **settings,
            ),
            train_dataset=Dataset.from_list(rows),
            processing_class=AutoTokenizer.from_pretrained(asked["model_path"]),
            peft_config=peft_config,
        )
        trainer.train()
        return [[log[name] for name in FIGURES.values()] for log in trainer.state.log_history if "loss" in log]

    return train


@pytest.fixture
def figures(events):
    return lambda directory: [[step[name] for name in FIGURES] for step in events(directory, "step")]


@pytest.fixture
def steps(events):
    """The losses of a run, and its gradients' norms."""
    return lambda directory: [[step["loss"], step["grad_norm"]] for step in events(directory, "step")]


def test_full_weights_learn_what_trls_script_learns_to_the_last_digit(dpo, asked, by_hand, figures, tmp_path):
    dpo(**asked)
    found = figures(tmp_path / "out")
    assert len(found) == 8 and found == by_hand()
    assert found[0][0] == pytest.approx(math.log(2), abs=1e-7)
    assert found[-1][0] < found[0][0] - 0.05


def test_an_adapter_learns_what_trls_script_learns_to_the_last_digit(dpo, asked, by_hand, figures, tmp_path):
    result = dpo(**asked, **LORA, beta=0.3, loss_type="ipo")
    config = LoraConfig(task_type="CAUSAL_LM", r=4, lora_alpha=32, target_modules=["q_proj", "v_proj"])
    assert figures(tmp_path / "out") == by_hand(config, beta=0.3, loss_type="ipo")
    # No copy of it lies beside it.
    assert not [path for path in result.checkpoint.iterdir() if path.is_dir()]


def near(found, expected):
    torch.testing.assert_close(torch.tensor(found), torch.tensor(expected), atol=1e-5, rtol=1e-5)


@pytest.fixture
def ragged(asked, written, made):
    """21 pairs: steps of 6, and a last one of 3; 7 pairs to validate on."""
    return asked | {
        "data_path": written(made(21)),
        "eval_data_path": written(made(7, seed=9)),
        "loss_type": ["sigmoid", "sft"],
        "loss_weights": [1.0, 0.5],
    }


def test_losses_do_not_depend_on_how_batches_are_cut(dpo, ragged, steps, events, tmp_path):
    ways = {
        "whole": {"micro_batch_size": 6},
        "one": {"micro_batch_size": 1, "per_device_eval_batch_size": 3},
        "two": {"micro_batch_size": 1, "nproc_per_node": 2, "per_device_eval_batch_size": 2}
        | {"precompute_reference": True},
    }
    found, validated = {}, {}
    for name, way in ways.items():
        dpo(**{**ragged, **LORA, "ckpt_output_dir": tmp_path / name, **way})
        found[name] = steps(tmp_path / name)
        validated[name] = [
            [value for key, value in sorted(event.items()) if key.startswith("validation_")]
            for event in events(tmp_path / name, "eval")
        ]
    assert len(found["whole"]) == 8 and len(validated["whole"]) == 2
    for name in ("one", "two"):
        near(found[name], found["whole"])
        near(validated[name], validated["whole"])


def test_figures_are_means_over_all_pairs(dpo, ragged, events, model, tmp_path):
    # The loss of the last validation, by hand: pair by pair, with the saved model and the one that it came from.
    result = dpo(**{**ragged, "loss_type": "sigmoid", "loss_weights": None})
    last = events(tmp_path / "out", "eval")[-1]
    tokenizer = AutoTokenizer.from_pretrained(model)
    models = [AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32) for path in (result.checkpoint, model)]

    def log_probability(model, prompt, answer):
        first = len(tokenizer.apply_chat_template(prompt, add_generation_prompt=True)["input_ids"])
        ids = torch.tensor([tokenizer.apply_chat_template(prompt + answer)["input_ids"]])
        with torch.no_grad():
            scores = model(ids).logits[0, :-1].log_softmax(-1)
        return scores.gather(1, ids[0, 1:, None])[first - 1 :].sum()

    rewards = torch.tensor(
        [
            [
                0.1
                * (
                    log_probability(models[0], row["prompt"], row[side])
                    - log_probability(models[1], row["prompt"], row[side])
                )
                for side in ("chosen", "rejected")
            ]
            for row in rows_of(ragged["eval_data_path"])
        ]
    )
    margins = rewards[:, 0] - rewards[:, 1]
    assert last["validation_loss"] == pytest.approx(-torch.nn.functional.logsigmoid(margins).mean().item(), abs=1e-5)
    assert last["validation_reward_margin"] == pytest.approx(margins.mean().item(), abs=1e-5)
    assert last["validation_reward_accuracy"] == pytest.approx((margins > 0).float().mean().item())
    assert last["validation_reward_chosen"] == pytest.approx(rewards[:, 0].mean().item(), abs=1e-5)
    assert last["framework"]["eval_logps/chosen"] < 0
    assert {"validation_loss", "validation_reward_margin", "reward_margin"} <= result.metrics.keys()


class StopAt(TrainingHubCallback):
    """Stops a run, and notes what it is told."""

    def __init__(self, step):
        self.step, self.told = step, []

    def on_log(self, context):
        self.told.append((context.metrics["reward_margin"], context.metrics["reward_accuracy"]))
        if context.step == self.step:
            context.stop("enough")


@pytest.mark.parametrize("more", [{}, LORA])
def test_a_run_that_is_stopped_goes_on_to_the_same_weights(dpo, asked, steps, events, tmp_path, more):
    asked = asked | more
    whole = dpo(**{**asked, "ckpt_output_dir": tmp_path / "whole"})
    stops = StopAt(3)
    stopped = dpo(**asked, callbacks=stops)
    step = stopped.metrics["step"]
    assert stopped.state == "stopped" and 3 <= step < 8 and len(stops.told) >= 3
    assert stopped.checkpoint == tmp_path / "out" / f"checkpoint-{step}"
    resumed = dpo(**asked, resume=True)
    assert resumed.state == "completed"
    assert steps(tmp_path / "out") == steps(tmp_path / "whole")
    tokens = [run["tokens"] for run in events(tmp_path / "out", "step")]
    assert tokens == [run["tokens"] for run in events(tmp_path / "whole", "step")]
    name = "adapter_model.safetensors" if more else "model.safetensors"
    weights, others = (load_file(run.checkpoint / name) for run in (resumed, whole))
    assert weights.keys() == others.keys() and all(torch.equal(weights[key], others[key]) for key in weights)


def test_a_reference_that_is_given_is_what_the_model_is_held_to(dpo, asked, losses, tmp_path):
    asked = asked | {"num_epochs": 1}
    trained = dpo(**{**asked, "ckpt_output_dir": tmp_path / "first"})
    dpo(**{**asked, "ckpt_output_dir": tmp_path / "base", "reference_model": asked["model_path"]})
    assert losses(tmp_path / "base") == losses(tmp_path / "first")
    for name, more in {"full": {}, "adapter": LORA, "once": {"precompute_reference": True}}.items():
        dpo(**{**asked, **more, "ckpt_output_dir": tmp_path / name, "reference_model": trained.checkpoint})
    firsts = [losses(tmp_path / name)[0] for name in ("full", "adapter", "once")]
    # The base is not where the reference is.
    assert firsts[0] == firsts[1] == pytest.approx(firsts[2], abs=1e-6) and firsts[0] > math.log(2) + 0.01
    # Where it is: an adapter of any start is compared with a model that is loaded by itself.
    dpo(**{**asked, **LORA, "init_lora_weights": "pissa", "reference_model": asked["model_path"]})
    assert losses(tmp_path / "out")[0] == pytest.approx(math.log(2), abs=1e-4)


def test_a_reference_that_is_asked_once_changes_nothing(dpo, ragged, steps, events, tmp_path):
    for name, once in (("each", False), ("once", True)):
        dpo(**{**ragged, "ckpt_output_dir": tmp_path / name, "precompute_reference": once})
    near(steps(tmp_path / "once"), steps(tmp_path / "each"))
    validated = [[event["validation_loss"] for event in events(tmp_path / name, "eval")] for name in ("each", "once")]
    near(*validated)


def test_an_adapter_is_saved_and_merged_on_request(dpo, asked, tmp_path):
    result = dpo(**asked, **LORA, save_merged_model=True)
    assert (
        result.checkpoint / "adapter_model.safetensors"
    ).exists() and result.checkpoint == tmp_path / "out" / "final"
    merged = AutoModelForCausalLM.from_pretrained(result.merged_checkpoint)
    ids = torch.tensor([[5, 9, 30, 31]])
    with torch.no_grad():
        assert torch.allclose(merged(ids).logits, result.model(ids).logits, atol=1e-5)


def test_long_pairs_are_left_out_and_told_of(dpo, asked, events, tmp_path):
    dpo(**{**asked, "num_epochs": 1, "max_seq_len": 60})
    [start] = events(tmp_path / "out", "start")
    assert 0 < start["rows"] < 24
    assert any("were dropped" in event["message"] for event in events(tmp_path / "out", "warning"))


def test_the_command_line_plans_trains_and_reports(asked, tmp_path, capsys):
    from training_hub.cli import main

    config = tmp_path / "run.yaml"
    config.write_text("algorithm: dpo\n" + "".join(f"{name}: {value}\n" for name, value in asked.items()))
    assert main(["plan", "--config", str(config), "--json"]) == 0
    planned = json.loads(capsys.readouterr().out)
    assert not planned["problems"]
    assert main(["train", "--config", str(config), "--beta", "0.2", "--loss-type", "hinge,ipo"]) == 0
    manifest = json.loads((tmp_path / "out" / "run.json").read_text())
    assert manifest["parameters"]["loss_type"]["value"] == ["hinge", "ipo"]
    assert manifest["data"]["format"] == "preference"
    assert manifest["figures"]["loss"]["unit"] == "a pair"
    assert manifest["figures"]["reward_margin"] == {"unit": "nats", "less_is_better": False}
    assert main(["report", str(tmp_path / "out"), "--output", str(tmp_path / "page.html")]) == 0
    assert "reward margin" in (tmp_path / "page.html").read_text()

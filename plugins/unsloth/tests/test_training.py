"""Unsloth really trains: the losses are the trl backend's, and what it saves is loaded without it."""

import sys
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from training_hub import lora_sft
from training_hub.plugin import ParameterError, TrainingFailedError
from training_hub.testing.jobs import make_job


@pytest.fixture(scope="module")
def trained(model, rows, tmp_path_factory):
    """One run, and the same one by the trl backend."""
    asked = {
        "model_path": model,
        "data_path": rows,
        "num_epochs": 6,
        "effective_batch_size": 50,
        "learning_rate": 5e-3,
        "max_seq_len": 128,
        "save_merged_model": True,
    }
    return {
        backend: lora_sft(**asked, backend=backend, ckpt_output_dir=tmp_path_factory.mktemp(backend) / "out")
        for backend in ("unsloth", "trl")
    }


def weights(path):
    return AutoModelForCausalLM.from_pretrained(path).state_dict()


def test_every_step_has_the_loss_of_the_trl_backend(trained, losses):
    found, expected = losses(trained["unsloth"]), losses(trained["trl"])
    assert len(found) == 6
    assert found == pytest.approx(expected, abs=1e-5)
    assert found[-1] < found[0] - 0.4


def test_the_adapter_and_the_merged_model_are_those_of_the_trl_backend(trained):
    for kind in ("checkpoint", "merged_checkpoint"):
        ours, theirs = (weights(getattr(trained[backend], kind)) for backend in ("unsloth", "trl"))
        assert ours.keys() == theirs.keys()
        for name, tensor in ours.items():
            torch.testing.assert_close(tensor, theirs[name], rtol=0, atol=1e-4)


def test_tokenizer_and_template_are_saved_as_they_were(trained, model):
    base = AutoTokenizer.from_pretrained(model)
    for path in (trained["unsloth"].checkpoint, trained["unsloth"].merged_checkpoint):
        saved = AutoTokenizer.from_pretrained(path)
        assert (saved.chat_template, saved.get_vocab(), saved.pad_token) == (
            base.chat_template,
            base.get_vocab(),
            base.pad_token,
        )


def test_the_callers_process_stays_without_unsloth(trained):
    assert "unsloth" not in sys.modules
    assert trained["unsloth"].model is None


def test_figures_are_named_and_counted_as_by_the_trl_backend(trained, events):
    ours, theirs = ([*events(trained[b].run_dir, "start"), *events(trained[b].run_dir, "step")] for b in trained)
    assert [set(event) for event in ours] == [set(event) for event in theirs]
    assert [event.get("tokens") for event in ours] == [event.get("tokens") for event in theirs]
    assert ours[0]["backend"] == "unsloth"


@pytest.mark.parametrize("own", [{"micro_batch_size": 7, "gradient_accumulation_steps": 8}, {"micro_batch_size": 5}])
def test_ragged_micro_batches_give_the_loss_of_the_whole(job, own, trained, losses):
    if "gradient_accumulation_steps" in own:
        # 50 rows in a step of 56: the last micro-batch of each step is short.
        del job["effective_batch_size"]
    assert losses(lora_sft(**job, **own)) == pytest.approx(losses(trained["unsloth"]), abs=1e-5)


def test_two_processes_give_the_losses_of_one(job, trained, losses, events):
    result = lora_sft(**job, nproc_per_node=2, save_merged_model=True)
    assert losses(result) == pytest.approx(losses(trained["unsloth"]), abs=1e-5)
    assert events(result.run_dir, "start")[0]["world_size"] == 2
    torch.testing.assert_close(
        weights(result.merged_checkpoint), weights(trained["unsloth"].merged_checkpoint), rtol=0, atol=1e-4
    )


VARIANTS = {
    "dora": {"use_dora": True},
    "rslora": {"use_rslora": True},
    "patterns": {"rank_pattern": {"q_proj": 4}, "alpha_pattern": {"v_proj": 3.0}},
    "start": {"init_lora_weights": "pissa", "target_modules": ["q_proj", "down_proj"]},
    "validated": {
        "validation_split": 0.2,
        "effective_batch_size": 8,
        "save_steps": 5,
        "keep_last_checkpoint_only": True,
    },
}


@pytest.fixture(scope="module")
def variants(model, rows, tmp_path_factory, by_itself):
    """The request of each variant, and what came of them in one process that had imported Unsloth itself."""
    asked = {
        name: {
            "model_path": str(model),
            "data_path": str(rows),
            "ckpt_output_dir": str(tmp_path_factory.mktemp(name) / "out"),
            "num_epochs": 2,
            "effective_batch_size": 50,
            "learning_rate": 5e-3,
            "max_seq_len": 128,
            **own,
        }
        for name, own in VARIANTS.items()
    }
    kinds = by_itself(
        "import unsloth, json",
        "from training_hub import lora_sft",
        f"results = [lora_sft(**given, backend='unsloth') for given in {list(asked.values())!r}]",
        "print(json.dumps([[type(r.model).__name__, r.metrics.get('validation_loss')] for r in results]))",
    )
    return {name: (given, *kind) for (name, given), kind in zip(asked.items(), kinds, strict=True)}


@pytest.mark.parametrize("name", VARIANTS)
def test_each_kind_of_adapter_learns_as_by_the_trl_backend(name, variants, events, losses, tmp_path):
    asked, _, validation_loss = variants[name]
    theirs = lora_sft(**asked | {"backend": "trl", "ckpt_output_dir": tmp_path / "trl"})
    ours = Path(asked["ckpt_output_dir"])
    assert [e["loss"] for e in events(ours, "step")] == pytest.approx(losses(theirs), abs=1e-4)
    assert validation_loss == pytest.approx(theirs.metrics.get("validation_loss"), abs=1e-4)
    saved = [
        [(e["step"], e["checkpoint"].rpartition("/")[2]) for e in events(directory, "save")]
        for directory in (ours, theirs.run_dir)
    ]
    assert saved[0] == saved[1]


def test_where_the_caller_has_imported_unsloth_a_run_is_trained_there(variants):
    assert {kind for _, kind, _ in variants.values()} == {"PeftModelForCausalLM"}


def test_arguments_that_unsloth_does_not_keep_to_are_said(job, events):
    result = lora_sft(**job | {"num_epochs": 1}, optim="adamw_8bit")
    messages = [event["message"] for event in events(result.run_dir, "warning")]
    assert messages == ["Unsloth changed optim from 'adamw_8bit' to 'adamw_torch_fused'"]


@pytest.mark.parametrize("asked", [["nope"], ["q_proj", "nope"]])
def test_layers_that_the_model_has_not_are_refused_with_those_it_has(job, tmp_path, asked):
    with pytest.raises(ParameterError, match=r"(?s)target_modules=.*'nope'.*q_proj"):
        lora_sft(**job, target_modules=asked)
    assert not (tmp_path / "out").exists()


def test_a_failed_merge_says_where_the_adapter_is(job, tmp_path):
    from training_hub_unsloth.worker import merge

    (tmp_path / "logs").mkdir()
    with pytest.raises(TrainingFailedError, match=rf"(?s)the adapter is in {tmp_path / 'none'}.*log: .*merge.log"):
        merge(make_job(tmp_path, "lora_sft", **job), tmp_path / "none", tmp_path / "m")

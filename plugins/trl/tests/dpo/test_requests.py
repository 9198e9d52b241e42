"""What `dpo` is asked for is done, or refused before the run by name, with what to give instead."""

import pytest

from training_hub import create_algorithm
from training_hub.errors import ModelError, ModelNotFoundError, ParameterError
from training_hub.plugin import Devices, FrameworkSources, devices
from training_hub.plugins.registry import AlgorithmRegistry
from training_hub_trl.arguments import types, withheld
from training_hub_trl.dpo import rules
from training_hub_trl.dpo.losses import Loss
from training_hub_trl.dpo.rules import WITHHELD

PLACES = {"model_path": "m", "data_path": "d", "ckpt_output_dir": "o"}


def resolved(**values):
    return AlgorithmRegistry.get_algorithm("dpo").resolve(PLACES | values)


def translated(**values):
    return create_algorithm("dpo", "trl").backend.translate(resolved(**values))


def refusal(**values):
    with pytest.raises(ParameterError) as raised:
        translated(**values).raise_for_refusals()
    return str(raised.value)


def test_defaults_are_those_that_pairs_are_trained_with():
    full, adapter = resolved(), resolved(use_lora=True)
    assert (full["learning_rate"], adapter["learning_rate"], full["num_epochs"]) == (1e-6, 1e-5, 1)
    assert (full["beta"], full["loss_type"], full["reference_model"]) == (0.1, "sigmoid", None)
    assert resolved(max_seq_len=8192)["max_tokens_per_gpu"] == 16384
    assert full.figures[0].unit == "nats a pair"
    assert resolved(loss_type="ipo").figures[0].unit == "a pair"


def test_a_forward_pass_holds_both_sequences_of_its_pairs():
    found = translated(max_seq_len=1000, max_tokens_per_gpu=8000, effective_batch_size=16)
    assert found.batches.micro_batch_size == 4
    assert "max_seq_len=5000 does not fit max_tokens_per_gpu=8000" in refusal(max_seq_len=5000, max_tokens_per_gpu=8000)


def test_all_weights_are_trained_unless_an_adapter_is_asked_for():
    found = translated()
    found.raise_for_refusals()
    assert "LoraConfig" not in found.arguments and "BitsAndBytesConfig" not in found.arguments
    assert found.arguments["from_pretrained"]["dtype"] == "float32"
    asked = translated(use_lora=True, lora_r=4, modules_to_save=["embed_tokens"]).arguments["LoraConfig"]
    assert (asked["r"], asked["target_modules"], asked["modules_to_save"]) == (4, "all-linear", ["embed_tokens"])


def test_every_loss_reaches_trl():
    for loss in Loss.__args__:
        smoothed = {"label_smoothing": 0.1} if loss == "exo_pair" else {}
        found = translated(loss_type=loss, micro_batch_size=16, **smoothed)
        found.raise_for_refusals()
        assert found.arguments["DPOConfig"]["loss_type"] == [loss]
    several = translated(loss_type=["sigmoid", "sft"], loss_weights=[1.0, 0.2]).arguments["DPOConfig"]
    assert (several["loss_type"], several["loss_weights"]) == (["sigmoid", "sft"], [1.0, 0.2])


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"beta": 0}, "beta: expected a number greater than 0; got 0"),
        ({"loss_type": "sigmod"}, "loss_type: expected"),
        ({"loss_type": []}, "there is no loss in it"),
        ({"loss_type": ["sigmoid", "sft"], "loss_weights": [1.0]}, "1 weights for 2 losses"),
        ({"label_smoothing": 0.1}, "give loss_type='robust'"),
        ({"label_smoothing": 0.5, "loss_type": "robust"}, "label_smoothing: expected"),
        ({"loss_type": "exo_pair"}, "its paper has 0.001"),
        ({"loss_type": "aot"}, "micro_batch_size=16"),
        ({"lora_r": 8}, "lora_r without use_lora"),
        ({"load_in_4bit": True}, "load_in_4bit without use_lora"),
        ({"save_merged_model": True}, "save_merged_model without use_lora"),
        ({"modules_to_save": ["lm_head"]}, "all weights are trained; give use_lora=True"),
        ({"use_lora": True, "init_lora_weights": "pissa"}, "give reference_model"),
        ({"use_lora": True, "init_lora_weights": "olora"}, "give reference_model"),
        ({"use_lora": True, "lora_dropout": 0.1}, "disable_dropout=False leaves it on"),
        ({"use_lora": True, "target_modules": ["lm_head"]}, "adapter on lm_head"),
        ({"use_lora": True, "bias": "all"}, "trained in the reference, too"),
        ({"sample_packing": True}, "packs no pairs"),
        ({"max_length": 512}, "rows are never cut"),
        ({"padding_free": True}, "switched it off"),
        ({"sync_ref_model": True}, "in no checkpoint"),
        ({"precompute_ref_log_probs": True}, "give precompute_reference"),
        ({"neftune_noise_alpha": 5.0}, "the reference would get the noise"),
        ({"ld_alpha": 2.0}, "a number from 0 to 1"),
        ({"discopop_tau": 0.1}, "only loss_type='discopop'"),
        ({"f_divergence_type": "reverse"}, "did you mean 'reverse_kl'"),
        ({"f_divergence_type": "js_divergence", "loss_type": "nca_pair"}, "the loss nca_pair has none"),
        ({"f_alpha_divergence_coef": 0.3}, "only f_divergence_type='alpha_divergence'"),
        ({"use_weighting": True, "loss_type": ["sigmoid", "sft"]}, "the loss sft has no pairs"),
        ({"eval_data_path": "e", "validation_split": 0.1}, "both say which rows to validate on"),
        ({"packing": True}, "packing: neither a parameter of dpo nor an argument"),
        ({"is_pretraining": True}, "is_pretraining: neither a parameter of dpo"),
    ],
)
def test_what_would_do_nothing_or_harm_is_refused(values, said):
    assert said in refusal(**values)


def test_what_is_refused_beside_a_copy_of_the_reference_is_taken_with_one():
    translated(use_lora=True, init_lora_weights="pissa", reference_model="m").raise_for_refusals()
    translated(use_lora=True, lora_dropout=0.1, disable_dropout=False).raise_for_refusals()
    translated(loss_type="aot", micro_batch_size=16).raise_for_refusals()


def test_a_trl_that_has_the_loss_for_gpus_alone_is_refused_without_one(monkeypatch):
    monkeypatch.setattr(rules, "version", lambda name: "1.15.0")
    assert "TRL 1.15.0 has this loss as a kernel for GPUs alone" in refusal()
    assert not list(rules.problems(resolved(), Devices("cuda", 1), set()))


def test_what_is_withheld_is_trls():
    accepted = types("dpo", FrameworkSources())
    names = accepted["DPOConfig"].keys() | accepted["LoraConfig"].keys()
    assert names >= WITHHELD.keys() and not WITHHELD.keys() & withheld(devices()).keys()


def test_a_reference_that_is_not_there_or_knows_other_tokens_is_named(dpo, asked, tmp_path):
    from training_hub.testing.toy import make_model

    with pytest.raises(ModelNotFoundError, match="reference_model=.*nowhere"):
        dpo(**asked, reference_model=tmp_path / "nowhere")
    make_model(tmp_path / "other", vocab_size=512)
    with pytest.raises(ModelError, match="it knows 512 tokens"):
        dpo(**asked, reference_model=tmp_path / "other", overwrite_output_dir=True)

"""Mixtures of experts: no router loss that nobody asked for, and one that is asked for is the same in any batches."""

import sys
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

import training_hub
from training_hub.errors import ParameterError
from training_hub.store.directory import read_json
from training_hub.testing.reference import encoded
from training_hub.testing.toy import conversations, write_rows

sys.path.insert(0, str(Path(__file__).parents[3] / "tests" / "models"))
from architectures import make

ASKED = 0.5
OWN = {
    "sft": lambda size: {"max_tokens_per_gpu": 200 * size},
    "osft": lambda size: {"max_tokens_per_gpu": 200 * size, "unfreeze_rank_ratio": 0.5, "min_protected_share": 0.0},
    "lora_sft": lambda size: {"micro_batch_size": size, "lora_r": 4},
}


@pytest.fixture(scope="module")
def few(tmp_path_factory):
    path = tmp_path_factory.mktemp("rows") / "rows.jsonl"
    write_rows(path, conversations(8))
    return path


@pytest.fixture(scope="module")
def mixture(tmp_path_factory):
    """Makes a model once. Its config asks for a router loss, as some that are published do."""
    made = {}

    def of(name):
        if name not in made:
            made[name] = tmp_path_factory.mktemp("model") / name
            make(name, made[name], output_router_logits=True, router_aux_loss_coef=0.25)
        return made[name]

    return of


def train(algorithm, model, rows, out, losses, *, size, **asked):
    parameters = {
        **{"model_path": model, "data_path": rows, "ckpt_output_dir": out, "backend": "trl", "num_epochs": 2},
        **{"effective_batch_size": 8, "learning_rate": 1e-3, "max_seq_len": 200},
        **OWN[algorithm](size),
    }
    result = getattr(training_hub, algorithm)(**parameters | asked)
    return result, losses(out)


def parts_apart(model, rows):
    """By transformers alone: the cross-entropy a trained token, and the balance of its row that comes with each."""
    network = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
    entropy = balance = count = 0.0
    for input_ids, labels in encoded(rows, AutoTokenizer.from_pretrained(model)):
        targets = torch.tensor(labels[1:])
        trained = int((targets != -100).sum())
        with torch.no_grad():
            found = network(torch.tensor([input_ids]), output_router_logits=True)
        entropy += torch.nn.functional.cross_entropy(found.logits[0, :-1], targets, reduction="sum").item()
        balance += trained * float(found.aux_loss)
        count += trained
    return entropy / count, balance / count


@pytest.mark.parametrize("name", ["granitemoe", "granitemoehybrid", "mixtral", "gpt_oss"])
def test_the_loss_is_the_rows_alone(name, mixture, few, losses, tmp_path):
    expected, _ = parts_apart(mixture(name), few)
    _, one = train("sft", mixture(name), few, tmp_path / "1", losses, size=1)
    result, four = train("sft", mixture(name), few, tmp_path / "4", losses, size=4)
    assert one[0] == pytest.approx(expected, abs=2e-5)
    assert four == pytest.approx(one, abs=2e-5)
    saved, base = (read_json(path / "config.json") for path in (result.checkpoint, mixture(name)))
    for key in ("output_router_logits", "router_aux_loss_coef"):
        assert saved[key] == base[key]


@pytest.mark.parametrize("algorithm", OWN)
def test_a_router_loss_that_is_asked_for_is_the_same_in_any_batches(algorithm, mixture, few, losses, events, tmp_path):
    model = mixture("qwen3_moe")
    entropy, balance = parts_apart(model, few)
    _, one = train(algorithm, model, few, tmp_path / "1", losses, size=1, router_aux_loss_coef=ASKED)
    _, four = train(algorithm, model, few, tmp_path / "4", losses, size=4, router_aux_loss_coef=ASKED)
    assert one[0] == pytest.approx(entropy + ASKED * balance, abs=2e-5)
    assert four == pytest.approx(one, abs=2e-5)
    [first, _] = events(tmp_path / "4", "step")
    assert first["framework"]["aux_loss"] == pytest.approx(ASKED * balance, abs=2e-5)


def test_two_processes_have_the_router_loss_of_one(mixture, few, losses, tmp_path):
    asked = {"size": 2, "router_aux_loss_coef": ASKED}
    _, one = train("sft", mixture("mixtral"), few, tmp_path / "1", losses, **asked)
    _, two = train("sft", mixture("mixtral"), few, tmp_path / "2", losses, nproc_per_node=2, **asked)
    assert two == pytest.approx(one, abs=2e-5)


def test_packed_rows_have_the_router_loss_of_rows_apart(mixture, few, losses, tmp_path):
    model = mixture("mixtral")
    entropy, balance = parts_apart(model, few)
    asked = {"size": 8, "sample_packing": True, "num_epochs": 1, "router_aux_loss_coef": ASKED}
    _, packed = train("lora_sft", model, few, tmp_path, losses, **asked)
    assert packed[0] == pytest.approx(entropy + ASKED * balance, abs=2e-5)


def test_validation_measures_the_rows_alone(mixture, few, events, losses, tmp_path):
    asked = {"validation_split": 0.5, "validation_frequency": 1, "router_aux_loss_coef": 10.0}
    _, [loss, *_] = train("sft", mixture("mixtral"), few, tmp_path, losses, size=2, **asked)
    assert events(tmp_path, "eval")[0]["validation_loss"] < 7 < loss


@pytest.mark.parametrize(
    ("name", "coefficient", "said"), [("llama", 0.1, "has no router loss"), ("mixtral", -1.0, "at least 0")]
)
def test_a_router_loss_that_cannot_be_is_refused(name, coefficient, said, few, losses, tmp_path):
    make(name, tmp_path / "model")
    with pytest.raises(ParameterError, match=said):
        train("sft", tmp_path / "model", few, tmp_path / "out", losses, size=1, router_aux_loss_coef=coefficient)


def test_preference_pairs_have_no_router_loss(mixture, tmp_path):
    with pytest.raises(ParameterError, match="router_aux_loss_coef"):
        training_hub.create_algorithm("dpo", "trl").train(
            mixture("mixtral"), tmp_path / "rows.jsonl", tmp_path / "out", router_aux_loss_coef=0.1
        )

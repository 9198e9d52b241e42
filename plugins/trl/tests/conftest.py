"""A toy model and rows, made here, and what the hub's figures are held against: plain transformers and PyTorch."""

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from training_hub.store.events import read_events
from training_hub.testing.toy import conversations, make_model, write_rows

# One thread, so that a process alone and one of two do the same sums in the same order.
torch.set_num_threads(1)


@pytest.fixture(scope="session")
def model(tmp_path_factory):
    path = tmp_path_factory.mktemp("toy") / "model"
    make_model(path)
    return path


@pytest.fixture(scope="session")
def rows(tmp_path_factory):
    path = tmp_path_factory.mktemp("rows") / "rows.jsonl"
    write_rows(path, conversations(50))
    return path


@pytest.fixture
def job(model, rows, tmp_path):
    """The parameters of a short run; a test adds its own."""
    return {
        "model_path": model,
        "data_path": rows,
        "ckpt_output_dir": tmp_path / "out",
        "backend": "trl",
        "num_epochs": 2,
        "effective_batch_size": 8,
        "learning_rate": 2e-3,
        "max_seq_len": 128,
    }


@pytest.fixture(scope="session")
def events():
    """The events of one kind of a run."""

    def of(directory, kind):
        return [event for event in read_events(directory / "events.jsonl") if event["event"] == kind]

    return of


@pytest.fixture(scope="session")
def losses(events):
    """The losses of a run, step by step."""
    return lambda directory: [event["loss"] for event in events(directory, "step")]


@pytest.fixture(scope="session")
def loss_of():
    return _loss_of


@pytest.fixture(scope="session")
def masked():
    return _masked


def _loss_of(model, rows, *, tokenizer=None):
    """Mean loss in nats over the trained tokens of all rows, one row at a time.

    The toy model's template writes an assistant turn as its header line, the text and <|end|>.
    """
    if not isinstance(model, torch.nn.Module):
        tokenizer = tokenizer or AutoTokenizer.from_pretrained(model)
        model = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
    total, count = 0.0, 0
    with torch.no_grad():
        for row in rows:
            input_ids, labels = _masked(row["messages"], tokenizer)
            logits = model(torch.tensor([input_ids])).logits[0, :-1].float()
            targets = torch.tensor(labels[1:])
            total += torch.nn.functional.cross_entropy(logits, targets, ignore_index=-100, reduction="sum").item()
            count += int((targets != -100).sum())
    return total / count


def _masked(messages, tokenizer):
    """Tokens and labels of a conversation, written out turn by turn for the toy model's template."""
    input_ids, labels = [], []
    for message in messages:
        header = tokenizer(f"<|{message['role']}|>\n", add_special_tokens=False)["input_ids"]
        text = tokenizer(f"{message['content']}<|end|>", add_special_tokens=False)["input_ids"]
        newline = tokenizer("\n", add_special_tokens=False)["input_ids"]
        trained = message["role"] == "assistant"
        input_ids += header + text + newline
        labels += [-100] * len(header) + (text if trained else [-100] * len(text)) + [-100] * len(newline)
    return input_ids, labels

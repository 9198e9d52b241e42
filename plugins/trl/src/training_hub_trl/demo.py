"""A small model and a small task, made here, on which training can be watched from start to end."""

from __future__ import annotations

import random
import string
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from training_hub.testing import toy

WORD_LENGTH = 3


def demo(output_dir: Path, say: Callable[[str], None]) -> None:
    """Make a model, teach it to spell words backwards, and ask it about words it has not seen.

    Args:
        output_dir: Where model, rows, checkpoint and picture go. An earlier demo there is replaced.
        say: Prints a line.
    """
    from transformers.utils import logging

    from training_hub import sft
    from training_hub.plugin import read_events

    # Loading and writing a model of this size is over before a bar can be read.
    logging.disable_progress_bar()
    output_dir.mkdir(parents=True, exist_ok=True)
    model_path, data_path, run = output_dir / "model", output_dir / "rows.jsonl", output_dir / "run"
    rng = random.Random(1)
    words = _words(rng)
    asked = [next(words) for _ in range(200)]
    say("Making a model of random weights, and rows that spell words backwards.")
    toy.make_model(model_path)
    toy.write_rows(data_path, [row(next(words)) for _ in range(6000)])

    before = answers(model_path, asked)
    result = sft(
        model_path=model_path,
        data_path=data_path,
        ckpt_output_dir=run,
        backend="trl",
        num_epochs=5,
        effective_batch_size=32,
        learning_rate=5e-3,
        warmup_steps=20,
        max_seq_len=64,
        overwrite_output_dir=True,
    )
    assert result.checkpoint is not None
    after = answers(result.checkpoint, asked)

    say("")
    say("Words that were not among the rows, before and after training:")
    for word in asked[:5]:
        say(f"  {question(word):34} before: {before[word][:20]!r:24} after: {after[word]!r}")
    steps = [event for event in read_events(run / "events.jsonl") if event["event"] == "step"]
    right = {name: sum(found[w] == w[::-1] for w in asked) for name, found in (("before", before), ("after", after))}
    picture = plot(steps, output_dir / "loss.png")
    say("")
    say(f"Right answers: {right['before']} of {len(asked)} before, {right['after']} of {len(asked)} after")
    say(f"Loss:          {steps[0]['loss']:.3f} -> {steps[-1]['loss']:.3f} in {len(steps)} steps")
    say(f"Loss picture:  {picture}")
    say(f"Checkpoint:    {result.checkpoint}")


def _words(rng: random.Random) -> Iterator[str]:
    """Different words without end, none twice."""
    seen: set[str] = set()
    while True:
        word = "".join(rng.choices(string.ascii_lowercase, k=WORD_LENGTH))
        if word not in seen:
            seen.add(word)
            yield word


def question(word: str) -> str:
    return f"Spell {word} backwards."


def row(word: str) -> dict[str, Any]:
    """One training row."""
    return {
        "messages": [
            {"role": "user", "content": question(word)},
            {"role": "assistant", "content": word[::-1]},
        ]
    }


def answers(model_path: Path, words: list[str]) -> dict[str, str]:
    """What a model answers, by transformers alone."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model_path, padding_side="left")
    model = AutoModelForCausalLM.from_pretrained(model_path)
    asked = [[{"role": "user", "content": question(word)}] for word in words]
    batch = tokenizer.apply_chat_template(
        asked, add_generation_prompt=True, padding=True, return_dict=True, return_tensors="pt"
    )
    with torch.no_grad():
        found = model.generate(**batch, max_new_tokens=12, do_sample=False)
    texts = tokenizer.batch_decode(found[:, batch["input_ids"].shape[1] :], skip_special_tokens=True)
    return dict(zip(words, texts, strict=True))


def plot(steps: list[dict[str, Any]], path: Path) -> Path:
    """Save a picture of the loss."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7, 4), layout="constrained")
    axes.plot([step["step"] for step in steps], [step["loss"] for step in steps])
    axes.set(xlabel="step", ylabel="loss (nats a trained token)", title="Learning to spell backwards")
    axes.grid(alpha=0.3)
    figure.savefig(path, dpi=150)
    pyplot.close(figure)
    return path

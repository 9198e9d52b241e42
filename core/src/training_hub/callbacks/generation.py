"""Answers of a model in the middle of its training, which goes on as if nothing had been."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def undisturbed(model: Any) -> Iterator[None]:
    """While the block runs, the model evaluates, without gradients; then modes and random state are as before."""
    import torch

    modes = [(module, module.training) for module in model.modules()]
    device = next(model.parameters()).device
    with torch.random.fork_rng([device] if device.type == "cuda" else []), torch.no_grad():
        model.eval()
        try:
            yield
        finally:
            # Some modules may not have been training: `train()` would set them all alike.
            for module, mode in modes:
                module.training = mode


def answer(model: Any, tokenizer: Any, prompt: str | list[dict[str, Any]], most: int, *, alone: bool) -> str:
    """What the model says, always with the likeliest token next.

    Each token is a forward pass over all before it: this works for a model in any wrapping, where `generate` of
    transformers works for some.

    Args:
        model: As it is trained.
        tokenizer: The model's.
        prompt: A text, or messages.
        most: Most tokens of the answer.
        alone: Whether no other process makes the same passes. The weights may be shared out over several, or buffers
            be sent to them, so that all must make equally many.
    """
    import torch

    device = next(model.parameters()).device
    ends, tokens = _ends(model, tokenizer), _tokens(tokenizer, prompt)
    first = len(tokens)
    for _ in range(most):
        logits = model(input_ids=torch.tensor([tokens], device=device), use_cache=False).logits
        tokens.append(int(logits[0, -1].argmax()))
        if alone and tokens[-1] in ends:
            break
    said = tokens[first:]
    length = next((place for place, token in enumerate(said) if token in ends), len(said))
    return str(tokenizer.decode(said[:length], skip_special_tokens=True))


def prompt_text(prompt: str | list[dict[str, Any]]) -> str:
    """A prompt for a person to read."""
    if isinstance(prompt, str):
        return prompt
    return "\n".join(f"{message['role']}: {message['content']}" for message in prompt)


def _tokens(tokenizer: Any, prompt: str | list[dict[str, Any]]) -> list[int]:
    if isinstance(prompt, str) and not tokenizer.chat_template:
        return list(tokenizer(prompt)["input_ids"])
    messages = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt
    found = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=True)
    return list(found["input_ids"])


def _ends(model: Any, tokenizer: Any) -> set[int]:
    """The tokens that end an answer."""
    settings = (getattr(module, "generation_config", None) for module in model.modules())
    own = getattr(next(filter(None, settings), None), "eos_token_id", None)
    ends = own if isinstance(own, list) else [own]
    return {end for end in (*ends, tokenizer.eos_token_id) if end is not None}

"""Preference pairs as tokens: those that TRL makes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from training_hub.plugin import DatasetError, Encoder, Message, Tokenizer, end_of_text, require_template
from training_hub_trl.dpo.pair import EncodedPair, Preference, shared_beginning


def encode(examples: Sequence[tuple[object, Preference]], encoder: Encoder) -> list[EncodedPair]:
    """Examples as tokens, in order.

    Raises:
        DatasetError: The chat template refuses a row, or writes its two answers alike.
    """
    written = [_written(example, place, encoder.tokenizer) for place, example in examples]
    tokens: dict[int, list[list[int]]] = {}
    # What a template writes has its special tokens; the tokenizer adds its own to a plain text.
    for plain in (False, True):
        numbers = [number for number, (_, example) in enumerate(examples) if isinstance(example.prompt, str) is plain]
        if numbers:
            texts = [text for number in numbers for text in written[number]]
            ids = encoder.tokenizer(texts, add_special_tokens=plain, return_attention_mask=False, verbose=False)
            tokens |= {number: ids["input_ids"][3 * k : 3 * k + 3] for k, number in enumerate(numbers)}
    return [_pair(tokens[number], place, encoder) for number, (place, _) in enumerate(examples)]


def _written(example: Preference, place: object, tokenizer: Tokenizer) -> tuple[str, str, str]:
    """The texts of the prompt, of prompt and chosen answer, and of prompt and rejected answer."""
    prompt, sides = example.prompt, (example.chosen, example.rejected)
    if isinstance(prompt, str):
        end_of_text(tokenizer)
        end = str(tokenizer.eos_token)
        texts = [str(side) if str(side).endswith(end) else f"{side}{end}" for side in sides]
        return prompt, prompt + texts[0], prompt + texts[1]
    require_template(tokenizer)
    answered = [[*prompt, *side] for side in sides if not isinstance(side, str)]
    try:
        first = _rendered(list(prompt), example, tokenizer, add_generation_prompt=True)
        chosen, rejected = (_rendered(messages, example, tokenizer) for messages in answered)
    # What a template raises is its own affair: of jinja, or of the expressions in it.
    except Exception as error:
        raise DatasetError(f"{place}: the chat template cannot write it: {type(error).__name__}: {error}") from error
    return first, chosen, rejected


def _rendered(messages: list[Message], example: Preference, tokenizer: Tokenizer, **more: Any) -> str:
    tools = list(example.tools) or None
    arguments = {"tools": tools, **example.template_arguments}
    return str(tokenizer.apply_chat_template(messages, tokenize=False, **arguments, **more))


def _pair(tokens: list[list[int]], place: object, encoder: Encoder) -> EncodedPair:
    """Parts both sequences where the shorter of what they share with the prompt ends."""
    prompt, *sides = tokens
    for side in sides:
        encoder.check_tokens(side, place)
    shared = min(shared_beginning(prompt, side) for side in sides)
    chosen, rejected = (side[shared:] for side in sides)
    if not shared or not chosen or not rejected:
        raise DatasetError(f"{place}: as tokens, the prompt or an answer of it is empty; check its text.")
    if chosen == rejected:
        raise DatasetError(
            f"{place}: as tokens, 'chosen' and 'rejected' are the same; expected two answers that differ once they "
            f"are written."
        )
    if shared < len(prompt):
        encoder.warn(
            "The end of a prompt is written otherwise where an answer follows, and is left out of what is learnt from: "
            "the chat template, or the tokenizer at the edge of two words, does so. The model will be asked with that "
            "end, and trained without it."
        )
    return EncodedPair(prompt[:shared], chosen, rejected)

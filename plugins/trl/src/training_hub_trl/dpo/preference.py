"""The form of rows `preference`: a prompt, the answer that was chosen and the one that was rejected."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from training_hub.plugin import (
    DatasetOptions,
    Encoder,
    Message,
    RowError,
    RowFormat,
    checked_messages,
    checked_template_arguments,
    checked_tools,
    checked_turns,
    require_text_only,
)
from training_hub_trl.dpo.encoding import encode
from training_hub_trl.dpo.pair import EncodedPair, Messages, Preference, shared_beginning

_SIDES = ("chosen", "rejected")
_CONVERSATIONS = ("messages", "conversations", "conversation")
_MISNAMED_PROMPTS = ("question", "query", "input", "problem", "context")


class PreferenceFormat(RowFormat):
    """Preference pairs in each of the ways in which people write them; docs/dpo.md shows them all."""

    name: ClassVar[str] = "preference"
    expected: ClassVar[str] = "'prompt', 'chosen' and 'rejected'"

    def recognises(self, row: Mapping[str, Any], options: DatasetOptions) -> bool:
        return any(row.get(side) is not None for side in _SIDES)

    def convert(self, row: dict[str, Any], options: DatasetOptions) -> Preference:
        for side in _SIDES:
            if row.get(side) is None:
                raise RowError(f"{side!r} is missing; expected an answer, as a text or as messages")
        require_text_only(row)
        found = _texts(row) if _is_text(row) else _conversation(row)
        if found.chosen == found.rejected:
            raise RowError("'chosen' and 'rejected' are the same; expected two different answers")
        return found

    def offers_tools(self, example: Preference) -> bool:
        return bool(example.tools) or any("tool_calls" in message for message in example.messages)

    def encode(self, examples: Sequence[tuple[object, Preference]], encoder: Encoder) -> list[EncodedPair]:
        return encode(examples, encoder)


def _is_text(row: Mapping[str, Any]) -> bool:
    """Whether a row is plain text, which no chat template writes: TRL's `standard` rows."""
    if not all(isinstance(row[side], str) for side in _SIDES):
        return False
    turns = ("instruction", *_CONVERSATIONS)
    return isinstance(row.get("prompt"), str) or (
        row.get("prompt") is None and all(row.get(name) is None for name in turns)
    )


# Texts.


def _texts(row: dict[str, Any]) -> Preference:
    chosen, rejected = (_answer_text(row[side], side) for side in _SIDES)
    for name in ("tools", "chat_template_kwargs", "system"):
        if row.get(name):
            raise RowError(
                f"{name!r} is for the chat template, which does not write rows of plain texts; expected 'prompt', "
                f"'chosen' and 'rejected' as lists of messages"
            )
    prompt = row.get("prompt")
    if prompt is None:
        return Preference(*_shared_text(row, chosen, rejected))
    if not prompt:
        raise RowError("'prompt' is empty; expected a text or a list of messages")
    return Preference(prompt, chosen, rejected)


def _shared_text(row: Mapping[str, Any], chosen: str, rejected: str) -> tuple[str, str, str]:
    """Prompt and answers, where both answers begin with the prompt; as TRL parts them."""
    for name in _MISNAMED_PROMPTS:
        if isinstance(row.get(name), str):
            raise RowError(f"there is no 'prompt', and a text under {name!r}; expected that under 'prompt'")
    if chosen == rejected:
        return "", chosen, rejected
    if chosen.startswith(rejected) or rejected.startswith(chosen):
        raise RowError(
            "there is no 'prompt', and one answer is the beginning of the other, so that where the prompt ends cannot "
            "be told; expected 'prompt' by itself"
        )
    at = shared_beginning(chosen, rejected)
    # A space belongs to the word behind it.
    if at and chosen[at - 1] == " ":
        at -= 1
    if not chosen[:at].strip():
        raise RowError(
            "there is no 'prompt', and 'chosen' and 'rejected' do not begin alike; expected 'prompt' by itself, or at "
            "the beginning of both"
        )
    return chosen[:at], chosen[at:], rejected[at:]


def _answer_text(value: str, field: str) -> str:
    if not value.strip():
        raise RowError(f"{field!r} is empty; expected an answer")
    return value


# Messages.


def _conversation(row: dict[str, Any]) -> Preference:
    prompt = _prompt(row)
    chosen, rejected = (_answer(row[side], side) for side in _SIDES)
    if prompt is None:
        prompt, chosen, rejected = _shared_messages(chosen, rejected)
    else:
        prompt, chosen, rejected = _without_prompt(prompt, chosen, rejected)
    system = row.get("system")
    if system:
        if prompt[0]["role"] == "system":
            raise RowError("'system' is there, and a system message in the prompt, too; expected one of them")
        prompt = (*checked_messages([{"role": "system", "content": system}], "system"), *prompt)
    for side, answer in zip(_SIDES, (chosen, rejected), strict=True):
        if answer[-1]["role"] != "assistant":
            raise RowError(f"{side!r} ends with a message of role {answer[-1]['role']!r}; expected an assistant's")
        if prompt[-1]["role"] == answer[0]["role"] == "assistant":
            raise RowError(f"the prompt ends with an assistant's turn, and {side!r} begins with one; expected a user's")
    return Preference(prompt, chosen, rejected, checked_tools(row), checked_template_arguments(row))


def _prompt(row: dict[str, Any]) -> Messages | None:
    """The prompt that a row has by itself."""
    value = row.get("prompt")
    if isinstance(value, str):
        if not value.strip():
            raise RowError("'prompt' is empty; expected a text or a list of messages")
        return ({"role": "user", "content": value},)
    if value is not None:
        return tuple(checked_turns(value, "prompt"))
    if row.get("instruction") is not None:
        return _alpaca(row)
    name = next((name for name in _CONVERSATIONS if row.get(name) is not None), None)
    return tuple(checked_turns(row[name], name)) if name else None


def _alpaca(row: dict[str, Any]) -> Messages:
    turns: list[Message] = []
    history = row.get("history") or []
    if not isinstance(history, list) or not all(isinstance(pair, list) and len(pair) == 2 for pair in history):
        raise RowError("'history' is no list of [question, answer]")
    for question, answer in history:
        turns += [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    parts = [row["instruction"], row.get("input") or ""]
    if not all(isinstance(part, str) for part in parts):
        raise RowError("'instruction' and 'input' are not both texts; expected texts")
    question = "\n\n".join(part for part in parts if part.strip())
    if not question:
        raise RowError("'instruction' is empty; expected a text")
    return tuple(checked_messages([*turns, {"role": "user", "content": question}], "history"))


def _answer(value: object, field: str) -> Messages:
    """An answer as messages: of a text, of one message, of several."""
    if isinstance(value, str):
        return ({"role": "assistant", "content": _answer_text(value, field)},)
    return tuple(checked_turns([value] if isinstance(value, dict) else value, field))


def _shared_messages(chosen: Messages, rejected: Messages) -> tuple[Messages, Messages, Messages]:
    """Prompt and answers, where both answers begin with the prompt; as TRL parts them."""
    # Where one of them goes on behind the end of the other, the last message that they share is an answer.
    shared = min(shared_beginning(chosen, rejected), len(chosen) - 1, len(rejected) - 1)
    if not shared:
        raise RowError(
            "there is no 'prompt', and 'chosen' and 'rejected' do not begin with the same message; expected 'prompt' "
            "by itself, or at the beginning of both"
        )
    return chosen[:shared], chosen[shared:], rejected[shared:]


def _without_prompt(prompt: Messages, chosen: Messages, rejected: Messages) -> tuple[Messages, Messages, Messages]:
    """Prompt and answers, where the answers may repeat the prompt that the row has by itself, too."""
    # A system message may come before what the row has as its prompt.
    for start in range(2):
        end = start + len(prompt)
        again = chosen[start:end] == rejected[start:end] == prompt and chosen[:start] == rejected[:start]
        if again and end < min(len(chosen), len(rejected)) and all(m["role"] == "system" for m in chosen[:start]):
            return chosen[:end], chosen[end:], rejected[end:]
    for side, answer in zip(_SIDES, (chosen, rejected), strict=True):
        if answer[0]["role"] in ("system", "user") and prompt[-1]["role"] != "assistant":
            raise RowError(
                f"{side!r} begins with a message of role {answer[0]['role']!r} that is not the prompt's; expected the "
                f"answer alone, or behind the prompt as it stands in the row"
            )
    return prompt, chosen, rejected

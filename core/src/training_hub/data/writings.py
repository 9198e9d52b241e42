"""The ways in which one conversation can be given to a chat template: what is a text to one is an object to another."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any, Final

from training_hub.data.examples import REASONING, Message

THINK: Final = ("<think>", "</think>")

Writing = Callable[[Sequence[Message]], list[Message]]


def as_they_are(messages: Sequence[Message]) -> list[Message]:
    return list(messages)


def arguments_as_text(messages: Sequence[Message]) -> list[Message]:
    """Some templates join the arguments of a call to a text, and so want them as JSON text."""
    return [_with_text_arguments(message) for message in messages]


def without_empty_content(messages: Sequence[Message]) -> list[Message]:
    """Some write the calls of a message only where it has no content, and an empty text is one to them."""
    return [
        {key: value for key, value in message.items() if key != "content"}
        if "tool_calls" in message and message.get("content") == ""
        else message
        for message in messages
    ]


def reasoning_apart(messages: Sequence[Message]) -> list[Message]:
    """Some cut reasoning out of the content, and write what is given as reasoning."""
    return [_with_reasoning(message) for message in messages]


def content_as_parts(messages: Sequence[Message]) -> list[Message]:
    """Templates of models that also see or hear want the content as a list of parts."""
    return [
        {**message, "content": [{"type": "text", "text": message["content"]}]}
        if isinstance(message.get("content"), str)
        else message
        for message in messages
    ]


def _both(one: Writing, other: Writing) -> Writing:
    return lambda messages: other(one(messages))


WRITINGS: Final[tuple[Writing, ...]] = (
    as_they_are,
    arguments_as_text,
    without_empty_content,
    _both(arguments_as_text, without_empty_content),
    reasoning_apart,
    content_as_parts,
    _both(arguments_as_text, content_as_parts),
    _both(reasoning_apart, content_as_parts),
)
"""In the order in which they are tried."""


def _with_text_arguments(message: Message) -> Message:
    if "tool_calls" not in message:
        return message
    calls: list[Any] = []
    for call in message["tool_calls"]:
        function = call["function"]
        arguments = function["arguments"]
        if not isinstance(arguments, str):
            arguments = json.dumps(arguments, ensure_ascii=False)
        calls.append({**call, "function": {**function, "arguments": arguments}})
    return {**message, "tool_calls": calls}


def _with_reasoning(message: Message) -> Message:
    opening, closing = THINK
    content = str(message.get("content", "")).lstrip()
    if message["role"] != "assistant" or not content.startswith(opening) or any(name in message for name in REASONING):
        return message
    thought, closed, answer = content.removeprefix(opening).partition(closing)
    if not closed:
        return message
    return {**message, "content": answer.lstrip("\n"), "reasoning_content": thought.strip("\n")}

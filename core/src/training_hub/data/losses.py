"""What a chat template leaves out of a row, told from the characters that it has written."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from training_hub.data.examples import REASONING, Message
from training_hub.data.traced import CONTENT, NOWHERE, Traced
from training_hub.data.traced import REASONING as THOUGHT
from training_hub.data.wording import shown
from training_hub.data.writings import THINK


class TemplateError(Exception):
    """The chat template does not take a row, or leaves out something that would be trained."""


class ToolsError(TemplateError):
    """The chat template leaves out the tools that a row offers."""


def require_all(text: Traced, messages: Sequence[Message], trained: Sequence[int]) -> bool:
    """Refuse a template that leaves out a part of a row; whether it leaves out reasoning of earlier turns alone.

    Templates of reasoning models are made so: what was thought before an earlier turn is not shown again.

    Raises:
        TemplateError: What it leaves out, of which message, and what mends it.
    """
    thoughts = False
    last = max((number for number, message in enumerate(messages) if message["role"] == "assistant"), default=-1)
    for number, message in enumerate(messages):
        where = f"message {number + 1} (role {message['role']!r})"
        lost = _lost(text, number, message)
        if message["role"] != "assistant":
            if lost:
                raise TemplateError(
                    f"the chat template leaves out {where} or rewrites it: {shown(lost[0])}; use one that writes every "
                    "message, or leave the message out"
                )
            continue
        written = "".join(_of(text, number))
        _require_calls(written, message, where)
        reasoned, other = _sorted(message, lost, written)
        if other:
            raise TemplateError(
                f"the chat template leaves out a part of {where}, {shown(other)}; use one that writes it as it is, or "
                "take that out of the row"
            )
        if reasoned or _reasoning_lost(text, number, message):
            if number == last and number in trained:
                raise TemplateError(
                    f"the chat template leaves out the reasoning of {where}; use a template that writes it, or another "
                    f"of the keys {', '.join(REASONING)}"
                )
            thoughts = thoughts or number in trained
    return thoughts


def _lost(text: Traced, number: int, message: Message) -> list[str]:
    """The pieces of a message's content that are not in the text."""
    content = _content(message)
    if not content.strip():
        return []
    written = sorted(
        (run.at, run.at + run.length) for run in text.runs if run.message == number and run.source == CONTENT
    )
    if any(start == NOWHERE for start, _ in written):
        return []  # as JSON, escaped
    if not written:
        whole = content.strip()
        if not isinstance(message["content"], str):
            return [whole]  # what is there of it is the list as Python writes it
        own = "".join(_of(text, number))
        found = whole in own or json.dumps(whole, ensure_ascii=False)[1:-1] in own
        return [] if found else [whole]
    pieces, done = [], 0
    for start, stop in [*written, (len(content), len(content))]:
        if start > done and content[done:start].strip():
            pieces.append(content[done:start].strip())
        done = max(done, stop)
    return pieces


def _content(message: Message) -> str:
    content = message.get("content", "")
    return content if isinstance(content, str) else "".join(part["text"] for part in content)


def _sorted(message: Message, lost: Sequence[str], written: str) -> tuple[bool, str]:
    """Whether the reasoning inside a content is lost, and what is lost of the rest."""
    opening, closing = THINK
    content = _content(message).strip()
    thought = content.partition(closing)[0] + closing if content.startswith(opening) and closing in content else ""
    reasoned = False
    for piece in lost:
        rest = piece
        for tag in THINK:
            rest = rest.removeprefix(tag).removesuffix(tag).strip()
        if rest and piece not in thought:
            return reasoned, piece
        # Tags that are all that is left out are written by the template itself, if it writes what is between them.
        reasoned = reasoned or bool(rest) or not all(tag in written for tag in THINK if tag in piece)
    return reasoned, ""


def _reasoning_lost(text: Traced, number: int, message: Message) -> bool:
    thoughts = [thought for name in REASONING if (thought := str(message.get(name) or "").strip())]
    if not thoughts or any(run.message == number and run.source == THOUGHT for run in text.runs):
        return False
    return not all(thought in text for thought in thoughts)


def _require_calls(written: str, message: Message, where: str) -> None:
    functions = [call["function"] for call in message.get("tool_calls", ())]
    names = Counter(str(function["name"]) for function in functions)
    for name, count in names.items():
        if written.count(name) < count:
            which = f"a call of {name!r}" if written.count(name) else f"the call of {name!r}"
            raise TemplateError(f"the chat template leaves out {which} in {where}; use one that writes tool_calls")
    for function in functions:
        name, arguments = str(function["name"]), function["arguments"]
        if not isinstance(arguments, dict):
            continue
        missing = next((text for text in _texts(arguments) if not _is_in(text, written)), None)
        if missing is not None:
            raise TemplateError(
                f"the chat template leaves out {shown(missing)} of the call of {name!r} in {where}; use one that "
                "writes tool_calls whole"
            )
        if arguments and repr(arguments) in written and json.dumps(arguments, ensure_ascii=False) not in written:
            raise TemplateError(
                f"the chat template writes the arguments of {name!r} in {where} as Python does, which is no JSON; use "
                "one that writes JSON"
            )


def _texts(value: Any) -> Iterator[str]:
    """The keys and texts of a value, at every depth."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield key
            yield from _texts(item)
    elif isinstance(value, list):
        for item in value:
            yield from _texts(item)


def _is_in(text: str, written: str) -> bool:
    """Whether a text is written: as it is, or as JSON, perhaps as JSON in JSON."""
    if text.strip() in written:
        return True
    for ascii_only in (False, True):
        once = json.dumps(text.strip(), ensure_ascii=ascii_only)[1:-1]
        if once in written or json.dumps(once, ensure_ascii=ascii_only)[1:-1] in written:
            return True
    return False


def _of(text: Traced, number: int) -> list[str]:
    """The pieces of a text that belong to a message."""
    pieces, at = [], 0
    for run in text.runs:
        if run.message == number:
            pieces.append(str.__getitem__(text, slice(at, at + run.length)))
        at += run.length
    return pieces

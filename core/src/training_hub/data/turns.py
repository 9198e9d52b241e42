"""Finds, exactly and for any chat template, which characters of a rendered conversation each trained turn wrote.

The template is never read, only watched. A *skeleton* is the same conversation with every message's text replaced by
one marker character: what stands between the markers is what the template writes by itself (the *glue*), and the
renders of its prefixes show how much of the glue the model is given at inference and how much it has to write (the
*frame* of a turn: the text from the end of the generation prompt to the content, and the end-of-turn text after it).
A row's own render is then laid over the skeleton. Where more than one way to lay it fits, because a message quotes the
template's own text, one turn at a time is replaced in the row itself, which leaves a single answer.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, NamedTuple, NoReturn

from training_hub.data.examples import REASONING, Conversation, Message, has_reasoning
from training_hub.data.tokenizer import Tokenizer

_MARKS = range(0xF0000, 0x10FFFE)  # private use: no template and hardly any text has them
_REMEMBERED = 4096
_REACH = 32
_THINK_END = "</think>"
Span = tuple[int, int]


class TemplateError(Exception):
    """The chat template does not take a row, or leaves out something that would be trained."""


class Frame(NamedTuple):
    """What stands around a turn's own text: `loose` before it, from where the template may write something else.

    `given` is what the generation prompt has in that place; where a row has it too, the model need not write it. A
    `loose` that is not `learnt` is no answer to any generation prompt. `end` is the end-of-turn text.
    """

    loose: str = ""
    learnt: bool = True
    given: str = ""
    end: str = ""

    def start(self, text: str, start: int) -> int:
        """Where the words of the model begin, if its turn has its loose text at `start`."""
        if self.given and text.startswith(self.given, start):
            return start + len(self.given)
        if not self.learnt and text.startswith(self.loose, start):
            return start + len(self.loose)
        return start


_NO_FRAME = Frame()


@dataclass(frozen=True, slots=True)
class Skeleton:
    """The template's own text around the messages, in the order in which the template writes them."""

    order: tuple[int, ...]
    glue: tuple[str, ...]
    frames: dict[int, Frame]
    calls_kept: bool


class Turns:
    """Renders conversations with one tokenizer's chat template, and remembers what it has learnt about it."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._skeletons: dict[tuple[str, ...], Skeleton | None] = {}
        self._frames: dict[tuple[object, ...], Frame] = {}
        self._arguments_as_text = False
        self._tools_rendered = False
        self.warnings: dict[str, None] = {}

    def render(self, conversation: Conversation) -> tuple[str, list[Span]]:
        """The conversation as text, and the spans of it that are trained, in order and apart from each other."""
        messages = conversation.messages
        tools = list(conversation.tools) or None
        text = self._text(messages, tools)
        self._require_tools(text, messages, tools)
        spans, frames = self._spans(text, conversation, tools)
        trained: list[Span] = []
        for index, (start, stop) in spans.items():
            self._require_content(messages, index, text, (start, stop))
            start = frames.get(index, _NO_FRAME).start(text, start)
            if start < stop:
                trained.append((start, stop))
        return text, sorted(trained)

    def _spans(
        self, text: str, conversation: Conversation, tools: list[Message] | None
    ) -> tuple[dict[int, Span], dict[int, Frame]]:
        messages = conversation.messages
        tried: list[Skeleton] = []
        for skeleton in self._skeletons_for(messages, tools, text):
            tried.append(skeleton)
            spans = lay_over(text, skeleton, messages, conversation.trained)
            if spans is not None:
                self._warn_without_end(skeleton)
                return spans, skeleton.frames
        self._require_context(messages, text)
        spans = {}
        frames: dict[int, Frame] = {}
        for index in conversation.trained:
            found = self._replaced(text, messages, index, tools, tried)
            if found is None:
                self._explain(messages, index)
            spans[index], frames[index] = found
        for skeleton in tried[:1]:
            self._warn_without_end(skeleton)
        return spans, frames

    def _warn_without_end(self, skeleton: Skeleton) -> None:
        if skeleton.frames and not any(frame.end for frame in skeleton.frames.values()):
            self.warnings[
                "The chat template writes no end-of-turn text after an assistant turn, so the model will not learn to "
                "stop."
            ] = None

    def _skeletons_for(self, messages: Sequence[Message], tools: list[Message] | None, text: str) -> Iterator[Skeleton]:
        """Skeletons that may fit, the cheapest first."""
        if not tools:
            roles = tuple(str(message["role"]) for message in messages)
            if roles not in self._skeletons:
                if len(self._skeletons) >= _REMEMBERED:
                    self._skeletons.clear()
                bare = [{"role": role, "content": ""} for role in roles]
                self._skeletons[roles] = self._skeleton(bare, None, _marks(len(bare), ""), calls_kept=False)
            known = self._skeletons[roles]
            if known is not None:
                yield known
        marks = _marks(len(messages), text)
        for calls_kept in (False, True):
            if not calls_kept or any("tool_calls" in message for message in messages):
                fresh = self._skeleton(messages, tools, marks, calls_kept)
                if fresh is not None:
                    yield fresh

    def _skeleton(
        self, messages: Sequence[Message], tools: list[Message] | None, marks: str, calls_kept: bool
    ) -> Skeleton | None:
        bare = [_marked(message, mark, calls_kept) for message, mark in zip(messages, marks, strict=True)]
        whole = self._try(bare, tools)
        if whole is None:
            return None
        places: list[tuple[int, int, int]] = []
        for index, mark in enumerate(marks):
            first = whole.find(mark)
            last = whole.rfind(mark)
            if first < 0 or (first != last and "tool_calls" not in bare[index]):
                return None
            places.append((first, last + 1, index))
        places.sort()
        glue: list[str] = []
        done = 0
        for first, after, _ in places:
            if first < done:
                return None
            glue.append(whole[done:first])
            done = after
        glue.append(whole[done:])
        order = tuple(index for _, _, index in places)
        frames = {
            index: self._frame(bare, tools, marks, order, position, glue)
            for position, index in enumerate(order)
            if bare[index]["role"] == "assistant"
        }
        return Skeleton(order, tuple(glue), frames, calls_kept)

    def _frame(
        self,
        bare: list[Message],
        tools: list[Message] | None,
        marks: str,
        order: tuple[int, ...],
        position: int,
        glue: list[str],
    ) -> Frame:
        """How much of the glue around a turn the model writes; the same glue between the same roles is asked once."""
        index = order[position]
        before = order[position - 1] if position else None
        is_last = position == len(order) - 1
        # The glue is part of the key, so that nothing is taken over from a turn which the template wrote differently.
        key = (
            None if before is None else bare[before]["role"],
            "tool_calls" in bare[index],
            is_last or bare[order[position + 1]]["role"],
            glue[position],
            glue[position + 1],
            bool(tools),
        )
        if key not in self._frames:
            if len(self._frames) >= _REMEMBERED:
                self._frames.clear()
            self._frames[key] = self._learn_frame(
                bare, tools, marks, index, before, glue[position], glue[position + 1], is_last
            )
        return self._frames[key]

    def _learn_frame(
        self,
        bare: list[Message],
        tools: list[Message] | None,
        marks: str,
        index: int,
        before: int | None,
        left: str,
        right: str,
        is_last: bool,
    ) -> Frame:
        ended = self._tail(bare[: index + 1], tools, marks[index], prompt=False)
        prompted = self._tail(bare[: index + 1], tools, marks[index], prompt=True)
        loose = given = ""
        learnt = True
        header: str | None = None
        if before is not None:
            closed = self._tail(bare[:index], tools, marks[before], prompt=False)
            opened = self._tail(bare[:index], tools, marks[before], prompt=True)
            if opened is not None and closed is not None and opened.startswith(closed):
                header = opened[len(closed) :]
            if opened is not None:
                shared = _shared(left, opened)
                loose, given, learnt = left[shared:], opened[shared:], shared == len(opened)
            if header == "" and loose.strip():
                # A template without generation prompt: the role header is still none of the model's words.
                loose = given = ""
        if header is None and ended is not None and prompted is not None:
            # A template may end a conversation (`<|end|>` and then `</s>`) in another way than a turn.
            common = self._common(ended, prompted)
            header = prompted[len(common) :] if common.strip() or not ended else None
        if before is None and header and header in left:
            loose = left.rpartition(header)[2]
        return Frame(loose, learnt, given, self._end(right, is_last, ended, prompted, header))

    def _end(self, right: str, is_last: bool, ended: str | None, prompted: str | None, header: str | None) -> str:
        """The end-of-turn text at the beginning of `right`, without the space that a template puts after it."""
        if prompted is not None and header and prompted.endswith(header):
            closing = prompted[: -len(header)].rstrip()
            if closing and right.startswith(closing):
                return closing
        if is_last:
            return right.rstrip()
        if ended is not None and ended.strip() and right.startswith(ended.rstrip()):
            return ended.rstrip()
        eos = self._tokenizer.eos_token
        if eos and right.lstrip().startswith(eos):
            return right[: right.index(eos) + len(eos)]
        return ""

    def _common(self, one: str, other: str) -> str:
        """What two texts begin with in common, without a part of a special token."""
        common = one[: _shared(one, other)]
        for text in (one, other):
            for token in self._tokenizer.get_added_vocab():
                cut = text.find(token, max(len(common) - len(token) + 1, 0), len(common) + len(token) - 1)
                if 0 <= cut < len(common) < cut + len(token):
                    common = common[:cut]
        return common

    def _tail(self, messages: list[Message], tools: list[Message] | None, mark: str, prompt: bool) -> str | None:
        """What a prefix of the conversation ends with after a marker, or None where the template refuses it."""
        text = self._try(messages, tools, prompt) if messages else None
        return None if text is None or mark not in text else text[text.rindex(mark) + 1 :]

    def _replaced(
        self, text: str, messages: Sequence[Message], index: int, tools: list[Message] | None, known: list[Skeleton]
    ) -> tuple[Span, Frame] | None:
        """The span of one turn, from the render in which only that turn is replaced by a marker."""
        mark = _marks(1, text)
        for skeleton in reversed(known):
            frame = skeleton.frames.get(index, _NO_FRAME)
            turn = _marked(messages[index], mark, skeleton.calls_kept)
            other = self._try([*messages[:index], turn, *messages[index + 1 :]], tools)
            if other is None or mark not in other:
                continue
            start = other.index(mark) - len(frame.loose)
            after = other.rindex(mark) + 1
            rest = len(other) - after - len(frame.end)
            if other.count(mark) > 1 and "tool_calls" not in turn:
                continue
            if not other.startswith(frame.loose, max(start, 0)) or not other.startswith(frame.end, after):
                continue
            stop = len(text) - rest
            if not text.startswith(other[: max(start, 0)]) and has_reasoning(messages[index]):
                start = _opened_reasoning(text, other, start)
            if start <= stop and text.startswith(other[:start]) and text.endswith(other[len(other) - rest :]):
                return (start, stop), frame
        return None

    def _text(self, messages: Sequence[Message], tools: list[Message] | None) -> str:
        calls = [call for message in messages for call in message.get("tool_calls", ())]
        try:
            text = self._apply(messages, tools)
        except Exception as error:  # a template raises whatever its author chose
            if not calls or self._arguments_as_text:
                raise TemplateError(_complaint(error)) from error
            # Some templates join the arguments to a text, and so want them as JSON text.
            self._arguments_as_text = True
            try:
                return self._apply(messages, tools)
            except Exception:
                self._arguments_as_text = False
                raise TemplateError(_complaint(error)) from error
        if not self._arguments_as_text and any(_python_repr(call, text) for call in calls):
            self._arguments_as_text = True
            text = self._apply(messages, tools)
        return text

    def _try(self, messages: Sequence[Message], tools: list[Message] | None, prompt: bool = False) -> str | None:
        try:
            return self._apply(messages, tools, prompt)
        except Exception:  # a template may refuse a part of what it takes as a whole
            return None

    def _apply(self, messages: Sequence[Message], tools: list[Message] | None, prompt: bool = False) -> str:
        if self._arguments_as_text:
            messages = [_with_text_arguments(message) for message in messages]
        text = self._tokenizer.apply_chat_template(
            list(messages), tools=tools, tokenize=False, add_generation_prompt=prompt
        )
        return str(text)

    def _require_tools(self, text: str, messages: Sequence[Message], tools: list[Message] | None) -> None:
        if not tools:
            return
        if not self._tools_rendered:
            if self._try(messages, None) == text:
                raise TemplateError("the chat template leaves out 'tools'; use one that writes them, or drop the field")
            self._tools_rendered = True
        for tool in tools:
            name = str(tool["function"]["name"])
            if name not in text:
                raise TemplateError(f"the chat template leaves out the tool {name!r}; use one that writes all tools")

    def _require_content(self, messages: Sequence[Message], index: int, text: str, span: Span) -> None:
        """Refuse a template that leaves out a part of a trained turn."""
        message = messages[index]
        written = text[span[0] : span[1]]
        content = str(message["content"]).strip()
        where = f"message {index + 1} (role {message['role']!r})"
        for call in message.get("tool_calls", ()):
            name = str(call["function"]["name"])
            if name not in written:
                raise TemplateError(
                    f"the chat template leaves out the call of {name!r} in {where}; use one that writes tool_calls"
                )
        if message["role"] != "assistant":
            return
        lost = any(str(message.get(name, "")).strip() not in written for name in REASONING)
        if content not in written and not _overlaps(content, text, span):
            answer = content.rpartition(_THINK_END)[2].strip()
            if _THINK_END not in content or answer not in written:
                raise TemplateError(
                    f"the chat template leaves out the text of {where}; use one that writes it as it is"
                )
            lost = True
        if not lost:
            return
        if any(later["role"] == "assistant" for later in messages[index + 1 :]):
            # Templates of reasoning models are made so: what was thought before an earlier turn is not shown again.
            self.warnings["The chat template leaves out the reasoning of earlier assistant turns."] = None
            return
        raise TemplateError(
            f"the chat template leaves out the reasoning of {where}; use a template that writes it, or another of the "
            f"keys {', '.join(REASONING)}"
        )

    def _require_context(self, messages: Sequence[Message], text: str) -> None:
        """Refuse a template that leaves out or rewrites what the assistant answers to."""
        for number, message in enumerate(messages, 1):
            content = str(message["content"]).strip()
            if message["role"] == "assistant" or content in text:
                continue
            # Some templates write the result of a tool as a JSON text.
            if message["role"] != "tool" or json.dumps(content, ensure_ascii=False)[1:-1] not in text:
                raise TemplateError(
                    f"the chat template leaves out message {number} (role {message['role']!r}) or rewrites it; "
                    "use one that writes every message, or leave the message out"
                )

    def _explain(self, messages: Sequence[Message], index: int) -> NoReturn:
        raise TemplateError(
            f"the chat template does not write message {index + 1} (role {messages[index]['role']!r}) as one piece of "
            "its own, so what to train cannot be told; use another chat template"
        )


def lay_over(
    text: str, skeleton: Skeleton, messages: Sequence[Message], trained: Sequence[int]
) -> dict[int, Span] | None:
    """The span of every trained turn, or None unless the text is the skeleton filled in, in one way only."""
    for strip in (False, True):
        spans = _lay(text, skeleton, messages, frozenset(trained), strip)
        if spans is not None:
            return spans
    return None


def _lay(
    text: str, skeleton: Skeleton, messages: Sequence[Message], trained: frozenset[int], strip: bool
) -> dict[int, Span] | None:
    blocks: list[str] = []
    gaps: list[int] = []
    known: list[tuple[int, int, int, int]] = []
    block = skeleton.glue[0]
    for position, index in enumerate(skeleton.order):
        message = messages[index]
        frame = skeleton.frames.get(index, _NO_FRAME)
        right = skeleton.glue[position + 1]
        if _opaque(message):
            blocks.append(block[: len(block) - len(frame.loose)])
            gaps.append(index)
            block = right[len(frame.end) :]
            continue
        content = str(message["content"])
        content = content.strip() if strip else content
        start = len(block) - len(frame.loose)
        block += content
        if index in trained:
            known.append((index, len(blocks), start, len(block) + len(frame.end)))
        block += right
    blocks.append(block)
    at = _places(text, blocks)
    if at is None:
        return None
    spans = {index: (at[number] + start, at[number] + stop) for index, number, start, stop in known}
    for number, index in enumerate(gaps):
        if index in trained:
            spans[index] = (at[number] + len(blocks[number]), at[number + 1])
    return spans


def _places(text: str, blocks: list[str]) -> list[int] | None:
    """Where each block stands if the blocks fit the text, end to end, in exactly one way."""
    if len(blocks) == 1:
        return [0] if text == blocks[0] else None
    last = len(text) - len(blocks[-1])
    if not text.startswith(blocks[0]) or not text.endswith(blocks[-1]) or last < len(blocks[0]):
        return None
    leftmost = [0]
    done = len(blocks[0])
    for block in blocks[1:-1]:
        found = text.find(block, done, last)
        if found < 0:
            return None
        leftmost.append(found)
        done = found + len(block)
    limit = last
    for block, found in zip(reversed(blocks[1:-1]), reversed(leftmost[1:]), strict=True):
        if text.rfind(block, 0, limit) != found:
            return None
        limit = found
    return [*leftmost, last]


def _overlaps(content: str, text: str, span: Span) -> bool:
    """Whether a content reaches back over the start of a span, as an opening `<think>` of its own does."""
    start, stop = span
    back = range(max(start - _REACH, 0), start)
    return any(start < at + len(content) <= stop and text.startswith(content, at) for at in back)


def _shared(one: str, other: str) -> int:
    """How many characters two texts begin with in common."""
    low, high = 0, min(len(one), len(other))
    while low < high:
        middle = (low + high + 1) // 2
        if one[low:middle] == other[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low


def _opened_reasoning(text: str, other: str, start: int) -> int:
    """Where reasoning begins in the text if the generation prompt, which ends at `start`, has an empty one instead."""
    common = _shared(text, other)
    return common if _THINK_END in other[common:start] else start


def _opaque(message: Message) -> bool:
    """Whether a template may write more or less than the content of a message."""
    if message["role"] != "assistant":
        return False
    return "tool_calls" in message or has_reasoning(message) or _THINK_END in message["content"]


def _marked(message: Message, mark: str, calls_kept: bool) -> Message:
    """The message with a marker in place of all that it says."""
    if message["role"] != "assistant":
        return {**message, "content": mark}
    if not calls_kept or "tool_calls" not in message:
        return {"role": "assistant", "content": mark}
    # What follows may depend on the ids and names of the calls; only what is said in them is replaced.
    calls = [{**call, "function": {**call["function"], "arguments": {mark: mark}}} for call in message["tool_calls"]]
    return {"role": "assistant", "content": "", "tool_calls": calls}


def _marks(count: int, text: str) -> str:
    """As many different characters that do not occur in the text."""
    present = set(text) if text and max(text) >= chr(_MARKS.start) else frozenset[str]()
    return "".join(islice((mark for mark in map(chr, _MARKS) if mark not in present), count))


def _with_text_arguments(message: Message) -> Message:
    if "tool_calls" not in message:
        return message
    calls: list[Any] = []
    for call in message["tool_calls"]:
        function = call["function"]
        arguments = json.dumps(function["arguments"], ensure_ascii=False)
        calls.append({**call, "function": {**function, "arguments": arguments}})
    return {**message, "tool_calls": calls}


def _python_repr(call: Message, text: str) -> bool:
    """Whether the template wrote the arguments as a Python dict, which is no JSON."""
    arguments = call["function"]["arguments"]
    return bool(arguments) and repr(arguments) in text and json.dumps(arguments, ensure_ascii=False) not in text


def _complaint(error: Exception) -> str:
    return f"the chat template does not take the row: {str(error) or type(error).__name__}"

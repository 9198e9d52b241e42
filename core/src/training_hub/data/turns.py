"""Which characters of a rendered conversation are trained: what the model must write itself, and nothing else.

That is, of each assistant turn to be learnt, from where the generation prompt ends to the end-of-turn text, that
included. The template is evaluated with texts that know their message (`template`), so whose a character is, is known;
the generation prompt, rendered for the messages before the turn, says what of the turn is given to the model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import accumulate, pairwise
from typing import NamedTuple

from training_hub.data.examples import Conversation, Message
from training_hub.data.losses import TemplateError, require_all
from training_hub.data.template import TracedTemplate
from training_hub.data.tokenizer import Tokenizer
from training_hub.data.traced import CONTENT, TEMPLATE, Run, Traced
from training_hub.data.writings import THINK, WRITINGS, Writing

_REMEMBERED = 4096
_ANY: tuple[Message, ...] = ({"role": "user", "content": "x"},)
Span = tuple[int, int]


class Opening(NamedTuple):
    """The generation prompt of a turn, and where in the text it stands, if the turn has it."""

    at: int
    prompt: str


class Plan(NamedTuple):
    """How the template writes plain conversations of some roles: texts of its own, and whole contents."""

    runs: tuple[Run, ...]
    texts: tuple[str, ...]
    openings: Mapping[int, tuple[int, int, str]]
    """By trained message: a run, a place in it, and the generation prompt that stands there."""

    def write(self, contents: Sequence[str]) -> tuple[Traced, dict[int, Opening]]:
        """What the template writes for these contents, if it treats them as it did others."""
        texts = [
            contents[run.message] if run.source == CONTENT and run.message is not None else text
            for run, text in zip(self.runs, self.texts, strict=True)
        ]
        runs = [run._replace(length=len(text)) for run, text in zip(self.runs, texts, strict=True)]
        starts = [0, *accumulate(map(len, texts))]
        openings = {i: Opening(starts[run] + place, prompt) for i, (run, place, prompt) in self.openings.items()}
        return Traced("".join(texts), runs), openings


class Turns:
    """Renders conversations with one tokenizer's chat template, and remembers what it has learnt about it."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._templates: dict[str, TracedTemplate] = {}
        self._plans: dict[tuple[object, ...], Plan] = {}
        self._writings: dict[tuple[bool, bool], Writing] = {}
        self._writes_tools = False
        self.warnings: dict[str, None] = {}

    def render(self, conversation: Conversation) -> tuple[str, list[Span]]:
        """The conversation as text, and the spans of it that are trained, in order and apart from each other.

        Raises:
            TemplateError: The template does not take the conversation, or leaves out a part of it.
        """
        messages = conversation.messages
        kind = (any("tool_calls" in message for message in messages), _thinks(messages))
        known = self._writings.get(kind, WRITINGS[0])
        tried: list[list[Message]] = []
        problems: dict[Writing, TemplateError] = {}
        for writing in (known, *(each for each in WRITINGS if each is not known)):
            written = writing(messages)
            if written in tried:
                continue
            tried.append(written)
            try:
                found = self._render(conversation, written)
            except TemplateError as error:
                problems[writing] = error
            else:
                self._writings[kind] = writing
                return found
        raise problems.get(WRITINGS[0]) or next(iter(problems.values()))

    def _render(self, conversation: Conversation, messages: list[Message]) -> tuple[str, list[Span]]:
        tools = list(conversation.tools) or None
        try:
            text = self._apply(messages, tools)
        except Exception as error:  # a template raises whatever its author chose
            said = str(error) or type(error).__name__
            raise TemplateError(f"the chat template does not take the row: {said}") from error
        roles = _roles_of_plain(messages) if not tools else None
        key = None if roles is None else (roles, conversation.trained)
        traced, openings = self._planned(text, key, messages)
        if traced is None:
            traced = self._traced(text, messages, tools)
            self._require_tools(text, messages, tools)
            if require_all(traced, messages, conversation.trained):
                self.warnings["The chat template leaves out the reasoning of earlier assistant turns."] = None
            openings = {
                index: self._opening(traced, messages, index, tools)
                for index in conversation.trained
                if messages[index]["role"] == "assistant"
            }
            if key is not None:
                self._plan(key, traced, messages, openings)
        return text, self._spans(traced, messages, conversation.trained, openings)

    def _planned(
        self, text: str, key: tuple[object, ...] | None, messages: Sequence[Message]
    ) -> tuple[Traced | None, dict[int, Opening]]:
        plan = self._plans.get(key) if key is not None else None
        if plan is None:
            return None, {}
        contents = [message["content"] for message in messages]
        for said in (contents, [content.strip() for content in contents]):
            traced, openings = plan.write(said)
            if traced == text:
                return traced, openings
        return None, {}

    def _plan(
        self, key: tuple[object, ...], text: Traced, messages: Sequence[Message], openings: Mapping[int, Opening]
    ) -> None:
        starts = [0, *accumulate(run.length for run in text.runs)]
        pieces = [str.__getitem__(text, slice(start, stop)) for start, stop in pairwise(starts)]
        places = {}
        for run, piece in zip(text.runs, pieces, strict=True):
            if run.source == CONTENT and (
                run.message is None or piece.strip() != messages[run.message]["content"].strip()
            ):
                return
        for index, opening in openings.items():
            number = max(n for n, start in enumerate(starts) if start <= opening.at)
            place = opening.at - starts[number]
            if place and text.runs[number].source == CONTENT:
                return
            places[index] = (number, place, opening.prompt)
        if len(self._plans) >= _REMEMBERED:
            self._plans.clear()
        self._plans[key] = Plan(text.runs, tuple(pieces), places)

    def _traced(
        self, text: str, messages: Sequence[Message], tools: list[Message] | None, prompt: bool = False
    ) -> Traced:
        """The text again, of which each character knows its message.

        Raises:
            TemplateError: The tokenizer does not write what its template says.
        """
        source = str(self._tokenizer.get_chat_template(tools=tools))
        if source not in self._templates:
            self._templates[source] = TracedTemplate(source)
        try:
            traced = self._templates[source].render(messages, tools, prompt, self._tokenizer.special_tokens_map)
        except Exception as error:
            said = f"{type(error).__name__}: {error}"
            raise TemplateError(
                f"the chat template cannot be followed to see what of the row it writes ({said})"
            ) from error
        if traced != text:
            raise TemplateError(
                "the tokenizer writes another text than its chat template, so what to train cannot be told; use a "
                "tokenizer of transformers as it is"
            )
        return traced

    def _opening(self, text: Traced, messages: list[Message], index: int, tools: list[Message] | None) -> Opening:
        """What the model is given before a turn, from the render of the messages before it."""
        start = next((start for start, _ in _stretches(text, index)), len(text))
        before = messages[:index]
        opened = self._try(before, tools, prompt=True)
        closed = self._try(before, tools, prompt=False)
        if opened is None or closed is None:
            before = list(_ANY)
            opened, closed = self._try(before, tools, prompt=True), self._try(before, tools, prompt=False)
            if opened is None or closed is None:
                return Opening(start, "")
        shared = _shared(opened, closed)
        if shared < len(closed):
            # A conversation that goes on may be closed in another way; no text of the template is cut in two.
            edges = accumulate(run.length for run in self._traced(opened, before, tools, prompt=True).runs)
            shared = max((edge for edge in edges if edge <= shared), default=0)
        if text.startswith(opened) or (index and text.startswith(opened[:shared]) and shared >= start):
            start = shared
        return Opening(start, opened[shared:])

    def _spans(
        self, text: Traced, messages: Sequence[Message], trained: Sequence[int], openings: Mapping[int, Opening]
    ) -> list[Span]:
        found: list[Span] = []
        for index in trained:
            stretches = _stretches(text, index)
            if not stretches:
                raise TemplateError(
                    f"the chat template leaves out message {index + 1} (role {messages[index]['role']!r}); use one that "
                    "writes every message"
                )
            if index not in openings:
                said = [_said(text, stretch) for stretch in stretches]
                found += [span for span in said if span is not None]
                continue
            start = self._start(text, stretches[0], messages, index, openings[index])
            first = True
            for begin, end in stretches:
                said_here = _said(text, (begin, end))
                if said_here is None and text[begin:end].isspace():
                    continue
                begin, first = (start, False) if first else (begin, False)
                stop = self._stop(text, said_here[1] if said_here else begin, end)
                if begin < stop:
                    found.append((begin, stop))
        return sorted(found)

    def _start(self, text: Traced, stretch: Span, messages: Sequence[Message], index: int, opening: Opening) -> int:
        """Where what the model writes begins."""
        said = _said(text, stretch)
        words = said[0] if said else stretch[1]
        at, prompt = opening
        shared = _shared(text[at:], prompt)
        reached = at + shared
        if shared < len(prompt):
            # The turn goes on in another way than its prompt: from the text of the template that differs.
            edges = [0, *accumulate(run.length for run in text.runs)]
            reached = max((edge for edge in edges if at <= edge <= reached), default=at)
            if reached < words and THINK[1] in text[reached:words] and "tool_calls" not in messages[index]:
                # An empty reasoning, where the prompt has another one: no answer to any prompt.
                return words
            return reached
        reached = max(reached, stretch[0]) if prompt else stretch[0]
        if not prompt and text[reached:words].strip():
            # A template without generation prompt: the role's header is still none of the model's words.
            return self._after_header(text, stretch, words, messages, index)
        return reached

    def _after_header(self, text: Traced, stretch: Span, words: int, messages: Sequence[Message], index: int) -> int:
        if "tool_calls" not in messages[index]:
            return words
        plain = [*messages[:index], {"role": "assistant", "content": "x"}]
        rendered = self._try(plain, None)
        if rendered is None:
            return stretch[0]
        traced = self._traced(rendered, plain, None)
        where = next(iter(_stretches(traced, index)), None)
        said = _said(traced, where) if where else None
        if where is None or said is None:
            return stretch[0]
        return stretch[0] + _shared(text[stretch[0] : words], traced[where[0] : said[0]])

    def _stop(self, text: Traced, words: int, end: int) -> int:
        """Where the turn ends, after the words that end at `words`: with its end-of-turn text, without the space after."""
        eos = str(self._tokenizer.eos_token or "")
        tail = str.__getitem__(text, slice(words, end))
        if eos and eos in tail:
            return words + tail.index(eos) + len(eos)
        if tail.strip():
            return words + len(tail.rstrip())
        following = str.__getitem__(text, slice(end, end + len(eos) + 8))
        if eos and following.lstrip().startswith(eos):
            return end + following.index(eos) + len(eos)
        self.warnings[
            "The chat template writes no end-of-turn text after an assistant turn, so the model will not learn to stop."
        ] = None
        return words

    def _try(self, messages: Sequence[Message], tools: list[Message] | None, prompt: bool = False) -> str | None:
        try:
            return self._apply(messages, tools, prompt) if messages else None
        except Exception:  # a template may refuse a part of what it takes as a whole
            return None

    def _apply(self, messages: Sequence[Message], tools: list[Message] | None, prompt: bool = False) -> str:
        return str(
            self._tokenizer.apply_chat_template(
                list(messages), tools=tools, tokenize=False, add_generation_prompt=prompt
            )
        )

    def _require_tools(self, text: str, messages: Sequence[Message], tools: list[Message] | None) -> None:
        if not tools:
            return
        if not self._writes_tools:
            if self._try(messages, None) == text:
                raise TemplateError("the chat template leaves out 'tools'; use one that writes them, or drop the field")
            self._writes_tools = True
        for tool in tools:
            name = str(tool["function"]["name"])
            if name not in text:
                raise TemplateError(f"the chat template leaves out the tool {name!r}; use one that writes all tools")


def _stretches(text: Traced, index: int) -> list[Span]:
    """Where a message's characters stand, without gaps where they touch."""
    found: list[Span] = []
    at = 0
    for run in text.runs:
        if run.message == index:
            if found and found[-1][1] == at:
                found[-1] = (found[-1][0], at + run.length)
            else:
                found.append((at, at + run.length))
        at += run.length
    return found


def _said(text: Traced, stretch: Span) -> Span | None:
    """From the first to the last character of a stretch that is not the template's own."""
    at = 0
    first = last = None
    for run in text.runs:
        if stretch[0] <= at < stretch[1] and run.source != TEMPLATE and run.length:
            first = at if first is None else first
            last = at + run.length
        at += run.length
    return None if first is None or last is None else (first, last)


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


def _roles_of_plain(messages: Sequence[Message]) -> tuple[str, ...] | None:
    """The roles, where no message has more than a role and a text."""
    if any(message.keys() != {"role", "content"} or not isinstance(message["content"], str) for message in messages):
        return None
    return tuple(str(message["role"]) for message in messages)


def _thinks(messages: Sequence[Message]) -> bool:
    return any(message["role"] == "assistant" and THINK[1] in str(message.get("content")) for message in messages)

"""Which characters of a rendered conversation are trained: what the model must write itself, and nothing else.

That is, of each assistant turn to be learnt, from where the generation prompt ends to the end-of-turn text, that
included. The template is evaluated with texts that know their message (`template`), so whose a character is, is known;
the generation prompt, rendered for the messages before the turn, says what of the turn is given to the model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import accumulate

from training_hub.data.examples import Conversation, Message
from training_hub.data.losses import TemplateError, require_all
from training_hub.data.plans import Opening, Plan, learn, plain_roles
from training_hub.data.rendering import Beside, Renderer
from training_hub.data.tokenizer import Tokenizer
from training_hub.data.traced import TEMPLATE, Traced
from training_hub.data.writings import THINK, WRITINGS, Writing

_REMEMBERED = 4096
_ANY: tuple[Message, ...] = ({"role": "user", "content": "x"},)
Span = tuple[int, int]


class Turns:
    """Renders conversations with one tokenizer's chat template, and remembers what it has learnt about it."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._eos = str(tokenizer.eos_token or "")
        self._renderer = Renderer(tokenizer)
        self._plans: dict[object, Plan] = {}
        self._writings: dict[object, Writing] = {}
        self._writes_tools = False
        self.warnings: dict[str, None] = {}

    def render(self, conversation: Conversation) -> tuple[str, list[Span]]:
        """The conversation as text, and the spans of it that are trained, in order and apart from each other.

        Raises:
            TemplateError: The template does not take the conversation, or leaves out a part of it.
        """
        messages = conversation.messages
        # What one template wants of calls or of reasoning says nothing of rows without.
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
        beside, trained = Beside.of(conversation), conversation.trained
        text = self._renderer.render(messages, beside)
        roles = None if beside.tools or beside.arguments else plain_roles(messages)
        plan = self._plans.get((roles, trained)) if roles else None
        fitted = plan.fit(text, [message["content"] for message in messages]) if plan else None
        if fitted is not None:
            traced, openings = fitted
        else:
            traced = self._renderer.traced(text, messages, beside)
            self._require_tools(text, messages, beside)
            if require_all(traced, messages, trained):
                self.warnings["The chat template leaves out the reasoning of earlier assistant turns."] = None
            openings = {
                index: self._opening(traced, messages, index, beside)
                for index in trained
                if messages[index]["role"] == "assistant"
            }
            if roles and (learnt := learn(traced, messages, openings)):
                if len(self._plans) >= _REMEMBERED:
                    self._plans.clear()
                self._plans[roles, trained] = learnt
        spans = [
            span
            for index in trained
            for span in (
                self._answered(traced, messages, index, openings[index])
                if index in openings
                else _contents(traced, index)
            )
        ]
        return text, sorted(spans)

    def _opening(self, text: Traced, messages: list[Message], index: int, beside: Beside) -> Opening:
        """What the model is given before a turn, from the render of the messages before it."""
        start = next((start for start, _ in _stretches(text, index)), len(text))
        before = messages[:index]
        opened, closed = self._around(before, beside)
        if opened is None or closed is None:
            before = list(_ANY)
            opened, closed = self._around(before, beside)
            if opened is None or closed is None:
                return Opening(start, "")
        shared = _shared(opened, closed)
        if shared < len(closed):
            # A conversation that goes on may be closed in another way; no text of the template is cut in two.
            edges = accumulate(run.length for run in self._renderer.traced(opened, before, beside, prompt=True).runs)
            shared = max((edge for edge in edges if edge <= shared), default=0)
        if text.startswith(opened) or (index and text.startswith(opened[:shared]) and shared >= start):
            start = shared
        return Opening(start, opened[shared:])

    def _around(self, messages: list[Message], beside: Beside) -> tuple[str | None, str | None]:
        """Messages with the generation prompt behind them, and without."""
        return self._renderer.attempt(messages, beside, prompt=True), self._renderer.attempt(messages, beside)

    def _answered(self, text: Traced, messages: Sequence[Message], index: int, opening: Opening) -> list[Span]:
        """What the model must write of an assistant's turn; in pieces where the template has others between."""
        found: list[Span] = []
        for stretch in _stretches(text, index):
            words = _words(text, stretch)
            if words is None and not text[stretch[0] : stretch[1]].strip():
                continue
            start = stretch[0] if found else self._start(text, stretch, messages, index, opening)
            found.append((start, self._stop(text, words[1] if words else stretch[0], stretch[1])))
        if not found:
            raise TemplateError(
                f"the chat template leaves out message {index + 1} (role {messages[index]['role']!r}); use one that "
                "writes every message"
            )
        return [(start, stop) for start, stop in found if start < stop]

    def _start(self, text: Traced, stretch: Span, messages: Sequence[Message], index: int, opening: Opening) -> int:
        """Where what the model writes begins."""
        words = (_words(text, stretch) or (stretch[1],))[0]
        at, prompt = opening
        reached = at + _shared(text[at : at + len(prompt)], prompt)
        if reached < at + len(prompt):
            # The turn goes on in another way than its prompt: from the piece of text that differs.
            edges = [0, *accumulate(run.length for run in text.runs)]
            reached = max((edge for edge in edges if at <= edge <= reached), default=at)
            if THINK[1] in text[reached:words] and "tool_calls" not in messages[index]:
                # An empty reasoning where the prompt has another one: no answer to any prompt.
                return words
            return reached
        if prompt:
            return max(reached, stretch[0])
        if text[stretch[0] : words].strip():
            # A template without generation prompt: the role's header is still none of the model's words.
            return self._after_header(text, stretch, words, messages, index)
        return stretch[0]

    def _after_header(self, text: Traced, stretch: Span, words: int, messages: Sequence[Message], index: int) -> int:
        """Where the header ends, which a call has in common with a plain answer."""
        if "tool_calls" not in messages[index]:
            return words
        plain: list[Message] = [*messages[:index], {"role": "assistant", "content": "x"}]
        rendered = self._renderer.attempt(plain, Beside())
        if rendered is None:
            return stretch[0]
        traced = self._renderer.traced(rendered, plain, Beside())
        other = next(iter(_stretches(traced, index)), None)
        said = _words(traced, other) if other else None
        if other is None or said is None:
            return stretch[0]
        return stretch[0] + _shared(text[stretch[0] : words], traced[other[0] : said[0]])

    def _stop(self, text: Traced, words: int, end: int) -> int:
        """Where a turn whose words end at `words` ends: with the end-of-turn text, without the space behind that."""
        tail = str.__getitem__(text, slice(words, end))
        if self._eos and self._eos in tail:
            return words + tail.index(self._eos) + len(self._eos)
        if tail.strip():
            return words + len(tail.rstrip())
        following = str.__getitem__(text, slice(end, None))
        if self._eos and following.lstrip().startswith(self._eos):
            return end + following.index(self._eos) + len(self._eos)
        self.warnings[
            "The chat template writes no end-of-turn text after an assistant turn, so the model will not learn to stop."
        ] = None
        return words

    def _require_tools(self, text: str, messages: Sequence[Message], beside: Beside) -> None:
        if not beside.tools:
            return
        if not self._writes_tools:
            if self._renderer.attempt(messages, beside._replace(tools=None)) == text:
                raise TemplateError("the chat template leaves out 'tools'; use one that writes them, or drop the field")
            self._writes_tools = True
        for tool in beside.tools:
            name = str(tool["function"]["name"])
            if name not in text:
                raise TemplateError(f"the chat template leaves out the tool {name!r}; use one that writes all tools")


def _contents(text: Traced, index: int) -> list[Span]:
    """A turn of another than the assistant, without what the template writes around it."""
    return [words for stretch in _stretches(text, index) if (words := _words(text, stretch)) is not None]


def _stretches(text: Traced, index: int) -> list[Span]:
    """Where a message's characters stand, without gaps where they touch."""
    found: list[Span] = []
    at = 0
    for run in text.runs:
        if run.message == index:
            start = found.pop()[0] if found and found[-1][1] == at else at
            found.append((start, at + run.length))
        at += run.length
    return found


def _words(text: Traced, stretch: Span) -> Span | None:
    """From the first to the last character of a stretch that is not the template's own."""
    at = 0
    found: Span | None = None
    for run in text.runs:
        if stretch[0] <= at < stretch[1] and run.source != TEMPLATE and run.length:
            found = (found[0] if found else at, at + run.length)
        at += run.length
    return found


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


def _thinks(messages: Sequence[Message]) -> bool:
    return any(message["role"] == "assistant" and THINK[1] in str(message.get("content")) for message in messages)

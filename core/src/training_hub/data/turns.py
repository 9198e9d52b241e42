"""Which characters of a rendered conversation are trained: what the model must write itself, and nothing else.

That is, of each assistant turn to be learnt, from where the generation prompt ends to the end-of-turn text, that
included. The template is evaluated with texts that know their message (`template`), so whose a character is, is known;
the generation prompt, rendered for the messages before the turn, says what of the turn is given to the model.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

from training_hub.data.examples import Conversation, Message
from training_hub.data.frames import Frame, Frames, shared
from training_hub.data.losses import TemplateError, ToolsError, require_all
from training_hub.data.plans import Plan, learn, plain_roles
from training_hub.data.rendering import Beside, Renderer
from training_hub.data.tokenizer import Tokenizer
from training_hub.data.traced import CONTENT, TEMPLATE, Span, Traced, stretches_of, words_of
from training_hub.data.writings import THINK, WRITINGS, Writing

_REMEMBERED = 4096


class Turns:
    """Renders conversations with one tokenizer's chat template, and remembers what it has learnt about it."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._eos = str(tokenizer.eos_token or "")
        self._renderer = Renderer(tokenizer)
        self._plans: dict[object, Plan] = {}
        self._frames = Frames(self._renderer)
        self._writings: dict[object, Writing] = {}
        self._writes_tools = False
        self._thoughtless = _Seen()
        self._endless = _Seen()

    @property
    def warnings(self) -> tuple[str, ...]:
        """What there is to know of the template, with how often it was met, and where first."""
        found = []
        if self._thoughtless.count:
            found.append(
                f"The chat template leaves out the reasoning of earlier assistant turns ({self._thoughtless.count} "
                f"rows, first {self._thoughtless.first})."
            )
        if self._endless.count:
            found.append(
                f"The chat template writes no end-of-turn text after {self._endless.count} of the assistant turns to "
                f"be learnt, first {self._endless.first}, so the model will not learn to stop there; let it write "
                "eos_token after each of them."
            )
        return tuple(found)

    def render(self, conversation: Conversation, place: object) -> tuple[str, list[Span]]:
        """The conversation as text, and the spans of it that are trained, in order and apart from each other.

        Args:
            conversation: What to render.
            place: Where it stands, for warnings.

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
                found = self._render(conversation, written, place)
            except TemplateError as error:
                problems[writing] = error
            else:
                self._writings[kind] = writing
                return found
        # Where the template takes the messages in another way, what it then leaves out is the reason.
        without_tools = [problem for problem in problems.values() if isinstance(problem, ToolsError)]
        raise next(iter([*without_tools, problems.get(WRITINGS[0]) or next(iter(problems.values()))]))

    def _render(self, conversation: Conversation, messages: list[Message], place: object) -> tuple[str, list[Span]]:
        beside, trained = Beside.of(conversation), conversation.trained
        text = self._renderer.render(messages, beside)
        roles = None if beside.tools or beside.arguments else plain_roles(messages)
        usual = self._renderer.is_usual(messages, beside)
        plan = self._plans.get((roles, trained)) if roles and usual else None
        fitted = plan.fit(text, [message["content"] for message in messages]) if plan else None
        if fitted is not None:
            traced, frames = fitted
        else:
            traced = self._renderer.traced(text, messages, beside)
            self._require_tools(text, messages, beside)
            if require_all(traced, messages, trained):
                self._thoughtless.note(place)
            frames = {
                index: self._frames.of(traced, messages, index, beside)
                for index in trained
                if messages[index]["role"] == "assistant"
            }
            if roles and self._renderer.is_usual(messages, beside) and (learnt := learn(traced, messages, frames)):
                if len(self._plans) >= _REMEMBERED:
                    self._plans.clear()
                self._plans[roles, trained] = learnt
        spans = [
            span
            for index in trained
            for span in (
                self._answered(traced, messages, index, frames[index], place)
                if index in frames
                else _contents(traced, index)
            )
        ]
        return text, sorted(spans)

    def _answered(
        self, text: Traced, messages: Sequence[Message], index: int, frame: Frame, place: object
    ) -> list[Span]:
        """What the model must write of an assistant's turn; in pieces where the template has others between."""
        found: list[Span] = []
        said = 0
        for stretch in stretches_of(text, index):
            words = words_of(text, stretch)
            if words is None and not text[stretch[0] : stretch[1]].strip():
                continue
            start = stretch[0] if found else self._start(text, stretch, messages, index, frame)
            said = words[1] if words else stretch[0]
            found.append((start, self._stop(text, said, stretch[1], frame.closing)))
        if not found:
            raise TemplateError(
                f"the chat template leaves out message {index + 1} (role {messages[index]['role']!r}); use one that "
                "writes every message"
            )
        if found[-1][1] == said:
            self._endless.note(f"message {index + 1} of {place}")
        return [(start, stop) for start, stop in found if start < stop]

    def _start(self, text: Traced, stretch: Span, messages: Sequence[Message], index: int, frame: Frame) -> int:
        """Where what the model writes begins."""
        words = (words_of(text, stretch) or (stretch[1],))[0]
        at, prompt = frame.at, frame.prompt
        reached = at + shared(text[at : at + len(prompt)], prompt)
        if reached < at + len(prompt):
            header = str.find(text, prompt, stretch[0], words)
            if header >= 0:
                return header + len(prompt)
            # The turn goes on in another way than its prompt: from the piece of text that differs.
            edges = [0, *accumulate(run.length for run in text.runs)]
            reached = max((edge for edge in edges if at <= edge <= reached), default=at)
            thought = str.rfind(text, THINK[1], reached, words)
            # An empty reasoning, where the prompt has another one, is no answer to any prompt.
            return reached if thought < 0 else thought + len(THINK[1])
        if prompt or at > stretch[0]:
            return max(reached, stretch[0])
        if text[stretch[0] : words].strip():
            # A template without generation prompt: the role's header is still none of the model's words.
            return self._after_header(text, stretch, words, messages, index)
        return stretch[0]

    def _after_header(self, text: Traced, stretch: Span, words: int, messages: Sequence[Message], index: int) -> int:
        """Where the header ends, which calls and reasoning have in common with a plain answer."""
        if _source(text, words) == CONTENT:
            return words
        plain: list[Message] = [*messages[:index], {"role": "assistant", "content": "x"}]
        rendered = self._renderer.attempt(plain, Beside())
        if rendered is None:
            return stretch[0]
        traced = self._renderer.traced(rendered, plain, Beside())
        other = next(iter(stretches_of(traced, index)), None)
        said = words_of(traced, other) if other else None
        if other is None or said is None:
            return stretch[0]
        return stretch[0] + shared(text[stretch[0] : words], traced[other[0] : said[0]])

    def _stop(self, text: Traced, words: int, end: int, closing: str) -> int:
        """Where a turn whose words end at `words` ends: with the end-of-turn text, without the space behind that."""
        tail = str.__getitem__(text, slice(words, end))
        if self._eos and self._eos in tail:
            return words + tail.index(self._eos) + len(self._eos)
        following = str.__getitem__(text, slice(end, None))
        for behind in (closing, "" if tail.strip() else self._eos):
            if behind and following.lstrip().startswith(behind):
                return end + following.index(behind) + len(behind)
        return words + len(tail.rstrip())

    def _require_tools(self, text: str, messages: Sequence[Message], beside: Beside) -> None:
        if not beside.tools:
            return
        if not self._writes_tools:
            if self._renderer.attempt(messages, beside._replace(tools=None)) == text:
                raise ToolsError("the chat template leaves out 'tools'; use one that writes them, or drop the field")
            self._writes_tools = True
        for tool in beside.tools:
            name = str(tool["function"]["name"])
            if name not in text:
                raise ToolsError(f"the chat template leaves out the tool {name!r}; use one that writes all tools")


class _Seen:
    """How often something was met, and where first."""

    def __init__(self) -> None:
        self.count = 0
        self.first: object = None

    def note(self, place: object) -> None:
        self.first = self.first if self.count else place
        self.count += 1


def _contents(text: Traced, index: int) -> list[Span]:
    """A turn of another than the assistant, without what the template writes around it."""
    return [words for stretch in stretches_of(text, index) if (words := words_of(text, stretch)) is not None]


def _source(text: Traced, at: int) -> str:
    """What wrote the character at a place."""
    return next((run.source for run in text.cut(at, min(at + 1, len(text))).runs), TEMPLATE)


def _thinks(messages: Sequence[Message]) -> bool:
    return any(message["role"] == "assistant" and THINK[1] in str(message.get("content")) for message in messages)

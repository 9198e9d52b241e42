"""What stands around an assistant's turn: the generation prompt before it, and what ends it."""

from __future__ import annotations

from itertools import accumulate
from typing import NamedTuple

from training_hub.data.examples import Message
from training_hub.data.rendering import Beside, Renderer
from training_hub.data.traced import Traced, stretches_of, words_of

_REMEMBERED = 4096
_ANY: tuple[Message, ...] = ({"role": "user", "content": "x"},)


class Frame(NamedTuple):
    """What stands around the turn of an assistant."""

    at: int
    """Where in the text its generation prompt stands, if it has that."""
    prompt: str
    closing: str = ""
    """What ends the turn, where the template writes that behind it."""


class Frames:
    """Asks the template for the frames of turns, and remembers them."""

    def __init__(self, renderer: Renderer) -> None:
        self._renderer = renderer
        self._known: dict[object, Frame] = {}

    def of(self, text: Traced, messages: list[Message], index: int, beside: Beside) -> Frame:
        """The frame of a turn, which is asked for once where all that the template writes around it is the same."""
        stretches = stretches_of(text, index)
        if not stretches or not self._renderer.is_usual(messages, beside):
            return self._asked(text, messages, index, beside)
        start, end = stretches[0]
        words = words_of(text, (start, end)) or (end, end)
        key = (
            tuple((message["role"], "tool_calls" in message) for message in messages[max(index - 1, 0) : index + 2]),
            tuple(messages[index]),
            index == 0,
            index == len(messages) - 1,
            len(stretches),
            str.__getitem__(text, slice(start, words[0])),
            str.__getitem__(text, slice(words[1], end)),
            bool(beside.tools),
            repr(beside.arguments),
        )
        if key not in self._known:
            frame = self._asked(text, messages, index, beside)
            # What was looked for only now may be in this row.
            if not self._renderer.is_usual(messages, beside):
                return frame
            if len(self._known) >= _REMEMBERED:
                self._known.clear()
            self._known[key] = frame._replace(at=frame.at - start)
        frame = self._known[key]
        return frame._replace(at=frame.at + start)

    def _asked(self, text: Traced, messages: list[Message], index: int, beside: Beside) -> Frame:
        """What the model is given before a turn, from the render of the messages before it, and how the turn ends."""
        stretches = stretches_of(text, index)
        start = stretches[0][0] if stretches else len(text)
        closing = self._closing(text, messages, index, beside)
        before = messages[:index]
        opened, closed = self._around(before, beside)
        if opened is None or closed is None:
            before = list(_ANY)
            opened, closed = self._around(before, beside)
            if opened is None or closed is None:
                return Frame(start, "", closing)
        common = shared(opened, closed)
        traced = self._renderer.traced(opened, before, beside, prompt=True)
        if common < len(closed):
            # A conversation that goes on may be closed in another way; no text of the template is cut in two.
            edges = accumulate(run.length for run in traced.runs)
            common = max((edge for edge in edges if edge <= common), default=0)
        if index and (text.startswith(opened) or (text.startswith(opened[:common]) and common >= start)):
            start = common
        return Frame(start, opened[common:], closing)

    def _closing(self, text: Traced, messages: list[Message], index: int, beside: Beside) -> str:
        """A token that ends the turn, where the template writes it behind what is the message's own."""
        stretch = next(reversed(stretches_of(text, index)), None)
        words = words_of(text, stretch) if stretch else None
        if stretch is None or words is None:
            return ""
        if "tool_calls" in messages[index]:
            # What the template writes before a result may be where the model stops.
            stretch = stretches_of(text, index)[0]
        elif text[words[1] : stretch[1]].strip():
            return ""
        closed = self._renderer.attempt(messages[: index + 1], beside)
        if closed is None or not text.startswith(closed):
            return ""
        beyond = closed[stretch[1] :].strip()
        tokens = [token for token in self._renderer.tokenizer.get_added_vocab() if beyond.startswith(token)]
        return max(tokens, key=len, default="")

    def _around(self, messages: list[Message], beside: Beside) -> tuple[str | None, str | None]:
        """Messages with the generation prompt behind them, and without."""
        return self._renderer.attempt(messages, beside, prompt=True), self._renderer.attempt(messages, beside)


def shared(one: str, other: str) -> int:
    """How many characters two texts begin with in common."""
    low, high = 0, min(len(one), len(other))
    while low < high:
        middle = (low + high + 1) // 2
        if one[low:middle] == other[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low

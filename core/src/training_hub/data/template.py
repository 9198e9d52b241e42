"""Evaluates a chat template with texts that remember their message, so that what it writes is attributed, not guessed.

A template is a Jinja program. Its syntax tree is changed before it is compiled, so that its own texts become traced
ones as well: each belongs to the message whose turn in a loop over the messages it is.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from jinja2 import TemplateError, nodes, pass_context, pass_environment
from jinja2.environment import Environment
from jinja2.ext import Extension, loopcontrols
from jinja2.filters import make_attrgetter
from jinja2.parser import Parser
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.visitor import NodeTransformer

from training_hub.data.examples import Message
from training_hub.data.traced import (
    DATA,
    NOWHERE,
    TEMPLATE,
    Run,
    Traced,
    TracedMapping,
    asked,
    join,
    message_of,
    runs_of,
    trace,
)

_TEXT, _JOINED, _OPEN, _ENTER, _AT, _CLOSE = "__text", "__joined", "__open", "__enter", "__at", "__close"
_REASONING_ALIASES: Final = ("reasoning_content", "thinking", "reasoning")
"""In the order in which transformers prefers one to the others."""


class TracedTemplate:
    """A chat template as transformers evaluates it, with traced texts."""

    def __init__(self, source: str) -> None:
        self.asked: set[str] = set()
        """What it has looked for in contents so far: a content without any of it is written as any other is."""
        self._turns = _TurnsOfLoops()
        environment = _Environment(trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, loopcontrols])
        environment.turns = self._turns
        environment.filters |= {"tojson": _to_json, "join": _join, "safe": lambda value: value}
        environment.globals |= {"raise_exception": _raise, "strftime_now": lambda form: datetime.now().strftime(form)}
        environment.filters |= {name: _never_folded(function) for name, function in self._turns.functions().items()}
        tree = _Tracing().visit(environment.parse(source))
        tree.set_environment(environment)
        self._template = environment.from_string(tree)

    def render(
        self, messages: Sequence[Message], tools: Sequence[Message] | None, prompt: bool, variables: Mapping[str, Any]
    ) -> Traced:
        """What the template writes; the messages are numbered from 0.

        Raises:
            Exception: Whatever the template raises.
        """
        self._turns.start()
        traced = [trace(_as_given(message), number) for number, message in enumerate(messages)]
        gathering = asked.set(self.asked)
        try:
            text = self._template.render(
                **{"documents": None, **variables}, messages=traced, tools=tools, add_generation_prompt=prompt
            )
        finally:
            asked.reset(gathering)
        return text if isinstance(text, Traced) else join("", [text])


class _TurnsOfLoops:
    """Whose turn it is: the message of the innermost loop that is over messages."""

    def __init__(self) -> None:
        self.start()

    def start(self) -> None:
        self._messages: list[int | None] = [None]
        self._loops: list[int] = [0]

    def functions(self) -> dict[str, Callable[..., Any]]:
        """What a changed template calls."""
        return {
            _TEXT: self.text,
            _JOINED: lambda *parts: join("", map(str, parts)),
            _OPEN: self.open,
            _ENTER: self.enter,
            _AT: self.at,
            _CLOSE: self.close,
        }

    @property
    def message(self) -> int | None:
        return self._messages[-1]

    def text(self, text: str) -> Traced:
        """A text of the template's own."""
        return Traced.of(text, self.message, TEMPLATE, NOWHERE)

    def owned(self, part: str) -> str:
        """A text as it is written: what belongs to no message yet is of the one whose turn it is.

        A name or an argument of another message, as of the call that a tool answers, is written for this one.
        """
        message = self.message
        if message is None:
            return part
        runs = [
            run._replace(message=message) if run.message is None or run.source == DATA else run for run in runs_of(part)
        ]
        return Traced(part, runs)

    def open(self, _: None) -> None:
        self._messages.append(self.message)
        self._loops.append(0)

    def enter(self, loop: int, value: Any) -> None:
        around = self._messages[-2]
        whole = isinstance(value, TracedMapping) and value.whole
        # What a template makes of a message, such as one with another content, is still that message.
        copied = isinstance(value, Mapping) and "role" in value
        self._messages[-1] = message_of(value) if whole or copied or around is None else around
        self._loops[-1] = loop

    def at(self, loop: int, value: Any) -> Any:
        """What a template takes out of a list by the number that the loop is at."""
        if isinstance(value, TracedMapping) and value.whole:
            level = max((level for level, known in enumerate(self._loops) if known == loop), default=0)
            self._messages[level:] = [value.message] * (len(self._messages) - level)
        return value

    def close(self, _: None) -> None:
        self._messages.pop()
        self._loops.pop()


class _Environment(ImmutableSandboxedEnvironment):
    turns: _TurnsOfLoops

    def concat(self, parts: Iterable[str]) -> Traced:
        return join("", (self.turns.owned(part) for part in parts))


class _Generation(Extension):
    """What is inside `{% generation %}` is written as any other text."""

    tags: set[str] = {"generation"}  # noqa: RUF012 - as in its base

    def parse(self, parser: Parser) -> list[nodes.Node]:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return [nodes.Scope(body, lineno=line)]


class _Tracing(NodeTransformer):
    """Makes the texts of a template traced, and notes the turns of its loops."""

    def __init__(self) -> None:
        self._compared = 0
        self._loops: list[tuple[int, str]] = []
        self._count = 0

    def visit_TemplateData(self, node: nodes.TemplateData) -> nodes.Node:
        return _call(_TEXT, node, nodes.Const(node.data, lineno=node.lineno))

    def visit_Const(self, node: nodes.Const) -> nodes.Node:
        if self._compared or not isinstance(node.value, str) or not node.value:
            return node
        return _call(_TEXT, node, nodes.Const(node.value, lineno=node.lineno))

    def _without_texts(self, node: nodes.Node) -> nodes.Node:
        self._compared += 1
        try:
            return self.generic_visit(node)
        finally:
            self._compared -= 1

    visit_Compare = visit_Test = visit_Slice = visit_Keyword = visit_Dict = _without_texts

    def visit_Filter(self, node: nodes.Filter) -> nodes.Node:
        inner = self.visit(node.node) if node.node is not None else None
        node = self._without_texts(nodes.Filter(None, *_arguments(node, node.name), lineno=node.lineno))  # type: ignore[assignment]
        node.node = inner
        return node

    def visit_Call(self, node: nodes.Call) -> nodes.Node:
        called = self.visit(node.node)
        node = self._without_texts(nodes.Call(nodes.Const(None), *_arguments(node), lineno=node.lineno))  # type: ignore[assignment]
        node.node = called
        return node

    def visit_Getitem(self, node: nodes.Getitem) -> nodes.Node:
        index = node.arg
        node.node = self.visit(node.node)
        node.arg = self._without_texts(index) if not isinstance(index, nodes.Const) else index  # type: ignore[assignment]
        loop = next((n for n, name in reversed(self._loops) if isinstance(index, nodes.Name) and index.name == name), 0)
        return _call(_AT, node, nodes.Const(loop, lineno=node.lineno), node) if loop else node

    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:
        return _call(_JOINED, node, *(self.visit(child) for child in node.nodes))

    def visit_For(self, node: nodes.For) -> list[nodes.Node]:
        self._count += 1
        number = self._count
        line = node.lineno
        self._loops.append((number, node.target.name if isinstance(node.target, nodes.Name) else ""))
        self.generic_visit(node)
        self._loops.pop()
        entered = _call(_ENTER, node, nodes.Const(number, lineno=line), _loaded(node.target))
        node.body.insert(0, nodes.ExprStmt(entered, lineno=line))
        opened, closed = (nodes.ExprStmt(_call(name, node), lineno=line) for name in (_OPEN, _CLOSE))
        return [opened, node, closed]


def _arguments(node: nodes.Filter | nodes.Call, *first: Any) -> tuple[Any, ...]:
    return (*first, node.args, node.kwargs, node.dyn_args, node.dyn_kwargs)


def _call(name: str, at: nodes.Node, *arguments: Any) -> nodes.Filter:
    """A call of one of ours: as a filter, which the sandbox does not look at each time."""
    line = at.lineno
    first, *others = arguments or (nodes.Const(None, lineno=line),)
    return nodes.Filter(first, name, others, [], None, None, lineno=line)


def _never_folded(function: Callable[..., Any]) -> Callable[..., Any]:
    """A filter that is called each time, with constants as well."""

    @pass_context
    def called(_: Context, *arguments: Any) -> Any:
        return function(*arguments)

    return called


def _loaded(target: nodes.Node) -> nodes.Expr:
    if isinstance(target, nodes.Tuple):
        return nodes.Tuple([_loaded(item) for item in target.items], "load", lineno=target.lineno)
    assert isinstance(target, nodes.Name)
    return nodes.Name(target.name, "load", lineno=target.lineno)


def _as_given(message: Message) -> Message:
    """A message as transformers hands it to the template: without nulls, and its reasoning under every name."""
    message = {key: value for key, value in message.items() if value is not None}
    reasoning = next((message[name] for name in _REASONING_ALIASES if name in message), None)
    return message if reasoning is None else {"thinking": reasoning, **message, "reasoning_content": reasoning}


def _to_json(
    value: Any, ensure_ascii: bool = False, indent: Any = None, separators: Any = None, sort_keys: bool = False
) -> str:
    text = json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)
    message = message_of(value)
    if message is None:
        return text
    source = value.runs[0].source if isinstance(value, Traced) and value.runs else DATA
    return Traced(text, [Run(len(text), message, source, NOWHERE)])


@pass_environment
def _join(environment: Environment, values: Iterable[Any], d: str = "", attribute: Any = None) -> str:
    if attribute is not None:
        values = map(make_attrgetter(environment, attribute), values)
    return join(str(d), map(str, values))


def _raise(message: str) -> None:
    raise TemplateError(message)

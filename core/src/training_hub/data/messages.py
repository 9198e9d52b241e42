"""The messages of a conversation and the tools it offers, checked one by one and brought to one form."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final, NoReturn

from training_hub.data.examples import REASONING, Message, has_reasoning
from training_hub.data.files import parse_json
from training_hub.data.options import RowError
from training_hub.data.wording import kind_of, near, shown

ROLES: Final = ("system", "developer", "user", "assistant", "tool")

LEARNT: Final = ("weight", "train", "training")
"""Keys of a message that say whether it is learnt: OpenAI's, of 0 or 1, and Axolotl's, of true or false."""

_OTHER_ROLES = {"human": "user", "gpt": "assistant", "model": "assistant", "bot": "assistant"}

_SHAREGPT_ROLES = {
    "human": "user",
    "user": "user",
    "gpt": "assistant",
    "assistant": "assistant",
    "model": "assistant",
    "system": "system",
    "observation": "tool",
    "tool": "tool",
}


def sharegpt_messages(value: object, field: str) -> list[Message]:
    return [_sharegpt_message(turn, f"{field}[{number}]") for number, turn in enumerate(_list_of_turns(value, field))]


def _sharegpt_message(turn: object, where: str) -> Message:
    if not isinstance(turn, dict):
        raise RowError(f"{where} is {kind_of(turn)}; expected {{'from': ..., 'value': ...}}")
    source = turn.get("from")
    value = turn.get("value")
    if source == "function_call":
        return {"role": "assistant", "content": "", "tool_calls": _function_calls(value, f"{where}.value")}
    role = _SHAREGPT_ROLES.get(source) if isinstance(source, str) else None
    if role is None:
        known = (*_SHAREGPT_ROLES, "function_call")
        raise RowError(f"{where}.from is {shown(source)}{near(source, known)}; expected one of {', '.join(known)}")
    text = text_of(value, f"{where}.value")
    if role == "assistant" and not text.strip():
        raise RowError(f"{where}.value is empty; expected the assistant's text")
    return {"role": role, "content": text}


def _function_calls(value: object, where: str) -> list[Message]:
    if isinstance(value, str):
        value, problem = parse_json(value)
        if problem:
            raise RowError(f'{where} is not JSON ({problem}); expected {{"name": ..., "arguments": {{...}}}}')
    return _tool_calls(value if isinstance(value, list) else [value], where)


def checked_messages(value: object, field: str) -> list[Message]:
    """The messages in a row's field, checked one by one and brought to one form.

    Raises:
        RowError: One is wrong, or says whether it is learnt (`weight`, `train`); the error says which and how.
    """
    messages = [_message(item, f"{field}[{number}]") for number, item in enumerate(_list_of_turns(value, field))]
    for number, message in enumerate(messages):
        if said := next((key for key in LEARNT if key in message), None):
            raise RowError(f"{field}[{number}].{said} says whether the message is learnt, which is no choice here")
    return messages


def chosen_messages(value: object, field: str) -> tuple[list[Message], list[bool]]:
    """The same of a row that may say, message by message, whether it is learnt; and that of each.

    Raises:
        RowError: One is wrong; the error says which and how.
    """
    turns = _list_of_turns(value, field)
    messages = [_message(item, f"{field}[{number}]") for number, item in enumerate(turns)]
    learnt = [_learnt(message, f"{field}[{number}]") for number, message in enumerate(messages)]
    for message in messages:
        for key in LEARNT:
            message.pop(key, None)
    return messages, learnt


def _learnt(message: Message, where: str) -> bool:
    """Whether a message is learnt, as far as it says so itself."""
    said = {key: message[key] for key in LEARNT if key in message}
    for key, value in said.items():
        if value not in (0, 1) or (key != "weight" and not isinstance(value, bool)):
            expected = "0 or 1" if key == "weight" else "true or false"
            raise RowError(f"{where}.{key} is {shown(value)}; expected {expected}: a message is learnt whole or not")
        if value and message["role"] != "assistant":
            raise RowError(f"{where}.{key} is {shown(value)} and its role {message['role']!r}; only answers are learnt")
    if len({bool(value) for value in said.values()}) > 1:
        raise RowError(
            f"{where} says by {' and '.join(said)} that it is learnt and that it is not; expected one of them"
        )
    return all(said.values())


def checked_turns(value: object, field: str) -> list[Message]:
    """The turns in a row's field as messages: messages, or ShareGPT's `from` and `value`, as the first of them has.

    Raises:
        RowError: One is wrong; the error says which and how.
    """
    return sharegpt_messages(value, field) if is_sharegpt(value) else checked_messages(value, field)


def _list_of_turns(value: object, field: str) -> list[object]:
    if not isinstance(value, list):
        raise RowError(f"{field!r} is {kind_of(value)}; expected a list of messages")
    if not value:
        raise RowError(f"{field!r} is empty; expected at least a user and an assistant message")
    return value


def _message(item: object, where: str) -> Message:
    if not isinstance(item, dict):
        raise RowError(f"{where} is {kind_of(item)}; expected {{'role': ..., 'content': ...}}")
    role = item.get("role")
    # Null and absent are one.
    message: Message = {key: value for key, value in item.items() if value is not None}
    if role == "function":
        # As OpenAI called the result of a tool before it had tools.
        role = message["role"] = "tool"
    if role not in ROLES:
        _refuse_role(role, where)
    if "function_call" in message:
        if "tool_calls" in message:
            raise RowError(f"{where} has 'tool_calls' and the older 'function_call'; expected one of them")
        message["tool_calls"] = [message.pop("function_call")]
    for name in REASONING:
        if name in message and not isinstance(message[name], str):
            raise RowError(f"{where}.{name} is {kind_of(message[name])}; expected a text")
    calls = message.get("tool_calls")
    if calls is not None:
        if not isinstance(calls, list):
            raise RowError(f"{where}.tool_calls is {kind_of(calls)}; expected a list of calls")
        if role != "assistant" and calls:
            raise RowError(f"{where} has tool_calls and role {role!r}; expected them on an 'assistant' message only")
        message["tool_calls"] = _tool_calls(calls, f"{where}.tool_calls")
        if not calls:
            del message["tool_calls"]
    if "content" not in message and role == "assistant" and (calls or has_reasoning(message)):
        # A template may join the content to a text, which None would break.
        message["content"] = ""
    message["content"] = text_of(message.get("content"), f"{where}.content")
    if role == "assistant" and not (message["content"].strip() or calls or has_reasoning(message)):
        raise RowError(f"{where} is an empty assistant turn; expected content or tool_calls")
    return message


def _refuse_role(role: object, where: str) -> NoReturn:
    if role is None:
        raise RowError(f"{where}.role is missing; expected one of {', '.join(ROLES)}")
    meant = _OTHER_ROLES.get(role) if isinstance(role, str) else None
    hint = f" (did you mean {meant!r}?)" if meant else near(role, ROLES)
    raise RowError(f"{where}.role is {shown(role)}{hint}; expected one of {', '.join(ROLES)}")


def _tool_calls(calls: list[Any], where: str) -> list[Message]:
    return [_tool_call(call, f"{where}[{number}]") for number, call in enumerate(calls)]


def _tool_call(call: object, where: str) -> Message:
    if not isinstance(call, dict):
        raise RowError(f"{where} is {kind_of(call)}; expected {{'function': {{'name': ..., 'arguments': {{...}}}}}}")
    given = call.get("function")
    function = call if given is None else given
    if not isinstance(function, dict):
        raise RowError(f"{where}.function is {kind_of(function)}; expected {{'name': ..., 'arguments': {{...}}}}")
    name = function.get("name")
    if not isinstance(name, str) or not name:
        raise RowError(f"{where} has no function name; expected {{'function': {{'name': ..., 'arguments': {{...}}}}}}")
    arguments = function.get("arguments")
    if isinstance(arguments, str) and arguments.strip():
        arguments, problem = parse_json(arguments)
        if problem:
            raise RowError(f"{where}: the arguments of {name!r} are not JSON ({problem}); expected an object")
    arguments = {} if arguments is None or arguments == "" else arguments
    if not isinstance(arguments, dict):
        raise RowError(f"{where}: the arguments of {name!r} are {kind_of(arguments)}; expected an object")
    if given is None:
        return {"type": "function", "function": {"name": name, "arguments": arguments}}
    kept = {key: value for key, value in call.items() if value is not None}
    rest = {key: value for key, value in function.items() if value is not None}
    return {"type": "function", **kept, "function": {**rest, "arguments": arguments}}


def checked_tools(row: Mapping[str, Any]) -> tuple[Message, ...]:
    """The tools that a row offers under `tools`, as a list or as JSON, checked one by one and brought to one form.

    Raises:
        RowError: One is wrong; the error says which and how.
    """
    given = {name: row[name] for name in ("tools", "functions") if row.get(name)}
    if len(given) > 1:
        raise RowError("'tools' is there, and the older 'functions', too; expected one of them")
    if not given:
        return ()
    [(name, tools)] = given.items()
    tools = _as_data(tools, name, list, "a list of tool definitions")
    return tuple(_tool(tool, f"{name}[{number}]") for number, tool in enumerate(tools))


def checked_template_arguments(row: Mapping[str, Any]) -> dict[str, Any]:
    """What a row gives to the chat template besides, under `chat_template_kwargs`, such as `enable_thinking`.

    Raises:
        RowError: That is no object.
    """
    given = row.get("chat_template_kwargs")
    if given is None:
        return {}
    given = _as_data(given, "chat_template_kwargs", dict, "an object")
    if own := sorted(set(given) & _GIVEN_BY_THE_HUB):
        raise RowError(f"'chat_template_kwargs' holds {own[0]!r}, which the hub gives itself; leave it out")
    return {name: value for name, value in given.items() if value is not None}


def _as_data(value: object, key: str, kind: type, expected: str) -> Any:
    """A key's value, which may be a JSON text of it."""
    if isinstance(value, str):
        value, problem = parse_json(value)
        if problem:
            raise RowError(f"{key!r} is not JSON ({problem}); expected {expected}")
    if not isinstance(value, kind):
        raise RowError(f"{key!r} is {kind_of(value)}; expected {expected}")
    return value


_GIVEN_BY_THE_HUB = {
    "messages",
    "tools",
    "add_generation_prompt",
    "continue_final_message",
    "tokenize",
    "chat_template",
}


def require_text_only(row: Mapping[str, Any]) -> None:
    """Refuse a row with pictures, sounds or films, of which nothing would be learnt.

    Raises:
        RowError: It has some.
    """
    for name in ("image", "images", "audio", "audios", "video", "videos"):
        if row.get(name):
            raise RowError(f"{name!r} is there, and only text is learnt from; leave such rows out")


def calls_tools(messages: Iterable[Message]) -> bool:
    return any("tool_calls" in message for message in messages)


def _tool(tool: object, where: str) -> Message:
    function = tool.get("function", tool) if isinstance(tool, dict) else None
    name = function.get("name") if isinstance(function, dict) else None
    if not isinstance(tool, dict) or not isinstance(name, str) or not name:
        raise RowError(f"{where} has no function name; expected {{'type': 'function', 'function': {{'name': ...}}}}")
    return tool if "function" in tool else {"type": "function", "function": tool}


def text_of(value: object, where: str) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return "".join(_part(part, f"{where}[{number}]") for number, part in enumerate(value))
    raise RowError(f"{where} is {'missing' if value is None else kind_of(value) + ', not text'}; expected a text")


def _part(part: object, where: str) -> str:
    if not isinstance(part, dict):
        raise RowError(f"{where} is {kind_of(part)}; expected {{'type': 'text', 'text': ...}}")
    kind = part.get("type", "text")
    text = part.get("text")
    if kind != "text" or not isinstance(text, str):
        raise RowError(f"{where} is not text (its type is {shown(kind)}); expected {{'type': 'text', 'text': ...}}")
    return text


def full_text(value: object, where: str) -> str:
    text = text_of(value, where)
    if not text.strip():
        raise RowError(f"{where!r} is empty; expected the text to learn")
    return text


def is_sharegpt(turns: object) -> bool:
    first = turns[0] if isinstance(turns, list) and turns else None
    return isinstance(first, dict) and "from" in first and "role" not in first

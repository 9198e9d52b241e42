"""The framework's argument classes, read from source without importing them."""

import sys
from typing import Any, Literal

import pytest

from training_hub.backends.framework_arguments import FrameworkSources, UnreadableSourceError, types_of

SOURCE = """
raise RuntimeError("imported")

class Config:
    count: int = 1
    rate: float | None = None
    name: Optional[str] = None
    mode: Literal["a", "b"] = "a"
    either: bool | Literal["x"] = True
    options: dict[str, int] | None = None
    other: SomeClass | str = ""
    shared: ClassVar[int] = 0
    _hidden: int = 0
"""


@pytest.fixture
def framework(tmp_path, monkeypatch):
    name = f"framework_{tmp_path.name}".replace("-", "_")
    (tmp_path / name).mkdir()
    (tmp_path / name / "__init__.py").write_text(SOURCE)
    monkeypatch.syspath_prepend(tmp_path)
    return name


def test_fields_and_their_types_are_read_without_importing(framework):
    found = types_of(framework, "__init__.py", ("Config",))
    assert found == {
        "count": int,
        "rate": float | None,
        "name": str | None,
        "mode": Literal["a", "b"],
        "either": bool | Literal["x"],
        "options": dict | None,
        "other": Any | str,
    }
    assert FrameworkSources().fields_of(framework, "__init__.py", ("Config",)) == found.keys()
    assert framework not in sys.modules


@pytest.mark.parametrize(("file", "name"), [("__init__.py", "Nope"), ("nope.py", "Config")])
def test_a_release_with_another_layout_costs_the_check_alone_and_says_what_it_lacks(framework, file, name):
    with pytest.raises(UnreadableSourceError, match=rf"{framework}: .*no .*(?i:nope)"):
        types_of(framework, file, (name,))
    sources = FrameworkSources()
    assert sources.types_of(framework, file, (name,)) == {} == sources.types_of(framework, file, (name,))
    assert len(sources.unread) == 1 and framework in sources.unread[0]

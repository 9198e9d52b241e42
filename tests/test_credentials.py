"""Passwords in addresses are shown to nobody."""

import json

import pytest

from training_hub import SFTAlgorithm
from training_hub.backends.translation import by_hub, refused, translate
from training_hub.store.events import EventLog
from training_hub.store.redaction import masked, without_credentials


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("https://user:pa55@host/path", "https://***@host/path"),
        ("https://token@host", "https://***@host"),
        ("at http://u:p@ss@host:80: no", "at http://***@host:80: no"),
        ('"postgresql+psycopg://u:p%2F@db/x"', '"postgresql+psycopg://***@db/x"'),
        ("https://host/a@b", "https://host/a@b"),
        ("mail a@b.c", "mail a@b.c"),
    ],
)
def test_only_the_credentials_go(text: str, shown: str) -> None:
    assert without_credentials(text) == shown


def test_plain_data_of_any_depth() -> None:
    found = masked({"a": ["x://u:p@h", 1, None], "b": {"c": "x://u:p@h"}})
    assert found == {"a": ["x://***@h", 1, None], "b": {"c": "x://***@h"}}


def test_no_event_has_them(tmp_path) -> None:
    EventLog(tmp_path / "e").emit("fail", message='no "http://u:pa55@h" here')
    assert json.loads((tmp_path / "e").read_text())["message"] == 'no "http://***@h" here'


@pytest.mark.parametrize("rule", [by_hub("so"), refused("no")])
def test_no_plan_has_them(rule) -> None:
    given = {"model_path": "m", "data_path": "d", "ckpt_output_dir": "o", "mlflow_tracking_uri": "http://u:pa55@h"}
    resolved = SFTAlgorithm.resolve(given)
    rules = {name: by_hub("so") for name in resolved} | {"mlflow_tracking_uri": rule}
    found = translate("mine", rules, resolved)
    assert "pa55" not in repr((found.items, found.problems)) and "http://***@h" in repr(found.items)

"""What the caller says about the rows, and what is wrong with one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from training_hub.data.wording import near
from training_hub.errors import ParameterError

FORMATS: Final = ("messages", "sharegpt", "alpaca", "prompt_completion", "documents", "processed")

ALIASES: Final[Mapping[str, str]] = {"chat_template": "messages", "passthrough": "documents"}


@dataclass(frozen=True, slots=True)
class DatasetOptions:
    """What the caller says about the dataset; everything left out is read off the rows."""

    dataset_type: str | None = None
    field_messages: str | None = None
    field_instruction: str | None = None
    field_input: str | None = None
    field_output: str | None = None
    is_pretraining: bool = False
    document_column_name: str | None = None
    use_processed_dataset: bool = False
    unmask: bool = False

    @classmethod
    def of(cls, parameters: Mapping[str, Any]) -> DatasetOptions:
        """From the parameters of any algorithm."""
        return cls(
            dataset_type=parameters.get("dataset_type"),
            field_messages=parameters.get("field_messages"),
            field_instruction=parameters.get("field_instruction"),
            field_input=parameters.get("field_input"),
            field_output=parameters.get("field_output"),
            is_pretraining=parameters["is_pretraining"],
            document_column_name=parameters["document_column_name"],
            use_processed_dataset=bool(parameters.get("use_processed_dataset")),
            unmask=bool(parameters.get("unmask_messages")),
        )

    def __post_init__(self) -> None:
        wanted = {
            name: said
            for name, said in (
                (f"dataset_type={self.dataset_type!r}", self.dataset_type and self._named()),
                ("is_pretraining=True", "documents" if self.is_pretraining else None),
                ("use_processed_dataset=True", "processed" if self.use_processed_dataset else None),
            )
            if said
        }
        if len(set(wanted.values())) > 1:
            raise ParameterError(f"{' and '.join(wanted)} contradict each other; give one of them.")

    def _named(self) -> str:
        name = str(self.dataset_type)
        known = ALIASES.get(name, name)
        if known not in FORMATS:
            every = (*FORMATS, *ALIASES)
            raise ParameterError(
                f"dataset_type={name!r} is not a dataset format{near(name, every)}; give one of {', '.join(every)}."
            )
        return known

    @property
    def format(self) -> str | None:
        """The format that was asked for, or None when the rows decide."""
        if self.is_pretraining:
            return "documents"
        if self.use_processed_dataset:
            return "processed"
        return self._named() if self.dataset_type else None


class RowError(Exception):
    """What is wrong with a row; whoever knows the row's place makes a DatasetError of it."""

"""What is wrong with the rows of a dataset: each kind of problem once, with the places that have it."""

from __future__ import annotations

from training_hub.data.files import Place
from training_hub.errors import DatasetError

SHOWN = 20
"""Kinds of problems that are written out, and places of each."""


class BadRowsError(DatasetError):
    """Rows that cannot be trained on: `count` of them; `problems` are the first kinds of what is wrong, with places."""

    def __init__(
        self, path: str, problems: tuple[str, ...], count: int, rows: int, parameter: str = "data_path", more: int = 0
    ) -> None:
        self.path = path
        self.problems = problems
        self.count = count
        self.rows = rows
        self.parameter = parameter
        self.more = more
        """Rows with other problems, which are not written out."""
        super().__init__(path, problems, count, rows, parameter, more)

    def __str__(self) -> str:
        of = "1 row" if self.rows == 1 else f"{self.rows} rows"
        head = f"{self.parameter}: {self.count} of the {of} of {self.path} cannot be trained on:"
        return "\n  ".join((head, *self.problems, *([f"... and {self.more} more"] if self.more else [])))


class Problems:
    """Gathers what is wrong, row by row."""

    def __init__(self) -> None:
        self.count = 0
        self._places: dict[str, tuple[list[Place], int]] = {}
        self._more = 0

    def add(self, place: Place, problem: str) -> None:
        """Note a bad row."""
        self.count += 1
        places, hidden = self._places.get(problem, ([], 0))
        if problem not in self._places and len(self._places) >= SHOWN:
            self._more += 1
            return
        if len(places) < SHOWN:
            places.append(place)
        else:
            hidden += 1
        self._places[problem] = (places, hidden)

    def error(self, path: str, rows: int, parameter: str = "data_path") -> BadRowsError:
        """All of it, of so many rows."""
        lines = tuple(f"{_at(*places)}: {problem}" for problem, places in self._places.items())
        return BadRowsError(path, lines, self.count, rows, parameter, self._more)


def _at(places: list[Place], hidden: int) -> str:
    first, *others = places
    if not others:
        return str(first)
    also = [str(place.row if place.line is None else place.line) for place in others]
    rest = f" and {hidden} more" if hidden else ""
    return f"{first}, {', '.join(also)}{rest}"

"""Rows as the trainer takes them: tokens and labels, made by the hub, kept in Arrow files."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import batched
from pathlib import Path
from typing import Any

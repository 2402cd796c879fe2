"""Checking what a person wrote against a model: everything that is wrong, at once, each with where it stands.

Belongs here: what all files of ours have in common. An unknown key, a wrong type or an impossible range is an error.
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, get_args

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails

from pinetboot.errors import ConfigError, Problem


def _without_nul(text: str) -> str:
    if "\0" in text:
        raise ValueError(f"{text!r} holds a NUL, which no path can")
    return text


Text = Annotated[str, Field(max_length=4096), AfterValidator(_without_nul)]


class Section(BaseModel):
    """A table of a TOML file: strict, frozen, and closed to keys that it does not know."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False, validate_default=True)


def parse(text: str, source: str) -> dict[str, Any]:
    """Read TOML into a plain mapping. Raises ConfigError naming `source`, line and column."""
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        # Beside its own TOMLDecodeError, tomllib lets out what a number or a nesting beyond Python's limits raises.
        raise ConfigError(source, [Problem("TOML", str(error))]) from None


def problems(
    error: ValidationError, model: type[BaseModel], said: Mapping[tuple[str, str], str] | None = None
) -> list[Problem]:
    """Put what pydantic found into sentences. `said` tells which flag gave a (section, key)."""
    return [_problem(detail, model, said or {}) for detail in error.errors()]


_LONGEST_SHOWN = 100
_RIGHT = {
    "int_type": "a whole number is right",
    "int_from_float": "a whole number is right",
    "float_type": "a number is right",
    "bool_type": "true or false is right",
    "string_type": 'text in quotes is right, "..."',
    "list_type": "a list in brackets is right, [...]",
    "model_type": "a table of its own is right, [{path}]",
    "dict_type": "a table of its own is right, [{path}]",
}


def _problem(detail: ErrorDetails, model: type[BaseModel], said: Mapping[tuple[str, str], str]) -> Problem:
    steps = detail["loc"]
    path = _path(steps) or "settings"
    where = said.get((str(steps[0]), str(steps[1])), path) if len(steps) > 1 else path
    kind = detail["type"]
    if kind == "extra_forbidden":
        return Problem(where, "unknown key", _nearest(steps, model))
    if kind == "missing":
        return Problem(where, "is missing")
    if kind in _RIGHT:
        return Problem(where, f"{_shown(detail['input'])} is of the wrong type", _RIGHT[kind].format(path=path))
    if kind == "literal_error":
        return Problem(where, f"{_shown(detail['input'])} is not known here", f"{detail['ctx']['expected']} is right")
    if kind == "value_error":
        return Problem(where, str(detail["ctx"]["error"]))
    message = detail["msg"].removeprefix("Input ")
    return Problem(where, f"{_shown(detail['input'])} will not do", f"it {message}")


def _path(steps: Sequence[int | str]) -> str:
    """`tftp.port`; entries of a list of tables are counted as a reader counts them: `pi 2.serial` is the second's."""
    text = ""
    for number, step in enumerate(steps, 1):
        if isinstance(step, int) and number < len(steps):
            text += f" {step + 1}"
        else:
            text += f".{step}" if text else str(step)
    return text


def _shown(value: object) -> str:
    try:
        text = repr(value)
    except ValueError:  # an integer of more digits than Python prints
        return "that number"
    return text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}..."


def _nearest(steps: Sequence[int | str], model: type[BaseModel]) -> str:
    fields = list(_model_at(steps[:-1], model).model_fields)
    near = difflib.get_close_matches(str(steps[-1]), fields, n=1, cutoff=0.6)
    return f"did you mean {near[0]}?" if near else f"known here: {', '.join(fields)}"


def _model_at(steps: Sequence[int | str], model: type[BaseModel]) -> type[BaseModel]:
    for step in steps:
        if isinstance(step, str) and step in model.model_fields:
            annotation: Any = model.model_fields[step].annotation
            inner = [annotation, *get_args(annotation)]
            model = next((kind for kind in inner if isinstance(kind, type) and issubclass(kind, BaseModel)), model)
    return model

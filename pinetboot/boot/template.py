"""Templates filled in, and YAML written: the one door to Jinja2 and PyYAML.

Belongs here: Jinja2's sandbox made tighter (no way out, every name known), and one sentence for all that goes wrong.
Never here: a look at any file (text comes through a function), or a value in a sentence: values may be secrets.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache, wraps
from types import CodeType
from typing import Any, NoReturn

import yaml
from jinja2 import BaseLoader, Environment, StrictUndefined, Template, Undefined, meta, nodes
from jinja2.exceptions import SecurityError, TemplateNotFound, TemplateSyntaxError, UndefinedError
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import missing
from jinja2.visitor import NodeTransformer

from pinetboot.boot import bounds
from pinetboot.boot.bounds import MAX_SIZE, VARIABLES, Read, Refused, Rendering, Table

_STEPS_PER_FILE = 100
_SIZED_FILTERS = {"batch", "center", "indent", "slice", "wordwrap"}


class TemplateFault(Exception):
    """A template that gives no text: one sentence with the file, the line and what is wrong, and no value."""


def has_tags(text: str) -> bool:
    """Whether there is anything to fill in."""
    return bounds.TAG.search(text) is not None


def render(name: str, read: Read, variables: Mapping[str, Any], folder: str = "") -> bytes:
    """Fill in the file `name`, which `read` gives, and what it includes by way of the same function.

    Lines end in LF afterwards, whatever they ended in. `folder` stands before the name in sentences.
    Raises TemplateFault.
    """
    with bounds.rendering(Rendering(read)):
        text, why = _tried(name, variables)
    # Outside the handler, so that the exception takes along no traceback, whose frames hold values.
    if why:
        raise TemplateFault(folder + why)
    return text


def check(text: str, name: str) -> list[str]:
    """Say what is wrong with a template without filling it in: syntax, filters, and names that there are not."""
    with bounds.rendering(Rendering(lambda _: None, {name: text})):
        try:
            _environment.compile(text, name, name)
            tree = _environment.parse(text, name, name)
            unknown = meta.find_undeclared_variables(tree) - {*VARIABLES}
            lines = {found.name: found.lineno for found in reversed([*tree.find_all(nodes.Name)])}
        except Exception as error:  # noqa: BLE001 - whatever a text provokes in the compiler is that text's fault
            return [_sentence(error, name)]
    places = sorted((lines.get(one, 0), one) for one in unknown)
    return [f"{name}, line {line}: {bounds.no_such_name(one)}" for line, one in places]


def dump(content: Mapping[str, Any]) -> str:
    """Write YAML with the keys in their order. Times and dates are text, as TOML has them. Raises TemplateFault."""
    try:
        return yaml.safe_dump(bounds.plain(content), sort_keys=False, width=1 << 20)
    except (yaml.YAMLError, ValueError, RecursionError):
        why = "data holds something that YAML cannot"
    raise TemplateFault(why)


def load(text: str) -> object:
    """Read YAML. Raises TemplateFault, which tells the line and nothing of what stands there."""
    try:
        loaded: object = yaml.safe_load(text)
    except yaml.MarkedYAMLError as error:
        why = f"line {error.problem_mark.line + 1} is no YAML" if error.problem_mark else "it is no YAML"
    except (yaml.YAMLError, ValueError, RecursionError):
        why = "it is no YAML"
    else:
        return loaded
    # Outside the handler: the exception that it would take along holds text.
    raise TemplateFault(why)


def _tried(name: str, variables: Mapping[str, Any]) -> tuple[bytes, str]:
    """Fill in, or say why not."""
    pieces = []
    size = 0
    try:
        content = {key: bounds.named(key, bounds.plain(value)) for key, value in variables.items()}
        for piece in _environment.get_template(name).generate(content):
            size += len(piece)
            if size > MAX_SIZE:
                break
            pieces.append(piece)
        text = "".join(pieces).encode()
    except Exception as error:  # noqa: BLE001 - a template can raise anything at all
        return b"", _sentence(error, name)
    if max(size, len(text)) > MAX_SIZE:
        return b"", f"{name}: it makes more than the {MAX_SIZE} bytes that a seed may have"
    return text, ""


def _sentence(error: Exception, name: str) -> str:
    file, line = _place(error, name)
    where = f"{file}, line {line}" if line else file
    match error:
        case TemplateSyntaxError():
            what = " ".join((error.message or "it cannot be read").split()).rstrip(".")
            if "end of comment" in what:
                what += "; where {# is meant as it stands, in ${#list[@]} say, write {{ '{#' }}"
        case Refused():
            what = str(error)
        case UndefinedError() | _Forbidden():
            what = error.message or "a name is unknown"
        case TemplateNotFound():
            what = f"{bounds.shown(error.name)} is no text file of the same folder"
        case RecursionError():
            what = "it is nested too deep, or includes itself"
        case OverflowError() | MemoryError():
            what = bounds.TOO_MUCH
        case _:
            what = f"an expression ends in {type(error).__name__}, the details of which might hold a secret"
    return f"{where}: {what}"


def _place(error: Exception, name: str) -> tuple[str, int]:
    """Say which line of which template an exception came out of."""
    if isinstance(error, TemplateSyntaxError):
        return error.name or name, error.lineno
    file, line = name, 0
    trace = error.__traceback__
    while trace is not None:
        template = trace.tb_frame.f_globals.get("__jinja_template__")
        if isinstance(template, Template):
            file, line = template.name or name, template.get_corresponding_lineno(trace.tb_lineno)
        trace = trace.tb_next
    return file, line


class _Siblings(BaseLoader):
    """Gives the files of the rendering that is under way, and no others."""

    def load(
        self,
        environment: Environment,
        name: str,
        globals: Any = None,  # noqa: A002 - Jinja2's own name for it
    ) -> Template:
        """Load a template. Raises TemplateNotFound."""
        bounds.spend(_STEPS_PER_FILE)
        text = bounds.text_of(name)
        if text is None:
            raise TemplateNotFound(name)
        return environment.template_class.from_code(environment, _compiled(name, text), globals or {})


@lru_cache(maxsize=64)
def _compiled(name: str, text: str) -> CodeType:
    return _environment.compile(text, name, name)


class _Forbidden(SecurityError):
    """What the sandbox refuses, in words that may be shown."""


class _Unknown(StrictUndefined):
    """A name that stands for nothing: an error wherever it is used, `default` and `is defined` apart."""

    __slots__ = ()

    @property
    def _undefined_message(self) -> str:
        if self._undefined_hint:
            return self._undefined_hint
        name, owner = self._undefined_name, self._undefined_obj
        if owner is missing:
            return bounds.no_such_name(bounds.shown(name))
        if isinstance(owner, Table):
            return f"{owner.path}.{bounds.shown(name)} is not set for this Pi"
        return f"a value of type {type(owner).__name__} has no {bounds.shown(name)}"


class _Environment(ImmutableSandboxedEnvironment):
    """Jinja2 with every step counted and every size bounded."""

    intercepted_binops = frozenset({"+", "*", "**", "%"})

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        tree: nodes.Template = _Counting().visit(super()._parse(source, name, filename))
        tree.set_environment(self)
        return tree

    def handle_exception(self, source: str | None = None) -> NoReturn:  # noqa: ARG002 - no text goes into a traceback
        """Let an exception go on as it is, without the template's text."""
        raise  # noqa: PLE0704 - it is called while one is handled

    def tick(self) -> None:
        """Take a turn of a loop; the call itself is what counts."""

    def joined(self, *parts: object) -> str:
        """Put texts together, as `~` does."""
        texts = [str(part) for part in parts]
        if sum(map(len, texts)) > MAX_SIZE:
            bounds.refuse_size()
        return "".join(texts)

    def getattr(self, obj: Any, attribute: str) -> Any:
        """Take a key before a method: `data.items` is what fleet.toml says, if it does."""
        if isinstance(obj, Table) and attribute in obj:
            return obj[attribute]
        return super().getattr(obj, attribute)

    def unsafe_undefined(self, obj: Any, attribute: str) -> _Unknown:
        """Refuse what leads out of the sandbox."""
        return _Unknown(f"a seed may not reach {bounds.shown(attribute)} of a value", obj, attribute, _Forbidden)

    def call(self, context: Context, obj: Any, /, *args: Any, **kwargs: Any) -> Any:
        """Call something, as a step; methods of text may make no more of it than a seed may hold."""
        bounds.spend(1)
        text = getattr(getattr(obj, "__wrapped__", obj), "__self__", None)
        if isinstance(text, str):
            if getattr(obj, "__name__", "").startswith("format"):
                bounds.check_format(text, braces=True)
            bounds.check_numbers((*args, *kwargs.values()))
        return super().call(context, obj, *args, **kwargs)

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        """Reckon, unless the result would be too large."""
        bounds.check_operator(operator, left, right)
        return super().call_binop(context, operator, left, right)


class _Counting(NodeTransformer):
    """Makes each turn of a loop a step, and `~` a call, which is one."""

    def visit_For(self, node: nodes.For) -> nodes.Node:  # noqa: N802 - the visitor finds it by this name
        self.generic_visit(node)
        tick = nodes.Call(nodes.EnvironmentAttribute("tick"), [], [], None, None)
        node.body.insert(0, nodes.ExprStmt(tick).set_lineno(node.lineno, override=True))
        return node

    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:  # noqa: N802 - likewise
        self.generic_visit(node)
        return nodes.Call(nodes.EnvironmentAttribute("joined"), node.nodes, [], None, None, lineno=node.lineno)


def _output(value: Any) -> Any:
    """Take what an expression gives, as long as it is something that can stand in a file."""
    # An inline `if` without `else` gives Jinja2's own lenient one, which is empty text.
    if isinstance(value, Undefined):
        return value
    if value is None or callable(value):
        raise Refused("an expression gives nothing" if value is None else "a function stands where its result should")
    _without_gaps(value)
    text = value if isinstance(value, str) else str(value)
    bounds.spend_on(text)
    return text


def _without_gaps(value: object) -> None:
    """See to it that an unknown name inside of a list or a table is an error too. Raises UndefinedError."""
    if isinstance(value, dict):
        value = [*value.keys(), *value.values()]
    if isinstance(value, list | tuple):
        for one in value:
            _without_gaps(one)
    elif isinstance(value, _Unknown):
        str(value)


def _no_json(value: object) -> NoReturn:
    str(value)  # an unknown name says which it is
    raise Refused(f"a value of type {type(value).__name__} cannot be written as JSON")


def _guarded(name: str, work: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(work)
    def guarded(*args: Any, **kwargs: Any) -> Any:
        bounds.spend(1)
        if name == "format":
            bounds.check_format(args[0], braces=False)
        elif name in _SIZED_FILTERS:
            bounds.check_numbers((*args, *kwargs.values()))
        return work(*args, **kwargs)

    return guarded


def _made() -> _Environment:
    """Make the one environment that all templates are filled in by."""
    made = _Environment(
        undefined=_Unknown,
        autoescape=False,  # the result is YAML or a script, not HTML
        keep_trailing_newline=True,
        finalize=_output,
        loader=_Siblings(),
        cache_size=0,
    )
    # A seed is the same whenever it is asked for.
    del made.globals["lipsum"], made.filters["random"]
    made.policies["json.dumps_kwargs"] = {"default": _no_json}
    made.filters = {name: _guarded(name, work) for name, work in made.filters.items()}
    return made


_environment = _made()

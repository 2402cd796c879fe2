"""Templates filled in: what comes out, what is refused and in which words, and that no words hold a value."""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import UTC, date, datetime
from datetime import time as clock
from typing import Any

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from pinetboot.boot.bounds import MAX_SIZE
from pinetboot.boot.template import TemplateFault, check, dump, render

SECRET = "hunter2-correct-horse"  # noqa: S105 - an example, and nobody's
DATA = {
    "role": "agent",
    "token": SECRET,
    "items": "a key named as a method is",
    "numbers": [3, 1, 2],
    "disk": {"size": "20G"},
    "since": date(2026, 1, 2),
}
VARIABLES = {"pi": {"serial": "5b154510", "hostname": "node-1"}, "data": DATA, "server": {}, "seed": "default"}


def fill(text: str, files: Mapping[str, str] | None = None) -> str:
    files = {"user-data": text, **(files or {})}
    return render("user-data", files.get, VARIABLES, "cloud-init/default/").decode()


def fault(text: str, files: Mapping[str, str] | None = None) -> str:
    with pytest.raises(TemplateFault) as caught:
        fill(text, files)
    error = caught.value
    # A traceback that is shown or logged somewhere would hold the values of its frames.
    assert error.__context__ is None
    assert error.__cause__ is None
    assert SECRET not in str(error)
    assert "\n" not in str(error)
    assert str(error).startswith("cloud-init/default/user-data"), error
    return str(error).removeprefix("cloud-init/default/user-data")


@pytest.mark.parametrize(
    ("text", "filled"),
    [
        ("", ""),
        ("no tags\n\n", "no tags\n\n"),
        ("hostname: {{ pi.hostname }}\n", "hostname: node-1\n"),
        ("{{ data.items }}", DATA["items"]),
        ("{{ data['role'] }} {{ data.get('none', 'x') }} {{ data.disk.size }}", "agent x 20G"),
        ("{{ data.since }}", "2026-01-02"),
        ("{{ data.none | default('d') }}{{ data.none is defined }}", "dFalse"),
        (
            "{% for n in data.numbers | sort %}{{ loop.index }}:{{ n }}{% if not loop.last %},{% endif %}{% endfor %}",
            None,
        ),
        ("{% for key, value in data.disk.items() %}{{ key }}={{ value }}{% endfor %}", "size=20G"),
        ("{% for n in [] %}{% else %}none{% endfor %}", "none"),
        ("{{ 'a' ~ 1 ~ pi.serial }}", "a15b154510"),
        ("{{ '%02d' | format(7) }}{{ '%x' % 255 }}{{ '{:03}'.format(5) }}", "07ff005"),
        ("{{ 'x' if data.role == 'server' }}.", "."),
        ("<{{ '&<' }}>", "<&<>"),
        ("{% raw %}{{ v1.local_hostname }}{% endraw %}", "{{ v1.local_hostname }}"),
        ("{% macro m(x) %}<{{ x }}>{% endmacro %}{{ m(1) }}{{ m(2) }}", "<1><2>"),
        ("{{ data.disk | tojson }}", '{"size": "20G"}'),
        ("{# a comment #}x", "x"),
    ],
)
def test_what_comes_out(text: str, filled: str | None) -> None:
    assert fill(text) == ("1:1,2:2,3:3" if filled is None else filled)


def test_files_of_the_same_folder_may_be_included() -> None:
    files = {"disk.part": "{{ data.disk.size }}", "macros": "{% macro m(x) %}<{{ x }}>{% endmacro %}"}
    assert fill("a {% include 'disk.part' %}\n", files) == "a 20G\n"
    assert fill("{% import 'macros' as macros %}{{ macros.m(5) }}", files) == "<5>"
    assert fill("{% include 'none' ignore missing %}.", files) == "."


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("\n\n{{ data.k3s_token }}", ", line 3: data.k3s_token is not set for this Pi"),
        ("{{ data.disk.place }}", ", line 1: data.disk.place is not set for this Pi"),
        ("{{ pi.mac }}", ", line 1: pi.mac is not set for this Pi"),
        ("a\n{{ v1.local_hostname }}", ", line 2: v1 is unknown; there are pi, data, server and seed"),
        ("{% if nothing %}{% endif %}", ", line 1: nothing is unknown; there are pi, data, server and seed"),
        ("{% for x in data.none %}{% endfor %}", ", line 1: data.none is not set for this Pi"),
        ("{{ data.role.name }}", ", line 1: a value of type str has no name"),
        ("{{ data.none | tojson }}", ", line 1: data.none is not set for this Pi"),
        ("{{ [{'a': data.none}] | tojson }}", ", line 1: data.none is not set for this Pi"),
        ("{{ [{'a': data.none}] }}", ", line 1: data.none is not set for this Pi"),
        ("{{ range | tojson }}", ", line 1: a value of type function cannot be written as JSON"),
        ("{{ none }}", ", line 1: an expression gives nothing"),
        ("{{ data.keys }}", ", line 1: a function stands where its result should"),
        ("{{ 'a", ', line 1: unexpected char "\'" at 3'),
        ("\n{% frob %}", ", line 2: Encountered unknown tag 'frob'"),
        ("{{ 1 | frob }}", ", line 1: No filter named 'frob'"),
        ("docker ps --format '{{.Names}}'", ", line 1: unexpected '.'"),
        ("{% include 'none' %}", ", line 1: none is no text file of the same folder"),
        ("{% include 'user-data' %}", None),
        ("{{ '\\ud800' }}", None),
        ("{{ lipsum() }}", None),
    ],
)
def test_what_does_not_come_out_is_told_with_its_line(text: str, why: str | None) -> None:
    told = fault(text)
    if why is not None:
        assert told == why


def test_a_fault_in_an_included_file_names_that_file() -> None:
    with pytest.raises(TemplateFault, match=r"^cloud-init/default/part, line 2: data\.none is not set for this Pi$"):
        fill("{% include 'part' %}", {"part": "\n{{ data.none }}"})


def test_an_array_of_the_shell_is_explained() -> None:
    assert "write {{ '{#' }}" in fault("echo ${#list[@]}")
    assert fill("echo ${{ '{#' }}list[@]}") == "echo ${#list[@]}"


@pytest.mark.parametrize(
    "text",
    [
        "{{ data[data.token] }}",
        "{{ data.token.nothing }}",
        "{{ data.token + 1 }}",
        "{{ data.token | int + data.none }}",
        "{% include data.token %}",
        "{% include '/etc/passwd' %}",
        "{{ data | attr(data.token) }}",
        "{{ data | map(data.token) | list }}",
        "{{ '{' ~ data.token ~ '}' }}{{ ('{' ~ data.token ~ '}').format() }}",
        "{{ [1] | groupby(data.token) }}",
        "{{ data.token.encode('ascii').decode('utf-16') }}",
        "{{ {} [data.token] }}",
        "{{ data.token() }}",
    ],
)
def test_no_words_hold_a_value(text: str) -> None:
    fault(text)


@pytest.mark.parametrize(
    "text",
    [
        "{{ ''.__class__ }}",
        "{{ data.__class__.__mro__ }}",
        "{{ ''['__class__'] }}",
        "{{ data | attr('__init__') }}",
        "{{ '{0.__class__}'.format(data) }}",
        "{{ cycler.__init__.__globals__ }}",
        "{{ data.update({'role': 'x'}) }}",
        "{{ data.numbers.append(1) }}",
        "{% include '../user-data' %}",
        "{% include '/etc/hostname' %}",
        "{% include '..data/user-data' %}",
    ],
)
def test_there_is_no_way_out(text: str) -> None:
    fault(text, {"../user-data": "out", "/etc/hostname": "out", "..data/user-data": "out"})


DOUBLING = "{%% set n = namespace(x='ab') %%}{%% for i in range(99) %%}%s{%% endfor %%}{{ n.x }}"


@pytest.mark.parametrize(
    "text",
    [
        "{% for a in range(100000) %}{% for b in range(100000) %}{% endfor %}{% endfor %}",
        "{% for a in range(99999) recursive %}{{ loop(range(99999)) }}{% endfor %}",
        "{{ range(10 ** 7) | list }}",
        "{{ 10 ** (10 ** 9) }}",
        "{{ 'x' * 10 ** 9 }}",
        "{{ 10 ** 9 * 'x' }}",
        "{{ [1] * 10 ** 9 }}",
        DOUBLING % "{% set n.x = n.x + n.x %}",
        DOUBLING % "{% set n.x = n.x ~ n.x %}",
        DOUBLING % "{% set z %}{{ n.x }}{{ n.x }}{% endset %}{% set n.x = z %}",
        "{{ 'x' | center(10 ** 9) }}",
        "{{ 'x'.center(10 ** 9) }}",
        "{{ '%0999999999d' | format(1) }}",
        "{{ '%0999999999d' % 1 }}",
        "{{ '%*d' % (999999999, 1) }}",
        "{{ '{:999999999}'.format(1) }}",
        "{% macro m() %}{{ m() }}{{ m() }}{% endmacro %}{{ m() }}",
        "{% for i in range(9999) %}{% include 'part' %}{% endfor %}",
        "{{ 'x' * 4000000 }}{{ 'x' * 4000000 }}",
        "{{ 'ä' * 4000000 }}",
        "{{ " + "(" * 9999 + "1" + ")" * 9999 + " }}",
        "{{ 1 }}" * 10_001,
        "{{ 1 }}" + "x" * (1 << 20),
    ],
)
def test_a_template_is_bounded(text: str) -> None:
    started = time.process_time()
    fault(text, {"part": "{{ 'x' * 40 }}"})
    assert time.process_time() - started < 5


def test_what_fits_is_made() -> None:
    assert len(fill("{% for i in range(40) %}{{ 'x' * 100000 }}{% endfor %}")) == 4_000_000 < MAX_SIZE


def test_one_rendering_leaves_nothing_for_the_next() -> None:
    assert fill("{% set role = 'changed' %}{{ data.role }}{{ role }}") == "agentchanged"
    assert "role is unknown" in fault("{{ role }}")
    for _ in range(3):
        assert fill("{% for i in range(99999) %}{% endfor %}") == ""


def test_check_finds_what_is_wrong_whichever_pi_it_is_for() -> None:
    text = (
        "{{ pi.hostname }}\n{{ nodename }}{% for i in range(3) %}{{ i }}{% endfor %}\n{{ role | upper }}{{ nodename }}"
    )
    assert check(text, "user-data") == [
        "user-data, line 2: nodename is unknown; there are pi, data, server and seed",
        "user-data, line 3: role is unknown; there are pi, data, server and seed",
    ]
    assert check("{{ data.anything }}{% set x = 1 %}{{ x }}", "user-data") == []
    assert check("\n{{ x | frob }}", "user-data") == ["user-data, line 2: No filter named 'frob'"]
    assert check("{{", "vendor-data") == ["vendor-data, line 1: unexpected 'end of template'"]


PIECES = """{{ }} {% %} {# #} data.token data pi.x . | ( ) [ ] ' ~ for_x_in_ endfor if_ endif include_ set_x = 1 ** *
9999999 range macro_m() endmacro block_b endblock tojson raw endraw - extends_ loop import self , none in_ is_"""
TAGS = st.sampled_from([" ", "\n", *(piece.replace("_", " ") for piece in PIECES.split())])


@given(st.one_of(st.text(), st.lists(TAGS, max_size=30).map("".join)))
@example("{{ self.b() }}{% block b %}{{ self.b() }}{% endblock %}")
@example("{% extends 'user-data' %}")
@example("{%" + "if 1%}{%" * 30)
def test_any_text_gives_bytes_or_one_kind_of_error(text: str) -> None:
    told: str | bytes
    try:
        told = render("user-data", {"user-data": text}.get, VARIABLES)
    except TemplateFault as error:
        told = str(error)
        assert SECRET not in told
    assert isinstance(told, bytes | str)
    assert all(isinstance(line, str) for line in check(text, "user-data"))


JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.text()),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(), JSON, max_size=4))
def test_yaml_reads_back_what_was_written(content: dict[str, Any]) -> None:
    assert yaml.safe_load(dump(content)) == content


def test_times_are_text_in_yaml() -> None:
    at = datetime(2026, 1, 2, 3, 4, tzinfo=UTC)
    told = yaml.safe_load(dump({"date": date(2026, 1, 2), "time": clock(3, 4), "at": at}))
    assert told == {"date": "2026-01-02", "time": "03:04:00", "at": "2026-01-02T03:04:00+00:00"}


def test_what_yaml_cannot_hold_is_told() -> None:
    with pytest.raises(TemplateFault, match="data holds something that YAML cannot"):
        dump({"data": object()})

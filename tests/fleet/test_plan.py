"""The next step for a Pi, from what fleet.toml wants and what is on disk."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pinetboot.fleet.pi import Pi
from pinetboot.fleet.plan import Boot, Held, Make, Nothing, Step, image_for, next_step, superseded

A = Held(0, "a", "a1")
B = Held(0, "b", "b1")


def pi(image: str = "", root: str = "nfs") -> Pi:
    return Pi.model_validate({"serial": "5b154510", "image": image, "root": root})


def step(
    wanted: str, held: list[Held], current: int | None, *, images: list[Held] | None = None, upgrade: bool = False
) -> Step:
    return next_step(pi(wanted), wanted, [A, B] if images is None else images, held, current, upgrade=upgrade)


def of(number: int, image: str, identity: str, *, rejected: bool = False) -> Held:
    return Held(number, image, identity, "nfs", rejected)


def test_a_new_pi_gets_a_generation() -> None:
    assert step("a", [], None) == Make("a")


def test_a_pi_that_boots_what_it_should_is_left_alone() -> None:
    assert step("a", [of(1, "a", "a1")], 1) == Boot(1)


def test_another_image_is_made() -> None:
    assert step("b", [of(1, "a", "a1")], 1) == Make("b")


def test_another_kind_of_root_is_made() -> None:
    assert next_step(pi("a", "none"), "a", [A], [of(1, "a", "a1")], 1, upgrade=False) == Make("a")


def test_a_newer_image_of_the_same_name_moves_nobody() -> None:
    assert step("a", [of(1, "a", "a0")], 1) == Boot(1)


def test_it_moves_those_who_asked() -> None:
    assert step("a", [of(1, "a", "a0")], 1, upgrade=True) == Make("a")
    assert step("a", [of(1, "a", "a1")], 1, upgrade=True) == Boot(1)


def test_a_generation_that_was_made_and_never_booted_is_booted() -> None:
    assert step("a", [of(1, "a", "a0"), of(2, "a", "a1")], 1) == Boot(2)
    assert step("b", [of(1, "a", "a1"), of(2, "b", "b1")], 1) == Boot(2)
    assert step("a", [of(1, "a", "a1")], None) == Boot(1)


def test_a_rollback_stays() -> None:
    assert step("a", [of(1, "a", "a0"), of(2, "a", "a1", rejected=True)], 2) == Boot(1)
    assert step("a", [of(1, "a", "a0"), of(2, "a", "a1", rejected=True)], 1) == Boot(1)


def test_what_was_rolled_back_from_is_made_anew_when_asked_for() -> None:
    assert step("a", [of(1, "a", "a0"), of(2, "a", "a1", rejected=True)], 1, upgrade=True) == Make("a")
    assert step("b", [of(1, "a", "a1"), of(2, "b", "b1", rejected=True)], 1) == Make("b")


def test_an_image_that_is_gone_leaves_the_pi_as_it_is() -> None:
    assert step("a", [of(1, "a", "a1")], 1, images=[]) == Boot(1)
    assert step("a", [of(1, "a", "a1")], 1, images=[], upgrade=True) == Boot(1)


def test_no_image_is_said_with_what_to_do() -> None:
    assert step("c", [], None) == Nothing("there is no image c", "Run `pinetboot image add SOURCE --name c`.")
    assert isinstance(step("", [], None), Nothing)
    assert isinstance(step("", [], None, images=[]), Nothing)


def test_the_image_of_a_pi_that_names_none() -> None:
    assert image_for(pi("a"), ["b", "c"], "c") == "a"
    assert image_for(pi(), ["b", "c"], "c") == "c"
    assert image_for(pi(), ["b"], "") == "b"
    assert image_for(pi(), ["b", "c"], "") == ""
    assert image_for(pi(), [], "") == ""


_held = st.lists(
    st.builds(
        of, st.integers(1, 9), st.sampled_from("ab"), st.sampled_from(["a0", "a1", "b1"]), rejected=st.booleans()
    ),
    max_size=5,
    unique_by=lambda one: one.number,
)


@given(_held, st.sampled_from("ab"), st.none() | st.integers(1, 9), st.booleans())
def test_steps_come_to_an_end(held: list[Held], wanted: str, current: int | None, upgrade: bool) -> None:
    images = {"a": A, "b": B}
    for _ in range(4):
        now = step(wanted, held, current, upgrade=upgrade)
        if isinstance(now, Make):
            number = max((one.number for one in held), default=0) + 1
            held = [*held, of(number, now.image, images[now.image].identity)]
            current, upgrade = number, False
        elif isinstance(now, Boot):
            assert now.number in {one.number for one in held if one.image == wanted and not one.rejected}
            if now.number == current and not upgrade:
                return
            current, upgrade = now.number, False
    raise AssertionError("a Pi is never done")


def test_generations_go_once_the_pi_left_them() -> None:
    assert superseded([1, 2, 3, 4], 4, 4, 2) == [1, 2]
    assert superseded([1, 2, 3, 4], 4, 2, 2) == [1]
    assert superseded([1, 2, 3, 4], 4, None, 2) == []
    assert superseded([1, 2, 3, 4], 1, 4, 2) == [2]
    assert superseded([1, 2, 3, 4], 4, 4, 2, {1}) == [2]


@given(st.lists(st.integers(1, 30), unique=True), st.integers(1, 30), st.none() | st.integers(1, 30), st.integers(1, 5))
def test_what_may_be_mounted_never_goes(numbers: list[int], current: int, booted: int | None, keep: int) -> None:
    gone = superseded(numbers, current, booted, keep)
    assert current not in gone
    assert booted not in gone
    assert not gone or (booted is not None and max(gone) < booted)
    assert len(numbers) - len(gone) >= min(keep, len(numbers))

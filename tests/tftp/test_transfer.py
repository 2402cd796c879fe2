"""The server's half of a transfer: each rule by example, then against clients over a link that loses and repeats."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import count

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from pinetboot.pi.download import Download, Out, Result
from pinetboot.pi.profiles import PROFILES, Duplicates
from pinetboot.tftp import packet
from pinetboot.tftp.options import Limits, negotiate
from pinetboot.tftp.packet import Ack, Data, Error, Oack, Opcode, Request
from pinetboot.tftp.transfer import MAX_BACKOFF_S, PAUSE_S, Patience, Rest, Send, Step, Transfer

# Another program on the machine may make any example slow.
STEADY = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

PATIENCE = Patience(timeout_s=2.0, retries=5)


def transfer(
    *, blocks: int = 10, windowsize: int = 1, oack: bool = True, patience: Patience = PATIENCE, sent: bool = False
) -> Transfer:
    """A started transfer; with `sent` the OACK is acknowledged and the first window is out."""
    made = Transfer(blocks=blocks, windowsize=windowsize, oack=oack, patience=patience)
    made.start(0.0)
    if sent and oack:
        made.acknowledged(0, 0.0)
    return made


def sends_until_it_gives_up(made: Transfer) -> list[float]:
    """The times at which something was sent again, when the client stays silent; the last one is the giving up."""
    times = []
    for _ in range(1000):
        now = made.deadline
        assert made.tick(now - 0.001) is Rest.WAIT
        times.append(now)
        if made.tick(now) is Rest.GAVE_UP:
            return times
    raise AssertionError("it never gives up")


def rest_of_the_window(made: Transfer) -> list[Send]:
    """What is sent after pauses."""
    sends = []
    while made.pausing:
        assert made.tick(made.deadline - PAUSE_S / 2) is Rest.WAIT
        step = made.tick(made.deadline)
        assert isinstance(step, Send)
        sends.append(step)
    return sends


def losing_windows(times: int) -> Transfer:
    """A transfer in windows of 8 whose client lost a part of so many in a row."""
    made = transfer(blocks=10_000, windowsize=8, sent=True)
    for _ in range(times):
        assert isinstance(made.acknowledged((made.acked + 1) & 0xFFFF, 0.0), Send)
        rest_of_the_window(made)
    return made


class TestStart:
    def test_an_oack_goes_first_and_is_acknowledged_as_block_0(self) -> None:
        made = Transfer(blocks=2, windowsize=1, oack=True, patience=PATIENCE)
        assert made.start(0.0) == Send(0, 0)
        assert made.acknowledged(0, 1.0) == Send(1, 1)

    def test_without_options_the_first_block_answers_the_request(self) -> None:
        made = Transfer(blocks=2, windowsize=1, oack=False, patience=PATIENCE)
        assert made.start(0.0) == Send(1, 1)
        assert made.acknowledged(0, 1.0) is Rest.WAIT
        assert made.acknowledged(1, 1.0) == Send(2, 2)

    def test_a_window_begins_after_the_oack(self) -> None:
        made = Transfer(blocks=10, windowsize=4, oack=True, patience=PATIENCE)
        assert made.start(0.0) == Send(0, 0)
        assert made.acknowledged(0, 1.0) == Send(1, 4)

    def test_a_window_is_no_larger_than_the_file(self) -> None:
        assert transfer(blocks=3, windowsize=64).acknowledged(0, 1.0) == Send(1, 3)


class TestEnd:
    @pytest.mark.parametrize("oack", [True, False])
    def test_an_empty_file_is_one_empty_block(self, *, oack: bool) -> None:
        made = transfer(blocks=1, oack=oack, sent=True)
        assert made.sent == 1
        assert made.all_sent
        assert made.acknowledged(1, 1.0) is Rest.DONE

    @pytest.mark.parametrize(("size", "blocks"), [(0, 1), (511, 1), (512, 2), (513, 2), (1024, 3)])
    def test_a_multiple_of_the_block_size_ends_with_an_empty_block(self, size: int, blocks: int) -> None:
        made = transfer(blocks=size // 512 + 1, sent=True)
        for block in range(1, blocks):
            assert made.acknowledged(block, 1.0) == Send(block + 1, block + 1)
        assert made.acknowledged(blocks, 1.0) is Rest.DONE

    def test_the_last_block_of_a_window_ends_it(self) -> None:
        made = transfer(blocks=6, windowsize=4, sent=True)
        assert made.acknowledged(4, 1.0) == Send(5, 6)
        assert made.acknowledged(6, 1.0) is Rest.DONE

    def test_nothing_is_missing_but_the_last_ack_once_the_last_window_is_out(self) -> None:
        made = transfer(blocks=6, windowsize=4, sent=True)
        assert not made.all_sent
        made.acknowledged(4, 1.0)
        assert made.all_sent
        lock_step = transfer(blocks=2, sent=True)
        assert not lock_step.all_sent
        lock_step.acknowledged(1, 1.0)
        assert lock_step.all_sent


class TestLockStep:
    @pytest.mark.parametrize("number", [0, 1, 2, 4, 6, 100, 40000, 65535])
    def test_nothing_but_the_ack_of_the_newest_block_makes_it_send(self, number: int) -> None:
        made = transfer(sent=True)
        for block in (1, 2, 3, 4):
            made.acknowledged(block, 1.0)
        assert made.sent == 5
        for now in (1.0, 1.5, 100.0):
            assert made.acknowledged(number, now) is Rest.WAIT
        assert (made.acked, made.sent, made.deadline, made.retransmissions) == (4, 5, 3.0, 0)
        assert made.acknowledged(5, 1.0) == Send(6, 6)

    def test_an_ack_that_comes_twice_sends_once(self) -> None:
        made = transfer(sent=True)
        assert made.acknowledged(1, 1.0) == Send(2, 2)
        assert made.acknowledged(1, 1.0) is Rest.WAIT
        assert made.acknowledged(0, 1.0) is Rest.WAIT

    def test_an_ack_that_comes_twice_after_a_repetition_sends_once(self) -> None:
        made = transfer(sent=True)
        assert made.tick(2.0) == Send(1, 1)
        assert made.acknowledged(1, 2.1) == Send(2, 2)
        assert made.acknowledged(1, 2.1) is Rest.WAIT
        assert made.retransmissions == 1

    def test_an_oack_is_not_repeated_for_any_ack(self) -> None:
        made = transfer()
        for number in (1, 2, 65534, 65535):
            assert made.acknowledged(number, 1.0) is Rest.WAIT
        assert made.acknowledged(0, 1.0) == Send(1, 1)


class TestWindow:
    def test_an_ack_inside_it_resumes_after_that_block(self) -> None:
        made = transfer(blocks=100, windowsize=8, sent=True)
        assert made.acknowledged(3, 1.0) == Send(4, 11)
        assert made.retransmissions == 5
        assert made.acknowledged(11, 1.0) == Send(12, 19)
        assert made.retransmissions == 5

    def test_an_ack_inside_the_last_one_resumes_after_that_block(self) -> None:
        made = transfer(blocks=6, windowsize=8, sent=True)
        assert made.acknowledged(4, 1.0) == Send(5, 6)
        assert made.acknowledged(5, 1.0) == Send(6, 6)
        assert made.acknowledged(6, 1.0) is Rest.DONE

    def test_a_repeated_ack_is_a_gap_and_is_answered_once(self) -> None:
        made = transfer(blocks=100, windowsize=4, sent=True)
        made.acknowledged(4, 1.0)
        assert made.acknowledged(4, 1.1) == Send(5, 8)
        for _ in range(10):
            assert made.acknowledged(4, 1.2) is Rest.WAIT
        assert made.retransmissions == 4
        assert made.acknowledged(8, 1.3) == Send(9, 12)
        assert made.acknowledged(8, 1.4) == Send(9, 12)
        assert made.acknowledged(8, 1.5) is Rest.WAIT

    def test_a_repeated_ack_of_the_oack_is_a_gap_in_the_first_window(self) -> None:
        made = transfer(blocks=100, windowsize=4, sent=True)
        assert made.acknowledged(0, 1.0) == Send(1, 4)
        assert made.acknowledged(0, 1.0) is Rest.WAIT

    @pytest.mark.parametrize("number", [9, 10, 100, 32767, 32772, 40000, 65535, 0, 1, 3])
    def test_an_ack_of_what_was_never_sent_or_is_long_past_is_ignored(self, number: int) -> None:
        made = transfer(blocks=100, windowsize=4, sent=True)
        made.acknowledged(4, 1.0)
        assert made.acknowledged(number, 1.5) is Rest.WAIT
        assert (made.acked, made.sent, made.deadline, made.retransmissions) == (4, 8, 3.0, 0)

    def test_an_ack_before_the_oacks_own_is_ignored(self) -> None:
        # There is no block before the OACK; on the wire its number would be 65535.
        made = transfer(blocks=100, windowsize=4)
        assert made.acknowledged(65535, 1.0) is Rest.WAIT
        assert made.retransmissions == 0

    def test_the_largest_window_still_tells_new_from_old(self) -> None:
        made = transfer(blocks=200_000, windowsize=65535)
        step = made.acknowledged(0, 1.0)
        assert step == Send(1, 32767)
        assert made.acknowledged(32767, 1.0) == Send(32768, 65534)
        assert made.acknowledged(32766, 1.0) is Rest.WAIT
        assert made.acknowledged(65534, 1.0) == Send(65535, 98301)


class TestSmallBuffers:
    def test_one_loss_is_the_networks_chance(self) -> None:
        made = transfer(blocks=100, windowsize=8, sent=True)
        assert made.acknowledged(0, 1.0) == Send(1, 8)
        assert not made.pausing
        assert made.acknowledged(8, 1.0) == Send(9, 16)
        assert made.acknowledged(8, 1.0) == Send(9, 16)
        assert not made.pausing

    def test_losses_in_a_row_have_a_window_sent_in_parts_with_pauses(self) -> None:
        made = transfer(blocks=100, windowsize=8, sent=True)
        made.acknowledged(0, 1.0)
        assert made.tick(3.0) == Send(1, 4)
        assert made.pausing
        assert made.deadline == 3.0 + PAUSE_S
        assert rest_of_the_window(made) == [Send(5, 8)]
        assert made.deadline > 4.0
        assert made.acknowledged(8, 5.0) == Send(9, 12)
        assert rest_of_the_window(made) == [Send(13, 16)]

    def test_a_part_is_one_block_at_least(self) -> None:
        made = losing_windows(20)
        step = made.acknowledged(made.sent & 0xFFFF, 0.0)
        assert isinstance(step, Send)
        assert step.first == step.last
        assert len(rest_of_the_window(made)) == 7

    def test_windows_that_arrive_whole_earn_larger_parts(self) -> None:
        made = losing_windows(20)
        largest = []
        for _ in range(400):
            step = made.acknowledged(made.sent & 0xFFFF, 0.0)
            assert isinstance(step, Send)
            parts = [step, *rest_of_the_window(made)]
            assert [block for part in parts for block in range(part.first, part.last + 1)] == list(
                range(step.first, step.first + 8)
            )
            largest.append(step.last - step.first + 1)
        # Twice as many are needed each time, and the ACK of the last one already brings the larger part.
        assert largest[: 15 + 32 + 64 + 1] == [1] * 15 + [2] * 32 + [4] * 64 + [8]
        assert set(largest[15 + 32 + 64 :]) == {8}

    def test_an_ack_of_a_part_goes_on_from_there(self) -> None:
        made = losing_windows(2)
        step = made.acknowledged(made.sent & 0xFFFF, 0.0)
        assert isinstance(step, Send)
        assert made.pausing
        step = made.acknowledged(step.last & 0xFFFF, 0.0)
        assert isinstance(step, Send)
        assert step.first == made.acked + 1
        rest_of_the_window(made)
        assert made.sent == made.acked + 8

    def test_a_repeated_ack_in_a_pause_does_not_cut_the_window_short(self) -> None:
        # The client counts its window from there and would wait for the rest in vain.
        made = losing_windows(2)
        newest = made.sent
        made.acknowledged(newest & 0xFFFF, 0.0)
        assert made.pausing
        made.acknowledged(newest & 0xFFFF, 0.0)
        rest_of_the_window(made)
        assert made.sent == newest + 8

    def test_a_lost_oack_says_nothing_of_windows(self) -> None:
        made = transfer(blocks=100, windowsize=8)
        assert made.tick(2.0) == Send(0, 0)
        assert made.tick(6.0) == Send(0, 0)
        assert made.acknowledged(0, 7.0) == Send(1, 8)

    def test_lock_step_never_pauses(self) -> None:
        made = transfer(sent=True)
        for now in (2.0, 6.0, 14.0):
            assert made.tick(now) == Send(1, 1)
            assert not made.pausing
        assert made.acknowledged(1, 15.0) == Send(2, 2)
        assert not made.pausing


class TestRollOver:
    @pytest.mark.parametrize("windowsize", [1, 4, 7])
    def test_after_65535_comes_0(self, windowsize: int) -> None:
        made = transfer(blocks=131_080, windowsize=windowsize)
        step: Step = made.acknowledged(0, 0.0)
        sent = []
        while isinstance(step, Send):
            assert step.first == made.acked + 1
            sent.append((step.first, step.last))
            step = made.acknowledged(step.last & 0xFFFF, 0.0)
        assert step is Rest.DONE
        assert [block for first, last in sent for block in range(first, last + 1)] == list(range(1, 131_081))
        assert made.retransmissions == 0

    def test_a_stale_ack_on_the_other_side_of_it_is_stale(self) -> None:
        made = transfer(blocks=70_000, sent=True)
        made.resume(65536, 0.0)
        assert made.acked == 65535
        for number in (65535, 65534, 1, 2):
            assert made.acknowledged(number, 0.0) is Rest.WAIT
        assert made.acknowledged(0, 0.0) == Send(65537, 65537)

    def test_a_window_over_it_resumes_inside(self) -> None:
        made = transfer(blocks=70_000, windowsize=8, sent=True)
        for block in range(8, 65529, 8):
            made.acknowledged(block, 0.0)
        assert (made.acked, made.sent) == (65528, 65536)
        assert made.acknowledged(65535, 0.0) == Send(65536, 65543)
        for number in (65534, 65535 - 8, 8):
            assert made.acknowledged(number, 0.0) is Rest.WAIT
        assert made.acknowledged(7, 0.0) == Send(65544, 65551)


class TestPatience:
    def test_it_backs_off_then_gives_up(self) -> None:
        made = transfer(sent=True, patience=Patience(1.0, 4))
        assert sends_until_it_gives_up(made) == [1.0, 3.0, 7.0, 15.0, 31.0]
        assert made.retransmissions == 4

    def test_a_time_out_that_the_client_set_stays_as_it_is(self) -> None:
        made = transfer(sent=True, patience=Patience(1.0, 4, backoff=False))
        assert sends_until_it_gives_up(made) == [1.0, 2.0, 3.0, 4.0, 5.0]

    def test_backing_off_has_an_end(self) -> None:
        waits = [Patience(2.0, 100).wait_s(attempt) for attempt in (0, 1, 2, 3, 4, 5, 100, 10**9)]
        assert waits == [2.0, 4.0, 8.0, 16.0, MAX_BACKOFF_S, MAX_BACKOFF_S, MAX_BACKOFF_S, MAX_BACKOFF_S]
        # A time-out set longer than that is not shortened.
        assert [Patience(60.0, 5).wait_s(attempt) for attempt in (0, 1)] == [60.0, 60.0]

    def test_without_retries_it_gives_up_at_the_first_time_out(self) -> None:
        made = transfer(sent=True, patience=Patience(1.0, 0))
        assert made.tick(0.999) is Rest.WAIT
        assert made.tick(1.0) is Rest.GAVE_UP

    def test_the_oack_is_repeated_like_a_block(self) -> None:
        made = transfer(patience=Patience(1.0, 1))
        assert made.tick(1.0) == Send(0, 0)
        assert made.tick(3.0) is Rest.GAVE_UP

    def test_the_whole_window_is_repeated(self) -> None:
        made = transfer(blocks=100, windowsize=4, sent=True)
        made.acknowledged(4, 0.0)
        assert made.tick(2.0) == Send(5, 8)
        assert made.retransmissions == 4

    def test_an_ack_that_advances_gives_patience_anew(self) -> None:
        made = transfer(sent=True, patience=Patience(1.0, 2))
        assert made.tick(1.0) == Send(1, 1)
        assert made.tick(3.0) == Send(1, 1)
        assert made.acknowledged(1, 6.9) == Send(2, 2)
        assert made.deadline == 7.9

    def test_an_ack_that_does_not_advance_gives_none(self) -> None:
        made = transfer(sent=True, patience=Patience(1.0, 2))
        assert made.tick(1.0) == Send(1, 1)
        assert made.acknowledged(0, 2.9) is Rest.WAIT
        assert made.deadline == 3.0

    def test_what_kept_us_waiting_is_not_held_against_the_client(self) -> None:
        made = transfer(sent=True)
        made.postponed(29.0)
        assert made.tick(30.9) is Rest.WAIT
        assert made.tick(31.0) == Send(1, 1)
        made.postponed(40.0)
        assert made.deadline == 44.0

    def test_a_client_is_silent_once_a_time_out_has_passed(self) -> None:
        made = transfer(sent=True)
        assert not made.silent_since(1.9)
        assert made.silent_since(2.0)
        made.tick(2.0)
        assert made.silent_since(2.1)
        made.acknowledged(1, 2.2)
        assert not made.silent_since(2.3)


class TestAskedAgain:
    @pytest.mark.parametrize("oack", [True, False])
    def test_soon_after_the_first_answer_it_is_no_news(self, *, oack: bool) -> None:
        made = transfer(oack=oack)
        for now in (0.0, 0.5, 0.999):
            assert made.asked_again(now) is Rest.WAIT

    @pytest.mark.parametrize(("oack", "answer"), [(True, Send(0, 0)), (False, Send(1, 1))])
    def test_a_while_after_it_the_answer_was_lost(self, answer: Send, *, oack: bool) -> None:
        made = transfer(oack=oack)
        assert made.asked_again(1.0) == answer
        assert made.retransmissions == 1
        assert made.asked_again(1.9) is Rest.WAIT
        assert made.deadline == 3.0

    @pytest.mark.parametrize("windowsize", [1, 4])
    def test_once_the_oack_was_acknowledged_it_is_an_old_one(self, windowsize: int) -> None:
        made = transfer(windowsize=windowsize, sent=True)
        assert made.asked_again(100.0) is Rest.WAIT

    def test_once_the_first_block_was_acknowledged_it_is_an_old_one(self) -> None:
        made = transfer(oack=False)
        made.acknowledged(1, 0.0)
        assert made.asked_again(100.0) is Rest.WAIT

    def test_it_does_not_shorten_the_clients_time(self) -> None:
        made = transfer(patience=Patience(2.0, 1))
        assert made.asked_again(1.5) == Send(0, 0)
        assert made.tick(2.0) is Rest.WAIT
        assert made.tick(3.5) == Send(0, 0)


class TestLease:
    def test_there_is_none_before_the_first_block_nor_for_windows(self) -> None:
        assert transfer().lease() == 0
        assert transfer(windowsize=4, sent=True).lease() == 0
        assert transfer(blocks=10, sent=True).lease() == 10
        assert transfer(blocks=10, oack=False).lease() == 10

    def test_resuming_tells_how_far_it_went(self) -> None:
        made = transfer(blocks=10, sent=True)
        made.resume(7, 5.0)
        assert (made.acked, made.sent, made.deadline, made.retransmissions) == (6, 7, 7.0, 0)
        assert made.acknowledged(7, 5.5) == Send(8, 8)

    def test_resuming_where_it_stands_changes_nothing(self) -> None:
        made = transfer(blocks=10, sent=True)
        made.tick(2.0)
        made.resume(1, 5.0)
        assert (made.acked, made.sent, made.deadline, made.retransmissions) == (0, 1, 6.0, 1)

    @given(times=st.lists(st.integers(0, 400), min_size=1, max_size=20).map(sorted), noticed=st.integers(0, 100))
    def test_what_was_noticed_late_makes_the_deadline_later_and_nothing_else(
        self, times: list[int], noticed: int
    ) -> None:
        plain, leased = transfer(blocks=30, sent=True), transfer(blocks=30, sent=True)
        for block, time in enumerate(times, 1):
            plain.acknowledged(block, time / 4)
        leased.resume(len(times) + 1, (times[-1] + noticed) / 4)
        assert (leased.acked, leased.sent) == (plain.acked, plain.sent)
        assert leased.deadline - plain.deadline == noticed / 4


class LeasedAndStepByStep(RuleBasedStateMachine):
    """The same happenings, once asking for every ACK and once on a lease, as a session uses it."""

    now = 0.0
    over = False
    moved_at = 0.0
    newest = 0
    run_ends = 0

    @initialize(
        blocks=st.integers(1, 30),
        ahead=st.sampled_from([0, 0, 65530, 131_065]),
        oack=st.booleans(),
        patience=st.builds(Patience, st.sampled_from([0.5, 2.0]), st.integers(0, 3), st.booleans()),
        run=st.sampled_from([1, 2, 5, 1000]),
    )
    def begin(self, *, blocks: int, ahead: int, oack: bool, patience: Patience, run: int) -> None:
        self.run = run
        self.plain = Transfer(blocks=ahead + blocks, windowsize=1, oack=oack, patience=patience)
        self.leased = Transfer(blocks=ahead + blocks, windowsize=1, oack=oack, patience=patience)
        first = self.plain.start(0.0)
        assert self.leased.start(0.0) == first
        if ahead:
            self.plain.resume(ahead, 0.0)
            self.leased.resume(ahead, 0.0)
            first = Send(ahead, ahead)
        self.sent_by_the_machine(first)

    def sent_by_the_machine(self, step: Step) -> None:
        if isinstance(step, Send):
            self.newest = step.last
            end_of_chunk = ((step.last - 1) // self.run + 1) * self.run
            self.run_ends = min(self.leased.lease(), end_of_chunk)
        elif step is not Rest.WAIT:
            self.over = True

    def catch_up(self) -> None:
        if self.newest > self.leased.sent:
            self.leased.resume(self.newest, self.moved_at)

    def acknowledge(self, number: int) -> None:
        expected = self.plain.acknowledged(number, self.now)
        if number == self.newest & 0xFFFF and self.newest < self.run_ends:
            self.newest += 1
            self.moved_at = self.now
            assert expected == Send(self.newest, self.newest)
            return
        self.catch_up()
        step = self.leased.acknowledged(number, self.now)
        assert step == expected
        self.sent_by_the_machine(step)

    @precondition(lambda self: not self.over)
    @rule()
    def the_newest_block_is_acknowledged(self) -> None:
        self.acknowledge(self.newest & 0xFFFF)

    @precondition(lambda self: not self.over)
    @rule(times=st.integers(1, 12))
    def a_run_of_blocks_is_acknowledged(self, times: int) -> None:
        for _ in range(times):
            if not self.over:
                self.acknowledge(self.newest & 0xFFFF)

    @precondition(lambda self: not self.over)
    @rule(distance=st.integers(-4, 4))
    def another_block_is_acknowledged(self, distance: int) -> None:
        self.acknowledge((self.newest + distance) & 0xFFFF)

    @precondition(lambda self: not self.over)
    @rule(number=st.integers(0, 65535))
    def any_block_is_acknowledged(self, number: int) -> None:
        self.acknowledge(number)

    @rule(quarters=st.integers(1, 80))
    def time_passes(self, quarters: int) -> None:
        self.now += quarters / 4

    @precondition(lambda self: not self.over)
    @rule()
    def the_clock_ticks(self) -> None:
        self.catch_up()
        step = self.leased.tick(self.now)
        assert step == self.plain.tick(self.now)
        self.sent_by_the_machine(step)

    @precondition(lambda self: not self.over)
    @rule()
    def the_request_is_repeated(self) -> None:
        self.catch_up()
        step = self.leased.asked_again(self.now)
        assert step == self.plain.asked_again(self.now)
        self.sent_by_the_machine(step)

    @precondition(lambda self: not self.over)
    @rule()
    def the_storage_was_slow(self) -> None:
        self.catch_up()
        self.leased.postponed(self.now)
        self.plain.postponed(self.now)

    @rule()
    def it_is_looked_at(self) -> None:
        self.catch_up()
        assert state(self.leased) == state(self.plain)
        assert self.leased.silent_since(self.now) == self.plain.silent_since(self.now)

    @invariant()
    def nothing_is_sent_before_its_time(self) -> None:
        if hasattr(self, "plain"):
            assert -1 <= self.plain.acked <= self.plain.sent <= min(self.plain.acked + 1, self.plain.blocks)

    def teardown(self) -> None:
        if hasattr(self, "plain"):
            self.it_is_looked_at()


def state(made: Transfer) -> tuple[object, ...]:
    return made.acked, made.sent, made.deadline, made.retransmissions, made.all_sent


TestLeasedAndStepByStep = LeasedAndStepByStep.TestCase
TestLeasedAndStepByStep.settings = settings(STEADY, max_examples=200, stateful_step_count=40)


# What becomes of one packet on the link: the delay of each copy that arrives, in seconds.
Fate = Sequence[float]
CLEAN: Fate = (0.01,)
BAD: list[Fate] = [(), (0.01, 0.02), (0.5,), (0.01, 1.5), (2.5,), (5.0,), (0.01, 0.01, 9.0), (20.0,)]


@dataclass
class Client:
    """What the link needs of a client: datagrams in and out, and `deadline` while it is not `over`."""

    over: bool = False
    deadline: float = 0.0
    # The file, None when the client gave up.
    file: bytes | None = None

    def start(self, now: float) -> list[tuple[bytes, int]]:
        raise NotImplementedError

    def receive(self, datagram: bytes, port: int, now: float) -> list[tuple[bytes, int]]:
        raise NotImplementedError

    def tick(self, now: float) -> list[tuple[bytes, int]]:
        raise NotImplementedError


LISTENER = 69


@dataclass
class VirtualPi(Client):
    """The firmware's client, one block at a time."""

    blksize: int = 8
    duplicates: Duplicates = Duplicates.ACKED_AGAIN

    def start(self, now: float) -> list[tuple[bytes, int]]:
        profile = replace(PROFILES["pi4"], tftp_options=(("tsize", "0"), ("blksize", str(self.blksize))))
        self.download = Download("file", profile, duplicates=self.duplicates)
        return self.after(self.download.start(now))

    def receive(self, datagram: bytes, port: int, now: float) -> list[tuple[bytes, int]]:
        return self.after(self.download.receive(datagram, port, now))

    def tick(self, now: float) -> list[tuple[bytes, int]]:
        return self.after(self.download.tick(now))

    def after(self, out: list[Out]) -> list[tuple[bytes, int]]:
        self.deadline = self.download.deadline
        if self.download.done is not None and not self.over:
            self.over = True
            self.file = self.download.done.content if self.download.done.result is Result.OK else None
        return [(datagram.payload, datagram.port or LISTENER) for datagram in out]


@dataclass
class WindowClient(Client):
    """A client after RFC 7440: it acknowledges whole windows, and at a gap the last block before it, once."""

    blksize: int = 8
    windowsize: int = 4
    port: int | None = None
    block: int = 0
    taken: int = 0
    told_of_gap: bool = False
    tries: int = 0
    got: bytearray = field(default_factory=bytearray)

    def start(self, now: float) -> list[tuple[bytes, int]]:
        self.deadline = now + 2
        options = {"blksize": str(self.blksize), "windowsize": str(self.windowsize)}
        return [(packet.encode_request(b"file", "octet", options), LISTENER)]

    def receive(self, datagram: bytes, port: int, now: float) -> list[tuple[bytes, int]]:
        if self.over or self.port not in {None, port}:
            return []
        match packet.parse(datagram):
            case Oack(options) if self.block == 0:
                self.port = port
                self.blksize, self.windowsize = int(options["blksize"]), int(options["windowsize"])
                return self.acknowledge(now)
            case Data(number, payload) if self.port is not None:
                return self.take(number, payload, now)
            case Error():
                self.over = True
        return []

    def take(self, number: int, payload: bytes, now: float) -> list[tuple[bytes, int]]:
        if number != (self.block + 1) & 0xFFFF:
            if self.told_of_gap:
                return []
            self.told_of_gap = True
            return self.acknowledge(now)
        self.told_of_gap = False
        self.block += 1
        self.taken += 1
        self.tries = 0
        self.got += payload
        if len(payload) < self.blksize:
            self.over, self.file = True, bytes(self.got)
        if self.over or self.taken == self.windowsize:
            return self.acknowledge(now)
        self.deadline = now + 2
        return []

    def acknowledge(self, now: float) -> list[tuple[bytes, int]]:
        assert self.port is not None
        self.taken = 0
        self.deadline = now + 2
        return [(packet.encode_ack(self.block), self.port)]

    def tick(self, now: float) -> list[tuple[bytes, int]]:
        self.tries += 1
        if self.tries > 8:
            self.over = True
            return []
        return self.start(now) if self.port is None else self.acknowledge(now)


@dataclass
class Sending:
    """One transfer of the server's, with every block that it sent."""

    transfer: Transfer
    blksize: int
    oack: bytes
    blocks: list[int] = field(default_factory=list)
    over: Rest | None = None


class Network:
    """A server with one file, a client, a clock, and a link with a fate for each packet; later ones arrive clean."""

    def __init__(self, content: bytes, client: Client, fates: Sequence[Fate], patience: Patience = PATIENCE) -> None:
        self.content = content
        self.client = client
        self.patience = patience
        self.fates = iter(fates)
        self.now = 0.0
        self.on_the_way: list[tuple[float, int, int, bytes]] = []
        self.turn = count()
        self.sendings: dict[int, Sending] = {}
        self.requests = 0

    def run(self, *, at_most: int = 20_000) -> None:
        self.to_server(self.client.start(0.0))
        for _ in range(at_most):
            arrival = self.on_the_way[0][0] if self.on_the_way else None
            deadlines = [sending.transfer.deadline for sending in self.sendings.values() if sending.over is None]
            deadlines += [] if self.client.over else [self.client.deadline]
            if arrival is not None and all(arrival <= deadline for deadline in deadlines):
                self.now, _, port, datagram = heapq.heappop(self.on_the_way)
                self.arrived(port, datagram)
            elif deadlines:
                self.now = max(self.now, min(deadlines))
                self.tick()
            else:
                return
        raise AssertionError("it never ends")

    def tick(self) -> None:
        if not self.client.over and self.client.deadline <= self.now:
            self.to_server(self.client.tick(self.now))
        for port, sending in self.sendings.items():
            if sending.over is None:
                self.do(port, sending.transfer.tick(self.now))

    def carry(self, port: int, datagram: bytes) -> None:
        for delay in next(self.fates, CLEAN):
            heapq.heappush(self.on_the_way, (self.now + delay, next(self.turn), port, datagram))

    def to_server(self, out: list[tuple[bytes, int]]) -> None:
        for datagram, port in out:
            self.carry(port, datagram)

    def to_client(self, port: int, datagram: bytes) -> None:
        # Ports are counted below zero on their way to the client.
        self.carry(-port, datagram)

    def arrived(self, port: int, datagram: bytes) -> None:
        if port < 0:
            self.to_server(self.client.receive(datagram, -port, self.now))
        elif port == LISTENER:
            self.asked(datagram)
        elif self.sendings[port].over is None:
            heard = packet.parse(datagram)
            assert isinstance(heard, Ack)
            self.do(port, self.sendings[port].transfer.acknowledged(heard.block, self.now))

    def asked(self, datagram: bytes) -> None:
        self.requests += 1
        request = packet.parse(datagram)
        assert isinstance(request, Request)
        port = LISTENER + len(self.sendings)
        running = self.sendings.get(port)
        if running is not None and running.over is None:
            old = running.transfer
            if not (old.acked > 0 and old.silent_since(self.now)):
                self.do(port, old.asked_again(self.now))
                return
            running.over = Rest.GAVE_UP
        granted = negotiate(request.options, Limits(blksize=64, windowsize=16), len(self.content))
        made = Transfer(
            blocks=len(self.content) // granted.blksize + 1,
            windowsize=granted.windowsize,
            oack=granted.oack is not None,
            patience=self.patience,
        )
        self.sendings[port + 1] = Sending(made, granted.blksize, packet.encode_oack(granted.oack or {}))
        self.do(port + 1, made.start(self.now))

    def do(self, port: int, step: Step) -> None:
        sending = self.sendings[port]
        if not isinstance(step, Send):
            sending.over = None if step is Rest.WAIT else step
            return
        assert step.first <= step.last <= sending.transfer.blocks
        for block in range(step.first, step.last + 1):
            sending.blocks.append(block)
            part = self.content[(block - 1) * sending.blksize : block * sending.blksize]
            header = Opcode.DATA.to_bytes(2, "big") + (block & 0xFFFF).to_bytes(2, "big")
            self.to_client(port, header + part if block else sending.oack)

    def check(self, *, honest: bool = True) -> None:
        """What holds however the link was: right bytes or none, and no more repetitions than there were reasons."""
        assert self.client.file in {None, self.content}
        for sending in self.sendings.values():
            made = sending.transfer
            assert made.retransmissions == len(sending.blocks) - len(set(sending.blocks))
            assert sorted(set(sending.blocks)) == list(range(0 if sending.oack[2:] else 1, made.sent + 1))
            # Between two advances: one answer to a gap, and as many time-outs as the patience has.
            reasons = 1 + self.patience.retries + (1 if made.windowsize > 1 else 0)
            assert len(sending.blocks) <= (made.blocks + 1) * made.windowsize * reasons + self.requests
            if honest and sending.over is Rest.DONE:
                assert self.client.file == self.content
            if sending.over is Rest.GAVE_UP and self.client.file is not None and made.acked > 0:
                assert made.all_sent


def content_of(size: int) -> bytes:
    return bytes((7 * at + at // 251) % 256 for at in range(size))


sizes = st.sampled_from([0, 1, 7, 8, 9, 16, 63, 64, 65, 200])
fates = st.lists(st.sampled_from([CLEAN, CLEAN, *BAD]), max_size=80)
# A few faults anywhere.
rare_faults = st.lists(st.tuples(st.integers(0, 60), st.sampled_from(BAD)), max_size=3).map(
    lambda faults: [dict(faults).get(at, CLEAN) for at in range(61)]
)


@pytest.mark.parametrize("size", [0, 1, 7, 8, 9, 64, 1000])
@pytest.mark.parametrize("client", [VirtualPi, WindowClient], ids=["lock-step", "windows"])
def test_over_a_good_link_every_block_is_sent_once(client: type[Client], size: int) -> None:
    network = Network(content_of(size), client(), [])
    network.run()
    network.check()
    assert network.client.file == content_of(size)
    (sending,) = network.sendings.values()
    assert sending.over is Rest.DONE
    assert sending.blocks == list(range(size // 8 + 2))
    assert sending.transfer.retransmissions == 0


@pytest.mark.parametrize("windowsize", [4, 16])
def test_a_file_with_more_blocks_than_there_are_numbers_comes_whole(windowsize: int) -> None:
    content = content_of(8 * 65_600 + 3)
    client = WindowClient(windowsize=windowsize)
    network = Network(content, client, [CLEAN] * 65_500 + [(), (0.01, 0.03), (0.5,)] * 100)
    network.run(at_most=500_000)
    network.check()
    assert client.file == content


@settings(STEADY, max_examples=400)
@given(size=sizes, fates=fates, duplicates=st.sampled_from(Duplicates))
@example(size=8, fates=[(), CLEAN, (0.01, 0.02), (), CLEAN, CLEAN, ()], duplicates=Duplicates.IGNORED)
def test_in_lock_step_a_bad_link_brings_the_right_bytes_or_none(
    size: int, fates: list[Fate], duplicates: Duplicates
) -> None:
    network = Network(content_of(size), VirtualPi(duplicates=duplicates), fates)
    network.run()
    # A client that stalls acknowledges what it does not have.
    network.check(honest=duplicates is not Duplicates.STALLS)


@settings(STEADY, max_examples=400)
@given(size=sizes, fates=fates, windowsize=st.sampled_from([2, 3, 4, 8, 16]))
def test_with_windows_a_bad_link_brings_the_right_bytes_or_none(size: int, fates: list[Fate], windowsize: int) -> None:
    network = Network(content_of(size), WindowClient(windowsize=windowsize), fates)
    network.run()
    network.check()


@STEADY
@given(size=sizes, fates=rare_faults, windowsize=st.sampled_from([1, 2, 4, 16]))
@example(size=8, fates=[CLEAN, CLEAN, CLEAN, ()], windowsize=1)
def test_three_faults_on_the_link_never_cost_the_file(size: int, fates: list[Fate], windowsize: int) -> None:
    client = VirtualPi() if windowsize == 1 else WindowClient(windowsize=windowsize)
    network = Network(content_of(size), client, fates)
    network.run()
    network.check()
    assert client.file == content_of(size)

"""The transition table of a batch, and what the window lets out when."""

from __future__ import annotations

import itertools

import pytest

from fakes.uplink_world import EPOCH, batch
from lamppost.uplink.window import (
    BELIEVED_BEHIND,
    FIRST_PAUSE,
    LONGEST_PAUSE,
    NEXT,
    Event,
    Flight,
    Halt,
    Phase,
    Window,
)


def window(count: int, limit: int = 8, timeout: float = 30.0) -> Window:
    made = Window(limit, timeout)
    made.hold([batch(seq) for seq in range(count)])
    made.opened()
    return made


def send(made: Window, now: float = 0.0) -> list[int]:
    """Publish what is due; the broker takes it at once."""
    sent = []
    for flight in made.due(now):
        made.published(flight)
        made.puback(flight.key, now)
        sent.append(flight.batch.seq)
    return sent


def halted(made: Window) -> Halt | None:
    return made.halt


def silent(made: Window) -> bool:
    return made.silent


def phases(made: Window) -> str:
    return " ".join(phase for _, phase in made.phases())


def opened_wide(count: int, limit: int = 8) -> Window:
    """A window that has grown to its limit: batches 0 to count - 1 follow `limit` proved ones."""
    made = Window(limit, 30.0)
    made.opened()
    for seq in range(limit):
        made.hold([batch(seq)])
        send(made)
        made.receipt((EPOCH, seq))
        made.settled((EPOCH, seq))
    made.hold([batch(seq) for seq in range(limit, limit + count)])
    return made


@pytest.mark.parametrize(("phase", "event"), list(itertools.product(Phase, Event)))
def test_every_step_is_the_table_and_nothing_else(phase: Phase, event: Event) -> None:
    flight = Flight(batch(0), phase)
    moved = flight.on(event)
    assert flight.phase is NEXT.get((phase, event), phase)
    assert moved is ((phase, event) in NEXT)


def test_a_receipt_proves_from_every_phase_and_nothing_undoes_it() -> None:
    for phase in set(Phase) - {Phase.PROVED}:
        assert NEXT[phase, Event.RECEIPT] is Phase.PROVED
    assert not [step for step in NEXT if step[0] is Phase.PROVED]


def test_only_a_receipt_proves() -> None:
    assert {event for (_, event), to in NEXT.items() if to is Phase.PROVED} == {Event.RECEIPT}


def test_begins_with_one_and_doubles_with_each_receipt() -> None:
    made = window(16, limit=4)
    assert send(made) == [0]
    assert send(made) == []
    made.receipt((EPOCH, 0))
    assert send(made) == [1, 2]
    made.receipt((EPOCH, 1))
    made.receipt((EPOCH, 2))
    assert send(made) == [3, 4, 5, 6]


def test_settles_in_order_whatever_order_receipts_come_in() -> None:
    made = opened_wide(3)
    send(made)
    made.receipt((EPOCH, 10))
    made.receipt((EPOCH, 9))
    assert list(made.settleable()) == []
    made.receipt((EPOCH, 8))
    assert [f.batch.seq for f in made.settleable()] == [8, 9, 10]


def test_overdue_batch_goes_out_again_alone_and_with_more_patience() -> None:
    made = opened_wide(4)
    assert send(made) == [8, 9, 10, 11]
    assert send(made, 29.9) == []
    assert made.next_deadline() == 30.0
    assert send(made, 30.0) == [8]
    assert silent(made)
    made.receipt((EPOCH, 8))
    assert not silent(made)
    assert send(made, 30.0) == [9, 10]


def test_a_silent_hub_costs_one_batch_a_try() -> None:
    made = window(8)
    now, sent = 0.0, []
    for _ in range(12):
        sent += [(now, seq) for seq in send(made, now)]
        deadline = made.next_deadline()
        assert deadline is not None
        now = deadline
    assert {seq for _, seq in sent} == {0}
    waits = [later - before for (before, _), (later, _) in itertools.pairwise(sent)]
    assert waits[:5] == [30.0, 60.0, 120.0, 240.0, 240.0]


def test_where_nobody_listens_it_tries_again_soon_then_rarely() -> None:
    made = window(2)
    now, waits = 0.0, []
    for _ in range(10):
        for flight in made.due(now):
            made.published(flight)
            made.puback(flight.key, now, heard=False)
        deadline = made.next_deadline()
        assert deadline is not None
        waits.append(deadline - now)
        now = deadline
    assert waits == [1, 2, 4, 8, 16, 32, 64, 128, 240, 240]
    assert send(made, now) == [0]  # somebody is back: the ordinary patience, not a doubled one
    assert made.next_deadline() == now + 30.0


def test_a_new_connection_begins_without_old_doubts() -> None:
    made = window(1)
    for now in (0.0, 30.0, 90.0):
        assert send(made, now) == [0]
    made.closed()
    made.opened()
    assert send(made, 91.0) == [0]
    assert made.next_deadline() == 121.0


def test_time_for_a_receipt_starts_with_the_puback() -> None:
    made = window(1)
    for flight in made.due(0.0):
        made.published(flight)
    assert made.next_deadline() is None
    assert list(made.due(500.0)) == []
    made.puback((EPOCH, 0), 500.0)
    assert made.next_deadline() == 530.0


def test_lost_connection_takes_back_what_was_in_flight() -> None:
    made = opened_wide(3)
    send(made)
    made.receipt((EPOCH, 9))
    made.closed()
    assert phases(made) == "held proved held"
    made.opened()
    assert send(made) == [8]


def test_resend_rewinds_once_for_a_whole_window_of_complaints() -> None:
    made = opened_wide(6)
    assert send(made) == [8, 9, 10, 11, 12, 13]
    assert made.resend(EPOCH, 10, 9, 1.0)
    assert phases(made) == "taken held held held held held"
    assert send(made, 1.0) == [9, 10, 11]
    for seq in (11, 12, 13):
        assert not made.resend(EPOCH, seq, 9, 1.1)
    assert send(made, 1.1) == []


def test_resend_flood_costs_at_most_a_rewind_a_second() -> None:
    made = opened_wide(8)
    sent = 0
    for n in range(1000):
        sent += len(send(made, n / 1000))
        made.resend(EPOCH, 15, 8 + n % 8, n / 1000)
    assert sent <= 16


def test_refusal_stops_everything_and_offers_one_batch_again() -> None:
    made = opened_wide(4)
    send(made)
    assert made.refuse((EPOCH, 8), "envelope.unknown-signer", 1.0)
    assert made.refuse((EPOCH, 9), "envelope.unknown-signer", 1.0)
    assert halted(made) == Halt("envelope.unknown-signer", 1.0 + FIRST_PAUSE)
    assert send(made, FIRST_PAUSE) == []
    assert send(made, 1.0 + FIRST_PAUSE) == [8]
    made.receipt((EPOCH, 8))
    assert halted(made) is None
    assert send(made, 20.0) == [9]


def test_pauses_double_to_a_quarter_of_an_hour_and_heal_with_a_receipt() -> None:
    made = window(2)
    now, pauses = 0.0, []
    for _ in range(9):
        assert send(made, now) == [0]
        made.refuse((EPOCH, 0), "envelope.unknown-signer", now)
        assert made.halt is not None
        pauses.append(made.halt.until - now)
        now = made.halt.until
    assert pauses[:4] == [15, 30, 60, 120]
    assert pauses[-1] == LONGEST_PAUSE
    send(made, now)
    made.receipt((EPOCH, 0))
    send(made, now)
    made.refuse((EPOCH, 1), "envelope.unknown-signer", now)
    assert halted(made) == Halt("envelope.unknown-signer", now + FIRST_PAUSE)


def test_a_refusal_keeps_its_pause_over_a_reconnect() -> None:
    made = window(2)
    send(made)
    made.refuse((EPOCH, 0), "envelope.unknown-signer", 0.0)
    made.closed()
    made.opened()
    assert send(made, 1.0) == []


def test_a_busy_hub_is_asked_again_at_the_same_pace() -> None:
    made = window(1)
    for now in (0.0, 15.0, 30.0, 45.0):
        assert send(made, now) == [0]
        made.refuse((EPOCH, 0), "sink.unavailable", now)


def test_refusal_of_an_unreadable_message_counts_for_the_oldest_in_flight() -> None:
    made = opened_wide(2)
    assert not made.refuse_unnamed("envelope.decrypt", 0.0)
    send(made)
    assert made.refuse_unnamed("envelope.decrypt", 0.0)
    assert phases(made) == "refused taken"


def test_late_and_foreign_words_change_nothing() -> None:
    made = window(2)
    before = phases(made)
    made.receipt((EPOCH, 7))
    made.puback((EPOCH, 7), 0.0)
    assert not made.refuse((EPOCH, 7), "envelope.signature", 0.0)
    assert not made.refuse((EPOCH, 0), "envelope.signature", 0.0)  # was not sent
    assert not made.resend("another-epoch", 1, 0, 0.0)
    assert not made.resend(EPOCH, -1, -1, 0.0)
    assert phases(made) == before
    assert halted(made) is None


def test_hub_behind_is_believed_slowly() -> None:
    made = opened_wide(2)
    for n in range(BELIEVED_BEHIND):
        send(made, 40.0 * n)
        assert halted(made) is None
        made.resend(EPOCH, 8, 3, 40.0 * n)
    stopped = halted(made)
    assert stopped is not None
    assert stopped.code == "uplink.hub-behind"
    made.receipt((EPOCH, 8))
    assert halted(made) is None


def test_a_long_backlog_is_looked_at_in_part_and_finished_whole() -> None:
    backlog = [batch(seq) for seq in range(500)]
    made = Window(8, 30.0)
    made.opened()
    order = []
    while backlog:
        made.hold(backlog)
        assert len(made) <= 16
        order += send(made)
        for key, phase in list(made.phases()):
            if phase is Phase.TAKEN:
                made.receipt(key)
        for flight in list(made.settleable()):
            made.settled(flight.key)
            backlog.pop(0)
    assert order == list(range(500))

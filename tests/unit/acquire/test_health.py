from itertools import pairwise

from lamppost.acquire.health import (
    LONGEST_PROBE_PAUSE,
    PROBE_SHARE,
    TRANSITIONS,
    Event,
    Health,
    Pauses,
    ProbeBudget,
    State,
)

PAUSES = Pauses(first=1.0, longest=12.0)


def test_the_table_knows_every_answer_and_miss() -> None:
    for state in State:
        assert TRANSITIONS[state, Event.ANSWER] is State.OK
        assert (state, Event.MISS) in TRANSITIONS


def test_three_misses_make_dead_and_one_answer_makes_ok() -> None:
    health = Health(PAUSES, 0.0)
    seen = [health.state]
    for now in (1.0, 2.0, 3.0, 4.0):
        health.missed(now)
        seen.append(health.state)
    assert seen == [State.WAITING, State.SUSPECT, State.SUSPECT, State.DEAD, State.DEAD]
    assert health.since == 3.0
    assert health.answered(9.0)
    assert (health.state, health.since, health.misses) == (State.OK, 9.0, 0)
    assert not health.answered(10.0)
    assert health.since == 9.0


def test_pauses_grow_up_to_the_longest() -> None:
    health, now, pauses = Health(PAUSES, 0.0), 0.0, []
    for _ in range(40):
        health.missed(now)
        pauses.append(health.next_try - now)
        assert health.resting(health.next_try - 0.01)
        assert not health.resting(health.next_try)
        now = health.next_try
    assert pauses[:5] == [1.0, 2.0, 4.0, 8.0, 12.0]
    assert all(a <= b for a, b in pairwise(pauses))
    assert pauses[-1] == 12.0


def test_a_late_answer_may_ask_for_more_rest() -> None:
    health = Health(PAUSES, 0.0)
    health.missed(10.0, rest=1.2)
    assert health.next_try == 11.2


def test_a_device_never_missed_does_not_rest() -> None:
    health = Health(PAUSES, 5.0)
    assert not health.resting(0.0)
    health.answered(6.0)
    assert not health.resting(6.0)


def test_probes_take_their_share_and_no_more() -> None:
    budget, now, spent = ProbeBudget(), 0.0, 0.0
    while now < 1000.0:
        now = max(now, budget.free(alive=True)) + 0.3
        spent += 0.3
        budget.spent(now, 0.3)
    assert spent / now <= PROBE_SHARE * 1.05
    assert budget.free(alive=False) < now
    budget.spent(now, 10.0)
    assert budget.free(alive=True) == now + LONGEST_PROBE_PAUSE

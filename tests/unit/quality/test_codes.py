import pytest

from lamppost.model import GOOD, Severity
from lamppost.quality.codes import STATUS_CODES, quality, severity_of, status_code, worst


def test_severity_is_the_top_two_bits() -> None:
    assert severity_of(0x00000000) is Severity.GOOD
    assert severity_of(0x40940000) is Severity.UNCERTAIN
    assert severity_of(0x80310000) is Severity.BAD
    assert severity_of(0xC0000000) is Severity.BAD


@pytest.mark.parametrize(
    ("reason", "severity", "code"),
    [
        ("out_of_range", Severity.UNCERTAIN, 0x40940000),
        ("stuck", Severity.UNCERTAIN, 0x40000000),
        ("maintenance", Severity.UNCERTAIN, 0x42080000),
        ("no_response", Severity.BAD, 0x80310000),
        ("not_connected", Severity.BAD, 0x808A0000),
        ("driver_error", Severity.BAD, 0x80000000),
        ("gap", Severity.BAD, 0x809D0000),
    ],
)
def test_reasons(reason: str, severity: Severity, code: int) -> None:
    found = quality(reason)
    assert (found.severity, found.reason, status_code(found)) == (severity, reason, code)
    assert quality(reason) is found


def test_good_is_the_one_good() -> None:
    assert quality("good") is GOOD
    assert [r for r in STATUS_CODES if quality(r).severity is Severity.GOOD] == ["good"]


def test_unknown_reason_is_refused() -> None:
    with pytest.raises(KeyError):
        quality("bad_luck")


def test_worst_severity_wins_and_the_first_reason_is_kept() -> None:
    stuck, step, silent = quality("stuck"), quality("step"), quality("no_response")
    assert worst(GOOD, stuck) is stuck
    assert worst(stuck, step) is stuck
    assert worst(stuck, silent) is silent
    assert worst(silent, stuck) is silent
    assert worst(silent, quality("corrupt")) is silent

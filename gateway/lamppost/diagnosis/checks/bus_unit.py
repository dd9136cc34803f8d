"""One device that was asked: settings, model, word order, a second one at its id, failures of its own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from lamppost.diagnosis.facts import Line, Order, Trial, Unit
from lamppost.findings import Finding, found

_HEARD = ("good", "late", "refused")
_NAMES = {"big": "ABCD", "little": "CDAB", "BADC": "BADC", "DCBA": "DCBA"}
_MEANINGS = {
    1: "illegal function", 2: "illegal data address", 3: "illegal data value",
    4: "server device failure", 5: "acknowledge", 6: "server device busy", 8: "memory parity error",
    10: "gateway path unavailable", 11: "gateway target device failed to respond",
}  # fmt: skip
_FLAKY = 0.9
_OFTEN_LATE = _OFTEN_LOST = 2
_UNKNOWN, _FAULT, _BUSY, _TARGET = (1, 2, 3), (4, 8), (5, 6), (10, 11)


def other_settings(unit: Unit, line: Line) -> Finding:
    """It answered at other settings than those of the site: which of them differs?"""
    hit = next(trial for trial in unit.swept if trial.outcome in _HEARD)
    baud, form = hit.line.split()
    which = "bus.wrong-parity" if baud == line.line.split()[0] else "bus.wrong-baud"
    return found(
        which,
        unit.device,
        device=unit.device,
        link=line.link,
        set=line.line,
        found=hit.line,
        baud=baud,
        parity=form[1],
    )


def damaged(unit: Unit, line: Line, neighbours: Sequence[Unit]) -> Finding:
    """Bytes came, never a sound answer."""
    bad = [trial for trial in unit.trials if trial.outcome == "damaged"]
    if neighbours:
        return found(
            "bus.duplicate-suspect",
            unit.device,
            device=unit.device,
            unit=unit.unit,
            damaged=len(bad),
            tries=len(unit.trials),
        )
    typical = bad[len(bad) // 2]
    return found(
        "bus.speed-suspect",
        unit.device,
        device=unit.device,
        link=line.link,
        got=typical.got,
        wanted=typical.wanted,
    )


def proof_of_two(unit: Unit) -> str:
    """What proves that two devices share this id; empty where nothing does."""
    if any(trial.outcome == "late" for trial in unit.trials):
        return ""  # what follows an answer may be a late one
    for trial in unit.trials:
        for frame in trial.extra:
            data = bytes.fromhex(frame)
            if trial.outcome in _HEARD and data[:1] == bytes((unit.unit or 0,)) and len(data) >= 5:
                return f"a sound answer was followed by a second one ({frame[:24]}...)"
    if len(set(unit.serials)) > 1:
        shown = " and ".join(str(n) for n in sorted(set(unit.serials))[:2])
        return f"the serial number alternates between {shown}"
    return ""


def modbus(unit: Unit, line: Line, *, noisy: bool) -> Iterator[Finding]:
    """A unit of which something sound was heard."""
    if unit.other_model:
        yield _other_model(unit)
        return
    if proof := proof_of_two(unit):
        yield found(
            "bus.duplicate-unit", unit.device, device=unit.device, unit=unit.unit, proof=proof
        )
        return
    wrong = [i for i in unit.identity if i.got != i.expected]
    if wrong:
        first = wrong[0]
        known = f", as {first.known} has" if first.known else ""
        yield found(
            "bus.wrong-model",
            unit.device,
            link=line.link,
            device=unit.device,
            model=unit.model,
            address=first.address,
            got=first.got,
            expected=first.expected,
            known=known,
        )
        return
    refused = [trial for trial in unit.trials if trial.outcome == "refused"]
    if refused:
        yield _refused(unit, line, refused)
        if len(refused) == len(unit.trials):
            return
    if unit.order is not None:
        yield from _order(unit, unit.order, line)
    yield from _timing(unit, line)
    if not noisy:
        yield from _losses(unit, line)


def _refused(unit: Unit, line: Line, refused: Sequence[Trial]) -> Finding:
    number = refused[0].exception
    meaning = _MEANINGS.get(number, "an exception of its own")
    if number in _BUSY:
        return found(
            "bus.device-busy",
            unit.device,
            device=unit.device,
            number=number,
            count=len(refused),
            tries=len(unit.trials),
        )
    if number in _TARGET:
        return found(
            "bus.gateway-target-silent",
            unit.device,
            device=unit.device,
            where=line.where,
            number=number,
            meaning=meaning,
        )
    if number in _FAULT:
        return found(
            "bus.device-fault", unit.device, device=unit.device, number=number, meaning=meaning
        )
    proof = f"it refuses the registers of that model: exception {number} ({meaning})"
    return found(
        "bus.model-suspect",
        unit.device,
        link=line.link,
        device=unit.device,
        model=unit.model,
        proof=proof,
    )


def _order(unit: Unit, order: Order, line: Line) -> Iterator[Finding]:
    def fits(name: str) -> bool:
        values = order.readings.get(name, [])
        return len(values) >= 2 and all(order.low <= value <= order.high for value in values)

    mapped = order.readings.get(order.mapped, [0.0])
    if fits(order.mapped) or not any(any(values) for values in order.readings.values()):
        return  # right, or zero in every order: a phase that is not connected says nothing
    others = [name for name in order.readings if name != order.mapped and fits(name)]
    if len(others) == 1:
        (name,) = others
        yield found(
            "bus.wrong-word-order",
            unit.device,
            device=unit.device,
            model=unit.model,
            point=order.point,
            read=f"{mapped[0]:.4g}",
            set=_NAMES[order.mapped],
            value=f"{order.readings[name][0]:.4g}",
            unit_of=order.unit,
            found=_NAMES[name],
            order=name,
        )
    elif order.unit == "Hz" and not others:
        proof = f"{order.point} reads {mapped[0]:.4g} Hz, and is plausible in no word order"
        yield found(
            "bus.model-suspect",
            unit.device,
            link=line.link,
            device=unit.device,
            model=unit.model,
            proof=proof,
        )


def _timing(unit: Unit, line: Line) -> Iterator[Finding]:
    late = [trial.ms for trial in unit.trials if trial.outcome == "late"]
    in_time = sum(trial.outcome in ("good", "refused") for trial in unit.trials)
    if len(late) >= _OFTEN_LATE and len(late) > in_time:
        advice = f"{max(late) * 1.5 / 1000:.1f}s"
        yield found(
            "bus.late-answers",
            unit.device,
            device=unit.device,
            link=line.link,
            late=f"{max(late):.0f}",
            timeout=f"{line.timeout * 1000:.0f}",
            advice=advice,
        )


def _losses(unit: Unit, line: Line) -> Iterator[Finding]:
    counted = [t for t in unit.trials if not t.echo]
    bad = sum(t.outcome == "damaged" for t in counted)
    good = sum(t.outcome in _HEARD for t in counted)
    others = [u for u in line.units if u is not unit and any(t.outcome in _HEARD for t in u.trials)]
    if bad >= 2 and others:
        yield found(
            "bus.duplicate-suspect",
            unit.device,
            device=unit.device,
            unit=unit.unit,
            damaged=bad,
            tries=len(counted),
        )
    elif len(counted) - good >= _OFTEN_LOST and good / len(counted) < _FLAKY:
        shown = "were not there to compare" if not others else "always"
        yield found(
            "bus.flaky-unit",
            unit.device,
            device=unit.device,
            good=good,
            tries=len(counted),
            others=shown,
        )


# --- devices that talk by themselves, or have a UART of their own


def talking(unit: Unit, line: Line) -> Iterator[Finding]:
    """A device on a UART of its own."""
    shown = f"{unit.seconds:.1f}"
    if unit.other_model:
        yield _other_model(unit)
    elif any(trial.outcome in _HEARD for trial in unit.swept):
        yield other_settings(unit, line)
    elif unit.trials and all(trial.outcome == "silent" for trial in unit.trials):
        yield found("sensors.asked-silent", unit.device, device=unit.device, tries=len(unit.trials))
    elif unit.trials and not any(trial.outcome in _HEARD for trial in unit.trials):
        yield found(
            "sensors.asked-garbage",
            unit.device,
            link=line.link,
            device=unit.device,
            count=sum(trial.got for trial in unit.trials),
            tries=len(unit.trials),
            model=unit.model,
        )
    elif any(trial.outcome not in _HEARD for trial in unit.trials):
        damaged = sum(trial.outcome not in _HEARD for trial in unit.trials)
        yield _partly_damaged(unit, line, damaged, len(unit.trials))
    elif unit.period and not unit.bytes:
        yield found(
            "sensors.stream-silent",
            unit.device,
            device=unit.device,
            seconds=shown,
            period=f"{unit.period:g}",
        )
    elif unit.period and not unit.frames:
        yield found(
            "sensors.stream-garbage",
            unit.device,
            link=line.link,
            device=unit.device,
            count=unit.bytes,
            seconds=shown,
            model=unit.model,
        )
    elif unit.bad_frames:
        yield _partly_damaged(unit, line, unit.bad_frames, unit.frames + unit.bad_frames)


def _other_model(unit: Unit) -> Finding:
    return found(
        "sensors.other-model",
        unit.device,
        device=unit.device,
        model=unit.model,
        known=unit.other_model,
    )


def _partly_damaged(unit: Unit, line: Line, damaged: int, tries: int) -> Finding:
    return found(
        "sensors.stream-damaged",
        unit.device,
        link=line.link,
        device=unit.device,
        damaged=damaged,
        tries=tries,
    )

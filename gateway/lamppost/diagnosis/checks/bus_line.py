"""A link that was opened and examined. Order: the port, the line as a whole, then each device."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from lamppost.diagnosis.checks import bus_alone, bus_port, bus_unit
from lamppost.diagnosis.facts import Line, Port, Trial, Unit
from lamppost.findings import Finding, found

_GOOD = ("good", "late")
_HEARD = ("good", "late", "refused")
_BREAKS = 2
_BABBLE = 0.3
_STRAY = 3
_MBUS = ("mbus", "mbus-tcp")
_ALONE = {"ble": bus_alone.air, "gpio": bus_alone.pins}


def check(line: Line, ports: Sequence[Port]) -> Iterator[Finding]:
    """What is wrong with a line, and with whom on it."""
    if line.code:
        yield from bus_port.check(line, ports)
        return
    if not line.tested:
        return
    if line.kind == "i2c":
        yield from _i2c(line)
        return
    if line.kind in _ALONE:
        yield from _ALONE[line.kind](line)
        return
    if line.kind == "serial":
        sound = any(unit.frames or answers(unit) for unit in line.units)
        if not sound and (taken := bus_port.console(line, ports)) is not None:
            yield taken
            return
        for unit in line.units:
            yield from bus_unit.talking(unit, line)
        return
    whole = _whole(line)
    nobody = not any(answers(unit) for unit in line.units)
    if nobody and (taken := bus_port.console(line, ports)) is not None:
        yield taken
        return
    if whole is not None:
        yield whole
    if whole is None or whole.id in ("bus.echo", "bus.second-master"):
        yield from _units(line)


def answers(unit: Unit) -> bool:
    """Whether it gave anything sound at the settings of the site."""
    return any(trial.outcome in _HEARD for trial in unit.trials)


def is_silent(unit: Unit) -> bool:
    """Not one byte, at the settings of the site."""
    return bool(unit.trials) and all(trial.outcome == "silent" for trial in unit.trials)


def _whole(line: Line) -> Finding | None:
    """What concerns everybody on it."""
    requests = [f for f in line.foreign if _is_request(f)]
    if requests:
        return found("bus.second-master", line.link, count=len(requests), sample=requests[0])
    if line.idle_share >= _BABBLE and not any(unit.trials for unit in line.units):
        return found(
            "bus.never-silent",
            line.link,
            link=line.link,
            count=line.idle_bytes,
            seconds=f"{line.idle_seconds:g}",
            sample=line.idle_sample,
        )
    echo = _echo(line)
    if echo is not None:
        return echo
    asked = [unit for unit in line.units if unit.trials]
    if not asked or any(answers(unit) for unit in asked):
        return None
    swept = next((unit for unit in asked if _sweep_hit(unit)), None)
    if swept is not None:
        return bus_unit.other_settings(swept, line)
    if not all(is_silent(unit) for unit in asked):
        return None
    return _silence(line, asked)


def _silence(line: Line, asked: Sequence[Unit]) -> Finding | None:
    settings = _settings(asked)
    if line.kind in _MBUS:
        return _mbus_silent(line, asked)
    if line.idle_zeros >= _BREAKS:
        return found("bus.ab-swapped", line.link, link=line.link, breaks=line.idle_zeros)
    if len(asked) < 2:
        return None
    return found(
        "bus.line-silent",
        line.link,
        link=line.link,
        silent=len(asked),
        units=len(line.units),
        settings=settings,
    )


def _settings(units: Sequence[Unit]) -> int:
    return 1 + len({trial.line for unit in units for trial in unit.swept})


def _mbus_silent(line: Line, asked: Sequence[Unit]) -> Finding:
    """Its two wires have no polarity (EN 13757-2): what a swap cures on RS-485 is no cause here."""
    return found(
        "bus.mbus-silent",
        line.link,
        link=line.link,
        silent=len(asked),
        units=len(line.units),
        settings=_tried(_settings(asked)),
    )


def _tried(settings: int) -> str:
    return f", at {settings} settings" if settings > 1 else ""


def _echo(line: Line) -> Finding | None:
    trials = [trial for unit in line.units for trial in unit.trials]
    echoes = [trial for trial in trials if trial.echo]
    if not echoes:
        return None
    device = next(u.device for u in line.units if any(t.echo for t in u.trials))
    return found("bus.echo", line.link, device=device, count=len(echoes), tries=len(trials))


def _sweep_hit(unit: Unit) -> Trial | None:
    return next((trial for trial in unit.swept if trial.outcome in _HEARD), None)


def _is_request(shown: str) -> bool:
    from lamppost.diagnosis.wire.frames import is_request

    return is_request(bytes.fromhex(shown))


# --- each device


def _units(line: Line) -> Iterator[Finding]:
    noisy = _noise(line)
    for unit in line.units:
        if not unit.trials:
            continue
        if hit := _sweep_hit(unit):
            del hit
            yield bus_unit.other_settings(unit, line)
        elif not answers(unit):
            if noisy is None or is_silent(unit) or line.kind in _MBUS:
                yield _mute(unit, line)
        else:
            yield from bus_unit.modbus(unit, line, noisy=noisy is not None)
    if noisy is not None:
        yield noisy


def _mute(unit: Unit, line: Line) -> Finding:
    """No sound answer of this one: silence, or damage."""
    others = [u for u in line.units if u is not unit]
    neighbours = [u for u in others if answers(u)]
    if line.kind in _MBUS:
        return _mute_meter(unit, line, neighbours, [u for u in others if not is_silent(u)])
    settings = 1 + len({trial.line for trial in unit.swept})
    if not is_silent(unit):
        return bus_unit.damaged(unit, line, neighbours)
    if not neighbours:
        return found(
            "bus.only-unit-silent",
            unit.device,
            device=_named(unit),
            tries=len(unit.trials),
            settings=settings,
        )
    return found(
        "bus.silent-unit",
        unit.device,
        device=_named(unit),
        tries=len(unit.trials),
        settings=settings,
        neighbours=_names(neighbours),
    )


def _mute_meter(unit: Unit, line: Line, clean: Sequence[Unit], heard: Sequence[Unit]) -> Finding:
    if not is_silent(unit):
        return bus_unit.damaged(unit, line, clean) if clean else _damaged_bus(line)
    if not heard:
        return _mbus_silent(line, [unit])
    return found(
        "bus.meter-silent",
        unit.device,
        device=unit.device,
        link=line.link,
        tries=len(unit.trials),
        settings=_tried(_settings([unit])),
        neighbours=_names(heard),
    )


def _damaged_bus(line: Line) -> Finding:
    """It knows no terminators: what cures an RS-485 line is no cause here."""
    asked = [u for u in line.units if u.trials and not is_silent(u)]
    every = [t for u in asked for t in u.trials]
    return found(
        "bus.mbus-damaged",
        line.link,
        link=line.link,
        damaged=sum(_lost(t) for t in every),
        tries=len(every),
        devices=_names(asked),
        stray=_stray_text(line),
    )


def _named(unit: Unit) -> str:
    return unit.device


def _names(units: Sequence[Unit]) -> str:
    shown = ", ".join(u.device for u in units[:3])
    return f"{shown} and {len(units) - 3} more" if len(units) > 3 else shown


def _noise(line: Line) -> Finding | None:
    """Damage that more than one unit shows, or bytes that nobody sent."""
    if line.kind not in ("modbus-rtu", *_MBUS):
        return None
    heard = [u for u in line.units if u.trials and not is_silent(u)]
    asked = (
        heard if any(answers(u) for u in heard) else []
    )  # nobody sound: more likely the settings
    hit = [u for u in asked if any(_lost(t) for t in u.trials + u.long)]
    damage = any(t.outcome == "damaged" for u in hit for t in u.trials + u.long)
    alone = len(asked) == 1 and damage and not bus_unit.proof_of_two(hit[0])
    if len(hit) < 2 and _stray(line) < _STRAY and not alone:
        return None
    if line.kind in _MBUS:
        return _damaged_bus(line)
    short = [t for u in hit for t in u.trials]
    long = [t for u in hit for t in u.long]
    growth = ""
    if long:
        growth = f": {_share(short)} % of short answers, {_share(long)} % of long ones"
    said = _stray_text(line)
    if line.framing_errors or line.parity_errors:
        said += f"; the kernel counted {line.framing_errors} framing and {line.parity_errors} parity errors"
    every = short + long
    return found(
        "bus.noisy-line",
        line.link,
        damaged=sum(_lost(t) for t in every),
        tries=len(every) or sum(len(u.trials) for u in asked),
        growth=growth,
        stray=said,
    )


def _share(trials: Sequence[Trial]) -> int:
    return round(100 * sum(_lost(t) for t in trials) / max(1, len(trials)))


def _stray(line: Line) -> int:
    """Bytes at rest that are no breaks; breaks between requests count among the breaks at rest."""
    return max(0, line.idle_bytes - line.idle_zeros)


def _stray_text(line: Line) -> str:
    stray = _stray(line)
    return f", and {stray} stray bytes at rest" if stray else ""


def _lost(trial: Trial) -> bool:
    """A damaged request is not answered at all."""
    return trial.outcome not in _HEARD


def _i2c(line: Line) -> Iterator[Finding]:
    here = [u for u in line.units if answers(u)]
    gone = [u for u in line.units if u.trials and not answers(u)]
    if any(u.why == "link.stuck" for u in line.units):
        yield found("bus.i2c-stuck", line.link, where=line.where)
    elif gone and not here:
        addresses = ", ".join(u.at for u in gone)
        yield found(
            "bus.i2c-silent", line.link, where=line.where, units=len(gone), addresses=addresses
        )
    else:
        for unit in gone:
            yield found(
                "bus.i2c-nack",
                unit.device,
                link=line.link,
                device=unit.device,
                address=unit.at,
                neighbours=_names(here),
            )

"""What flows through a meter: a load as a pure function of time, so that truth can be asked for at any moment.

Power is a sum of slow sines over a base, therefore energy is its exact integral: no state, no drift, and the same
seed gives the same day again.
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping

_PERIODS = (47.0, 311.0, 3607.0)  # seconds; prime, so that the pattern does not repeat within a day


class Phase:
    """One phase: voltage, power, power factor and the energies since the meter was made. Time in seconds."""

    def __init__(self, seed: str, watts: float) -> None:
        rng = random.Random(seed)
        self._watts = watts * rng.uniform(0.7, 1.3)
        self._waves = [
            (rng.uniform(0.03, 0.2), period, rng.uniform(0, math.tau)) for period in _PERIODS
        ]
        self._volts = rng.uniform(227.0, 234.0)
        self._volt_phase = rng.uniform(0, math.tau)
        self.power_factor = rng.uniform(0.88, 0.99)
        self.tangent = math.tan(math.acos(self.power_factor))
        self.thd = rng.uniform(1.0, 3.0)
        self._imported = rng.uniform(500.0, 20_000.0)
        self._imported_reactive = self._imported * 0.3
        self.exported = rng.uniform(0.0, 50.0)
        self.exported_reactive = rng.uniform(0.0, 50.0)

    def voltage(self, t: float) -> float:
        """Volts, line to neutral."""
        return self._volts + 1.5 * math.sin(math.tau * t / 613.0 + self._volt_phase)

    def power(self, t: float) -> float:
        """Watts, always drawn from the grid."""
        return self._watts * (
            1 + sum(a * math.sin(math.tau * t / p + f) for a, p, f in self._waves)
        )

    def drawn(self, t: float) -> float:
        """The integral of power from 0 to `t`, in kWh."""
        swing = sum(
            a * p / math.tau * (math.cos(f) - math.cos(math.tau * t / p + f))
            for a, p, f in self._waves
        )
        return self._watts * (t + swing) / 3.6e6

    def imported(self, t: float) -> float:
        """The meter's reading in kWh."""
        return self._imported + self.drawn(t)

    def imported_reactive(self, t: float) -> float:
        """The meter's reading in kvarh."""
        return self._imported_reactive + self.drawn(t) * self.tangent


def frequency(t: float) -> float:
    """Hertz; the same everywhere on the grid."""
    return 50.0 + 0.02 * math.sin(math.tau * t / 97.0) + 0.01 * math.sin(math.tau * t / 1201.0)


def phase_quantities(phase: Phase, t: float) -> dict[str, float]:
    """All quantities of one phase: V, A, W, VA, var, kWh, kvarh, %."""
    power, voltage = phase.power(t), phase.voltage(t)
    apparent = power / phase.power_factor
    imported, reactive = phase.imported(t), phase.imported_reactive(t)
    return {
        "voltage": voltage,
        "current": apparent / voltage,
        "power": power,
        "apparent_power": apparent,
        "reactive_power": power * phase.tangent,
        "power_factor": phase.power_factor,
        "voltage_thd": phase.thd,
        "energy.import": imported,
        "energy.export": phase.exported,
        "energy.total": imported + phase.exported,
        "reactive_energy.import": reactive,
        "reactive_energy.export": phase.exported_reactive,
        "reactive_energy.total": reactive + phase.exported_reactive,
    }


_SUMMED = (
    "power",
    "reactive_power",
    "energy.import",
    "energy.export",
    "energy.total",
    "reactive_energy.import",
    "reactive_energy.export",
    "reactive_energy.total",
)


def quantities(phases: Mapping[str, Phase], t: float) -> dict[str, float]:
    """Every quantity of a meter: of each phase with its name as suffix (none for a single phase), and the sums."""
    each = {name: phase_quantities(phase, t) for name, phase in phases.items()}
    if list(each) == [""]:
        return {**each[""], "frequency": frequency(t)}
    found = {
        f"{name}.{phase}": value for phase, values in each.items() for name, value in values.items()
    }
    for name in _SUMMED:
        found[name] = sum(values[name] for values in each.values())
    for name in ("voltage", "current"):
        found[f"{name}.average"] = sum(values[name] for values in each.values()) / len(each)
    apparent = math.hypot(found["power"], found["reactive_power"])
    found["apparent_power"] = apparent
    found["power_factor"] = found["power"] / apparent
    found["phase_angle"] = math.degrees(math.acos(found["power"] / apparent))
    found["voltage_thd"] = sum(values["voltage_thd"] for values in each.values()) / len(each)
    found["frequency"] = frequency(t)
    return found

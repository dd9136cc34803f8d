"""Rules over samples: is something wrong right now, and is it over. Pure; times are boot-clock nanoseconds.

Holds the conditions (threshold, rate, stuck, silence), their hysteresis and hold times, and the bound on how often a
rule may speak. Must not touch the ring, the network, UTC or the site file; `alerting.py` joins it with them.
"""

from lamppost.alerts.judge import Judge, Standing
from lamppost.alerts.rules import Rate, Rule, Silence, Stuck, Threshold

__all__ = ["Judge", "Rate", "Rule", "Silence", "Standing", "Stuck", "Threshold"]

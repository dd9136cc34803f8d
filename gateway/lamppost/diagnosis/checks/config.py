"""The site file, and whether it is this gateway's."""

from __future__ import annotations

from collections.abc import Iterator

from lamppost.diagnosis.facts import Facts
from lamppost.findings import Finding, found


def check(facts: Facts) -> Iterator[Finding]:
    """Is it there, does it hold together, is it ours?"""
    config = facts.config
    if config is not None:
        if config.why:
            yield found("config.missing", config.file, file=config.file, why=config.why)
        elif config.problems:
            yield found(
                "config.invalid",
                config.file,
                file=config.file,
                count=len(config.problems),
                first=config.problems[0],
            )
        trust = facts.trust
        if trust is not None and trust.gateway and config.gateway:
            if trust.gateway != config.gateway:
                yield found(
                    "config.other-gateway",
                    config.file,
                    site=config.gateway,
                    identity=trust.gateway,
                )
            elif trust.hub and trust.hub != config.hub:
                yield found("config.other-hub", config.file, site=config.hub, identity=trust.hub)
    yield from _generations(facts)


def _generations(facts: Facts) -> Iterator[Finding]:
    told = facts.generations or {}
    if reverted := told.get("reverted"):
        yield found("config.reverted", number=reverted["number"], why=reverted["why"])
    if refused := told.get("refused"):
        yield found("config.refused", why=refused)

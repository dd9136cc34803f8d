"""Why a configuration is not taken, or not kept: the closed list of codes and what to do about each."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from lamppost.errors import HubError, LamppostError, SiteError, StoreError, TrustError

_ATTACK = "nothing was taken; if nobody at the hub is at work on it, somebody tampers: compare the hub's repository"

UNTRUSTED: Mapping[str, str] = MappingProxyType(
    {
        "ota.no-root": "install the bundle of a hub that publishes (lamppost enrol), it brings the trusted root",
        "ota.root": "the chain of roots is broken: compare its fingerprint with the one of the key ceremony",
        "ota.one-approver": "a second approver must sign: lamppost-hub publish sign",
        "ota.wrong-group": "signed by approvers of another group: " + _ATTACK,
        "ota.online-key": "signed by the hub's online key, which may only halt: " + _ATTACK,
        "ota.unknown-signer": "signed by nobody who may: " + _ATTACK,
        "ota.altered": "the bytes differ from what was signed: " + _ATTACK,
        "ota.rollback": "older metadata than seen before: an old copy or backup is served; publish again there",
        "ota.expired": "the running configuration goes on; check this clock, then `lamppost-hub publish serve`",
        "ota.too-big": "larger than its limit: " + _ATTACK,
        "ota.malformed": "no TUF metadata: " + _ATTACK,
        "ota.schedule": "the signed roll-out schedule cannot be read: stage it again with this hub's version",
        "ota.downgrade": "an older serial than was staged here before: publish it anew, it then gets a new serial",
        "ota.serial-reused": "one serial with two contents: the hub was restored from a backup, or copied",
    }
)
UNFIT: Mapping[str, str] = MappingProxyType(
    {
        "ota.rejected-before": "it failed here: mend it and publish; or stage it with --again if the cause is mended",
        "ota.other-gateway": "[site] gateway names another gateway than this one's identity",
        "ota.other-hub": "[site] hub is not the hub this gateway is enrolled at",
        "ota.disk-budget": "ring.size does not fit on this card: choose a smaller one",
        "ota.not-loadable": "the daemon could not start with it: see the reason",
        "ota.died": "the daemon ended or hung while trying it: journalctl -u lamppost",
        "ota.devices-silent": "devices that answered before do not answer with it: check link, speed, unit id",
        "ota.no-receipt": "no receipt of the hub came with it: check [uplink]",
        "ota.clock-wrong": "the clock or the time servers are wrong with it: check [time]",
        "ota.no-source": "no configuration can be fetched with it: check [ota]",
        "ota.alert-storm": "its alert rules never come to rest: check thresholds and hysteresis",
        "ota.withdrawn": "the roll-out was halted and goes back, as its approvers had signed",
        "ota.rolled-back": "somebody rolled it back on this gateway",
        "ota.damaged": "its file cannot be read any more: check the card",
        "ota.no-configuration": "give a site file, or fetch one: lamppost config fetch",
        "ota.no-previous": "there is no earlier configuration to go back to: lamppost config history",
        "ota.in-trial": "another configuration is being tried; wait for its end: lamppost config history",
    }
)


class ConfigRefused(TrustError):
    """Signatures, age or order say no. Nothing was changed."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message, code=code, hint=UNTRUSTED[code], retry=code == "ota.expired")


class ConfigUnfit(SiteError):
    """Genuine, but it cannot run here, or did not stand its trial."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message, code=code, hint=UNFIT[code])


def unreachable(where: str, why: object) -> LamppostError:
    """The way to the repository is down; the next poll tries again."""
    return HubError(
        f"{where}: {why}",
        code="ota.unreachable",
        hint="check the network and [ota] url; the running configuration goes on",
        retry=True,
    )


def not_stored(why: OSError) -> StoreError:
    """The disk refused; nothing was changed."""
    return StoreError(
        f"the configuration cannot be stored: {why.strerror or why}",
        code="ota.not-stored",
        hint="free or replace the card; the running configuration goes on",
        retry=True,
    )

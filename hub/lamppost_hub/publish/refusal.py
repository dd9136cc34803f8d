"""Why something is not published."""

from __future__ import annotations

from lamppost.errors import SiteError, TrustError

_HINTS = {
    "publish.not-initialised": "lamppost-hub publish init DIR --root KEY.pub (three times)",
    "publish.exists": "it is made once; new root keys: lamppost-hub publish root DIR",
    "publish.too-few-keys": "make them with: lamppost-hub publish key FILE, each on its owner's machine",
    "publish.name": "lower-case letters, digits, dashes and underscores, at most 63; not a role of TUF",
    "publish.no-group": "lamppost-hub publish group DIR GROUP --approver KEY.pub (twice)",
    "publish.no-pending": "there is nothing to sign or release; see: lamppost-hub publish show DIR",
    "publish.nothing-new": "every site is published as it is; use --again to publish it with a new serial",
    "publish.no-sites": "the folder needs group.toml, gateways/NAME.toml, or both",
    "publish.site-invalid": "mend the files named above, then stage again",
    "publish.no-checker": "install the package `lamppost` on this machine, or stage with --unchecked",
    "publish.schedule": 'write steps such as "5%@now,25%@+1d,100%@+2d", percentages and times rising',
    "publish.late": "signing took so long that steps would fall together: stage again with new times",
    "publish.unknown-rollout": "lamppost-hub publish show DIR names the roll-outs",
    "publish.busy": "wait for the other command to end",
    "publish.key-file": "give the .pub file that lamppost-hub publish key made",
    "publish.damaged": "restore the folder publish/ of the hub from a backup",
}
_TRUST_HINTS = {
    "publish.unsigned": "more signatures are needed: lamppost-hub publish sign DIR/publish/pending/ROLE --key FILE",
    "publish.altered": "somebody changed the folder after it was staged: stage again",
}


class PublishError(SiteError):
    """The operator must act."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message, code=code, hint=_HINTS[code])


class PublishRefused(TrustError):
    """A signature is missing or wrong."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message, code=code, hint=_TRUST_HINTS[code])

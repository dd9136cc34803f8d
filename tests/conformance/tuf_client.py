"""The command-line client that tuf-conformance asks for, over the gateway's own fetcher, HTTP source and limits.

git clone https://github.com/theupdateframework/tuf-conformance CHECKOUT
LAMPPOST_TUF_CONFORMANCE=CHECKOUT ./dev test --all tests/conformance
"""

from __future__ import annotations

import argparse
import logging
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

from tuf.ngclient import Updater

from lamppost.ota import trust
from lamppost.ota.sources import HttpsSource


class Urls:
    """Whole URLs instead of paths below one: the suite serves metadata and targets at two of them."""

    where = "tuf-conformance"
    local = False

    def read(self, url: str) -> Iterator[bytes]:
        parts = urlsplit(url)
        base = f"{parts.scheme}://{parts.netloc}"
        return HttpsSource(base, None).read(url.removeprefix(base + "/"))


def updater(words: argparse.Namespace) -> Updater:
    return Updater(
        words.metadata_dir,
        words.metadata_url,
        words.target_dir,
        words.target_base_url,
        trust.Fetcher(Urls()),
        trust.LIMITS,
        bootstrap=None,
    )


def main() -> int:
    parser = argparse.ArgumentParser()
    for name in ("--metadata-url", "--metadata-dir", "--target-dir", "--target-base-url"):
        parser.add_argument(name)
    parser.add_argument("--target-name", action="append", default=[])
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("init").add_argument("trusted_root")
    commands.add_parser("refresh")
    commands.add_parser("download")
    words = parser.parse_args()
    logging.disable(logging.CRITICAL)
    if words.command == "init":
        shutil.copyfile(words.trusted_root, Path(words.metadata_dir) / "root.json")
        return 0
    client = updater(words)
    if words.command == "refresh":
        client.refresh()
        return 0
    for name in words.target_name:
        info = client.get_targetinfo(name)
        if info is None:
            return 1
        if not client.find_cached_target(info):
            client.download_target(info)
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""TUF's own conformance suite over the gateway's fetcher, where a checkout of it is named.

The suite is not part of this project: clone github.com/theupdateframework/tuf-conformance and name the folder in
LAMPPOST_TUF_CONFORMANCE. Two of its cases need Debian's `faketime`.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

CLIENT = Path(__file__).parent / "tuf_client.py"


@pytest.mark.long
def test_every_case_of_the_suite(tmp_path: Path) -> None:
    suite = Path(os.environ.get("LAMPPOST_TUF_CONFORMANCE", ""))
    if not (suite / "tuf_conformance").is_dir():
        pytest.skip("LAMPPOST_TUF_CONFORMANCE names no checkout of tuf-conformance")
    if shutil.which("faketime") is None:
        pytest.skip("faketime is not installed: apt-get install faketime")
    entry = tmp_path / "client"
    entry.write_text(
        f"#!{sys.executable}\nimport runpy\nrunpy.run_path({str(CLIENT)!r}, run_name='__main__')\n"
    )
    entry.chmod(0o755)
    words = [
        "-m",
        "pytest",
        "tuf_conformance",
        "-c",
        os.devnull,
        "--rootdir",
        ".",
        "-q",
        "-p",
        "no:cacheprovider",
    ]
    done = subprocess.run(
        [sys.executable, *words, "--entrypoint", str(entry)],
        cwd=suite,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:]
    assert " passed" in done.stdout

"""The strict stub broker as a process with a disk: it may be killed and comes back with what it had answered for.

python -m fakes.broker_process PORT JOURNAL
"""

from __future__ import annotations

import base64
import json
import os
import sys
import threading
from collections.abc import Mapping
from pathlib import Path

from fakes.stub_broker import ROOT, TEMPORAL, UPSERT, StubBroker


class DurableBroker(StubBroker):
    """Writes every writing request to a journal, and the journal to the disk, before it acts."""

    def __init__(self, journal: Path) -> None:
        super().__init__()
        self._file = journal.open("a+b")
        self._file.seek(0)
        for line in self._file.read().split(b"\n")[:-1]:
            method, target, headers, body = json.loads(line)
            super().answer(method, target, headers, base64.b64decode(body))
        self.requests.clear()

    def answer(
        self, method: str, target: str, headers: Mapping[str, str], body: bytes
    ) -> tuple[int, dict[str, str], bytes]:
        """As the stub's."""
        path = target.partition("?")[0]
        if method == "POST" and path in (ROOT + UPSERT, ROOT + TEMPORAL):
            request = [method, target, dict(headers), base64.b64encode(body).decode()]
            self._file.write(json.dumps(request).encode() + b"\n")
            self._file.flush()
            os.fdatasync(self._file.fileno())
        return super().answer(method, target, headers, body)

    def close(self) -> None:
        """Give the journal back."""
        self._file.close()


if __name__ == "__main__":
    with DurableBroker(Path(sys.argv[2])).serve(int(sys.argv[1])) as url:
        print(f"ready {url}", flush=True)
        threading.Event().wait()

"""The port itself, asked raw: over a pseudo-terminal."""

from __future__ import annotations

import asyncio
import os
import pty
import select
import tty
from pathlib import Path

from lamppost.diagnosis.wire.line import DirectLine
from lamppost.links.serial import LineSettings


def test_who_only_listens_hears_what_came_between_two_times(tmp_path: Path) -> None:
    async def main() -> None:
        outside, inside = pty.openpty()
        tty.setraw(inside)

        def comes(data: bytes) -> None:
            os.write(outside, data)
            assert select.select([inside], [], [], 20)[0]

        line = DirectLine(Path(os.ttyname(inside)), tmp_path)
        try:
            await line.use(LineSettings(9600))
            comes(b"first")
            assert (await line.exchange(b"", 5.0, limit=5)).data == b"first"
            comes(b"between")
            heard = await line.exchange(b"", 0.0)
            assert (heard.data, heard.stray) == (b"between", b"")
            comes(b"rest of an old answer")
            asked = await line.exchange(b"?", 0.0)
            assert (asked.data, asked.stray) == (b"", b"rest of an old answer")
        finally:
            await line.close()
            os.close(inside)
            os.close(outside)

    asyncio.run(main())

"""A TCP relay on loopback that fails as networks do: cut, refused, stalled, slow, half-open in either direction."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time
from typing import Literal

Mode = Literal["pass", "cut", "refuse", "stall", "slow", "lose", "deaf"]
MODES: tuple[Mode, ...] = ("cut", "refuse", "stall", "slow", "lose", "deaf")
# cut: every connection is reset, new ones are taken. refuse: new ones are reset too. stall: bytes wait until it is
# over. slow: every piece takes 50 ms longer. lose: bytes vanish both ways. deaf: requests arrive, answers vanish.
# What has lost bytes is reset when the fault ends: no network gives the rest of a stream without its middle.
RESET = struct.pack("ii", 1, 0)


class FaultyLine:
    """Relays `port` (its own) to `target`; `mode` may change at any moment."""

    def __init__(self, target: int) -> None:
        self.target = target
        self._mode: Mode = "pass"
        self._lock = threading.Lock()
        self._pairs: set[tuple[socket.socket, socket.socket]] = set()
        self._harmed: set[tuple[socket.socket, socket.socket]] = set()
        self._closed = False
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def mode(self) -> Mode:
        """What it does now."""
        return self._mode

    @mode.setter
    def mode(self, mode: Mode) -> None:
        self._mode = mode
        with self._lock:
            hit = list(self._pairs if mode in ("cut", "refuse") else self._harmed)
        for pair in hit:
            self._reset(pair)
        if mode == "cut":
            self._mode = "pass"

    def close(self) -> None:
        """End it and every connection."""
        self._closed = True
        self._listener.close()
        with self._lock:
            pairs = list(self._pairs)
        for pair in pairs:
            self._reset(pair)

    def _accept(self) -> None:
        while not self._closed:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._join, args=(near,), daemon=True).start()

    def _join(self, near: socket.socket) -> None:
        try:
            if self._mode == "refuse" or self._closed:
                raise ConnectionRefusedError
            far = socket.create_connection(("127.0.0.1", self.target), timeout=5)
        except OSError:
            near.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            near.close()
            return
        pair = near, far
        for end in pair:
            end.settimeout(0.1)
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with self._lock:
            self._pairs.add(pair)
        threading.Thread(target=self._pump, args=(pair, near, far, False), daemon=True).start()
        self._pump(pair, far, near, True)

    def _pump(
        self,
        pair: tuple[socket.socket, socket.socket],
        source: socket.socket,
        sink: socket.socket,
        answers: bool,
    ) -> None:
        try:
            while not self._closed:
                self._wait()
                try:
                    piece = source.recv(65536)
                except TimeoutError:
                    continue
                if not piece:
                    break
                self._wait()
                mode = self._mode
                if mode == "lose" or (mode == "deaf" and answers):
                    self._harmed.add(pair)
                    continue
                if mode == "slow":
                    time.sleep(0.05)
                sink.settimeout(30)
                sink.sendall(piece)
                sink.settimeout(0.1)
        except OSError:
            pass
        self._reset(pair)

    def _wait(self) -> None:
        while self._mode == "stall" and not self._closed:
            time.sleep(0.02)

    def _reset(self, pair: tuple[socket.socket, socket.socket]) -> None:
        with self._lock:
            self._pairs.discard(pair)
            self._harmed.discard(pair)
        for end in pair:
            with contextlib.suppress(OSError):
                end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()

"""What is wrong here? Facts are gathered, then judged by pure checks into findings.

`gather` looks (at files, sockets, the running daemon), `wire` asks devices raw and reads only, `checks` judge facts and
open nothing, so that a bundle is judged at the hub's desk as on the spot. Must not write to any device.
"""

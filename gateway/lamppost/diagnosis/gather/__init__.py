"""Looks at this machine, one file an area: files below a root, sockets, programs. Changes nothing, decides nothing."""

"""TOML bytes → `Site`, or *all* problems with key path, value, reason and the nearest valid key. Opens nothing.

`schema` says what a site file may hold, `crosscheck` what must fit together, `load` joins them. pydantic stays here.
"""

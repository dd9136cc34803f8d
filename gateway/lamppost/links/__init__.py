"""One OS binding each: open, exclude others, read, write, reopen. Foreign exceptions become LinkError here.

Knows no model, no point and no unit of measure; must not decide what to read or what a failure means.
"""

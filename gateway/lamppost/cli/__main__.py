"""`python -m lamppost.cli`: the same as the command `lamppost`."""

from __future__ import annotations

from lamppost.cli.main import main

if __name__ == "__main__":
    main()

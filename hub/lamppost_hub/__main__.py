"""`python -m lamppost_hub` is `lamppost-hub`."""

from lamppost_hub.cli import main

if __name__ == "__main__":
    main()

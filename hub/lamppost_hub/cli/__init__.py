"""The operator's tool `lamppost-hub`: one file per noun, imported only when its command is called.

Parsing arguments imports no cryptography, MQTT or database.
"""

from __future__ import annotations

from lamppost_hub.cli.main import main

__all__ = ["main"]

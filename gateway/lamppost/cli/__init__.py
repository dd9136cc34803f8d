"""The technician's tool `lamppost`: one file per noun, imported only when its command is called.

Parsing arguments imports no cryptography, MQTT, web or pydantic.
"""

from __future__ import annotations

from lamppost.cli.main import main

__all__ = ["main"]

"""Wired M-Bus: link frames (EN 13757-2), records (EN 13757-3), and meters read over them. No ports, only bytes."""

"""The findings as Markdown, made from the data files: `python -m lamppost.findings.page`."""

from __future__ import annotations

from collections.abc import Iterator

from lamppost.findings.catalogue import AREAS, SURE, Entry, area

_HEAD = """# Findings

This page is made from the data files: `python -m lamppost.findings.page`. Do not edit it by hand.

`lamppost doctor` and `lamppost bus probe` name what they find by these ids; `lamppost explain ID` shows the same page
without a network. Words in braces are filled in on the spot. *Proved* means that nothing else explains what was seen;
where software cannot tell causes apart, they stand in the order of their likelihood, with what tells them apart.
"""
_TITLES = {
    "host": "The gateway computer and its program",
    "power": "The supply",
    "storage": "Disk and card",
    "clock": "Time",
    "net": "The way out",
    "modem": "The mobile modem",
    "uplink": "Hub and broker",
    "trust": "Keys and certificates",
    "config": "The site file",
    "buffer": "The ring",
    "bus": "Links and the devices on them",
    "sensors": "What single sensors say",
}


def section(page: Entry) -> Iterator[str]:
    """One entry."""
    yield f"### {page.id}\n"
    yield f"**{page.title}** ({SURE[page.sure]}).\n"
    yield f"Seen: {page.evidence}.\n"
    yield "| cause | what tells it |\n|---|---|"
    yield from (f"| {cause.cause} | {cause.tell} |" for cause in page.causes)
    yield f"\nNext: {page.next}.\n"


def page() -> str:
    """The whole page."""
    lines = [_HEAD]
    for name in AREAS:
        lines.append(f"## {_TITLES[name]}\n")
        for each in area(name).values():
            lines += section(each)
    return "\n".join(lines).rstrip() + "\n"


if __name__ == "__main__":
    print(page(), end="")

"""A reader that stands in for a chat model: it knows two names that the passages of this folder answer with."""

from typing import Any

NAMES = ("Torsnes Light", "Edda Falk")


def read(hop: dict[str, Any]) -> str | None:
    """Return the first name that the documents have and the subquestion has not; None: there is none."""
    text = " ".join(" ".join(document.page_content for document in hop["documents"]).split())
    return next((name for name in NAMES if name in text and name not in hop["subquestion"]), None)

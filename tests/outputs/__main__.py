"""python -m tests.outputs: writes what README.md and docs/ show."""

import argparse
import sys

import tests.outputs
from tests.outputs.documents import DOCUMENTS, read
from tests.outputs.marks import SHOWN, TABLES, with_pieces
from tests.outputs.session import written
from tests.repository import ROOT


def main(arguments: list[str]) -> int:
    """Write the tables, and unless told otherwise all that the model prints, into the documents."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.outputs",
        description=tests.outputs.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("documents", nargs="*", metavar="DOCUMENT", help="such as README.md; none: all")
    parser.add_argument("--tables", action="store_true", help="only the tables of committed results")
    options = parser.parse_args(arguments)
    if unknown := {*options.documents} - {*DOCUMENTS}:
        parser.error(f"{', '.join(sorted(unknown))}: no such document; there are {', '.join(DOCUMENTS)}")
    for document in options.documents or DOCUMENTS:
        before = read(document)
        text = before if options.tables else written(document)
        text = with_pieces(text, TABLES if options.tables else {**TABLES, **SHOWN})
        (ROOT / document).write_text(text, encoding="utf-8")
        print(f"{document}: {'as it was' if text == before else 'written anew'}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""`python -m langchain_divconq.cli` is `divconq`."""

import sys

from langchain_divconq.cli import main

sys.exit(main())

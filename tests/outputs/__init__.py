"""Makes what README.md and docs/ show: outputs of blocks and commands, and tables of committed results.

python -m tests.outputs                 # runs all documents with the shipped model, and writes tables and outputs
python -m tests.outputs --tables        # the tables of committed results alone: no model, at once
python -m tests.outputs README.md       # these documents alone
"""

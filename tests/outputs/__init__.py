"""What README.md and docs/ show: what blocks and commands print, and tables of committed results.

python -m tests.outputs                 # runs all documents with the shipped model, and writes tables and outputs
python -m tests.outputs --tables        # the tables of committed results alone: no model, at once
python -m tests.outputs README.md       # these documents alone
"""

"""The report of what was measured: tables and plots, made from the committed records, and checked against them."""

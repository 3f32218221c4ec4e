"""Campaigns: many hostile cases against one part, as commands; too long for the suite.

    python -m tests.campaigns NAME --count 2000 --seed 1 [--engine xllamacpp] [--save]

Each campaign is a module of this folder with `run(count, seed) -> Report`: the same count and seed give the same cases.
What loads a model runs on each engine in turn (`report.engines()`), or on the one that --engine names. --save writes
counts and failures to results/NAME.json, or NAME-ENGINE.json. The exit code is 0 only if every case ran and none
failed.
"""

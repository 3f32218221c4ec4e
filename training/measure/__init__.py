"""Benchmark questions answered by arms: an arm is a decomposer, a solver, and how the solver is asked."""

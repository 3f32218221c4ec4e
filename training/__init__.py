"""The recipe: from demonstrations to a distilled decomposer as GGUF. Run from a checkout; no part of the wheel."""

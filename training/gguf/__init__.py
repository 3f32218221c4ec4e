"""The trained student as GGUF, if it says what was trained, with its card."""

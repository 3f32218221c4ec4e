"""The student: its weights and prompts, and how it is trained."""

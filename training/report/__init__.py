"""What was measured, as tables and plots: made from the committed records alone, and compared with them again."""

"""From datasets to training, validation and evaluation examples, with the plans they record."""

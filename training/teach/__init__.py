"""From examples to demonstrations: a teacher writes plans, a solver screens them."""

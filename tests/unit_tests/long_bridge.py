"""A question of three hops about a bridge, its plan, its answers, and the texts that lie ready for each query."""

QUESTION = "Who was mayor of the town of the long bridge when it was opened?"
PLAN = ["Which town has the long bridge?", "When was the long bridge opened?", "Who was mayor of #1 in #2?"]
FILLED = "Who was mayor of Lund in 1931?"
SHELF = {
    PLAN[0]: ["The long bridge stands in Lund.", "Lund has a mill."],
    PLAN[1]: ["The long bridge was opened in 1931.", "The long bridge stands in Lund."],
    FILLED: ["Ada Holm was mayor of Lund in 1931.", "Lund has a mill."],
    QUESTION: ["A mayor opens bridges.", "Lund has a mill.", "Towns are old."],
}
ANSWERS = {PLAN[0]: "Lund", PLAN[1]: "1931"}

"""The meaning of each column of the report, in a sentence or two."""

from training.measure.report.figures import PER

DEFINITIONS = {
    "n": "questions with a record; arms of one source take the first that one seed draws, so a smaller arm's "
    "questions are among a larger one's.",
    "strict": "the answer parsed from the reply is right: for GSM8K the one number it names is the gold number; "
    "for DROP exact match by its published rules; for all others the normalised text, number or date is that of "
    "a gold answer. No parsable answer is wrong.",
    "F1": "DROP's, by its published rules: the overlap of words with the reference that suits best, zero where "
    "the reference's numbers are missed.",
    "lenient": "a gold answer stands anywhere in the reply, the rule of the paper; here only to compare with it.",
    "to step by step, to the other, to the teacher, to whole, to answer-whole": "the strict score (for "
    "searches the all-found rate or the recall) minus that arm's, on the questions both have, in points; step by "
    "step is the single-stage arm of the same solver.",
    "versus": "another arm, which differs in one thing; both scores are of the questions both have.",
    "failures": "replies without a parsable answer, questions without a reply, by the reason: all count as wrong. "
    '"No plan": the decomposer gave none that can be used, and the question was answered, or searched for, as '
    "it is.",
    "share of the teacher's strict score": "the arm's strict score divided by that of the arm with the teacher's "
    "subquestions, same solver and questions. Untuned is the student before it was taught.",
    "all found": "questions of which every supporting passage is among the passages returned.",
    "2 hops, 3 hops, …": "of the questions that need so many passages, those of which all are found.",
    "recall": "the share of a question's supporting passages among those returned, averaged over questions.",
    "share of the reference's": "the all-found rate divided by that of the dataset's own subquestions filled in "
    "the same way: *unfilled* puts the title of the best passage found for an earlier subquestion, or its words, "
    "in a reference's place (nothing before search version 2), *phrased* its words alone, *oracle* fills them with "
    "gold answers where the plan asks what a hop before the last asks, *sequential* with what the solver read in the "
    "passages found before, *candidates* with two answers where it names two. *.rrf* behind one of them: fused by "
    "reciprocal ranks, not in turns.",
    "rewrite, multiquery, ircot, agent": "no plan: the solver writes one query; three, fused by reciprocal ranks; one "
    "step of reasoning at a time over what was found; or it searches as a tool, at most four searches each, with the "
    "question's own.",
    "subquestions, read, read right": "for a question on average: subquestions of the plan, answers the solver "
    "read to fill references; and the share of those that equal the gold answer of the hop, where every one of "
    "a question's belongs to a hop.",
    "decompose in / out, solve in / out": 'tokens of a stage for a question on average, all its calls; "≥" where '
    "some calls reported none; a dash where plans were recorded, not made.",
    "decomposer $, solver $, total $": f"dollars for {PER:,} questions at the prices above; a local decomposer's "
    "is its solver's scaled down by size, as in the paper, where it is not given as nothing. A dash: the price, "
    "or what recorded plans cost to make, is unknown.",
    "total $, local free": "the same with the decomposer at nothing, as it runs on one's own machine.",
    "seconds": "a question keeps the models busy, on average: the wait for its calls, added up, divided by "
    "how many questions were asked at once. One that is asked alone takes longer than its share.",
    "threshold, divided, risk of the divided, solve out": "what a gate would make of two measured arms: where the "
    "decomposer's probability that nothing need be divided reaches the threshold, the step-by-step answer "
    "counts, else that of the arm named. No threshold stands above the gate that arm was measured with. A plan "
    "that came to nothing divides nothing. Risk: the share answered wrong. Solve out: the solver's tokens for a "
    "question.",
    "accuracy against total cost": "each arm whose total is known, over its own questions; the dashed "
    "line joins those that no other beats in both.",
    "accuracy by number of subquestions": "the arms that divide and have the most questions; counts that fewer "
    "than five questions have are left out. Questions with longer plans are harder ones, so the slope is no "
    "effect of dividing.",
    "risk against coverage": "the gate's table in full, every probability a threshold.",
}

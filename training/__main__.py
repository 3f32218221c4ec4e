"""python -m training COMMAND CONFIG [--limit N]"""

import argparse
import sys
from pathlib import Path
from pkgutil import resolve_name

from langchain_divconq.errors import DivConqError
from training.config import Config, load_toml
from training.pipeline import limited, run

HELP = {
    "load": "read the datasets, hold some examples out, drop what leaks from the evaluation sets",
    "demonstrate": "have a teacher divide the training questions, or take what the datasets record",
    "screen": "drop the demonstrations that do not lead a solver to the gold answer",
    "finetune": "train a LoRA adapter on the student (under `accelerate launch -m` on several GPUs)",
    "prefer": "teach the student the plans that find the evidence, where the config has a section [prefer]",
    "export": "write adapter, merged model and quantisations as GGUF, if they agree with what was trained",
    "evaluate": "measure the student's plans beside the untuned model's",
    "run": "all of these; what is complete is skipped",
    "show": "print ten questions of each evaluation source with the plans of both, and the reference",
    "publish": "write the evaluation, without any text, to training/results/",
    "ship": "make the adapter the library's default, with its card and manifest",
    "calibrate": "weigh what tells good plans from bad, for the library's confidence; writes it beside the adapter",
    "measure": "answer benchmark questions, or search for them, by the arms of a config in training/configs/measure/",
    "grade": "grade the plans of each --arm (small, medium, NAME=GGUF …) for the everyday questions; takes no config",
    "report": "write training/results/report.md and its plots from what was measured; takes no config",
}

_BESIDE = {
    "show": "training.measure.show:show",
    "publish": "training.measure.publish:publish",
    "ship": "training.gguf.export:publish_adapter",
    "calibrate": "training.gguf.calibrate:calibrate",
}
"""Commands beside the stages, each with the function that does it."""


def main(arguments: list[str] | None = None) -> int:
    """Run a command; return the exit code."""
    args = _parse(arguments)
    try:
        return _do(args)
    except KeyboardInterrupt:
        print("training: interrupted; the same command goes on from here", file=sys.stderr)
        return 130
    except ModuleNotFoundError as error:
        if args.debug or str(error.name).startswith("training"):
            raise
        print(f"training: {error}. The recipe's packages: pip install --group training", file=sys.stderr)
        return 2
    except (ValueError, OSError, RuntimeError, DivConqError) as error:
        if args.debug:
            raise
        name = "" if type(error) is ValueError else f"{type(error).__name__}: "
        print(f"training: {name}{error}", file=sys.stderr)
        return 2


def _do(args: argparse.Namespace) -> int:
    if args.command == "report":
        from training.measure.report.report import report

        return 0 if report(check=args.check) else 1
    if args.command == "grade":
        from training.measure.everyday import grade_decomposers

        grade_decomposers(args.arm, limit=args.limit)
        return 0
    if args.command == "measure":
        from training.measure.config import Measurement
        from training.measure.run import measure

        config = load_toml(args.config, Measurement)
        measure(config, limit=args.limit, arms=args.arm, retry_failed=args.retry_failed)
        return 0
    run_config = limited(load_toml(args.config, Config), args.limit)
    if args.command in _BESIDE:
        resolve_name(_BESIDE[args.command])(run_config)
    else:
        run(run_config, *(() if args.command == "run" else (args.command,)))
    return 0


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = _parser()
    args = parser.parse_args(arguments)
    without = args.command in ("report", "grade")
    if (args.config is None) != without:
        parser.error(f"{args.command} takes no CONFIG" if without else f"{args.command} needs a CONFIG")
    given = {"--arm": args.arm, "--retry-failed": args.retry_failed, "--check": args.check}
    taken = {"measure": {"--arm", "--retry-failed"}, "report": {"--check"}, "grade": {"--arm"}}
    if idle := [option for option, value in given.items() if value and option not in taken.get(args.command, set())]:
        parser.error(f"{args.command} takes no {idle[0]}")
    if args.limit is not None and args.limit < 1:
        parser.error(f"{args.limit} rows are no rows; name a number from 1 as --limit")
    return args


def _parser() -> argparse.ArgumentParser:
    width = max(map(len, HELP))
    parser = argparse.ArgumentParser(
        prog="python -m training",
        description="From demonstrations to a decomposer as GGUF, stage by stage.",
        epilog="commands:\n" + "\n".join(f"  {name:{width}}  {words}" for name, words in HELP.items()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("command", choices=[*HELP], metavar="COMMAND", help="see below")
    parser.add_argument("config", type=Path, nargs="?", metavar="CONFIG", help="a TOML file, as in training/configs/")
    parser.add_argument(
        "--limit",
        type=int,
        metavar="N",
        help="a quick try: N rows of each source, under a name of its own; measure, grade: an arm's first N questions",
    )
    measuring = parser.add_argument_group("measure, grade")
    measuring.add_argument("--arm", action="append", default=[], metavar="NAME", help="this arm alone; may be repeated")
    measuring.add_argument("--retry-failed", action="store_true", help="ask again where a model failed")
    parser.add_argument("--check", action="store_true", help="report: write nothing, say whether the report is right")
    parser.add_argument("--debug", action="store_true", help="show where an error comes from")
    return parser


if __name__ == "__main__":
    sys.exit(main())

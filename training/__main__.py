"""python -m training STAGE CONFIG [--limit N]"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from langchain_divconq.errors import DivConqError
from training.config import Config, load_config
from training.pipeline import limited, run

HELP = {
    "load": "read the datasets, hold some examples out, drop what leaks from the evaluation sets",
    "demonstrate": "have a teacher divide the training questions, or take what the datasets record",
    "screen": "drop the demonstrations that do not lead a solver to the gold answer",
    "finetune": "train a LoRA adapter on the student (under `accelerate launch -m` on several GPUs)",
    "export": "write adapter, merged model and quantisations as GGUF, if they agree with what was trained",
    "evaluate": "measure the student's plans beside the untuned model's",
    "run": "all of these; what is complete is skipped",
    "show": "print ten questions of each evaluation source with the plans of both, and the reference",
    "publish": "write the evaluation, without any text, to training/results/",
    "ship": "make the adapter the library's default, with its card and manifest",
}


def main(arguments: list[str] | None = None) -> int:
    """Run a command; return the exit code.

    Args:
        arguments: None: those of the process.
    """
    args = _parser().parse_args(arguments)
    try:
        _do(args.command, limited(load_config(args.config), args.limit))
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
    return 0


def _do(command: str, config: Config) -> None:
    if command == "show":
        from training.show import show

        show(config)
    elif command == "publish":
        from training.publish import publish

        publish(config)
    elif command == "ship":
        from training.export import publish_adapter

        publish_adapter(config)
    elif command == "run":
        run(config)
    else:
        run(config, command)


def _parser() -> argparse.ArgumentParser:
    width = max(map(len, HELP))
    parser = argparse.ArgumentParser(
        prog="python -m training",
        description="From demonstrations to a decomposer as GGUF, stage by stage.",
        epilog="commands:\n" + "\n".join(f"  {name:{width}}  {words}" for name, words in HELP.items()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("command", choices=[*HELP], metavar="COMMAND", help="see below")
    parser.add_argument("config", type=Path, metavar="CONFIG", help="a TOML file, as in training/configs/")
    parser.add_argument(
        "--limit", type=_positive, metavar="N", help="a quick try: N rows of each source, under a name of its own"
    )
    parser.add_argument("--debug", action="store_true", help="show where an error comes from")
    return parser


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{value} rows are no rows; name a number from 1")
    return value


if __name__ == "__main__":
    sys.exit(main())

"""The command line options of programs that call an endpoint."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from fusionchat import cli
from fusionchat.errors import UserError

if TYPE_CHECKING:
    from fusionchat.mt_bench.endpoint.endpoint import Endpoint


def add_endpoint_options(parser: argparse.ArgumentParser, model_option: str) -> None:
    """Add where the model is served, how fast it may be called and what that may cost."""
    group = parser.add_argument_group("endpoint", "an OpenAI-compatible server")
    group.add_argument(model_option, help="the model's name at the endpoint")
    group.add_argument("--base-url", help="e.g. http://127.0.0.1:8000/v1")
    group.add_argument(
        "--api-key-env",
        default="OPENAI_API_KEY",
        metavar="VARIABLE",
        help="environment variable that holds the key; never the key itself",
    )
    group.add_argument("--store", type=Path, help="folder of paid responses, replayed for free")
    group.add_argument("--concurrency", type=cli.positive_int, default=8, help="calls at once")
    group.add_argument("--requests-per-minute", type=float)
    group.add_argument(
        "--reasoning",
        action="store_true",
        help="the model thinks before it answers: room to think, and no temperature is sent",
    )
    group.add_argument("--timeout", type=float, default=300.0, help="seconds for a call")
    group.add_argument("--retries", type=int, default=8, help="after 429, 5xx, timeouts, ...")
    group.add_argument(
        "--first-wait", type=float, default=1.0, help="seconds before the first retry; doubles"
    )
    group.add_argument("--input-price", type=float, default=0.0, help="dollars a million tokens")
    group.add_argument("--output-price", type=float, default=0.0, help="dollars a million tokens")
    group.add_argument("--budget-usd", type=float, help="stop before the store exceeds this")
    group.add_argument("--max-calls", type=cli.positive_int, help="stop at so many calls")


def open_endpoint(args: argparse.Namespace, model_option: str) -> "Endpoint":
    """The endpoint that the options describe, in front of its store."""
    from fusionchat.mt_bench.endpoint.endpoint import Endpoint, EndpointOptions
    from fusionchat.mt_bench.endpoint.limits import Budget
    from fusionchat.mt_bench.endpoint.store import ResponseStore

    model = getattr(args, model_option.removeprefix("--").replace("-", "_"))
    needed = {"--base-url": args.base_url, "--store": args.store, model_option: model}
    for option, value in needed.items():
        if not value:
            raise UserError(f"{option}: is needed to call an endpoint")
    budget = Budget(args.input_price, args.output_price, args.budget_usd, args.max_calls)
    if budget.max_usd is not None and not (budget.input_price or budget.output_price):
        raise UserError("--budget-usd: needs --input-price and --output-price to count dollars")
    options = EndpointOptions(
        base_url=args.base_url,
        model=model,
        api_key_env=args.api_key_env,
        timeout=args.timeout,
        retries=args.retries,
        first_wait=args.first_wait,
        requests_per_minute=args.requests_per_minute,
        reasoning=args.reasoning,
        budget=budget,
    )
    return Endpoint(options, ResponseStore(args.store))

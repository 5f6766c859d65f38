"""The command line options of programs that call an endpoint."""

import argparse
import json
from dataclasses import fields
from pathlib import Path
from typing import Any

from fusionchat import cli
from fusionchat.errors import UserError
from fusionchat.mt_bench.endpoint.endpoint import Endpoint
from fusionchat.mt_bench.endpoint.limits import FIRST_WAIT, Budget
from fusionchat.mt_bench.endpoint.settings import SYSTEM_ROLES, EndpointOptions
from fusionchat.mt_bench.endpoint.store import ResponseStore

# All that only a call to an endpoint heeds, and what is spelt otherwise on the command line.
ENDPOINT_ONLY = (
    *("store", "concurrency", *(field.name for field in fields(Budget))),
    *(f.name for f in fields(EndpointOptions) if f.name not in ("model", "budget")),
)
ENDPOINT_SPELT = {"max_usd": "--budget-usd"}


def add_endpoint_options(parser: argparse.ArgumentParser, model_option: str, dest: str) -> None:
    """Add where the model is served, how fast it may be called and what that may cost."""
    group = parser.add_argument_group("endpoint", "an OpenAI-compatible server")
    add = group.add_argument
    add(model_option, dest=dest, help="the model's name at the endpoint")
    add("--base-url", help="e.g. http://127.0.0.1:8000/v1")
    add(
        "--api-key-env",
        default="OPENAI_API_KEY",
        metavar="VARIABLE",
        help="environment variable that holds the key; never the key itself",
    )
    add("--store", type=Path, help="folder of paid responses, replayed for free")
    add("--concurrency", type=cli.positive_int, default=8, help="calls at once")
    add("--requests-per-minute", type=cli.positive_number)
    add("--timeout", type=cli.positive_number, default=300.0, help="seconds for a whole call")
    add("--retries", type=cli.count, default=8, help="after 429, 5xx, timeouts, ...")
    add(
        "--first-wait",
        type=cli.number_from(0),
        default=FIRST_WAIT,
        help="seconds before the first retry; doubles",
    )
    add(
        "--retry-refused",
        action="store_true",
        help="ask again for what the endpoint declined in an earlier run",
    )
    _add_request_options(parser)
    _add_prices(parser)


def _add_request_options(parser: argparse.ArgumentParser) -> None:
    """Add what is sent with every request."""
    add = parser.add_argument_group("request", "what is sent with every request").add_argument
    add(
        "--reasoning",
        action=argparse.BooleanOptionalAction,
        default=False,
        help="the model thinks before it answers: room to think, and no temperature is sent",
    )
    add("--reasoning-effort", metavar="LEVEL", help="e.g. low, medium, high")
    add(
        "--max-completion-tokens",
        type=cli.positive_int,
        metavar="N",
        help="tokens of thoughts and reply together, instead of max_tokens",
    )
    add("--service-tier", metavar="NAME", help="e.g. flex")
    add(
        "--system-role",
        choices=SYSTEM_ROLES,
        default="system",
        help="where the system's text goes; user: before the first turn, for models without that "
        "role (which is also done where the server says that it has none)",
    )
    add("--chat-template-kwargs", type=json_object, default={}, metavar="JSON")
    add("--extra-body", type=json_object, default={}, metavar="JSON", help="further parameters")
    add(
        "--headers",
        type=json_texts,
        default={},
        metavar="JSON",
        help="further headers; $VARIABLE as a value is read from the environment",
    )
    add("--api-version", metavar="DATE", help="sent as api-version, as Azure wants it")


def _add_prices(parser: argparse.ArgumentParser) -> None:
    """Add prices and limits."""
    add = parser.add_argument_group("budget", "of all calls in the store").add_argument
    price = cli.number_from(0)
    add("--input-price", type=price, default=0.0, help="dollars a million tokens")
    add("--output-price", type=price, default=0.0, help="dollars a million tokens")
    add(
        "--budget-usd",
        dest="max_usd",
        type=cli.positive_number,
        help="stop where the store would exceed this",
    )
    add("--max-calls", type=cli.positive_int, help="stop at so many calls")
    add(
        "--tokenizer",
        type=cli.existing_path,
        help="tokenizer.json or its folder, to count tokens where the server does not; else they "
        "are estimated",
    )


def json_object(text: str) -> dict[str, Any]:
    """An argparse type: a JSON object."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise argparse.ArgumentTypeError(f"{text!r} is not a JSON object, such as {{}}")
    return value


def json_texts(text: str) -> dict[str, str]:
    """An argparse type: a JSON object of texts."""
    value = json_object(text)
    if not all(isinstance(item, str) for item in value.values()):
        raise argparse.ArgumentTypeError("the values of the JSON object are not all texts")
    return value


def open_endpoint(options: EndpointOptions, store: Path | None, model_option: str) -> Endpoint:
    """The endpoint that the options describe, in front of its store."""
    needed = {"--base-url": options.base_url, "--store": store, model_option: options.model}
    for option, value in needed.items():
        if not value:
            raise UserError(f"{option}: is needed to call an endpoint")
    budget = options.budget
    if budget.max_usd is not None and not (budget.input_price or budget.output_price):
        raise UserError("--budget-usd: needs --input-price and --output-price to count dollars")
    assert store
    return Endpoint(options, ResponseStore(store))

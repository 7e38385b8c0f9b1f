"""The command line of the master."""

import argparse
import sys
from pathlib import Path

from master import settings
from master.settings import SettingsError


def parser() -> argparse.ArgumentParser:
    root = argparse.ArgumentParser("python -m master", description="The master of the failover workers.")
    commands = root.add_subparsers(required=True, dest="command", metavar="COMMAND")

    serve = commands.add_parser(
        "serve",
        help="run the master",
        description="Runs the master. Secrets are never arguments: see MASTER_TOKEN.",
    )
    settings.add_arguments(serve)

    status = commands.add_parser("status", help="show the cluster as a table")
    status.add_argument("--json", action="store_true", help="print what GET /json says")
    status.add_argument("--watch", action="store_true", help="go on until Ctrl-C")

    restore = commands.add_parser("restore", help="have the address of a node given back")
    restore.add_argument("node", metavar="N", type=int)

    conformance = commands.add_parser(
        "conformance",
        help="check that a running master speaks the worker's protocol, by playing three workers",
    )
    conformance.add_argument(
        "--nodes", metavar="A,B,C", help="numbers of nodes that nobody uses (default: found out)"
    )
    conformance.add_argument(
        "--limit",
        type=float,
        default=15.0,
        metavar="S",
        help="an order is waited for S seconds (default: 15)",
    )

    for command in (status, restore):
        command.add_argument(
            "url", metavar="URL", nargs="?", help="the master (default: the first of MASTER_URL)"
        )
    conformance.add_argument("url", metavar="URL", help="the master, such as http://localhost:5000")
    for command in (status, restore, conformance):
        command.add_argument("--env-file", type=Path, default=settings.default_env_file(), metavar="FILE")
    return root


def main(arguments: list[str] | None = None) -> int:
    chosen = parser().parse_args(arguments)
    try:
        return _run(chosen)
    except SettingsError as exc:
        print(exc, file=sys.stderr)
        return exc.exit_code
    except KeyboardInterrupt:
        return 130


def _run(chosen: argparse.Namespace) -> int:
    """Each command imports what it alone needs."""
    match chosen.command:
        case "serve":
            from master.service import serve

            return serve(settings.load(chosen))
        case "conformance":
            from master.conformance import conformance

            return conformance(chosen)
        case command:
            from master import status

            return status.status(chosen) if command == "status" else status.restore(chosen)

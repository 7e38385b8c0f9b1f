"""`python -m master`: the command line."""

import argparse
import sys
from pathlib import Path
from shlex import quote

EXIT_CONFIG = 78  # EX_CONFIG of sysexits.h


def parser() -> argparse.ArgumentParser:
    from master import settings

    root = argparse.ArgumentParser("python -m master", description="The master of the failover workers.")
    commands = root.add_subparsers(required=True, dest="command", metavar="COMMAND")

    about = "Runs the master. Secrets are never arguments: see MASTER_TOKEN."
    serve = commands.add_parser("serve", help="run the master", description=about)
    settings.add_arguments(serve)

    status = commands.add_parser("status", help="show the cluster as a table")
    status.add_argument("--json", action="store_true", help="print what GET /json says")
    status.add_argument("--watch", action="store_true", help="go on until Ctrl-C")

    restore = commands.add_parser("restore", help="have the address of a node given back")
    restore.add_argument("node", metavar="N", type=int)

    about = "check that a running master speaks the worker's protocol, by playing three workers"
    conformance = commands.add_parser("conformance", help=about)
    about = "numbers of nodes that nobody uses (default: found out)"
    conformance.add_argument("--nodes", metavar="A,B,C", help=about)
    about = "an order is waited for S seconds (default: 15)"
    conformance.add_argument("--limit", type=float, default=15.0, metavar="S", help=about)

    about = "the master (default: the first of MASTER_URL)"
    for command in (status, restore):
        command.add_argument("url", metavar="URL", nargs="?", help=about)
    conformance.add_argument("url", metavar="URL", help="the master, such as http://localhost:5000")
    for command in (status, restore, conformance):
        command.add_argument("--env-file", type=Path, default=settings.default_env_file(), metavar="FILE")
    return root


def _run(chosen: argparse.Namespace) -> int:
    """Each command imports what it alone needs."""
    match chosen.command:
        case "serve":
            from master import server, settings

            return server.serve(settings.load(chosen))
        case "conformance":
            from master.conformance import conformance

            return conformance(chosen)
        case command:
            from master import status

            return status.status(chosen) if command == "status" else status.restore(chosen)


def main() -> int:
    try:
        from master.settings import CommandError

        try:
            return _run(parser().parse_args())
        except CommandError as exc:
            print(exc, file=sys.stderr)
            return exc.exit_code
    except KeyboardInterrupt:
        return 130
    except ModuleNotFoundError as exc:
        if (exc.name or "").partition(".")[0] == "master":
            raise  # not a library: a part of the master itself is missing
        requirements = Path(__file__).absolute().parents[1] / "requirements-master.txt"
        command = f"{quote(sys.executable)} -m pip install -r {quote(str(requirements))}"
        print(f"the library {exc.name} is not installed; install it with: {command}", file=sys.stderr)
        return EXIT_CONFIG


if __name__ == "__main__":
    sys.exit(main())

"""The environment and `.env`, checked: one frozen Config, or every fault at once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from stat import S_ISDIR
from typing import Any, NamedTuple
from urllib.parse import unquote

from settings import files
from settings.files import exposed_secret, exposed_to_writers, owner_of
from settings.schema import REQUIRED, VARIABLES, Config, Variable, describe
from settings.types import Fault, InvalidValue, printable, quoted, secret

__all__ = ["Config", "ConfigError", "describe", "load"]

HERE = Path(__file__).absolute().parent
"""The folder of client.py."""
_ENV_FILE = Variable("--env-file", files.env_file, "", "")
_DEFAULT = "(default)"
_READ = ("PASSWORD_FILE", "MASTER_TOKEN_FILE", "NETWORK_CONFIG", "MASTER_CA_FILE")
"""Variables whose files are read."""
_FAULTS_SHOWN = 10  # of one variable
_MISSPELLED = 0.8
"""How similar a name must be to one of ours (difflib's ratio) to be taken for it."""


class ConfigError(Exception):
    """The settings are wrong. `faults` has a line for each, without any secret."""

    def __init__(self, faults: Sequence[str]) -> None:
        super().__init__("\n".join(faults))
        self.faults = tuple(faults)


class _Setting(NamedTuple):
    """Where a value comes from, how a fault names that, and its text, "" if there is none."""

    variable: Variable
    label: str
    text: str

    @property
    def is_default(self) -> bool:
        return self.label.endswith(_DEFAULT)


def load(environ: Mapping[str, str], env_file: Path | None = None, account: int | None = None) -> Config:
    """The settings of `environ`, else of `env_file`, else the defaults. NAME wins over NAME_FILE of the same place.

    `env_file` None: `.env` in the folder of client.py, which may be absent. `account` is the user id for which file
    modes are judged, None: the owner of LOG_DIR. A missing LOG_DIR is created. Raises ConfigError with every fault.
    """
    report = _Report()
    path = env_file or HERE / ".env"
    lines: Mapping[str, files.EnvLine] | None = {}
    if env_file or not _is_absent(path):
        label = _ENV_FILE.name if env_file else f"{_ENV_FILE.name} {_DEFAULT}"
        lines = report.parse(_Setting(_ENV_FILE, label, str(path)))

    settings: dict[str, _Setting] = {}
    found: dict[str, Any] = {}
    for attribute, variables in groupby(VARIABLES, lambda variable: variable.attribute):
        setting = settings[attribute] = _find(list(variables), environ, lines or {}, path)
        found[attribute] = report.parse(setting) if setting.text else None
        if not setting.text and setting.variable.default == REQUIRED and lines is not None:
            report.add(setting, Fault())  # else it may be in the file that was not read
    lines = lines or {}
    for name in (variable.name for variable in VARIABLES if variable.type is secret):
        report.secrets |= {environ.get(name, ""), lines[name].text if name in lines else ""}
    report.secrets |= {found["password"] or "", found["master_token"] or ""}
    _check_together(settings, found, report)
    if report.faults:
        raise ConfigError(report.lines())

    read = [(_ENV_FILE.name, str(path))] if lines else []
    read += [
        (one.variable.name, one.text) for one in settings.values() if one.variable.name in _READ and one.text
    ]
    paths = tuple((name, files.absolute(text)) for name, text in read)
    config = Config(**found, paths=paths, proxy_passwords=tuple(_proxy_passwords(environ)))
    account = owner_of(config.log_dir) if account is None else account
    warnings = [*_misspelled(path, lines, report), *_exposed(config, settings, account)]
    return replace(config, warnings=tuple(warnings))


def _is_absent(path: Path) -> bool:
    """Whether there is no such file, or a folder: a virtual environment, likely. Why one cannot be looked at is said
    when it is read.
    """
    try:
        return S_ISDIR(path.stat().st_mode)
    except FileNotFoundError:
        return True
    except OSError:
        return False


class _Report:
    """Collects faults, and words them once every secret is known: one may be in the wrong variable."""

    def __init__(self) -> None:
        self.secrets: set[str] = set()
        self.faults: list[tuple[_Setting, str, Fault]] = []

    def parse(self, setting: _Setting) -> Any:
        """The value; None: it is faulty."""
        try:
            return setting.variable.type.parse(setting.text)
        except InvalidValue as invalid:
            self.add(setting, *invalid.faults)
        return None

    def add(self, setting: _Setting, *faults: Fault, expected: str = "") -> None:
        """Note faults of a setting; `expected` "": what its type describes."""
        left_out = len(faults) - _FAULTS_SHOWN
        if left_out > 0:  # a file of something else altogether
            faults = (*faults[:_FAULTS_SHOWN], Fault(f"it has {left_out} more faults"))
        self.faults += [(setting, expected or setting.variable.type.expected, fault) for fault in faults]

    def lines(self) -> list[str]:
        return [printable(self._line(*fault)) for fault in self.faults]

    def is_secret(self, text: str) -> bool:
        return any(secret and secret in text for secret in self.secrets)

    def _line(self, setting: _Setting, expected: str, fault: Fault) -> str:
        text = setting.text
        label = setting.label + (f", {fault.where}" if fault.where else "")
        if not text:
            return f"{label}: not set; expected {expected}"
        piece = text if fault.piece is None else fault.piece
        hidden = setting.variable.type.hides(text) or self.is_secret(text) or self.is_secret(piece)
        reason = f": {fault.reason}" if fault.reason else ""
        return f"{label}: invalid value {'(not shown)' if hidden else quoted(piece)}{reason}; expected {expected}"


def _find(
    variables: Sequence[Variable], environ: Mapping[str, str], lines: Mapping[str, files.EnvLine], path: Path
) -> _Setting:
    """The first of an attribute's variables that the environment sets, else the file, else the default."""
    first = variables[0]
    places = [_Setting(variable, variable.name, environ.get(variable.name, "")) for variable in variables]
    for variable in variables:
        if variable.name in lines:
            text, number = lines[variable.name]
            places.append(_Setting(variable, f"{variable.name} (line {number} of {quoted(str(path))})", text))
    default = str(HERE / first.default) if first.default.startswith("./") else first.default_value
    places.append(_Setting(first, f"{first.name} {_DEFAULT}", default))
    for setting in places:
        # Windows' `set NAME=value && …` leaves a blank at the end; in a secret it may be meant
        text = setting.text if setting.variable.type is secret else setting.text.strip(" \t\r\n")
        if text:
            return setting._replace(text=text)
    return _Setting(first, first.name, "")


def _check_together(settings: Mapping[str, _Setting], found: dict[str, Any], report: _Report) -> None:
    """What only several settings show; one that is None is absent, or has a fault of its own."""
    node, neighbors = found["node_id"], found["neighbors"]
    if node is not None and neighbors is not None and node not in neighbors:
        some = ", ".join(map(str, list(neighbors)[:20])) + (" and more" if len(neighbors) > 20 else "")
        report.add(settings["node_id"], Fault(f"NETWORK_CONFIG lists {some}"), expected="one of those")
    elif node is not None and node > 254 and found["vip_backend"] == "simulated":
        fault = Fault("its simulated address would be 10.9.0.NODE_ID, which ends at 254")
        report.add(settings["node_id"], fault)

    first, longest = found["reconnect_delay_s"], found["reconnect_delay_max_s"]
    if first is not None and longest is not None and first > longest:
        # a default gives way
        if settings["reconnect_delay_s"].is_default:
            found["reconnect_delay_s"] = longest
        elif settings["reconnect_delay_max_s"].is_default:
            found["reconnect_delay_max_s"] = first
        else:
            expected = f"at most RECONNECT_DELAY_MAX, {longest:g}"
            report.add(settings["reconnect_delay_s"], Fault(), expected=expected)

    if found["conflict_probe_s"] == 0:
        found["conflict_wait_s"] = 0.0


def _proxy_passwords(environ: Mapping[str, str]) -> Iterator[str]:
    """As the URLs of the proxy variables spell them, and as they are; they may contain `/`, `#` or `?`."""
    for name, url in environ.items():
        if name.lower() in ("http_proxy", "https_proxy", "all_proxy", "ws_proxy", "wss_proxy"):
            password = url.rpartition("@")[0].partition("://")[2].partition(":")[2]
            yield from {text for text in (password, unquote(password)) if text}


def _misspelled(path: Path, lines: Mapping[str, files.EnvLine], report: _Report) -> Iterator[str]:
    names = [variable.name for variable in VARIABLES]
    for name in (name for name in lines if name not in names):
        from difflib import get_close_matches  # its memory is better spent where there is such a name

        similar = get_close_matches(name.upper(), names, 1, _MISSPELLED)
        if similar:
            shown = "a name that is not shown" if report.is_secret(name) else quoted(name)
            yield (
                f"{quoted(str(path))}, line {lines[name].number}: {shown} is not a setting of this worker;"
                f" {similar[0]} was probably meant"
            )


def _exposed(config: Config, settings: Mapping[str, _Setting], account: int) -> Iterator[str]:
    """Secrets that other users can read, and what they can write though the worker trusts it."""
    paths = dict(config.paths)
    for name in ("PASSWORD_FILE", "MASTER_TOKEN_FILE"):
        if name in paths:
            yield from exposed_secret(paths[name], name, account)
    secrets = (settings["password"], settings["master_token"])
    here = [one.variable.name for one in secrets if one.variable.type is secret and "(line " in one.label]
    if here:
        yield from exposed_secret(paths[_ENV_FILE.name], f"the file with {' and '.join(here)}", account)
    if config.notify_command:
        yield from exposed_to_writers(config.notify_command, "NOTIFY_COMMAND", account)
        yield from exposed_to_writers(config.notify_command.parent, "the folder of NOTIFY_COMMAND", account)
    yield from exposed_to_writers(config.log_dir, "LOG_DIR", account)

"""The environment and `.env`, checked: one frozen Config, or every fault at once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote

from settings import files, permissions
from settings.schema import REQUIRED, VARIABLES, Config, Variable, describe
from settings.types import Fault, InvalidValue, printable, quoted

__all__ = ["Config", "ConfigError", "describe", "load"]

HERE = Path(__file__).absolute().parent
"""The folder of client.py."""
_DEFAULT = "(default)"
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


def load(environ: Mapping[str, str], env_file: Path | None = None, account: int | None = None) -> Config:
    """The settings of `environ`, else of `env_file`, else the defaults. NAME wins over NAME_FILE of the same place.

    `env_file` None: `.env` in the folder of client.py, which may be absent. `account` is the user id for which file
    modes are judged, None: the owner of LOG_DIR. A missing LOG_DIR is created. Raises ConfigError with every fault.
    """
    report = _Report()
    path = env_file or HERE / ".env"
    lines: Mapping[str, files.EnvLine] = {}
    has_lines = True
    try:
        lines = files.read_env_file(path, may_be_absent=env_file is None)
    except InvalidValue as invalid:
        has_lines = False
        label = "--env-file" if env_file else f"--env-file {_DEFAULT}"
        report.add(label, str(path), files.ENV_FILE_EXPECTED, invalid.faults)

    settings: dict[str, _Setting] = {}
    found: dict[str, Any] = {}
    for attribute, variables in groupby(VARIABLES, lambda variable: variable.attribute):
        setting = settings[attribute] = _find(list(variables), environ, lines, path)
        found[attribute] = None
        if setting.text:
            try:
                found[attribute] = setting.variable.type.parse(setting.text)
            except InvalidValue as invalid:
                report.add(setting.label, setting.text, setting.variable.type.expected, invalid.faults)
        elif (
            setting.variable.default == REQUIRED and has_lines
        ):  # else it may be in the file that was not read
            report.add(setting.label, "", setting.variable.type.expected, [Fault()])
    for name in (variable.name for variable in VARIABLES if variable.type.is_secret):
        report.secrets |= {environ.get(name, ""), lines[name].text if name in lines else ""}
    report.secrets |= {found["password"] or "", found["master_token"] or ""}
    _check_together(settings, found, report)
    faults = report.lines()
    if faults:
        raise ConfigError(faults)
    config = Config(**found, proxy_passwords=tuple(_proxy_passwords(environ)))
    account = permissions.owner_of(config.log_dir) if account is None else account
    warnings = [*_misspelled(path, lines, report), *_exposed(config, settings, path, account)]
    return replace(config, warnings=tuple(warnings), paths=tuple(_paths(settings, path if lines else None)))


class _Report:
    """Collects faults, and words them once every secret is known: one may be in the wrong variable."""

    def __init__(self) -> None:
        self.secrets: set[str] = set()
        self._faults: list[tuple[str, str, str, Fault]] = []

    def add(self, label: str, text: str, expected: str, faults: Sequence[Fault]) -> None:
        self._faults += [(label, text, expected, fault) for fault in faults[:_FAULTS_SHOWN]]
        left_out = len(faults) - _FAULTS_SHOWN
        if left_out > 0:  # a file of something else altogether
            more = Fault(f"it has {left_out} more faults", hidden=any(fault.hidden for fault in faults))
            self._faults.append((label, text, expected, more))

    def lines(self) -> list[str]:
        return [printable(self._line(*fault)) for fault in self._faults]

    def is_secret(self, text: str) -> bool:
        return any(secret and secret in text for secret in self.secrets)

    def _line(self, label: str, text: str, expected: str, fault: Fault) -> str:
        where = f", {fault.where}" if fault.where else ""
        if not text:
            return f"{label}{where}: not set; expected {expected}"
        piece = text if fault.piece is None else fault.piece
        value = (
            "(not shown)" if fault.hidden or self.is_secret(text) or self.is_secret(piece) else quoted(piece)
        )
        reason = f": {fault.reason}" if fault.reason else ""
        return f"{label}{where}: invalid value {value}{reason}; expected {expected}"


def _find(
    variables: Sequence[Variable], environ: Mapping[str, str], lines: Mapping[str, files.EnvLine], path: Path
) -> _Setting:
    """The first of an attribute's variables that the environment sets, else the file, else the default."""
    first = variables[0]
    places = [_Setting(variable, variable.name, environ.get(variable.name, "")) for variable in variables]
    for variable in variables:
        if variable.name in lines:
            line = lines[variable.name]
            label = f"{variable.name} (line {line.number} of {quoted(str(path))})"
            places.append(_Setting(variable, label, line.text))
    default = str(HERE / first.default) if first.default.startswith("./") else first.default_value
    places.append(_Setting(first, f"{first.name} {_DEFAULT}", default))
    for setting in places:
        # Windows' `set NAME=value && …` leaves a blank at the end; in a secret it may be meant
        text = setting.text if setting.variable.type.is_secret else setting.text.strip(" \t\r\n")
        if text:
            return setting._replace(text=text)
    return _Setting(first, first.name, "")


def _check_together(settings: Mapping[str, _Setting], found: dict[str, Any], report: _Report) -> None:
    """What only several settings show; one that is None is absent, or has a fault of its own."""
    node, neighbors = found["node_id"], found["neighbors"]
    reason, expected = "", files.node_number().expected
    if node is not None and neighbors is not None and node not in neighbors:
        some = ", ".join(map(str, list(neighbors)[:20]))
        reason = f"NETWORK_CONFIG lists {some}{' and more' if len(neighbors) > 20 else ''}"
        expected = "one of those"
    elif node is not None and node > 254 and found["vip_backend"] == "simulated":
        reason = "its simulated address would be 10.9.0.NODE_ID, which ends at 254"
    if reason:
        report.add(*settings["node_id"][1:], expected, [Fault(reason)])

    delay, delay_max = found["reconnect_delay_s"], found["reconnect_delay_max_s"]
    if delay is not None and delay_max is not None and delay > delay_max:
        # a default gives way
        if settings["reconnect_delay_s"].label.endswith(_DEFAULT):
            found["reconnect_delay_s"] = delay_max
        elif settings["reconnect_delay_max_s"].label.endswith(_DEFAULT):
            found["reconnect_delay_max_s"] = delay
        else:
            expected = f"at most RECONNECT_DELAY_MAX, {delay_max:g}"
            report.add(*settings["reconnect_delay_s"][1:], expected, [Fault()])

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
    for name, line in lines.items():
        if name in names:
            continue
        from difflib import get_close_matches  # its memory is better spent where there is such a name

        similar = get_close_matches(name.upper(), names, 1, _MISSPELLED)
        if similar:
            shown = "a name that is not shown" if report.is_secret(name) else quoted(name)
            yield (
                f"{quoted(str(path))}, line {line.number}: {shown} is not a setting of this worker;"
                f" {similar[0]} was probably meant"
            )


def _paths(settings: Mapping[str, _Setting], env_file: Path | None) -> Iterator[tuple[str, Path]]:
    """The files that the settings were read from."""
    if env_file:
        yield "--env-file", env_file.absolute()
    for attribute in ("password", "master_token", "neighbors", "master_ca_file"):
        setting = settings[attribute]
        if setting.text and not setting.variable.type.is_secret:
            yield setting.variable.name, Path(setting.text).expanduser().absolute()


def _exposed(config: Config, settings: Mapping[str, _Setting], path: Path, account: int) -> Iterator[str]:
    """Secrets that other users can read, and what they can write though the worker trusts it."""
    secrets = [settings[attribute] for attribute in ("password", "master_token") if settings[attribute].text]
    here = [setting.variable.name for setting in secrets if "(line " in setting.label]
    for setting in secrets:
        if not setting.variable.type.is_secret:  # a file of its own
            file = Path(setting.text).expanduser()
            yield from permissions.exposed_secret(file, setting.variable.name, account)
    if any(not name.endswith("_FILE") for name in here):
        yield from permissions.exposed_secret(path, f"the file with {' and '.join(here)},", account)
    if config.notify_command:
        yield from permissions.exposed_program(config.notify_command, "NOTIFY_COMMAND", account)
    yield from permissions.exposed_folder(config.log_dir, "LOG_DIR", account)

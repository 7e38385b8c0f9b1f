"""The environment and `.env`, checked: one frozen Config, or every fault at once."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any, NamedTuple, Optional

from settings import files
from settings.schema import NODE_MAY_HOLD, VARIABLES, Variable, describe
from settings.types import Fault, UnfitError, printable, shown

__all__ = ["Config", "ConfigError", "describe", "load"]

HERE = Path(__file__).absolute().parent
"""The folder of client.py."""
_DEFAULTED = "(not set, so its default)"
_FAULTS_SHOWN = 10  # of one variable
_LAST = 9
_MISSPELT = 0.8
"""How alike a name must be to one of ours (difflib's ratio) to be taken for it."""


class ConfigError(Exception):
    """The settings are wrong. `faults` has a line for each, without any secret."""

    def __init__(self, faults: Sequence[str]) -> None:
        super().__init__("\n".join(faults))
        self.faults = tuple(faults)


@dataclass(frozen=True)
class Config:
    """What the worker runs by. Names that end in `_s` are seconds.

    `neighbors` is the whole of NETWORK_CONFIG: each node with its neighbours. `masters` has URLs without a
    trailing slash. None means: no `password`, no `master_token`; for `master_ca_file` the system's CAs; for
    `interface` the one whose subnet holds the address; for `allowed_networks` the interface's own subnets; for
    `metrics_file` no metrics. `conflict_wait_s` is 0 where nobody is asked, since nobody can then be waited for.
    `log_dir` exists. `warnings` are lines for the log.
    """

    node_id: int
    password: Optional[str] = field(repr=False)
    masters: tuple[str, ...]
    master_token: Optional[str] = field(repr=False)
    master_ca_file: Optional[Path]
    interface: Optional[str]
    neighbors: Mapping[int, tuple[int, ...]]
    allowed_networks: Optional[tuple[IPv4Network, ...]]
    vip_backend: str
    address_lease_s: int
    master_loss_release_s: float
    join_interval_s: float
    conflict_probe_s: float
    conflict_wait_s: float
    ping_interval_s: float
    ping_timeout_s: float
    ping_max_missed: int
    reconnect_delay_s: float
    reconnect_delay_max_s: float
    log_dir: Path
    log_level: str
    log_max_bytes: int
    log_backup_count: int
    log_console: bool
    metrics_file: Optional[Path]
    warnings: tuple[str, ...]

    @property
    def secrets(self) -> tuple[str, ...]:
        """What no log and no error may show."""
        return tuple(secret for secret in (self.password, self.master_token) if secret is not None)


def load(environ: Mapping[str, str], env_file: Optional[Path] = None) -> Config:
    """The settings of `environ`, else of `env_file`, else the defaults. A secret comes from `environ`, where the
    variable comes before its file's name, else from a credential of the service manager, else from `env_file`.

    `env_file` None: `.env` in the folder of client.py, which may be absent. A LOG_DIR that is missing is made.
    Raises ConfigError with every fault.
    """
    report = _Report()
    path = env_file or HERE / ".env"
    lines: Mapping[str, files.EnvLine] = {}
    env_file_fits = True
    try:
        lines = files.read_env_file(path, may_be_absent=env_file is None)
    except UnfitError as unfit:
        env_file_fits = False
        said = "--env-file" if env_file else f"--env-file {_DEFAULTED}"
        report.add(said, str(path), files.ENV_FILE_MAY_HOLD, *unfit.faults)

    settings = {variable.name: _find(variable, environ, lines, path, report) for variable in VARIABLES}
    found: dict[str, Any] = {variable.attribute: None for variable in VARIABLES}
    ranks: dict[str, int] = {}
    for variable in VARIABLES:
        setting = settings[variable.name]
        if variable.kind.secret:
            report.secrets.add(environ.get(variable.name, ""))
            report.secrets.update(line.text for name, line in lines.items() if name == variable.name)
        if not setting.text:
            if variable.required and env_file_fits:  # else it may stand in the file that could not be read
                report.add(setting.said, "", variable.kind.may_hold, Fault())
            continue
        try:
            value = variable.kind.parse(setting.text)
        except UnfitError as unfit:
            report.add(setting.said, setting.text, variable.kind.may_hold, *unfit.faults)
            continue
        if setting.rank < ranks.get(variable.attribute, _LAST):
            found[variable.attribute], ranks[variable.attribute] = value, setting.rank
    report.secrets.update(found[attribute] or "" for attribute in ("password", "master_token"))
    _check_together(settings, found, report)
    faults = report.lines()
    if faults:
        raise ConfigError(faults)
    return Config(**found, warnings=_env_file_warnings(path, lines, report))


class _Setting(NamedTuple):
    """How a fault names a variable, and the variable's text, "" where it has none. Where several variables fill one
    attribute, the lowest `rank` does: it grows from place to place where a text is looked for.
    """

    said: str
    text: str
    rank: int = _LAST


class _Report:
    """Collects faults, and words them once every secret is known: one may stand in the wrong variable."""

    def __init__(self) -> None:
        self.secrets: set[str] = set()
        self._faults: list[tuple[str, str, str, Fault]] = []

    def add(self, said: str, held: str, may_hold: str, *faults: Fault) -> None:
        self._faults += [(said, held, may_hold, fault) for fault in faults[:_FAULTS_SHOWN]]
        left_out = len(faults) - _FAULTS_SHOWN
        if left_out > 0:  # a file of something else altogether
            hidden = any(fault.hidden for fault in faults)
            self._faults.append(
                (said, held, may_hold, Fault(f"it has {left_out} faults more", hidden=hidden))
            )

    def lines(self) -> list[str]:
        return [printable(self._line(*fault)) for fault in self._faults]

    def quote(self, text: str, *, hidden: bool = False) -> str:
        if hidden or any(secret and secret in text for secret in self.secrets):
            return "a value that is not shown"
        return shown(text)

    def _line(self, said: str, held: str, may_hold: str, fault: Fault) -> str:
        piece = held if fault.piece is None else fault.piece
        hidden = fault.hidden or any(secret and secret in held for secret in self.secrets)
        what = f"holds {self.quote(piece, hidden=hidden)}" if held else "is not set"
        where = f", {fault.where}," if fault.where else ""
        reason = f": {fault.reason}" if fault.reason else ""
        return f"{said}{where} {what}{reason}; it may hold {may_hold}"


def _find(
    variable: Variable,
    environ: Mapping[str, str],
    lines: Mapping[str, files.EnvLine],
    path: Path,
    report: _Report,
) -> _Setting:
    """What a variable holds: the environment's text, else a credential's, else the file's, else the default's."""
    name = variable.name
    places = [(environ.get(name, ""), name), _credential(variable, environ, report)]
    line = lines.get(name)
    places.append((line.text, f"{name} (line {line.number} of {shown(str(path))})") if line else ("", ""))
    default = variable.default if variable.beside is None else str(HERE / variable.beside)
    places.append((default, f"{name} {_DEFAULTED}"))
    for rank, (text, said) in enumerate(places):
        # Windows' `set NAME=value && …` leaves a blank at the end; in a secret it may be meant.
        kept = text if variable.kind.secret else text.strip(" \t\r\n")
        if kept:
            return _Setting(said, kept, rank)
    return _Setting(name, "")


def _credential(variable: Variable, environ: Mapping[str, str], report: _Report) -> tuple[str, str]:
    """The text of the credential of that name, and how a fault names it."""
    directory = environ.get("CREDENTIALS_DIRECTORY", "")
    said = f"the credential {variable.name}"
    if not directory or not variable.kind.secret:
        return "", said
    try:
        return files.credential(variable.name, directory), said
    except UnfitError as unfit:
        report.add(said, directory, files.CREDENTIAL_MAY_HOLD, *unfit.faults)
        return "", said


def _check_together(settings: Mapping[str, _Setting], found: dict[str, Any], report: _Report) -> None:
    """What only several settings tell; one that is None is absent, or has a fault of its own."""
    node, neighbors = found["node_id"], found["neighbors"]
    if node is not None and neighbors is not None and node not in neighbors:
        some = [str(listed) for listed in list(neighbors)[:20]]
        reason = f"NETWORK_CONFIG lists {', '.join(some)}{' and more' if len(neighbors) > 20 else ''}"
        report.add(*settings["NODE_ID"][:2], NODE_MAY_HOLD, Fault(reason))
    elif node is not None and node > 254 and found["vip_backend"] == "simulated":
        reason = "as a part of its simulated address, 10.9.0.NODE_ID, it cannot be above 254"
        report.add(*settings["NODE_ID"][:2], NODE_MAY_HOLD, Fault(reason))

    delay, delay_max = found["reconnect_delay_s"], found["reconnect_delay_max_s"]
    if delay is not None and delay_max is not None and delay > delay_max:
        if settings["RECONNECT_DELAY"].said.endswith(_DEFAULTED):
            found["reconnect_delay_s"] = delay_max
        else:
            may_hold = f"at most what RECONNECT_DELAY_MAX holds, {delay_max:g}"
            report.add(*settings["RECONNECT_DELAY"][:2], may_hold, Fault())

    if found["conflict_probe_s"] == 0:
        found["conflict_wait_s"] = 0.0


def _env_file_warnings(path: Path, lines: Mapping[str, files.EnvLine], report: _Report) -> tuple[str, ...]:
    """What is wrong with the file, yet no reason not to start."""
    names = [variable.name for variable in VARIABLES]
    warnings = []
    kept = [v.name for v in VARIABLES if v.kind.secret and v.name in lines and lines[v.name].text]
    if kept and files.others_may_read(path):
        warnings.append(
            f"{shown(str(path))} holds {' and '.join(kept)}, and others than its owner can read it;"
            f" mend it with: chmod 600 {shlex.quote(printable(str(path)))}"
        )
    for name, line in lines.items():
        meant = get_close_matches(name.upper(), names, 1, _MISSPELT)
        if meant and name not in names:
            warnings.append(
                f"{shown(str(path))}, line {line.number}: {report.quote(name)} is no setting of this worker;"
                f" {meant[0]} was probably meant"
            )
    return tuple(warnings)

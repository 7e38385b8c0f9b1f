"""What a Linux process may do to the network (capabilities(7)), and how to grant it what it lacks."""

from pathlib import Path

_NEEDED = {"CAP_NET_ADMIN": 12, "CAP_NET_RAW": 13}

HOW_TO_GRANT = (
    "run it as root, or by systemd with AmbientCapabilities=CAP_NET_ADMIN CAP_NET_RAW (setcap on a python "
    "binary would grant it to every script that anyone runs with it), or use sudo: VIP_BACKEND=sudo, and "
    "PASSWORD_FILE where sudo asks for a password"
)


def missing_capabilities() -> tuple[str, ...]:
    """Which of CAP_NET_ADMIN (addresses) and CAP_NET_RAW (ARP) are not in this process's effective set."""
    status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
    effective = next(int(line.split()[1], 16) for line in status.splitlines() if line.startswith("CapEff:"))
    return tuple(name for name, bit in _NEEDED.items() if not effective >> bit & 1)

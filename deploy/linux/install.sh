#!/bin/sh
# `make install` and `make uninstall`: the worker as a service of a Debian, or below DESTDIR for a package or an image.
#
# Run again, it upgrades in place: code and libraries are made beside the old ones and swapped in when they are
# complete; settings and logs stay as they are.
set -eu
cd "$(dirname "$0")/../.."

action=$1
destdir=${DESTDIR:-}
destdir=${destdir%/}
requirements=${REQUIREMENTS:-requirements.txt}
user=failover
etc=/etc/failover-worker
logs=/var/log/failover-worker
unit=failover-worker.service
units=/etc/systemd/system
# where it is installed already it stays, unless PREFIX says otherwise
installed=$(sed -n 's|^ExecStart=.* \(/[^ ]*\)/env/bin/python .*|\1|p' "$destdir$units/$unit" 2>/dev/null || true)
prefix=${PREFIX:-${installed:-/opt/failover-worker}}
prefix=${prefix%/}

die() {
  echo "$*" >&2
  exit 1
}

case $prefix in
*[!A-Za-z0-9/._+-]*) die "PREFIX is $prefix; it must have no blanks, quotes or the like in it" ;;
/?*) ;;
*) die "PREFIX is $prefix; it must be an absolute path, such as /opt/failover-worker" ;;
esac
if [ -z "$destdir" ] && [ "$(id -u)" != 0 ]; then
  die "changing this system needs root: sudo make $action, or give a DESTDIR"
fi
# a chroot or an image has no running systemd; below DESTDIR it is not ours to ask
running() { [ -z "$destdir" ] && [ -d /run/systemd/system ]; }

# The Debian's own Python, which the service's user can reach and which is upgraded with the system; PYTHON overrides.
python() {
  for candidate in ${PYTHON:-/usr/bin/python3 python3}; do
    candidate=$(command -v "$candidate") || continue
    "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 9))' 2>/dev/null || continue
    echo "$candidate"
    return
  done
  die "no Python 3.9 or newer was found; apt install python3 python3-venv, or name one: make install PYTHON=…"
}

# Swap $1.new in for $1.
swap() {
  rm -rf "$1.old"
  if [ -e "$1" ]; then mv "$1" "$1.old"; fi
  mv "$1.new" "$1"
  rm -rf "$1.old"
}

install_libraries() {
  env=$destdir$prefix/env
  python=$(python)
  made_of="$("$python" -c 'import sys; print(sys.version, sys.executable)') $(sha256sum <"$requirements")"
  if [ "$(cat "$env/.made-of" 2>/dev/null)" = "$made_of" ]; then
    return
  fi
  rm -rf "$env.new"
  "$python" -m venv "$env.new" || {
    rm -rf "$env.new"
    die "no virtual environment could be made with $python; on Debian: apt install python3-venv"
  }
  "$env.new/bin/python" -m pip install --quiet --disable-pip-version-check --no-compile --require-hashes \
    -r "$requirements" || {
    rm -rf "$env.new"
    die "the libraries could not be installed; what was installed before is as it was"
  }
  "$env.new/bin/python" -m pip uninstall --quiet --yes pip
  # the scripts name the folder that it was made in, and the service starts the interpreter itself
  find "$env.new/bin" -type f -delete
  "$env.new/bin/python" -m compileall -q -s "$env.new" -p "$prefix/env" "$env.new/lib" || true
  echo "$made_of" >"$env.new/.made-of"
  swap "$env"
}

install_code() {
  lib=$destdir$prefix/lib
  rm -rf "$lib.new"
  mkdir -p "$lib.new"
  cp -R ./*.py worker connection failover network settings logs analysis demo docs deploy network_config.txt .env.example requirements.txt requirements-eio3.txt ./*.md LICENSE "$lib.new"
  find "$lib.new" -name __pycache__ -prune -exec rm -rf {} +
  "$destdir$prefix/env/bin/python" -m compileall -q -s "$lib.new" -p "$prefix/lib" "$lib.new"
  swap "$lib"
}

# Copy $1 to $2 with the mode $3, where nothing is there yet.
keep() {
  if [ ! -e "$2" ]; then install -m "$3" "$1" "$2"; fi
}

install_system() {
  mkdir -p "$destdir$etc" "$destdir$units/$unit.d" "$destdir/etc/logrotate.d" "$destdir$logs"
  chmod 755 "$destdir$etc"
  chmod 750 "$destdir$logs"
  keep network_config.txt "$destdir$etc/network_config.txt" 644
  if [ ! -e "$destdir$etc/worker.env" ]; then
    {
      cat .env.example
      printf '\n# Set by make install. logrotate rotates daily; LOG_MAX_BYTES bounds what comes between.\n'
      printf 'NETWORK_CONFIG=%s/network_config.txt\nLOG_DIR=%s\nLOG_MAX_BYTES=52428800\n' "$etc" "$logs"
    } >"$destdir$etc/worker.env.new"
    chmod 640 "$destdir$etc/worker.env.new"
    mv "$destdir$etc/worker.env.new" "$destdir$etc/worker.env"
  elif grep -q '^LOG_MAX_BYTES=0$' "$destdir$etc/worker.env"; then
    # set by version 1.0: a flood of lines filled the disk before logrotate came
    sed -i 's/^LOG_MAX_BYTES=0$/LOG_MAX_BYTES=52428800/' "$destdir$etc/worker.env"
    echo "$destdir$etc/worker.env: LOG_MAX_BYTES is now 52428800, in addition to logrotate"
  fi
  sed "s|/opt/failover-worker|$prefix|g" "deploy/linux/$unit" >"$destdir$units/$unit"
  chmod 644 "$destdir$units/$unit"
  install -m 644 deploy/linux/credentials.conf "$destdir$units/$unit.d/credentials.conf.example"
  install -m 644 deploy/linux/logrotate.conf "$destdir/etc/logrotate.d/failover-worker"
  if [ -z "$destdir" ]; then
    if ! getent passwd $user >/dev/null; then
      useradd --system --user-group --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin $user
    fi
    chgrp $user "$etc/worker.env"
    chown $user:$user "$logs"
  fi
}

case $action in
install)
  umask 022
  mkdir -p "$destdir$prefix"
  install_libraries
  install_code
  install_system
  if running; then
    systemctl daemon-reload
    systemctl try-restart $unit
  fi
  echo "Installed in $destdir$prefix. Next:"
  echo "  1. NODE_ID and MASTER_URL in $etc/worker.env, the neighbours in $etc/network_config.txt"
  echo "  2. $prefix/env/bin/python $prefix/lib/client.py --env-file $etc/worker.env --check"
  echo "  3. systemctl enable --now failover-worker"
  ;;
uninstall)
  if running && systemctl cat $unit >/dev/null 2>&1; then systemctl disable --now $unit; fi
  for part in env lib; do
    rm -rf "$destdir$prefix/$part" "$destdir$prefix/$part.new" "$destdir$prefix/$part.old"
  done
  rm -f "$destdir$units/$unit" "$destdir$units/$unit.d/credentials.conf.example" "$destdir/etc/logrotate.d/failover-worker"
  for folder in "$destdir$prefix" "$destdir$units/$unit.d"; do
    if [ -d "$folder" ]; then rmdir --ignore-fail-on-non-empty "$folder"; fi
  done
  if running; then systemctl daemon-reload; fi
  echo "Removed. Settings, logs and the user stay; to remove them too:"
  echo "  rm -r $destdir$etc $destdir$logs; userdel $user"
  ;;
*)
  die "$0: install or uninstall"
  ;;
esac

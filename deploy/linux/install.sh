#!/bin/sh
# `make install` and `make install-master`, `make uninstall` and `make uninstall-master`: the worker or the master as a
# service of a Debian, or below DESTDIR for a package or an image.
#
# Run again, it upgrades in place: code and libraries are made beside the old ones and swapped in when they are
# complete; settings, secrets and logs stay as they are.
#
# DESTDIR is the folder of an image or a package, "" for this machine. PYTHON names an interpreter, WHEELHOUSE a folder
# of wheels to install from without a network.
set -eu
cd "$(dirname "$0")/../.."
action=$1
destdir=${DESTDIR:-}
destdir=${destdir%/}

die() {
  echo "$*" >&2
  exit 1
}

# Refuse a path below which other users could put something in the way: each component of $1 that exists must be a
# folder of root's or of this user's, no link, and closed to the others' writing. A sticky folder such as /tmp may
# be on the way, since nobody can replace what is ours in it.
check_path() {
  checked=
  remaining=$1/
  while [ -n "$remaining" ]; do
    component=${remaining%%/*}
    remaining=${remaining#*/}
    [ -n "$component" ] || continue
    checked=$checked/$component
    if [ -L "$checked" ]; then die "$checked is a symbolic link; nothing was installed"; fi
    [ -e "$checked" ] || return 0
    [ -d "$checked" ] || die "$checked is not a folder; nothing was installed"
    owner=$(stat -c %u "$checked")
    mode=$(stat -c %a "$checked")
    if [ "$owner" != 0 ] && [ "$owner" != "$(id -u)" ]; then
      die "$checked belongs to another user (uid $owner); nothing was installed"
    fi
    if [ $((0$mode & 022)) != 0 ] && { [ $((0$mode & 01000)) = 0 ] || [ -z "$remaining" ]; }; then
      die "$checked can be written by other users (mode $mode); nothing was installed"
    fi
  done
}

# Each folder that is written to, below DESTDIR; given as absolute paths.
check_destdir() {
  [ -n "$destdir" ] || return 0
  case $destdir in
  /*/../* | */.. | */./*) die "DESTDIR is $destdir; it must not contain . or .." ;;
  /*) ;;
  *) die "DESTDIR is $destdir; it must be an absolute path" ;;
  esac
  check_path "$destdir"
  for folder in "$@"; do check_path "$destdir$folder"; done
}

check_prefix() {
  case $prefix in
  *[!A-Za-z0-9/._+-]*) die "PREFIX is $prefix; it must have no blanks, quotes or the like in it" ;;
  */../* | */..) die "PREFIX is $prefix; it must not contain .." ;;
  /?*) ;;
  *) die "PREFIX is $prefix; it must be an absolute path, such as /opt/failover-worker" ;;
  esac
  if [ -z "$destdir" ] && [ "$(id -u)" != 0 ]; then
    die "changing this system needs root: sudo make $action, or give a DESTDIR"
  fi
}

# Whether systemd runs here. A chroot or an image has none; below DESTDIR it is not ours to ask.
running() { [ -z "$destdir" ] && [ -d /run/systemd/system ]; }

# Debian's own Python, which the service's user can reach and which is upgraded with the system; PYTHON overrides.
python() {
  for candidate in ${PYTHON:-/usr/bin/python3 python3}; do
    candidate=$(command -v "$candidate") || continue
    "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null || continue
    echo "$candidate"
    return
  done
  die "no Python 3.10 or newer was found; apt install python3 python3-venv, or name one: make $action PYTHON=…"
}

# Swap $1.new in for $1.
swap() {
  rm -rf "$1.old"
  if [ -e "$1" ]; then mv "$1" "$1.old"; fi
  mv "$1.new" "$1"
  rm -rf "$1.old"
}

# The libraries of $1, a requirements file with hashes, into $prefix/env, which is left alone where they are there.
install_libraries() {
  env=$destdir$prefix/env
  python=$(python)
  made_of="$("$python" -c 'import sys; print(sys.version, sys.executable)') $(sha256sum <"$1")"
  if [ "$(cat "$env/.made-of" 2>/dev/null)" = "$made_of" ]; then
    return
  fi
  rm -rf "$env.new"
  "$python" -m venv "$env.new" || {
    rm -rf "$env.new"
    die "no virtual environment could be made with $python; on Debian: apt install python3-venv"
  }
  set -- "$1" ${WHEELHOUSE:+--no-index --find-links "$WHEELHOUSE"}
  "$env.new/bin/python" -m pip install --quiet --disable-pip-version-check --no-compile --require-hashes -r "$@" || {
    rm -rf "$env.new"
    die "the libraries could not be installed; what was installed before is as it was"
  }
  # the service needs neither, and what it has not got needs no upgrades
  "$env.new/bin/python" -m pip uninstall --quiet --yes setuptools wheel pip 2>/dev/null
  # the scripts name the folder that it was made in, and the service starts the interpreter itself
  find "$env.new/bin" -type f -delete
  "$env.new/bin/python" -m compileall -q -s "$env.new" -p "$prefix/env" "$env.new/lib" || true
  echo "$made_of" >"$env.new/.made-of"
  swap "$env"
}

# The files and folders named, as $prefix/lib.
install_code() {
  lib=$destdir$prefix/lib
  rm -rf "$lib.new"
  mkdir -p "$lib.new"
  cp -R "$@" "$lib.new"
  find "$lib.new" -name __pycache__ -prune -exec rm -rf {} +
  "$destdir$prefix/env/bin/python" -m compileall -q -s "$lib.new" -p "$prefix/lib" "$lib.new"
  swap "$lib"
}

# Copy $1 to $2 with the mode $3, where nothing is there yet.
keep() {
  if [ ! -e "$2" ]; then install -m "$3" "$1" "$2"; fi
}

# A system user named $1 without a home or a shell.
add_user() {
  if ! getent passwd "$1" >/dev/null; then
    useradd --system --user-group --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin "$1"
  fi
}

remove_code() {
  for part in env lib; do
    rm -rf "$destdir$prefix/$part" "$destdir$prefix/$part.new" "$destdir$prefix/$part.old"
  done
  if [ -d "$destdir$prefix" ]; then rmdir --ignore-fail-on-non-empty "$destdir$prefix"; fi
}

case $action in
*-master) service=failover-master user=failover-master requirements=requirements-master.txt ;;
*) service=failover-worker user=failover requirements=${REQUIREMENTS:-requirements.txt} ;;
esac
etc=/etc/$service
logs=/var/log/$service
settings=$etc/${service#failover-}.env
unit=/etc/systemd/system/$service.service
logrotate=/etc/logrotate.d/failover-worker # the worker alone has it
command=/usr/local/bin/failover-worker
check_destdir /opt $etc $unit.d ${logrotate%/*} $logs ${command%/*}
# where it is installed already it stays, unless PREFIX says otherwise
installed=$(sed -n 's|^ExecStart=.* \(/[^ ]*\)/env/bin/python .*|\1|p' "$destdir$unit" 2>/dev/null || true)
prefix=${PREFIX:-${installed:-/opt/$service}}
prefix=${prefix%/}
check_prefix
check_destdir "$prefix"

install_system() {
  mkdir -p "$destdir$etc" "$destdir$unit.d" "$destdir$logs" "$destdir${command%/*}"
  chmod 755 "$destdir$etc"
  chmod 750 "$destdir$logs"
  sed "s|/opt/$service|$prefix|g" "deploy/linux/$service.service" >"$destdir$unit"
  chmod 644 "$destdir$unit"
  "install_$1" # before the group gets what it made
  if [ -z "$destdir" ]; then
    add_user $user
    chgrp $user "$settings"
    chown $user:$user "$logs"
  fi
}

install_worker() {
  keep network_config.txt "$destdir$etc/network_config.txt" 644
  if [ ! -e "$destdir$settings" ]; then
    {
      cat .env.example
      printf '\n# Set by make install. logrotate rotates daily; LOG_MAX_BYTES bounds what comes between.\n'
      printf 'NETWORK_CONFIG=%s/network_config.txt\nLOG_DIR=%s\nLOG_MAX_BYTES=52428800\n' "$etc" "$logs"
    } >"$destdir$settings.new"
    chmod 640 "$destdir$settings.new"
    mv "$destdir$settings.new" "$destdir$settings"
  elif grep -q '^LOG_MAX_BYTES=0$' "$destdir$settings"; then
    # set by version 1.0: a flood of lines filled the disk before logrotate came
    sed -i 's/^LOG_MAX_BYTES=0$/LOG_MAX_BYTES=52428800/' "$destdir$settings"
    echo "$destdir$settings: LOG_MAX_BYTES is now 52428800, in addition to logrotate"
  fi
  install -m 644 deploy/linux/credentials.conf "$destdir$unit.d/credentials.conf.example"
  mkdir -p "$destdir${logrotate%/*}"
  install -m 644 deploy/linux/logrotate.conf "$destdir$logrotate"
  ln -sfn "$prefix/lib/failover-worker" "$destdir$command"
}

install_master() {
  keep deploy/linux/master.env "$destdir$settings" 640
  install -m 644 deploy/linux/master-credentials.conf "$destdir$unit.d/credentials.conf.example"
  # on a node the worker's installation has it
  if [ ! -e "$destdir$command" ] && [ ! -L "$destdir$command" ]; then
    ln -s "$prefix/lib/failover-worker" "$destdir$command"
  fi
}

case $action in
install | install-master)
  umask 022
  mkdir -p "$destdir$prefix"
  install_libraries "$requirements"
  if [ "$action" = install ]; then
    install_code ./*.py failover-worker worker connection failover network settings logs analysis master docs deploy \
      network_config.txt .env.example requirements.txt requirements-master.txt requirements-eio3.txt ./*.md LICENSE
  else
    install_code failover-worker master logs settings docs requirements-master.txt ./*.md LICENSE
  fi
  install_system "${service#failover-}"
  if running; then
    systemctl daemon-reload
    systemctl try-restart $service
  fi
  echo "Installed in $destdir$prefix. Next:"
  if [ "$action" = install ]; then
    echo "  1. NODE_ID and MASTER_URL in $settings, the neighbors in $etc/network_config.txt"
    echo "  2. failover-worker check"
    echo "  3. systemctl enable --now $service"
  else
    echo "  1. MASTER_HOST in $settings; a token: see $unit.d/credentials.conf.example"
    echo "  2. systemctl enable --now $service"
    echo "  3. failover-worker master status"
  fi
  ;;
uninstall | uninstall-master)
  if running && systemctl cat $service >/dev/null 2>&1; then systemctl disable --now $service; fi
  remove_code
  rm -f "$destdir$unit" "$destdir$unit.d/credentials.conf.example"
  if [ "$action" = uninstall ]; then rm -f "$destdir$logrotate"; fi
  if [ "$(readlink "$destdir$command")" = "$prefix/lib/failover-worker" ]; then
    rm "$destdir$command"
    master=/opt/failover-master/lib/failover-worker # the master's installation has the command too
    if [ -e "$destdir$master" ]; then ln -s "$master" "$destdir$command"; fi
  fi
  if [ -d "$destdir$unit.d" ]; then rmdir --ignore-fail-on-non-empty "$destdir$unit.d"; fi
  if running; then systemctl daemon-reload; fi
  echo "Removed. Settings, secrets, logs and the user stay; to remove them too:"
  echo "  rm -r $destdir$etc $destdir$logs; userdel $user"
  ;;
*)
  die "$0: install, uninstall, install-master or uninstall-master"
  ;;
esac

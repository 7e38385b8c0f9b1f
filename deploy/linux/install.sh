#!/bin/sh
# `make install` and `make uninstall`: the worker as a service of a Debian, or below DESTDIR for a package or an image.
#
# Run again, it upgrades in place: code and libraries are made beside the old ones and swapped in when they are
# complete; settings and logs stay as they are.
set -eu
cd "$(dirname "$0")/../.."
action=$1
. deploy/linux/common.sh

requirements=${REQUIREMENTS:-requirements.txt}
user=failover
etc=/etc/failover-worker
logs=/var/log/failover-worker
unit=failover-worker.service
units=/etc/systemd/system
command=/usr/local/bin/failover-worker
check_destdir /opt $etc $units/$unit.d /etc/logrotate.d $logs /usr/local/bin
# where it is installed already it stays, unless PREFIX says otherwise
installed=$(sed -n 's|^ExecStart=.* \(/[^ ]*\)/env/bin/python .*|\1|p' "$destdir$units/$unit" 2>/dev/null || true)
prefix=${PREFIX:-${installed:-/opt/failover-worker}}
prefix=${prefix%/}
check_prefix
check_destdir "$prefix"

install_system() {
  mkdir -p "$destdir$etc" "$destdir$units/$unit.d" "$destdir/etc/logrotate.d" "$destdir$logs" "$destdir${command%/*}"
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
  ln -sfn "$prefix/lib/failover-worker" "$destdir$command"
  if [ -z "$destdir" ]; then
    add_user $user
    chgrp $user "$etc/worker.env"
    chown $user:$user "$logs"
  fi
}

case $action in
install)
  umask 022
  mkdir -p "$destdir$prefix"
  install_libraries "$requirements"
  install_code ./*.py failover-worker worker connection failover network settings logs analysis master docs deploy \
    network_config.txt .env.example requirements.txt requirements-master.txt requirements-eio3.txt ./*.md LICENSE
  install_system
  if running; then
    systemctl daemon-reload
    systemctl try-restart $unit
  fi
  echo "Installed in $destdir$prefix. Next:"
  echo "  1. NODE_ID and MASTER_URL in $etc/worker.env, the neighbors in $etc/network_config.txt"
  echo "  2. failover-worker check"
  echo "  3. systemctl enable --now failover-worker"
  ;;
uninstall)
  if running && systemctl cat $unit >/dev/null 2>&1; then systemctl disable --now $unit; fi
  remove_code
  rm -f "$destdir$units/$unit" "$destdir$units/$unit.d/credentials.conf.example" \
    "$destdir/etc/logrotate.d/failover-worker"
  if [ "$(readlink "$destdir$command")" = "$prefix/lib/failover-worker" ]; then
    rm "$destdir$command"
    master=/opt/failover-master/lib/failover-worker # the master's installation has the command too
    if [ -e "$destdir$master" ]; then ln -s "$master" "$destdir$command"; fi
  fi
  if [ -d "$destdir$units/$unit.d" ]; then rmdir --ignore-fail-on-non-empty "$destdir$units/$unit.d"; fi
  if running; then systemctl daemon-reload; fi
  echo "Removed. Settings, logs and the user stay; to remove them too:"
  echo "  rm -r $destdir$etc $destdir$logs; userdel $user"
  ;;
*)
  die "$0: install or uninstall"
  ;;
esac

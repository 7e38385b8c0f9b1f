#!/bin/sh
# `make install-master` and `make uninstall-master`: the master as a service of a Debian, or below DESTDIR for a package
# or an image. Run again, it upgrades in place; settings, secrets and logs stay as they are.
set -eu
cd "$(dirname "$0")/../.."
action=$1
. deploy/linux/common.sh

user=failover-master
etc=/etc/failover-master
logs=/var/log/failover-master
unit=failover-master.service
units=/etc/systemd/system
command=/usr/local/bin/failover-worker
check_destdir /opt $etc $units/$unit.d $logs /usr/local/bin
# where it is installed already it stays, unless PREFIX says otherwise
installed=$(sed -n 's|^ExecStart=.* \(/[^ ]*\)/env/bin/python .*|\1|p' "$destdir$units/$unit" 2>/dev/null || true)
prefix=${PREFIX:-${installed:-/opt/failover-master}}
prefix=${prefix%/}
check_prefix
check_destdir "$prefix"

install_system() {
  mkdir -p "$destdir$etc" "$destdir$units/$unit.d" "$destdir$logs" "$destdir${command%/*}"
  chmod 755 "$destdir$etc"
  chmod 750 "$destdir$logs"
  keep deploy/linux/master.env "$destdir$etc/master.env" 640
  sed "s|/opt/failover-master|$prefix|g" "deploy/linux/$unit" >"$destdir$units/$unit"
  chmod 644 "$destdir$units/$unit"
  install -m 644 deploy/linux/master-credentials.conf "$destdir$units/$unit.d/credentials.conf.example"
  # on a node the worker's installation has it
  if [ ! -e "$destdir$command" ] && [ ! -L "$destdir$command" ]; then
    ln -s "$prefix/lib/failover-worker" "$destdir$command"
  fi
  if [ -z "$destdir" ]; then
    add_user $user
    chgrp $user "$etc/master.env"
    chown $user:$user "$logs"
  fi
}

case $action in
install-master)
  umask 022
  mkdir -p "$destdir$prefix"
  install_libraries requirements-master.txt
  install_code failover-worker master logs docs requirements-master.txt ./*.md LICENSE
  install_system
  if running; then
    systemctl daemon-reload
    systemctl try-restart $unit
  fi
  echo "Installed in $destdir$prefix. Next:"
  echo "  1. MASTER_HOST in $etc/master.env; a token: see $units/$unit.d/credentials.conf.example"
  echo "  2. systemctl enable --now failover-master"
  echo "  3. failover-worker master status"
  ;;
uninstall-master)
  if running && systemctl cat $unit >/dev/null 2>&1; then systemctl disable --now $unit; fi
  remove_code
  rm -f "$destdir$units/$unit" "$destdir$units/$unit.d/credentials.conf.example"
  if [ "$(readlink "$destdir$command")" = "$prefix/lib/failover-worker" ]; then rm "$destdir$command"; fi
  if [ -d "$destdir$units/$unit.d" ]; then rmdir --ignore-fail-on-non-empty "$destdir$units/$unit.d"; fi
  if running; then systemctl daemon-reload; fi
  echo "Removed. Settings, secrets, logs and the user stay; to remove them too:"
  echo "  rm -r $destdir$etc $destdir$logs; userdel $user"
  ;;
*)
  die "$0: install-master or uninstall-master"
  ;;
esac

#!/bin/sh
# `make install` and `make install-master`, `make uninstall` and `make uninstall-master`: the worker or the master as a
# service of a Debian, or below DESTDIR for a package or an image.
#
# Run again, it upgrades in place: code and libraries are made beside the old ones and swapped in when they are
# complete; settings, secrets and logs stay as they are.
set -eu
cd "$(dirname "$0")/../.."
action=$1
. deploy/linux/common.sh

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

#!/bin/bash
# find over the host's root. Homes and other users' data are hidden in a sandbox, and some places are its own, so the
# whole walk is only checked to work; what is listed and compared are the folders of the system.
set -euo pipefail
if [[ ${APP_SIZE:-short} == full ]]; then
  folders="/usr /etc /opt /var/lib/dpkg /boot"
  ((entries = $(find / -xdev 2>/dev/null | wc -l)))
  ((entries > 10000)) && echo "a walk over all"
else
  folders="/etc /usr/bin /usr/sbin /usr/lib/python3"
fi
# Secrets that a sandbox covers, and files that a program writes while others look.
# Also not: what Python compiles as others run it.
hidden='^(.*/__pycache__|/etc/(g?shadow-?|ssl/private|security/opasswd|ssh/ssh_host_.*|krb5.keytab|wireguard|kubernetes)|/etc/NetworkManager/system-connections|/usr/share/man/index.db)(/.*)?$'
list() { find "$folder" -xdev -regextype posix-extended -regex "$hidden" -prune -o "$@" 2>&1 | LC_ALL=C sort; }
for folder in $folders; do
  echo "== $folder"
  list -print | sha256sum
  list -type f -printf '%m %s %T@ %p\n' | sha256sum
  list -type d -printf '%m %p\n' | sha256sum
  list -type l -printf '%l %p\n' | sha256sum
  list -printf '%y\n' | uniq -c
done

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
for folder in $folders; do
  echo "== $folder"
  find "$folder" -xdev 2>&1 | LC_ALL=C sort | sha256sum
  find "$folder" -xdev -type f ! -name '*shadow*' ! -name opasswd -printf '%m %s %T@ %p\n' 2>&1 | LC_ALL=C sort | sha256sum
  find "$folder" -xdev -type d ! -name private -printf '%m %p\n' 2>&1 | LC_ALL=C sort | sha256sum
  find "$folder" -xdev -type l -printf '%l %p\n' 2>&1 | LC_ALL=C sort | sha256sum
  find "$folder" -xdev -printf '%y\n' 2>&1 | sort | uniq -c
done

#!/bin/sh
# Call sites are rewritten wherever a program lies: /proc/PID/maps says so.
# call_sites.sh BULKHEAD
set -eu
bulkhead=$1
scratch=$(mktemp -d "${TMPDIR:-/var/tmp}/call-sites-XXXXXX")
trap 'rm -rf "$scratch"' EXIT
cp /bin/busybox "$scratch/busybox"
cd "$scratch"

rewritten() {
  what=$1
  shift
  # By the second file the reading call has been executed often enough.
  "$@" cat /proc/self/maps /proc/self/maps >maps
  grep -q trampolines maps || { echo "$what: no call site has been rewritten"; cat maps; exit 1; }
  echo "ok $what"
}
rewritten "the working directory" "$bulkhead" do -- ./busybox
rewritten "a writable working directory" "$bulkhead" do --writable -- ./busybox
rewritten "a copy in the sandbox's memory" "$bulkhead" do -- sh -c 'cp busybox /tmp/ && exec /tmp/busybox "$@"' sh

# The C library's read() has its number from a shorter instruction. A program that looks sees what it is then.
looks='
import ctypes, os
file = os.open("/proc/self/stat", os.O_RDONLY)
for _ in range(100):
    os.read(file, 1)
read = ctypes.cast(ctypes.CDLL(None).read, ctypes.c_void_p).value
print(bytes.fromhex("31c00f05") in ctypes.string_at(read, 32))
'
[ "$(/usr/bin/python3 -c "$looks")" = True ] || { echo "this C library has another read()"; exit 77; }
[ "$("$bulkhead" do -- /usr/bin/python3 -c "$looks")" = False ] || { echo "the site in read() is as it was"; exit 1; }
echo "ok the C library's read()"

mkdir -p bundle/rootfs/bin bundle/rootfs/proc
cp busybox bundle/rootfs/bin/busybox
cd bundle
"$bulkhead" spec
for readonly in true false; do
  sed -i -e 's/"terminal": true/"terminal": false/' -e 's/"readonly": [a-z]*/"readonly": '$readonly/ config.json
  python3 - <<'END'
import json
with open('config.json') as file:
    config = json.load(file)
config['process']['args'] = ['/bin/busybox', 'cat', '/proc/self/maps', '/proc/self/maps']
with open('config.json', 'w') as file:
    json.dump(config, file)
END
  rewritten "a container's root, read-only: $readonly" sh -c '"$1" --root "$2" run call-sites-$$' sh "$bulkhead" "$scratch/state"
done

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

# What the C library's functions have become: of some the number comes from a shorter instruction (read), of some the call
# is the first thing in a page (open in Debian 12). A program that looks sees which are as they were.
cat >looks.py <<'END'
import ctypes, os, sys
libc = ctypes.CDLL(None)
with open("/proc/self/maps") as maps:
    maps = [line.split() for line in maps]
path = next(words[-1] for words in maps if words[-1].endswith("libc.so.6"))
with open(path, "rb") as file:
    text = file.read()

def as_it_was(name):
    address = ctypes.cast(libc[name], ctypes.c_void_p).value
    for words in maps:
        start, end = (int(place, 16) for place in words[0].split("-"))
        if words[-1] == path and start <= address < end:
            offset = address - start + int(words[2], 16)
            if b"\x0f\x05" not in text[offset:offset + 256]:
                sys.exit(name + ": there is no call in it")
            return ctypes.string_at(address, 256) == text[offset:offset + 256]
    sys.exit(name + ": not in " + path)

here = b"/proc/self/stat"
fd = libc.open(here, os.O_RDONLY)
room = ctypes.create_string_buffer(4096)
calls = {
    "open": lambda: libc.close(libc.open(here, os.O_RDONLY)),
    "close": lambda: libc.close(-1),
    "read": lambda: libc.read(fd, room, 1),
    "write": lambda: libc.write(-1, room, 1),
    "pread": lambda: libc.pread(fd, room, 1, 0),
    "lseek": lambda: libc.lseek(fd, 0, 0),
    "fstatat": lambda: libc.fstatat(-100, here, room, 0),
    "access": lambda: libc.access(here, 0),
    "readlink": lambda: libc.readlink(here, room, 1),
    "ioctl": lambda: libc.ioctl(fd, 0, 0),
    "dup": lambda: libc.close(libc.dup(fd)),
    "poll": lambda: libc.poll(None, 0, 0),
    "epoll_ctl": lambda: libc.epoll_ctl(-1, 1, -1, None),
    "sendto": lambda: libc.sendto(-1, room, 1, 0, None, 0),
    "recvmsg": lambda: libc.recvmsg(-1, None, 0),
    "kill": lambda: libc.kill(os.getpid(), 0),
    "sched_yield": lambda: libc.sched_yield(),
}
if sys.argv[1:] == ["once"]:
    libc.sched_get_priority_max(0)
    print(as_it_was("sched_get_priority_max"))
    sys.exit()
if sys.argv[1:] == ["children"]:
    for _ in range(20):
        child = os.fork()
        if child == 0:
            libc.sched_get_priority_min(0)
            os._exit(as_it_was("sched_get_priority_min"))
        status = os.waitpid(child, 0)[1]
    print(os.waitstatus_to_exitcode(status) == 1)
    sys.exit()
for call in calls.values():
    for _ in range(100):
        call()
print(*[name for name in calls if as_it_was(name)])
END
all=$(/usr/bin/python3 looks.py)
[ "$(echo "$all" | wc -w)" = 17 ] || { echo "natively some of these functions are not the file's"; exit 1; }
left=$("$bulkhead" do -- /usr/bin/python3 looks.py)
[ -z "$left" ] || { echo "as they were: $left"; exit 1; }
echo "ok the C library's functions"

# What each process calls but once, the later ones find rewritten.
last=$("$bulkhead" do -- sh -c 'i=0; while [ $i -lt 80 ]; do /usr/bin/python3 looks.py once; i=$((i + 1)); done' | tail -n 1)
[ "$last" = False ] || { echo "a function that is called once is as it was: $last"; exit 1; }
echo "ok a function that is called once"

# What only children call, those that are forked later find rewritten.
last=$("$bulkhead" do -- /usr/bin/python3 looks.py children)
[ "$last" = False ] || { echo "a function that only children call is as it was: $last"; exit 1; }
echo "ok a function that only children call"

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

# Run by `busybox sh`: everything here is one static program.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
mkdir bin
/bin/busybox --install -s "$work/bin"
export PATH="$work/bin"
files=200
[ "${APP_SIZE:-short}" = short ] || files=2000

echo "== files"
mkdir -p tree/a/b tree/c/d
i=0
while [ $i -lt $files ]; do
  echo "line $i of file $((i % 17))" >"tree/a/b/file$((i % 50)).$i"
  i=$((i + 1))
done
ls tree/a/b | wc -l
find tree -type f -name '*.1*' | sort | tail -3
find tree -type d | sort
find tree -name 'file7.*' -exec cat {} + | sort | head -5

echo "== pipes"
cat tree/a/b/* | awk '{ n[$5]++ } END { for (k in n) print k, n[k] }' | sort -n | head -20
cat tree/a/b/* | sort -k2 -n -r | head -3
cat tree/a/b/* | grep -c 'file 3'
seq 1 1000 | awk '{ s += $1 } END { print s }'
seq 1 100 | sed -n '/7$/p' | tr '\n' ' '; echo
yes bulkhead | head -n 1000 | uniq -c | sed 's/^ *//'
seq 1 20 | xargs -n 5 echo
printf 'b\na\nc\n' | sort | tee sorted | md5sum

echo "== tar and gzip"
tar czf tree.tar.gz tree
mkdir back
tar xzf tree.tar.gz -C back
find tree -type f | sort | xargs cat | sha256sum >one
(cd back && find tree -type f | sort | xargs cat) | sha256sum >two
cmp one two && echo same
gunzip -c tree.tar.gz | tar t | wc -l
gzip -c one | gunzip | cmp - one && echo same

echo "== shell"
count() { local n=0; for x in "$@"; do n=$((n + 1)); done; echo $n; }
count a "b c" d
case "$work" in /*) echo absolute ;; esac
(exit 3) || echo "status $?"
sleep 0 & wait $! && echo waited
trap 'echo trapped' USR1
kill -USR1 $$
echo 'here' | while read -r word; do echo "read $word"; done
cat <<END
here document of $(basename "$0" .sh)
END
echo {1..3} "$((1 << 20))" "${work#/}" | sed 's/ [^ ]*$//'
test -x bin/ls -a -L bin/ls && echo linked
expr 6 \* 7
dd if=/dev/zero of=zeros bs=4096 count=64 2>/dev/null
wc -c <zeros
stat -c '%s %a %F' zeros
truncate -s 10 zeros; stat -c %s zeros
ln zeros hard; stat -c %h zeros; ln -s zeros soft; readlink soft
mv zeros moved; [ ! -e soft ] && echo dangling
date -u -d @86400 '+%Y-%m-%d %H:%M'
uname -s
id -u >/dev/null && echo ok
head -c 16 /dev/urandom | wc -c
timeout 5 sh -c 'kill -9 $$' || echo "killed $?"

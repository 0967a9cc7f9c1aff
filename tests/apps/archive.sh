#!/bin/bash
# A tree of many files through tar and xz and back, compared byte by byte.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
files=2000
[[ ${APP_SIZE:-short} == full ]] || files=200

mkdir tree
awk -v files="$files" 'BEGIN {
  for (i = 0; i < files; i++) {
    dir = "tree/d" i % 20 "/e" i % 7
    if (!(dir in made)) { system("mkdir -p " dir); made[dir] = 1 }
    file = dir "/file" i
    for (j = 0; j < i % 100; j++) print i, j, i * j > file
    printf "" > file
    close(file)
  }
}'
head -c 300000 /dev/zero >tree/zeros
seq 100000 >tree/numbers
ln -s numbers tree/link
ln tree/numbers tree/hard
mkfifo tree/fifo
truncate -s 5M tree/sparse
chmod 600 tree/zeros
chmod 4755 tree/numbers
touch -d '2001-02-03 04:05:06 UTC' tree/zeros
find tree | wc -l

tar cf - --sort=name tree | xz -1 >tree.tar.xz
xz -t tree.tar.xz && echo "xz is whole"
mkdir back
xz -dc tree.tar.xz | tar xpf - -C back
diff -r --no-dereference tree back/tree && echo "trees are the same"
list() { (cd "$1" && find . -printf '%y %m %n %l %p %Ts\n' | sort | sed 's/^\(d .*\) [0-9]*$/\1/' | sha256sum); }
[[ $(list tree) == "$(list back/tree)" ]] && echo "attributes are the same"
(cd tree && find . -type f -print0 | sort -z | xargs -0 sha256sum) | sha256sum
tar tf tree.tar.xz | wc -l
tar cSf sparse.tar tree/sparse && (($(stat -c %s sparse.tar) < 100000)) && echo "sparse"
mkdir two && tar xf sparse.tar -C two && cmp two/tree/sparse tree/sparse && echo "sparse is the same"
cp -a tree copy && diff -r --no-dereference tree copy && echo "copied"
gzip -k tree/numbers -c | gunzip | cmp - tree/numbers && echo "gzip"
rm -rf tree copy back && ls

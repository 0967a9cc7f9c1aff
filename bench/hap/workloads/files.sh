# A shell script's work on files: make, fill, copy, search, link, rename, archive, remove.
cd /var/hap || exit 1
echo 'hap: ready'
read -r go
dir=$(mktemp -d files.XXXXXX) && cd "$dir" || exit 1
mkdir -p a/b/c d
i=0
while [ $i -lt 20 ]; do
  echo "line $i of a file that someone will look for" > a/file$i
  i=$((i + 1))
done
cat a/file* > all
cp -r a d
dd if=/dev/zero of=big bs=64k count=16 2> /dev/null
ln -s ../all d/link
ln all hard
mv a/file3 a/b/c/moved
grep -rl 'line 7 ' . > found
find . -type f -newer all | sort > listed
sed -i 's/line/row/' a/file5
head -c 1000 big | wc -c > count
tar cf all.tar a d
mkdir out && tar xf all.tar -C out
chmod 600 all && touch -d '2001-01-01' all && stat all > stated
ls -lR . > listing
df . > free
sync all
truncate -s 100 big
cmp -s all hard
rm -r a d out
cd .. && rm -r "$dir"
echo 'hap: done'
read -r end || :

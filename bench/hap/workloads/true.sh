# The smallest programs, started and awaited.
echo 'hap: ready'
read -r go
i=0
while [ $i -lt 20 ]; do
  /bin/true
  i=$((i + 1))
done
echo 'hap: done'
read -r end || :

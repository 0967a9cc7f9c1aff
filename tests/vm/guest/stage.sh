# stage.sh NAME...: the tests of each stage; their output and status are results.
mkdir -p /hap/out
chmod 755 /hap /hap/bin
export BULKHEAD=/hap/bin/bulkhead DOCS=/hap/docs PYTHONDONTWRITEBYTECODE=1 PYTHONPATH=/hap/oci
for stage in "$@"; do
  grep -qw "$stage" /hap/guest/stages || continue
  for test in $(cat "/hap/guest/$stage.list"); do
    echo "hap> $stage: $test"
    DRIVER=$stage python3 "/hap/$test" >"/hap/out/$stage-$(basename "$test").txt" 2>&1
    echo "$stage $test $?" >>/hap/out/statuses
    tail -1 "/hap/out/$stage-$(basename "$test").txt" | sed 's/^/hap>   /'
  done
done

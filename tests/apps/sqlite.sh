#!/bin/bash
# The sqlite3 shell: a large transaction, indexes, WAL with two connections, integrity, a crash in the middle.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
rows=100000
[[ ${APP_SIZE:-short} == full ]] || rows=10000

echo "== one transaction"
sqlite3 test.db <<SQL
create table t (id integer primary key, name text, value real, blob blob);
begin;
with recursive n(i) as (select 1 union all select i + 1 from n where i < $rows)
  insert into t select i, 'name ' || (i * 7919 % $rows), i / 3.0, zeroblob(i % 50) from n;
commit;
select count(*), min(id), max(id), sum(length(blob)) from t;
create index by_name on t (name);
select id from t where name = 'name 4242';
select count(distinct name) from t;
SQL

echo "== wal"
sqlite3 test.db 'pragma journal_mode = wal'
sqlite3 test.db "update t set value = value + 1 where id % 10 = 0; select changes();"
for i in 1 2 3 4; do
  sqlite3 -cmd '.timeout 60000' test.db "begin immediate; insert into t (name) values ('from $i'); commit;" &
done
wait
sqlite3 test.db "select count(*) from t where name like 'from %'; pragma wal_checkpoint(truncate);"
ls test.db*

echo "== locks"
mkfifo hold
sqlite3 test.db <hold >held &
exec 3>hold
printf 'begin exclusive;\nselect "locked";\n' >&3
until grep -q locked held; do read -rt 0.01 <> <(:) || true; done
{ sqlite3 test.db "insert into t (name) values ('refused')" 2>&1 || true; } | grep -o 'database is locked'
printf 'commit;\n' >&3
exec 3>&-
wait
sqlite3 test.db "insert into t (name) values ('accepted'); select changes();"

echo "== a crash leaves the old state"
sqlite3 test.db 'pragma journal_mode = delete'
before=$(sqlite3 test.db 'select count(*) from t')
mkfifo crash
sqlite3 test.db <crash >crashed 2>/dev/null &
victim=$!
exec 3>crash
printf 'pragma cache_size=10; begin; update t set name = name || " changed"; select "written";\n' >&3
until grep -q written crashed; do read -rt 0.01 <> <(:) || true; done
kill -9 "$victim"
exec 3>&-
wait "$victim" 2>/dev/null || true
sqlite3 test.db "select count(*) = $before from t; select count(*) from t where name like '% changed'; pragma integrity_check;"

echo "== dump and restore"
sqlite3 test.db .dump | sqlite3 copy.db
sqlite3 copy.db 'select count(*), total(id) from t; vacuum; pragma integrity_check;'
sqlite3 :memory: "attach 'copy.db' as c; attach 'test.db' as t; select count(*) from (select id, name from c.t except select id, name from t.t);"

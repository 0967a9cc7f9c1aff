#!/bin/bash
# PostgreSQL: initdb, a server, psql, pgbench, and recovery after kill -9. It refuses root, so root becomes nobody.
set -euo pipefail
if [[ $(id -u) == 0 ]]; then
  exec setpriv --reuid=65534 --regid=65534 --clear-groups -- /bin/bash "$0" "$@"
fi
export PATH=/usr/lib/postgresql/15/bin:$PATH
work=$(mktemp -d)
server=
trap '[[ -z $server ]] || kill -QUIT "$server"; wait; rm -rf "$work"' EXIT
cd "$work"
transactions=50
[[ ${APP_SIZE:-short} == short ]] || transactions=2000
export PGHOST=$work PGUSER=tester PGDATABASE=postgres
# Its own process: the next start must not find a zombie that nobody has waited for.
start() {
  postgres -D data -c listen_addresses='' -k "$work" >>log 2>&1 &
  server=$!
  until pg_isready -q; do kill -0 "$server" || { cat log; exit 1; }; sleep 0.05; done
}
initdb -D data -U tester -A trust --no-locale -E UTF8 | grep -c ok
start
echo "== SQL"
psql -X -A -t <<'SQL'
create table person (id serial primary key, name text not null, born date);
insert into person (name, born) values ('Ada', '1815-12-10'), ('Grace', '1906-12-09'), ('Edsger', '1930-05-11');
select name, extract(year from born) from person order by born desc;
create index on person (name);
begin; delete from person; rollback;
select count(*), max(name) from person;
insert into person (id, name) values (1, 'twice');
create function twice(n int) returns int language plpgsql as $$ begin return n * 2; end $$;
select sum(twice(g)) from generate_series(1, 10000) g;
set max_parallel_workers_per_gather = 2; set parallel_setup_cost = 0; set min_parallel_table_scan_size = 0;
create table many as select g, md5(g::text) as h from generate_series(1, 20000) g;
select count(distinct h), sum(g) from many;
copy (select * from person order by id) to stdout with csv;

select pg_size_pretty(1234567::bigint), pg_advisory_lock(1), pg_advisory_unlock(1);
SQL
echo "== pgbench"
pgbench -i -q -s 1 2>&1 | grep -c 'done in'
pgbench -c 4 -j 2 -t "$transactions" 2>&1 | grep -E '^number of (clients|threads|transactions actually|failed)'
psql -X -A -t -c 'select (select sum(abalance) from pgbench_accounts) = (select sum(delta) from pgbench_history)'
echo "== killed"
psql -X -A -t -c "insert into person (name) values ('committed')"
kill -9 "$server"
wait "$server" 2>/dev/null || echo "the server ended with $?"
# The others notice that their postmaster is gone, and leave the shared memory to its successor.
while pgrep -u "$(id -u)" -f "postgres: .*" >/dev/null; do sleep 0.05; done
start
grep -o -m 1 'automatic recovery in progress' log
psql -X -A -t -c 'select count(*) from person' -c 'select count(*) from pgbench_accounts'
echo "== dump"
pg_dump --table=person | grep -c -E '^(CREATE|COPY)'
kill -INT "$server"
wait "$server" && server= && echo "stopped"

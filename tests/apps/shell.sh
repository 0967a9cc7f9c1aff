#!/bin/bash
# bash and coreutils: functions, traps, background jobs, here-documents, globs, arrays, arithmetic, redirections.
set -euo pipefail
work=$(mktemp -d)
# A job killed before it has executed its program still has this trap.
trap '[[ $BASHPID != "$$" ]] || rm -rf "$work"' EXIT
cd "$work"
rounds=50
[[ ${APP_SIZE:-short} == short ]] || rounds=1000

section() { printf '== %s\n' "$1"; }

section functions
fact() { (($1 < 2)) && { echo 1; return; }; echo $(($1 * $(fact $(($1 - 1))))); }
fact 10
outer() { local value=outer; inner; echo "$value"; }
inner() { value=changed; }
outer
names() { declare -n ref=$1; ref+=(more); }
list=(one "two three" four)
names list
printf '[%s]' "${list[@]}"; echo
declare -A map=([x]=1 [y]=2 [z]=3)
for key in $(printf '%s\n' "${!map[@]}" | sort); do echo -n "$key=${map[$key]} "; done; echo

section globbing
touch a1 a2 b1 'c d' .hidden
echo a* [bc]* ?1
shopt -s nullglob dotglob extglob
echo *z* .h* !(a*)
shopt -u nullglob dotglob
mkdir -p deep/{x,y}/{1,2}
shopt -s globstar
echo deep/**/

section expansions
text=/usr/local/lib/file.tar.gz
echo "${text##*/} ${text%%.*} ${text/local/share} ${#text} ${text:5:5} ${text^^}"
unset nothing
echo "${nothing:-default} ${nothing+set} ${text:+set}"
printf '%05d|%-8s|%x|%.3f\n' 42 left 255 3.14159
echo $((0x1f + 2#101 + 7 % 4 ** 2)) $((5 > 3 ? 10 : 20))
[[ "bulkhead-42" =~ ^([a-z]+)-([0-9]+)$ ]] && echo "${BASH_REMATCH[1]} ${BASH_REMATCH[2]}"

section redirections
exec 3>three
echo to three >&3
exec 3>&-
cat three
{ echo out; echo err >&2; } >both 2>&1
sort both
cat <<'LITERAL' <(echo "process substitution")
$HOME is not expanded
LITERAL
cat - <(echo "process substitution") <<EXPANDED
2+2=$((2 + 2))
EXPANDED
tr a-z A-Z <<<"here string"
read -r first second <<<"two words"; echo "$second $first"
mapfile -t lines < <(seq 1 5); echo "${#lines[@]} ${lines[4]}"
exec 4<>rw; echo rewritten >&4; exec 4>&-; cat rw
diff <(seq 3) <(seq 4) || true

section jobs
for i in 1 2 3; do (exit "$i") & pids[i]=$!; done
for i in 1 2 3; do wait "${pids[i]}" || echo "job $i gave $?"; done
sleep 100 & sleeper=$!
until [[ $(<"/proc/$sleeper/comm") == sleep ]]; do :; done  # until then the shell's own handlers answer
kill "$sleeper"; wait "$sleeper" 2>/dev/null || echo "sleeper gave $?"
mkfifo fifo
(for i in $(seq "$rounds"); do echo "$i"; done >fifo) &
sum=0; while read -r n; do sum=$((sum + n)); done <fifo; wait; echo "$sum"
coproc doubler { while read -r n; do echo $((n * 2)); done; }
echo 21 >&"${doubler[1]}"; read -r answer <&"${doubler[0]}"; echo "$answer"
kill "$doubler_PID"; wait "$doubler_PID" 2>/dev/null || true
seq "$rounds" | xargs -P 2 -n 7 echo | tr ' ' '\n' | sort -n | tail -1

section traps
(trap 'echo leaving' EXIT; echo inside)
(trap 'echo got TERM; exit 5' TERM; kill -TERM "$BASHPID"; echo not reached) || echo "status $?"
(trap '' INT; kill -INT "$BASHPID"; echo ignored)
(set -E; trap 'echo "failed: $BASH_COMMAND"' ERR; false || true; set +e; false; true)
bash -c 'kill -SEGV $$' 2>/dev/null || echo "killed $?"
timeout 0.1 sleep 10 || echo "timeout $?"

section coreutils
seq 100 | shuf --random-source=<(yes) | sort -n | md5sum
seq 1 10 | paste -sd+ | bc 2>/dev/null || echo 55
printf 'c 3\na 1\nb 2\n' >unsorted; sort unsorted | join - <(printf 'a x\nb y\n')
comm -12 <(seq -w 1 10) <(seq -w 05 15) | tr '\n' ' '; echo
cut -d: -f1,3 <<<'root:x:0:0' ; fold -w 10 <<<'a line that is folded'
head -c 100000 /dev/zero | tr '\0' x | sha256sum
split -l 10 -d <(seq 95) part.; ls part.* | wc -l; cat part.* | cksum
ln -s a1 link; cp -a link copy; readlink copy; cp -r deep deep2; find deep2 -type d | wc -l
install -m 640 a1 installed; stat -c %a installed; chmod u+x,g-r installed; stat -c %a installed
dd if=/dev/urandom bs=1k count=10 of=random status=none; base64 random | base64 -d | cmp - random && echo same
numfmt --to=iec 1048576; factor 1001; basename /a/b/c.txt .txt; realpath -m --relative-to=/a/b /a/c
touch -d '2020-02-02 02:02:02 UTC' dated; date -u -r dated '+%F %T'
[[ a1 -nt dated && -s three && ! -s a1 ]] && echo "tests agree"
env -i A=1 printenv A; nohup true 2>/dev/null; nice -n 5 nice; tee one two <<<"tee" >/dev/null; cat one two
du -b --apparent-size three | cut -f1; wc -lwc <three; od -An -tx1 <<<"od"; tac <(seq 3) | tr '\n' ' '; echo

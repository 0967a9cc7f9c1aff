#!/bin/bash
# tmux with full-screen programs: panes, keys, resizing, detached sessions.
set -euo pipefail
work=$(mktemp -d)
export TERM=xterm TMUX_TMPDIR=$work
trap 'tmux kill-server 2>/dev/null || true; rm -rf "$work"' EXIT
cd "$work"
seq 1 200 >numbers
screen() { tmux capture-pane -p -t "$1" | sed 's/ *$//' | sed '/^$/d'; }
shows() { for _ in $(seq 600); do screen "$1" | grep -q -F -- "$2" && return; sleep 0.05; done; screen "$1"; return 1; }
tmux -f /dev/null new-session -d -s main -x 60 -y 20 "env PS1='prompt> ' /bin/bash --norc --noprofile"
shows main 'prompt>'
tmux send-keys -t main 'echo $((6 * 7)); stty size; tty | cut -c1-9' Enter
shows main /dev/pts/
screen main
echo "== less, full screen"
tmux send-keys -t main 'clear; less numbers' Enter
shows main numbers
tmux send-keys -t main G
shows main 200
screen main | grep -x 198
tmux send-keys -t main q
echo "== a second pane"
tmux split-window -t main -v 'cat'
tmux list-panes -t main -F '#{pane_width}x#{pane_height}'
tmux send-keys -t main.1 'typed' Enter
for _ in $(seq 600); do [[ $(screen main.1 | grep -c typed) == 2 ]] && break; sleep 0.05; done
screen main.1
tmux send-keys -t main.1 C-d
for _ in $(seq 600); do [[ $(tmux list-panes -t main | wc -l) == 1 ]] && break; sleep 0.05; done
tmux list-panes -t main | wc -l
echo "== resizing, jobs"
tmux resize-window -t main -x 80 -y 10
# tmux tells the pane a moment later.
tmux send-keys -t main 'clear; until [[ $(stty size) == "10 80" ]]; do :; done; echo resized; sleep 100' Enter
for _ in $(seq 600); do [[ $(screen main | grep -c -x resized) == 1 ]] && break; sleep 0.05; done
screen main | grep -x resized
tmux send-keys -t main C-z
shows main Stopped
tmux send-keys -t main 'clear; kill %1' Enter
# The shell may leave only at the second try: it warns of a job that it has not yet seen end.
for _ in $(seq 100); do tmux send-keys -t main exit Enter 2>/dev/null || break; sleep 0.2; done
tmux has-session -t main 2>/dev/null || echo "gone"

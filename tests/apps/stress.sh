#!/bin/bash
# stress-ng's stressors, each for a while. Its own checks judge; the sandbox must come through without an error.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
seconds=1
[[ ${APP_SIZE:-short} == short ]] || seconds=5
stressors=(cpu vm fork pipe futex epoll timer sock mmap sem switch)
[[ ${APP_SIZE:-short} == short ]] || stressors+=(sem-sysv shm shm-sysv msg mq eventfd timerfd sigfd signal-dummy poll
  dup fstat dentry dir flock fcntl lockf hdd seek sendfile splice tee udp sockpair sockfd pthread clone vfork exec
  wait nanosleep clock itimer brk stack mremap madvise memfd malloc matrix qsort getrandom get set procfs yield
  zombie inotify link symlink rename xattr kill sigsuspend sigq sigsegv access utime chdir chmod fallocate)
known=$(stress-ng --help)
for stressor in "${stressors[@]}"; do
  [[ $known == *"--$stressor N "* ]] || continue  # not in this version
  if stress-ng --temp-path "$work" --vm-bytes 32M --mmap-bytes 16M --"$stressor" 1 --timeout "${seconds}s" \
    --verify --oomable >out 2>&1; then
    echo "$stressor passed"
  else
    echo "$stressor failed with $?"
    cat out >&2
  fi
done

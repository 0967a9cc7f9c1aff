#!/bin/bash
# git: a repository with 200 commits, branches, a merge, a conflict, gc, a clone, fsck.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
commits=200
[[ ${APP_SIZE:-short} == full ]] || commits=30
export GIT_AUTHOR_NAME=Author GIT_AUTHOR_EMAIL=a@example.org GIT_COMMITTER_NAME=Author
export GIT_COMMITTER_EMAIL=a@example.org GIT_CONFIG_NOSYSTEM=1 HOME=$work GIT_PAGER=cat
export GIT_AUTHOR_DATE='2020-01-01T00:00:00Z' GIT_COMMITTER_DATE='2020-01-01T00:00:00Z'
git config --global init.defaultBranch main
git config --global advice.detachedHead false
git config --global gc.auto 0

echo "== commits"
git init -q repo
cd repo
for i in $(seq "$commits"); do
  mkdir -p "dir$((i % 7))"
  echo "line $i" >>"dir$((i % 7))/file$((i % 13))"
  git add .
  git commit -q -m "commit $i"
done
git log --oneline | wc -l
git rev-parse HEAD
git status --short | wc -l
git ls-files | wc -l

echo "== branch and merge"
git checkout -q -b feature
echo feature >feature
git add feature
git commit -q -m feature
git checkout -q main
echo main >only-main
git add only-main
git commit -q -m 'on main'
git merge -q --no-edit feature
git log --merges --oneline | wc -l
git checkout -q -b left
echo left >both && git add both && git commit -q -m left
git checkout -q main
echo right >both && git add both && git commit -q -m right
{ git merge left 2>&1 || true; } | grep -c CONFLICT
echo resolved >both && git add both && git commit -q -m resolved
git show --stat --format=%s HEAD~1 | head -4
git diff --stat HEAD~3 HEAD | tail -1
git rebase -q --onto HEAD~5 HEAD~2 left 2>/dev/null || git rebase --abort 2>/dev/null || true
git checkout -q main
git stash list | wc -l
echo changed >>both && git stash -q && git stash pop -q && git checkout -q both
git tag -a v1 -m 'version 1'
git describe

echo "== gc, clone, fsck"
git gc -q --prune=now
git count-objects -v | grep -E '^(count|in-pack|packs)'
cd ..
git clone -q repo clone
git clone -q --bare "file://$PWD/repo" bare.git
git -C clone rev-parse HEAD
cd clone
git fsck --full --strict 2>&1 | grep -v -e '^notice' -e '^Checking' || true
echo more >more && git add more && git commit -q -m more
git push -q ../bare.git main
git -C ../bare.git log -1 --format=%s main
git -C ../repo pull -q ../bare.git main
git -C ../repo log -1 --format=%s
git grep -c line -- dir1 | sed -n 1,3p
git archive HEAD | tar t | wc -l
git bisect start HEAD "HEAD~20" >/dev/null && git bisect run sh -c 'test ! -e both' 2>/dev/null | grep -c 'first bad commit'
git worktree add -q ../tree v1 && ls ../tree | wc -l

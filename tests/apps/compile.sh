#!/bin/bash
# gcc and g++: compile, link, run; a project of many files with make -j2.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
files=30
[[ ${APP_SIZE:-short} == full ]] || files=4

echo "== c"
cat >hello.c <<'C'
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
static void* work(void* arg) { *(double*)arg = sqrt(*(double*)arg); return 0; }
int main(int argc, char** argv) {
  double x = argc > 1 ? atof(argv[1]) : 2;
  pthread_t t;
  pthread_create(&t, 0, work, &x);
  pthread_join(t, 0);
  printf("%.6f\n", x);
  return argc;
}
C
for how in -O0 -O2 "-O2 -static" "-O2 -static-pie -fPIE" "-O2 -no-pie"; do
  # shellcheck disable=SC2086 # several options
  gcc $how -Wall -pthread hello.c -o hello -lm
  ./hello 49 || echo "status $?"
done
echo 'int broken(' >broken.c
gcc -c broken.c 2>/dev/null || echo "refused $?"

echo "== c++"
cat >hello.cc <<'CC'
#include <algorithm>
#include <iostream>
#include <map>
#include <stdexcept>
#include <string>
#include <vector>
int main() {
  std::map<std::string, int> words;
  for (std::string w; std::cin >> w;) ++words[w];
  std::vector<std::pair<int, std::string>> order;
  for (auto& [w, n] : words) order.emplace_back(-n, w);
  std::sort(order.begin(), order.end());
  for (auto& [n, w] : order) std::cout << w << ' ' << -n << '\n';
  try {
    std::vector<int>().at(1);
  } catch (const std::out_of_range&) {
    std::cout << "caught\n";
  }
}
CC
g++ -std=c++17 -O1 hello.cc -o hello-cc
echo "b a c a b a" | ./hello-cc

echo "== a shared library"
echo 'int answer(void) { return 42; }' >lib.c
gcc -shared -fPIC lib.c -o libanswer.so
cat >use.c <<'C'
#include <dlfcn.h>
#include <stdio.h>
int main(void) {
  void* lib = dlopen("./libanswer.so", RTLD_NOW);
  int (*answer)(void) = (int (*)(void))dlsym(lib, "answer");
  printf("%d\n", answer());
  return 0;
}
C
gcc use.c -o use -ldl && ./use

echo "== make"
mkdir project && cd project
objects=
for i in $(seq "$files"); do
  cat >"part$i.cc" <<CC
#include <map>
#include <string>
int part$i(int x) { std::map<std::string, int> m; m["part $i"] = x + $i; return m.begin()->second; }
CC
  objects="$objects part$i.o"
done
{
  for i in $(seq "$files"); do echo "int part$i(int);"; done
  echo '#include <cstdio>'
  echo 'int main() { int x = 0;'
  for i in $(seq "$files"); do echo "x = part$i(x);"; done
  echo 'std::printf("%d\n", x); }'
} >main.cc
printf 'CXX = g++\nCXXFLAGS = -O1\nprogram: main.o%s\n\t$(CXX) -o $@ $^\nclean:\n\trm -f *.o program\n' "$objects" >Makefile
make -s -j2
./program
touch part1.cc
make -n | grep -c part1.cc
make -s -j2 && make -q && echo "up to date"
ar rcs libparts.a $objects && nm libparts.a 2>/dev/null | grep -c ' T _Z.*part'
strip program && ./program
make -s clean && find . -name '*.o' | wc -l

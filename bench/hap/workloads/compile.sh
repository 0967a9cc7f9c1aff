# A compiler at work.
cd /var/hap || exit 1
echo 'hap: ready'
read -r go
dir=$(mktemp -d compile.XXXXXX) && cd "$dir" || exit 1
cat > answer.c <<'C'
#include <stdio.h>
#include <stdlib.h>
static int fibonacci(int n) { return n < 2 ? n : fibonacci(n - 1) + fibonacci(n - 2); }
int main(int argc, char** argv) { printf("%d\n", fibonacci(argc > 1 ? atoi(argv[1]) : 10)); return 0; }
C
gcc -O1 -o answer answer.c || exit 1
[ "$(./answer 10)" = 55 ] || exit 1
cd .. && rm -r "$dir"
echo 'hap: done'
read -r end || :

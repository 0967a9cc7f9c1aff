// Writes one byte to each page of 64 MiB of fresh anonymous memory and prints how many nanoseconds that took.
#define _GNU_SOURCE
#include <stdio.h>
#include <sys/mman.h>
#include <time.h>

enum { kSize = 64 << 20, kPage = 4096 };

static long long now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return time.tv_sec * 1000000000LL + time.tv_nsec;
}

int main(void) {
  char* memory = mmap(NULL, kSize, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) return 1;
  if (madvise(memory, kSize, MADV_NOHUGEPAGE) != 0) return 2;  // page faults are what is measured
  const long long start = now();
  for (volatile char* page = memory; page < memory + kSize; page += kPage) *page = 1;
  printf("%lld\n", now() - start);
  return 0;
}

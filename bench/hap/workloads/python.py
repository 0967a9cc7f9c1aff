"""An interpreter's work: compute, threads, files, memory."""
import hashlib
import json
import mmap
import os
import sys
import tempfile
import threading
import time

print("hap: ready", flush=True)
sys.stdin.readline()

primes = [n for n in range(2, 3000) if all(n % d for d in range(2, int(n**0.5) + 1))]
digest = hashlib.sha256(json.dumps(primes).encode()).hexdigest()

total = 0
lock = threading.Lock()
ready = threading.Event()


def add(numbers):
    global total
    ready.wait()
    for number in numbers:
        with lock:
            total += number
    time.sleep(0.001)


threads = [threading.Thread(target=add, args=(range(i, 400, 4),)) for i in range(4)]
for thread in threads:
    thread.start()
ready.set()
for thread in threads:
    thread.join()
assert total == sum(range(400))

with tempfile.TemporaryDirectory(dir="/var/hap") as folder:
    path = os.path.join(folder, "data")
    with open(path, "w") as file:
        file.write("some text\n" * 5000)
    with open(path) as file:
        assert sum(1 for _ in file) == 5000
    os.rename(path, path + "2")
    assert os.stat(path + "2").st_size == 50000 and os.listdir(folder) == ["data2"]

blocks = [bytearray(1 << 20) for _ in range(16)]
for block in blocks:
    block[::4096] = b"x" * 256
area = mmap.mmap(-1, 4 << 20)
area[:: 4096] = b"y" * 1024
area.close()
del blocks
import decimal  # a module that was not loaded yet
assert decimal.Decimal(2).sqrt() > 1

print("hap: done", flush=True)
sys.stdin.readline()

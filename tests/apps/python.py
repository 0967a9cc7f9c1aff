"""The standard library where it leans on the kernel. Prints only what every correct run prints."""
import asyncio
import concurrent.futures
import contextlib
import ctypes
import errno
import fcntl
import hashlib
import json
import mmap
import multiprocessing
import os
import pathlib
import select
import selectors
import shutil
import signal
import socket
import socketserver
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
import zlib

FULL = os.environ.get("APP_SIZE") == "full"


def section(name):
    print("==", name, flush=True)


def square(n):
    return n * n


def with_subprocess():
    section("subprocess")
    print(subprocess.run(["echo", "hello"], capture_output=True, text=True, check=True).stdout.strip())
    print(subprocess.run(["sh", "-c", "exit 7"]).returncode)
    print(subprocess.run(["sh", "-c", "kill -9 $$"]).returncode)
    out = subprocess.run(["tr", "a-z", "A-Z"], input="through a pipe " * 1000, capture_output=True, text=True).stdout
    print(len(out), out[:14])
    p1 = subprocess.Popen(["seq", "100"], stdout=subprocess.PIPE)
    p2 = subprocess.Popen(["grep", "-c", "7"], stdin=p1.stdout, stdout=subprocess.PIPE, text=True)
    p1.stdout.close()
    print(p2.communicate()[0].strip(), p1.wait())
    try:
        subprocess.run(["sleep", "100"], timeout=0.2)
    except subprocess.TimeoutExpired:
        print("timed out")
    try:
        subprocess.run(["/does/not/exist"])
    except FileNotFoundError as error:
        print(error.errno == errno.ENOENT)
    print(subprocess.run("echo $VALUE; pwd", shell=True, env={"VALUE": "given", "PATH": os.environ["PATH"]}, cwd="/",
                         capture_output=True, text=True).stdout.split())
    many = [subprocess.Popen(["true"]) for _ in range(200 if FULL else 20)]
    print(sum(p.wait() for p in many))


def with_threading():
    section("threading")
    total, lock = [0], threading.Lock()

    def work():
        for _ in range(1000):
            with lock:
                total[0] += 1

    threads = [threading.Thread(target=work) for _ in range(20)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    print(total[0])
    event, seen = threading.Event(), []
    waiter = threading.Thread(target=lambda: seen.append(event.wait(30)))
    waiter.start()
    event.set()
    waiter.join()
    print(seen, threading.Event().wait(0.01))
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        print(sum(pool.map(square, range(1000))))
    barrier = threading.Barrier(4)
    order = []
    threads = [threading.Thread(target=lambda: order.append(barrier.wait())) for _ in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    print(sorted(order))


def queue_worker(queue, results):
    while (item := queue.get()) is not None:
        results.put(item * 2)


def with_multiprocessing():
    section("multiprocessing")
    with multiprocessing.Pool(4) as pool:
        print(sum(pool.map(square, range(500))))
        print(pool.apply(square, (12,)))
    queue, results = multiprocessing.Queue(), multiprocessing.Queue()
    workers = [multiprocessing.Process(target=queue_worker, args=(queue, results)) for _ in range(3)]
    for w in workers:
        w.start()
    for i in range(50):
        queue.put(i)
    for _ in workers:
        queue.put(None)
    print(sum(results.get() for _ in range(50)))
    for w in workers:
        w.join()
    print([w.exitcode for w in workers])
    value = multiprocessing.Value("i", 0)

    def add(shared):
        for _ in range(100):
            with shared.get_lock():
                shared.value += 1

    workers = [multiprocessing.Process(target=add, args=(value,)) for _ in range(4)]
    for w in workers:
        w.start()
    for w in workers:
        w.join()
    print(value.value)
    spawn = multiprocessing.get_context("spawn")
    with spawn.Pool(2) as pool:
        print(pool.map(square, [1, 2, 3]))
    from multiprocessing import shared_memory
    block = shared_memory.SharedMemory(create=True, size=4096)
    block.buf[:5] = b"hello"
    other = shared_memory.SharedMemory(name=block.name)
    print(bytes(other.buf[:5]))
    other.close()
    block.close()
    block.unlink()


def with_files(work):
    section("files")
    with tempfile.TemporaryDirectory(dir=work) as folder:
        path = pathlib.Path(folder)
        for i in range(1000 if FULL else 100):
            (path / f"file{i:04}").write_text(f"content {i}\n")
        print(len(list(path.iterdir())), (path / "file0042").read_text().strip())
        shutil.copytree(path, path.parent / "copy")
        print(sorted(os.listdir(path.parent / "copy")) == sorted(os.listdir(path)))
        shutil.rmtree(path.parent / "copy")
        print(sum(entry.stat().st_size for entry in os.scandir(path)) > 0)
        archive = shutil.make_archive(str(path.parent / "archive"), "zip", path)
        print(len(subprocess.run(["/usr/bin/python3", "-m", "zipfile", "-l", archive], capture_output=True,
                                 text=True).stdout.splitlines()) > 90)
        os.unlink(archive)
    with tempfile.TemporaryFile(dir=work) as f:
        f.write(b"x" * 100000)
        f.seek(50000)
        print(len(f.read()))
        f.truncate(10)
        print(os.fstat(f.fileno()).st_size)
    with tempfile.NamedTemporaryFile(dir=work) as f:
        fcntl.flock(f, fcntl.LOCK_EX)
        with open(f.name) as g:
            try:
                fcntl.flock(g, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                print("locked")
    with open(os.path.join(work, "mapped"), "w+b") as f:
        f.truncate(1 << 20)
        with mmap.mmap(f.fileno(), 0) as m:
            m[500000:500005] = b"hello"
            f.seek(500000)
            print(f.read(5), m.find(b"hello"))
    os.symlink("mapped", os.path.join(work, "link"))
    print(os.readlink(os.path.join(work, "link")), os.path.realpath(os.path.join(work, "link")).endswith("mapped"))
    with contextlib.suppress(OSError):
        os.setxattr(os.path.join(work, "mapped"), "user.test", b"1")
    fd = os.memfd_create("python")
    os.write(fd, b"memory")
    print(os.pread(fd, 3, 3))
    os.close(fd)


def with_sqlite(work):
    section("sqlite3")
    db = sqlite3.connect(os.path.join(work, "test.db"))
    db.execute("pragma journal_mode=wal")
    db.execute("create table t (id integer primary key, text text)")
    with db:
        db.executemany("insert into t (text) values (?)", ((f"row {i}",) for i in range(50000 if FULL else 5000)))
    print(db.execute("select count(*), max(id), sum(length(text)) from t").fetchone())
    other = sqlite3.connect(os.path.join(work, "test.db"))
    print(other.execute("select text from t where id = 77").fetchone())
    try:
        with db:
            db.execute("delete from t")
            raise ValueError
    except ValueError:
        print(db.execute("select count(*) > 0 from t").fetchone())
    print(db.execute("pragma integrity_check").fetchone())
    db.close()
    other.close()


class Echo(socketserver.BaseRequestHandler):
    def handle(self):
        while data := self.request.recv(65536):
            self.request.sendall(data.upper())


def with_sockets(work):
    section("sockets and selectors")
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Echo) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        for _ in range(10):
            with socket.create_connection(server.server_address) as client:
                client.sendall(b"hello " * 1000)
                client.shutdown(socket.SHUT_WR)
                got = b""
                while data := client.recv(65536):
                    got += data
        print(len(got), got[:5])
        server.shutdown()
        thread.join()
    path = os.path.join(work, "socket")
    server = socket.socket(socket.AF_UNIX)
    server.bind(path)
    server.listen()
    client = socket.socket(socket.AF_UNIX)
    client.connect(path)
    peer, _ = server.accept()
    a, b = os.pipe()
    socket.send_fds(client, [b"fds"], [b])
    data, fds, _, _ = socket.recv_fds(peer, 10, 4)
    os.write(fds[0], b"passed")
    print(data, os.read(a, 10))
    selector = selectors.DefaultSelector()
    print(type(selector).__name__)
    selector.register(peer, selectors.EVENT_READ)
    print(selector.select(0.01))
    client.send(b"wake")
    print(len(selector.select(10)))
    poll = select.poll()
    poll.register(peer, select.POLLIN)
    print(len(poll.poll(1000)), select.select([peer], [], [], 0)[0] == [peer])
    for s in (client, peer, server):
        s.close()


def with_signals():
    section("signal")
    seen = []
    signal.signal(signal.SIGUSR1, lambda number, frame: seen.append(number))
    os.kill(os.getpid(), signal.SIGUSR1)
    print(seen == [signal.SIGUSR1])
    signal.signal(signal.SIGALRM, lambda number, frame: seen.append(number))
    signal.setitimer(signal.ITIMER_REAL, 0.02)
    signal.pause()
    print(len(seen))
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR2])
    os.kill(os.getpid(), signal.SIGUSR2)
    print(signal.sigpending() == {signal.SIGUSR2}, signal.sigwait([signal.SIGUSR2]) == signal.SIGUSR2)
    read, write = socket.socketpair()
    read.setblocking(False)
    write.setblocking(False)
    signal.set_wakeup_fd(write.fileno())
    os.kill(os.getpid(), signal.SIGUSR1)
    print(len(read.recv(10)) >= 1)
    signal.set_wakeup_fd(-1)
    pid = os.fork()
    if pid == 0:
        signal.pause()
    os.kill(pid, signal.SIGTERM)
    print(os.WTERMSIG(os.waitpid(pid, 0)[1]) == signal.SIGTERM)


async def parallel():
    async def child(n):
        process = await asyncio.create_subprocess_exec("echo", str(n), stdout=asyncio.subprocess.PIPE)
        out, _ = await process.communicate()
        return int(out)

    results = await asyncio.gather(*(child(n) for n in range(10)))
    await asyncio.sleep(0.01)

    async def serve(reader, writer):
        writer.write((await reader.readline())[::-1])
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"abc\n")
    text = await reader.read()
    writer.close()
    server.close()
    return results, text


def with_the_rest():
    section("the rest")
    print(asyncio.run(parallel()))
    print(hashlib.sha256(zlib.decompress(zlib.compress(b"bulkhead" * 100000))).hexdigest())
    print(json.loads(json.dumps({"a": [1, 2.5, None, "\u00e9"]})))
    libc = ctypes.CDLL(None, use_errno=True)
    print(libc.getpid() == os.getpid(), libc.close(-1), ctypes.get_errno() == errno.EBADF)
    start = time.monotonic()
    time.sleep(0.05)
    print(time.monotonic() - start >= 0.05)
    print(os.sysconf("SC_PAGE_SIZE"), len(os.urandom(16)), sys.platform, os.cpu_count() >= 1)
    primes = [n for n in range(2, 3000) if all(n % d for d in range(2, int(n**0.5) + 1))]
    print(len(primes), primes[-1])
    import pty
    pid, master = pty.fork()
    if pid == 0:
        os.execvp("sh", ["sh", "-c", "tty >/dev/null && echo on a terminal"])
    out = b""
    with contextlib.suppress(OSError):
        while data := os.read(master, 1000):
            out += data
    os.waitpid(pid, 0)
    print(out)


if __name__ == "__main__":
    work = tempfile.mkdtemp()
    try:
        with_subprocess()
        with_threading()
        with_multiprocessing()
        with_files(work)
        with_sqlite(work)
        with_sockets(work)
        with_signals()
        with_the_rest()
    finally:
        shutil.rmtree(work)

"""A Debian image through containerd: an interpreter with threads, processes and packages, as people's images have it."""

import unittest

import engine
import image

engine.need("containerd", "ctr", "containerd-shim-runc-v2", "mmdebstrap")
DEBIAN = "localhost/debian:latest"

THREADS = """
import hashlib, queue, threading
jobs, done = queue.Queue(), []
def work():
    while (job := jobs.get()) is not None:
        done.append((job, hashlib.sha256(bytes([job]) * 200000).hexdigest()))
threads = [threading.Thread(target=work) for _ in range(8)]
for thread in threads: thread.start()
for job in range(64): jobs.put(job)
for _ in threads: jobs.put(None)
for thread in threads: thread.join()
print(len(done), hashlib.sha256(repr(sorted(done)).encode()).hexdigest(), threading.active_count())
"""

PROCESSES = """
import concurrent.futures, os, signal, subprocess, sys
shell = subprocess.run(["sh", "-c", "tr a-z A-Z; echo err >&2; exit 3"], input="words", capture_output=True, text=True)
print(shell.stdout, shell.stderr.strip(), shell.returncode)
pipeline = subprocess.Popen("seq 1 100000 | sort -r -n | head -1", shell=True, stdout=subprocess.PIPE, text=True)
print(pipeline.communicate()[0].strip())
sleeper = subprocess.Popen(["sleep", "1000"], start_new_session=True)
sleeper.send_signal(signal.SIGTERM)
print(sleeper.wait(30))
try:
    subprocess.run(["sleep", "1000"], timeout=0.2)
except subprocess.TimeoutExpired:
    print("in time")
with concurrent.futures.ProcessPoolExecutor(4) as pool:
    print(sum(pool.map(abs, range(-500, 500), chunksize=50)))
print(len(subprocess.run([sys.executable, "-c", "print('x' * 3000000)"], capture_output=True).stdout))
"""


class Debian(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        layer = image.debian_layer()
        cls.engine = engine.Containerd()
        cls.addClassCleanup(cls.engine.stop)
        archive = cls.engine.folder / "debian.tar"
        image.write_archive(archive, DEBIAN, ["bash"], layer)
        imported = cls.engine.ctr("image", "import", archive, timeout=300)
        assert imported.returncode == 0, imported.stderr
        cls.before = engine.jailed()

    def tearDown(self):
        self.assertEqual(engine.jailed() - self.before, set())

    def run_image(self, *words, options=(), **more):
        done = self.engine.ctr("run", "--rm", "--runc-binary", engine.BULKHEAD, *options, DEBIAN, "debian", *words, **more)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout

    def test_system(self):
        self.assertIn("VERSION_CODENAME=bookworm", self.run_image("cat", "/etc/os-release"))
        self.assertIn("ii  python3 ", self.run_image("dpkg", "-l", "python3"))
        self.assertEqual(self.run_image("bash", "-c", "cd /usr; echo ${PWD^^} $((2 ** 40)); type -t cd"), "/USR 1099511627776\nbuiltin\n")

    def test_python(self):
        self.assertEqual(self.run_image("python3", "-c", "import sys; print(sys.version_info[:2], sys.platform)"), "(3, 11) linux\n")
        program = "import os; print(os.getuid(), os.getgid(), open('/etc/passwd').readline().strip())"
        self.assertEqual(self.run_image("python3", "-c", program, options=("--read-only",)), "0 0 root:x:0:0:root:/root:/bin/bash\n")

    def test_threads(self):
        native = engine.run("python3", "-c", THREADS)
        self.assertEqual(native.stdout.split()[0], "64", native.stderr)
        self.assertEqual(self.run_image("python3", "-c", THREADS), native.stdout)

    def test_processes(self):
        expected = "WORDS err 3\n100000\n-15\nin time\n250000\n3000001\n"
        self.assertEqual(engine.run("python3", "-c", PROCESSES).stdout, expected)
        self.assertEqual(self.run_image("python3", "-c", PROCESSES), expected)

    def test_exec(self):
        done = self.engine.ctr("run", "-d", "--runc-binary", engine.BULKHEAD, DEBIAN, "debian", "sleep", "1000")
        self.assertEqual(done.returncode, 0, done.stderr)
        try:
            done = self.engine.ctr("task", "exec", "--exec-id", "e", "debian", "python3", "-c", "import os; print(os.listdir('/proc/1/fd'))")
            self.assertIn("'0', '1', '2'", done.stdout, done.stderr)
        finally:
            self.engine.ctr("task", "rm", "-f", "debian")
            self.engine.ctr("container", "rm", "debian")


if __name__ == "__main__":
    engine.main()

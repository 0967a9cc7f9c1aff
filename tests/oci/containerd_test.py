"""A real containerd with its stock shim, and bulkhead for a runtime."""

import os
import pathlib
import subprocess
import time
import unittest

import engine

engine.need("containerd", "ctr", "containerd-shim-runc-v2")
try:
    import tasks
except ImportError:  # python3-grpcio is not installed
    tasks = None


class Containerd(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.engine = engine.Containerd()
        cls.before = engine.jailed()

    @classmethod
    def tearDownClass(cls):
        cls.engine.stop()

    def setUp(self):
        self.name = "t" + self.id().rsplit("_", 1)[-1]

    def tearDown(self):
        self.ctr("task", "rm", "-f", self.name)
        self.ctr("container", "rm", self.name)
        self.assertEqual(engine.jailed() - self.before, set())
        state = pathlib.Path("/run/containerd/runc/default")
        self.assertFalse((state / self.name).exists())
        self.assertEqual(engine.cgroups(self.name), [])
        self.assertEqual([line for line in engine.mounts(str(self.engine.folder)) if f"/{self.name}/" in line], [])

    def ctr(self, *words, **options):
        return self.engine.ctr(*words, **options)

    def run_task(self, *words, options=(), **more):
        """`ctr run --rm` of a program; its end."""
        return self.ctr(
            "run", "--rm", "--runc-binary", engine.BULKHEAD, *options, engine.IMAGE, self.name, *words, **more
        )

    def start(self, *words, options=()):
        done = self.ctr("run", "-d", "--runc-binary", engine.BULKHEAD, *options, engine.IMAGE, self.name, *words)
        self.assertEqual(done.returncode, 0, done.stderr)

    def exec(self, *words, id="e", **options):
        return self.ctr("task", "exec", "--exec-id", id, self.name, *words, **options)

    def status(self):
        for line in self.ctr("task", "ls").stdout.splitlines():
            if line.split()[0] == self.name:
                return line.split()[2]
        return None

    def pid(self):
        return next(int(line.split()[1]) for line in self.ctr("task", "ls").stdout.splitlines() if line.split()[0] == self.name)

    def test_run(self):
        done = self.run_task("sh", "-c", "echo hello; echo no >&2; exit 3")
        self.assertEqual((done.returncode, done.stdout), (3, "hello\n"), done.stderr)
        self.assertIn("no\n", done.stderr)
        self.assertIn("Linux", self.run_task("uname", "-a").stdout)

    def test_tty(self):
        done = subprocess.run(
            ["script", "-qec", f"ctr --address {self.engine.socket} run --rm -t --runc-binary {engine.BULKHEAD} "
             f"{engine.IMAGE} {self.name} sh -c 'tty; echo $((6*7))'", "/dev/null"],
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60,
        )
        self.assertIn("/dev/pts/0", done.stdout)
        self.assertIn("42", done.stdout)

    def test_streams(self):
        data = os.urandom(10 << 20)
        done = self.run_task("md5sum", input=data, text=False)
        native = subprocess.run(["md5sum"], input=data, capture_output=True, check=True)
        self.assertEqual(done.stdout, native.stdout, done.stderr)
        done = self.run_task("head", "-c", str(20 << 20), "/dev/zero", text=False)
        self.assertEqual(len(done.stdout), 20 << 20)

    def test_exec(self):
        self.start("sleep", "1000")
        done = self.exec("sh", "-c", "echo in; exit 4")
        self.assertEqual((done.returncode, done.stdout), (4, "in\n"), done.stderr)
        many = [
            subprocess.Popen(
                ["ctr", "--address", self.engine.socket, "task", "exec", "--exec-id", f"e{i}", self.name, "sh", "-c", f"echo {i}; exit {i}"],
                stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True,
            )
            for i in range(8)
        ]
        for i, process in enumerate(many):
            self.assertEqual(process.communicate(timeout=60)[0], f"{i}\n")
            self.assertEqual(process.returncode, i)
        done = self.exec("nosuch")
        self.assertNotEqual(done.returncode, 0)
        self.assertIn("nosuch", done.stderr)

    def test_kill(self):
        self.start("sh", "-c", "trap 'exit 5' TERM; while :; do sleep 0.1; done")

        def terminated():  # not yet while the trap is not set: a first process ignores the signal then
            self.ctr("task", "kill", "-s", "SIGTERM", self.name)
            return self.status() == "STOPPED"
        engine.wait_for(terminated, "the end")
        self.ctr("task", "rm", self.name)
        self.ctr("container", "rm", self.name)
        self.start("sleep", "1000")
        self.ctr("task", "kill", "-a", "-s", "SIGKILL", self.name)
        engine.wait_for(lambda: self.status() == "STOPPED", "the end")

    def test_pause(self):
        self.start("sh", "-c", "while :; do :; done")
        self.assertEqual(self.ctr("task", "pause", self.name).returncode, 0)
        self.assertEqual(self.status(), "PAUSED")
        self.assertEqual(self.ctr("task", "resume", self.name).returncode, 0)
        self.assertEqual(self.status(), "RUNNING")

    def test_metrics(self):
        self.start("sleep", "1000")
        done = self.ctr("task", "metrics", self.name)
        self.assertRegex(done.stdout, r"memory.usage_in_bytes +[1-9]")
        pids = self.ctr("task", "ps", self.name).stdout.split("\n")[1:]
        self.assertEqual(len([line for line in pids if line]), 1)

    def test_options(self):
        folder = self.engine.folder / "shared"
        folder.mkdir(exist_ok=True)
        (folder / "file").write_text("host\n")
        bind = f"type=bind,src={folder},dst=/shared,options=rbind"
        done = self.run_task("sh", "-c", "cat /shared/file; echo guest > /shared/back", options=("--mount", bind + ":rw"))
        self.assertEqual(done.stdout, "host\n", done.stderr)
        self.assertEqual((folder / "back").read_text(), "guest\n")
        done = self.run_task("sh", "-c", "echo x > /shared/no; echo $?", options=("--mount", bind + ":ro"))
        self.assertEqual(done.stdout, "1\n", done.stderr)
        done = self.run_task("sh", "-c", "touch /x || echo read-only", options=("--read-only",))
        self.assertEqual(done.stdout, "read-only\n", done.stderr)
        done = self.run_task("grep", "^Seccomp:", "/proc/self/status", options=("--seccomp",))
        self.assertIn("2", done.stdout, done.stderr)

    def cgroup_file(self, controller, first, second):
        """A file of the container's cgroup, whose name depends on the version."""
        for line in pathlib.Path(f"/proc/{self.pid()}/cgroup").read_text().splitlines():
            _, names, path = line.split(":", 2)
            if names == "" and pathlib.Path("/sys/fs/cgroup/cgroup.controllers").exists():
                return pathlib.Path(f"/sys/fs/cgroup{path}/{second}").read_text().strip()
            if controller in names.split(","):
                return pathlib.Path(f"/sys/fs/cgroup/{names}{path}/{first}").read_text().strip()
        self.fail("no cgroup")

    def test_processor_quota(self):
        done = self.run_task("nproc", options=("--cpus", "1"))
        self.assertEqual(done.stdout, "1\n", done.stderr)
        self.start("sh", "-c", "while :; do :; done", options=("--cpu-quota", "20000", "--cpu-period", "100000"))
        self.assertEqual(self.cgroup_file("cpu", "cpu.cfs_quota_us", "cpu.max").split()[0], "20000")
        # A loop that never waits gets its fifth, whatever the machine has to give: over the next 20 periods.
        stat = lambda: dict(line.split() for line in self.cgroup_file("cpu", "cpu.stat", "cpu.stat").splitlines())
        first = stat()
        engine.wait_for(lambda: int(stat()["nr_periods"]) >= int(first["nr_periods"]) + 20, "20 periods")
        self.assertGreater(int(stat()["nr_throttled"]), int(first["nr_throttled"]))
        done = self.ctr("task", "metrics", self.name)
        self.assertRegex(done.stdout, r"cpuacct.usage +[1-9]|cpu.usage_usec +[1-9]")

    def test_devices(self):
        device = next((path for path in ("/dev/fuse", "/dev/loop-control", "/dev/net/tun", "/dev/kmsg") if os.path.exists(path)), None)
        if device is None:
            self.skipTest("this host has no device that a sandbox has not")
        number = os.stat(device).st_rdev
        program = f"stat -c '%F %t:%T' {device}; cat {device} 2>&1; head -c 2 /dev/zero | wc -c"
        done = self.run_task("sh", "-c", program, options=("--device", device))
        kind = f"character special file {os.major(number):x}:{os.minor(number):x}"
        self.assertEqual(done.stdout, f"{kind}\ncat: can't open '{device}': No such device or address\n2\n", done.stderr)
        done = self.run_task("ls", device)
        self.assertEqual((done.returncode, done.stdout), (1, ""))

    def test_update(self):
        if tasks is None:
            self.skipTest("python3-grpcio is not installed")
        self.start("sleep", "1000", options=("--memory-limit", str(64 << 20)))
        meminfo = lambda: self.exec("head", "-1", "/proc/meminfo", id=f"e{time.monotonic_ns()}").stdout
        self.assertIn(str(64 << 10), meminfo())
        tasks.update(self.engine.socket, self.name, {
            "memory": {"limit": 128 << 20}, "cpu": {"quota": 50000, "period": 100000, "shares": 512}, "pids": {"limit": 7},
        })
        self.assertIn(str(128 << 10), meminfo())
        self.assertEqual(self.cgroup_file("memory", "memory.limit_in_bytes", "memory.max"), str(128 << 20))
        self.assertEqual(self.cgroup_file("cpu", "cpu.cfs_quota_us", "cpu.max").split()[0], "50000")
        self.assertEqual(self.exec("nproc").stdout, "1\n")
        done = self.exec("sh", "-c", "for i in 1 2 3 4 5 6 7 8; do sleep 1 & done; wait", id="forks")
        self.assertIn("fork", done.stderr)
        with self.assertRaises(tasks.grpc.RpcError) as refused:
            tasks.update(self.engine.socket, self.name, {"memory": {"limit": "much"}})
        self.assertIn("memory", str(refused.exception))

    def test_capabilities(self):
        effective = lambda done: int(done.stdout.split()[1], 16)
        program = ("grep", "CapEff", "/proc/self/status")
        plain = effective(self.run_task(*program))
        self.assertEqual(effective(self.run_task(*program, options=("--cap-add", "CAP_SYS_ADMIN"))), plain | 1 << 21)
        self.assertEqual(effective(self.run_task(*program, options=("--cap-drop", "CAP_CHOWN"))), plain & ~1)

    def test_memory(self):
        program = "exec dd if=/dev/zero of=/dev/null bs=200M count=1"
        done = self.run_task("sh", "-c", program, options=("--memory-limit", str(32 << 20)))
        self.assertEqual(done.returncode, 137, done.stderr)

    def test_missing(self):
        done = self.run_task("nosuch")
        self.assertNotEqual(done.returncode, 0)
        self.assertIn("nosuch: No such file or directory", done.stderr)
        self.assertIsNone(self.status())

    def test_death(self):
        self.start("sleep", "1000")
        os.kill(self.pid(), 9)
        engine.wait_for(lambda: self.status() == "STOPPED", "the end")
        engine.wait_for(lambda: engine.jailed() - self.before == set(), "the end of the jailed programs")


if __name__ == "__main__":
    engine.main()

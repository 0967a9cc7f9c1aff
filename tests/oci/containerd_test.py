"""A real containerd with its stock shim, and bulkhead for a runtime."""

import os
import pathlib
import subprocess
import time
import unittest

import engine

engine.need("containerd", "ctr", "containerd-shim-runc-v2")


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
        self.ctr("task", "kill", "-s", "SIGTERM", self.name)
        engine.wait_for(lambda: self.status() == "STOPPED", "the end")
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
        done = self.run_task("sh", "-c", "grep CapEff /proc/self/status", options=("--cap-drop", "CAP_CHOWN"))
        self.assertEqual(int(done.stdout.split()[1], 16) & 1, 0)
        done = self.run_task("grep", "^Seccomp:", "/proc/self/status", options=("--seccomp",))
        self.assertIn("2", done.stdout, done.stderr)

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
        pid = int(self.ctr("task", "ls").stdout.splitlines()[1].split()[1])
        os.kill(pid, 9)
        engine.wait_for(lambda: self.status() == "STOPPED", "the end")
        engine.wait_for(lambda: engine.jailed() - self.before == set(), "the end of the jailed programs")


if __name__ == "__main__":
    engine.main()

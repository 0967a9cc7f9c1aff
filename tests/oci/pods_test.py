"""Pods, through containerd's own CRI service: several containers in one sandbox."""

import pathlib
import sys
import unittest

import engine

engine.need("containerd", "ctr")
try:
    import cri
except ImportError:
    print("SKIP: python3-grpcio is not installed")
    sys.exit(77)

import image

PAUSE = "localhost/pause:latest"
EXITED = 2  # ContainerState
CONFIG = f"""
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{PAUSE}"
  restrict_oom_score_adj = true
  disable_apparmor = true
  enable_selinux = false
[plugins."io.containerd.grpc.v1.cri".containerd]
  default_runtime_name = "bulkhead"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.bulkhead]
  runtime_type = "io.containerd.runc.v2"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.bulkhead.options]
    BinaryName = "{engine.BULKHEAD}"
"""


class Pods(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.before = engine.jailed()
        cls.engine = engine.Containerd(CONFIG)
        for name, command in ((engine.IMAGE, ["sh"]), (PAUSE, ["sleep", "1000000"])):
            archive = cls.engine.folder / "cri.tar"
            image.write_archive(archive, name, command)
            imported = cls.engine.ctr("-n", "k8s.io", "image", "import", archive)
            assert imported.returncode == 0, imported.stderr
        cls.cri = cri.Client(cls.engine.socket)

    @classmethod
    def tearDownClass(cls):
        cls.engine.stop()

    def kernels(self):
        """How many sentries there are: stubs are children of theirs."""
        pids = engine.jailed("sentry") - self.before
        parents = {pid: pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[1] for pid in pids}
        return sum(int(parent) not in pids for parent in parents.values())

    def test_pod(self):
        pod = self.cri.run_pod("one", "bulkhead")
        self.assertEqual(self.kernels(), 1)
        containers = []
        for name in ("a", "b"):
            program = f"echo {name} > /name; trap 'exit 0' TERM; while :; do sleep 0.1; done"
            containers.append(self.cri.create(pod, "one", name, engine.IMAGE, ["sh", "-c", program]))
            self.cri.start(containers[-1])
        a, b = containers
        # One kernel, and trees of their own.
        self.assertEqual(self.kernels(), 1)
        self.assertEqual(len(engine.jailed("gofer") - self.before), 3)
        engine.wait_for(lambda: self.cri.exec(a, "cat", "/name") == (0, "a\n"), "container a")
        engine.wait_for(lambda: self.cri.exec(b, "cat", "/name") == (0, "b\n"), "container b")
        status, listed = self.cri.exec(a, "ps")
        self.assertIn("sleep 1000000", listed)
        self.assertIn("echo b > /name", listed)
        self.assertEqual(self.cri.exec(b, "sh", "-c", "exit 6")[0], 6)
        # They meet on loopback.
        self.cri.exec(a, "sh", "-c", "echo from a | nc -l -p 7000 >/dev/null 2>&1 &")
        engine.wait_for(lambda: "from a" in self.cri.exec(b, "sh", "-c", "nc 127.0.0.1 7000 </dev/null")[1], "a connection")
        self.cri.stop_pod(pod)
        engine.wait_for(lambda: all(self.cri.state(each) == EXITED for each in containers), "the containers' end")
        self.cri.remove_pod(pod)
        self.assertEqual(engine.jailed() - self.before, set())

    def test_end_of_one(self):
        pod = self.cri.run_pod("two", "bulkhead")
        short = self.cri.create(pod, "two", "short", engine.IMAGE, ["sh", "-c", "exit 3"])
        long = self.cri.create(pod, "two", "long", engine.IMAGE, ["sleep", "1000"])
        self.cri.start(short)
        self.cri.start(long)
        engine.wait_for(lambda: self.cri.state(short) == EXITED, "the end of one container")
        self.assertEqual(self.cri.exec(long, "echo", "alive"), (0, "alive\n"))
        self.cri.stop_pod(pod)
        self.cri.remove_pod(pod)
        self.assertEqual(engine.jailed() - self.before, set())


if __name__ == "__main__":
    engine.main()

"""podman as it is by default under systemd: with systemd's driver."""

import os
import pathlib
import subprocess
import tempfile
import unittest

import image

BULKHEAD = os.environ["BULKHEAD"]


class Podman(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.rootfs = folder.name + "/rootfs"
        image.fill_root(pathlib.Path(self.rootfs))
        self.addCleanup(self.podman, "rm", "--force", "--all")

    def podman(self, *words):
        return subprocess.run(["podman", "--runtime", BULKHEAD, *words], capture_output=True, text=True, timeout=300)

    def run_box(self, *words, options=()):
        return self.podman("run", "--network", "none", "--cgroupns", "private", *options, "--rootfs", self.rootfs, *words)

    def test_driver(self):
        self.assertEqual(self.podman("info", "--format", "{{.Host.CgroupManager}}").stdout.strip(), "systemd")

    def test_run(self):
        done = self.run_box("sh", "-c", "head -1 /proc/meminfo; exit 5", options=("--rm", "--memory", "64m"))
        self.assertEqual((done.returncode, done.stdout.split()), (5, ["MemTotal:", "65536", "kB"]), done.stderr)

    def test_scope(self):
        done = self.run_box("sleep", "1000", options=("--detach", "--memory", "64m", "--pids-limit", "30"))
        self.assertEqual(done.returncode, 0, done.stderr)
        unit = f"libpod-{done.stdout.strip()}.scope"
        shown = subprocess.run(["systemctl", "show", unit], capture_output=True, text=True).stdout.splitlines()
        shown = dict(line.split("=", 1) for line in shown)
        self.assertEqual([shown[name] for name in ("ActiveState", "Slice", "MemoryMax")], ["active", "machine.slice", str(64 << 20)])
        self.assertEqual(self.podman("exec", "--latest", "echo", "hello").stdout, "hello\n")
        self.assertEqual(self.podman("rm", "--force", "--time", "0", "--latest").returncode, 0)
        state = subprocess.run(["systemctl", "show", "--property", "LoadState", unit], capture_output=True, text=True).stdout
        self.assertEqual(state.strip(), "LoadState=not-found")


if __name__ == "__main__":
    unittest.main(verbosity=2)

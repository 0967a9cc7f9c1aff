"""Docker's daemon, started by hand, and bulkhead for one of its runtimes."""

import json
import os
import pathlib
import shutil
import signal
import subprocess
import tempfile
import unittest

import engine
import image

engine.need("dockerd", "docker", "containerd")


class Docker(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = pathlib.Path(tempfile.mkdtemp(prefix="bulkhead-docker-"))
        cls.socket = f"unix://{cls.folder}/socket"
        (cls.folder / "daemon.json").write_text(json.dumps({"runtimes": {"bulkhead": {"path": engine.BULKHEAD}}}))
        cls.log = open(cls.folder / "log", "w")
        cls.daemon = subprocess.Popen(
            ["dockerd", f"--config-file={cls.folder}/daemon.json", f"--data-root={cls.folder}/root", "-H", cls.socket,
             f"--exec-root={cls.folder}/exec", f"--pidfile={cls.folder}/pid", "--storage-driver=vfs",
             "--iptables=false", "--bridge=none", "--exec-opt=native.cgroupdriver=cgroupfs"],
            stdin=subprocess.DEVNULL, stdout=cls.log, stderr=cls.log,
            env={**os.environ, "PATH": os.environ["PATH"] + ":/usr/sbin:/sbin"},
        )
        engine.wait_for(lambda: cls.docker("version").returncode == 0, "dockerd's start")
        root = cls.folder / "image"
        image.fill_root(root)
        packed = subprocess.run(["tar", "-C", root, "-c", "."], check=True, capture_output=True).stdout
        loaded = cls.docker("import", "-", "busybox:latest", input=packed, text=False)
        assert loaded.returncode == 0, loaded.stderr

    @classmethod
    def tearDownClass(cls):
        cls.daemon.send_signal(signal.SIGTERM)
        cls.daemon.wait(30)
        cls.log.close()
        for line in reversed(engine.mounts(str(cls.folder))):
            subprocess.run(["umount", "-l", line.split()[4]], check=False)
        shutil.rmtree(cls.folder, ignore_errors=True)

    @classmethod
    def docker(cls, *words, **options):
        # Debian's client: that of the same package as the daemon.
        return engine.run("/usr/bin/docker", "-H", cls.socket, *words, **options)

    def setUp(self):
        self.before = engine.jailed()

    def tearDown(self):
        self.docker("rm", "-f", "box")
        engine.wait_for(lambda: engine.jailed() - self.before == set(), "the end of the jailed programs")

    def test_run(self):
        words = ["run", "--rm", "--network=none", "--runtime=bulkhead"]
        done = self.docker(*words, "busybox:latest", "sh", "-c", "echo hello; exit 3")
        self.assertEqual((done.returncode, done.stdout), (3, "hello\n"), done.stderr)
        done = self.docker(*words, "-u", "1000", "--read-only", "busybox:latest", "sh", "-c", "id -u; touch /x || echo no")
        self.assertEqual(done.stdout, "1000\nno\n", done.stderr)
        done = self.docker(*words, "busybox:latest", "nosuch")
        self.assertEqual(done.returncode, 127, done.stderr)
        self.assertIn("nosuch", done.stderr)

    def test_life(self):
        done = self.docker("run", "-d", "--name=box", "--network=none", "--runtime=bulkhead", "busybox:latest", "sleep", "1000")
        self.assertEqual(done.returncode, 0, done.stderr)
        done = self.docker("exec", "box", "sh", "-c", "echo in; exit 4")
        self.assertEqual((done.returncode, done.stdout), (4, "in\n"), done.stderr)
        self.assertEqual(self.docker("pause", "box").returncode, 0)
        self.assertIn("Paused", self.docker("ps").stdout)
        self.assertEqual(self.docker("unpause", "box").returncode, 0)
        self.assertEqual(self.docker("update", "--memory=64m", "--memory-swap=64m", "box").returncode, 0)
        self.assertEqual(self.docker("exec", "box", "awk", "/MemTotal/ {print $2}", "/proc/meminfo").stdout, "65536\n")


if __name__ == "__main__":
    engine.main()

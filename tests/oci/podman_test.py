"""podman with its conmon, and bulkhead for a runtime. Everything of podman's is in a folder of its own."""

import os
import pathlib
import shutil
import subprocess
import tempfile
import unittest

import engine
import image

engine.need("podman", "conmon")


class Podman(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = pathlib.Path(tempfile.mkdtemp(prefix="bulkhead-podman-"))
        # Hosts that let nobody raise limits: podman's default ulimits would be refused.
        (cls.folder / "containers.conf").write_text("[containers]\ndefault_ulimits = []\n")
        cls.environment = {**os.environ, "CONTAINERS_CONF": str(cls.folder / "containers.conf")}
        image.write_archive(cls.folder / "image.tar", engine.IMAGE)
        loaded = cls.podman("load", "-q", "-i", cls.folder / "image.tar")
        assert loaded.returncode == 0, loaded.stderr

    @classmethod
    def tearDownClass(cls):
        cls.podman("rm", "-fa", "-t", "0")
        for line in reversed(engine.mounts(str(cls.folder))):
            subprocess.run(["umount", "-l", line.split()[4]], check=False)
        shutil.rmtree(cls.folder, ignore_errors=True)

    @classmethod
    def podman(cls, *words, **options):
        places = [f"--{name}={cls.folder}/{name}" for name in ("root", "runroot", "tmpdir")]
        return engine.run(
            "podman", *places, "--storage-driver=vfs", "--cgroup-manager=cgroupfs", "--events-backend=file",
            f"--runtime={engine.BULKHEAD}", *words, env=cls.environment, **options,
        )

    def setUp(self):
        self.before = engine.jailed()

    def tearDown(self):
        self.podman("rm", "-fa", "-t", "0")
        engine.wait_for(lambda: engine.jailed() - self.before == set(), "the end of the jailed programs")

    def run_image(self, *words, options=(), **more):
        return self.podman("run", "--rm", "--network=none", *options, engine.IMAGE, *words, **more)

    def start(self, *words, options=()):
        done = self.podman("run", "-d", "--name=box", "--network=none", *options, engine.IMAGE, *words)
        self.assertEqual(done.returncode, 0, done.stderr)

    def test_run(self):
        done = self.run_image("sh", "-c", "echo hello; echo no >&2; exit 3")
        self.assertEqual((done.returncode, done.stdout, done.stderr), (3, "hello\n", "no\n"))
        done = self.run_image("cat", input="typed", options=("-i",))
        self.assertEqual(done.stdout, "typed", done.stderr)
        done = self.run_image("sh", "-c", "tty; echo end", options=("-t",))
        self.assertEqual(done.stdout, "/dev/pts/0\nend\n", done.stderr)
        done = self.run_image("grep", "^Seccomp:", "/proc/self/status")
        self.assertEqual(done.stdout.split(), ["Seccomp:", "2"], done.stderr)
        done = self.run_image("nosuch")
        self.assertEqual(done.returncode, 127)
        self.assertIn("nosuch", done.stderr)

    def test_options(self):
        shared = self.folder / "shared"
        shared.mkdir()
        (shared / "file").write_text("host\n")
        done = self.run_image("sh", "-c", "cat /s/file; id -u; hostname; touch /x || echo read-only; echo t > /tmp/t && cat /tmp/t",
                              options=("-v", f"{shared}:/s:ro", "-u", "1000", "--hostname=name", "--read-only"))
        self.assertEqual(done.stdout, "host\n1000\nname\nread-only\nt\n", done.stderr)

    def test_life(self):
        self.start("sh", "-c", "trap 'echo ended; exit 0' TERM; echo up; while :; do sleep 0.1; done")
        engine.wait_for(lambda: "up" in self.podman("logs", "box").stdout, "the program")
        done = self.podman("exec", "box", "sh", "-c", "echo in; exit 4")
        self.assertEqual((done.returncode, done.stdout), (4, "in\n"), done.stderr)
        done = self.podman("exec", "-t", "box", "tty")
        self.assertRegex(done.stdout, "/dev/pts/[0-9]")
        for verb, state in (("pause", "paused"), ("unpause", "running")):
            done = self.podman(verb, "box")
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertEqual(self.podman("inspect", "-f", "{{.State.Status}}", "box").stdout.strip(), state)
        self.assertEqual(self.podman("stop", "-t", "10", "box").returncode, 0)
        self.assertIn("ended", self.podman("logs", "box").stdout)
        self.assertEqual(self.podman("inspect", "-f", "{{.State.ExitCode}}", "box").stdout.strip(), "0")

    def test_update(self):
        self.start("sleep", "1000", options=("--memory=64m", "--cpus=0.5"))
        self.assertEqual(self.podman("exec", "box", "nproc").stdout, "1\n")
        self.assertIn(str(64 << 10), self.podman("exec", "box", "head", "-1", "/proc/meminfo").stdout)
        done = self.podman("update", "--memory=128m", "--cpus=1.5", "box")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn(str(128 << 10), self.podman("exec", "box", "head", "-1", "/proc/meminfo").stdout)
        self.assertEqual(self.podman("exec", "box", "nproc").stdout, f"{min(2, len(os.sched_getaffinity(0)))}\n")

    def test_privileges(self):
        done = self.run_image("sh", "-c", "grep CapEff /proc/self/status; ls /dev/made; mknod /tmp/n c 1 3; echo $?",
                              options=("--cap-drop=all", "--cap-add=sys_time", "--device=/dev/null:/dev/made"))
        self.assertEqual(done.stdout.split()[1:], [f"{1 << 25:016x}", "/dev/made", "1"], done.stderr)

    def test_memory(self):
        done = self.run_image("dd", "if=/dev/zero", "of=/dev/null", "bs=200M", "count=1", options=("--memory=32m",))
        self.assertEqual(done.returncode, 137, done.stderr)


if __name__ == "__main__":
    engine.main()

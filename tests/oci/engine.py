"""What the tests of container engines share: a private containerd, and a look at what is left behind."""

import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest

import image

BULKHEAD = os.environ["BULKHEAD"]
IMAGE = "localhost/busybox:latest"


def need(*programs):
    """Skips the tests of a module where an engine is not installed, or where they cannot work."""
    if os.geteuid() != 0:
        print("SKIP: container engines need root here")
        sys.exit(77)
    for program in programs:
        if shutil.which(program) is None:
            print(f"SKIP: {program} is not installed")
            sys.exit(77)


def run(*words, **options):
    options.setdefault("timeout", 60)
    if "input" not in options and "stdin" not in options:
        options["stdin"] = subprocess.DEVNULL
    return subprocess.run([str(word) for word in words], capture_output=True, text=options.pop("text", True), **options)


def wait_for(condition, what, seconds=20):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return
        time.sleep(0.02)
    raise AssertionError("waited in vain: " + what)


def jailed(*names):
    """Pids of sentries and gofers of this build, wherever they are."""
    ours = {os.stat(f"{BULKHEAD}-{name}").st_ino for name in names or ("sentry", "gofer")}
    found = set()
    for folder in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            if os.stat(folder / "exe").st_ino in ours:
                found.add(int(folder.name))
        except OSError:
            pass  # gone, or a zombie that its new parent has not reaped yet
    return found


def cgroups(name):
    """Cgroup directories whose name has `name` in it."""
    top = pathlib.Path("/sys/fs/cgroup")
    return [path for depth in range(6) for path in top.glob("*/" * depth + f"*{name}*") if path.is_dir()]


def mounts(prefix):
    return [line for line in open("/proc/self/mountinfo") if f" {prefix}" in line]


class Containerd:
    """A containerd with everything of its own in a fresh folder. CRI as far as its configuration says."""

    def __init__(self, config=""):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="bulkhead-containerd-"))
        self.socket = self.folder / "containerd.sock"
        (self.folder / "config.toml").write_text(
            f"""version = 2
root = "{self.folder}/root"
state = "{self.folder}/state"
[grpc]
  address = "{self.socket}"
{config.replace("@FOLDER@", str(self.folder))}"""
        )
        self.log = open(self.folder / "log", "w")
        # A namespace of mounts: what is forgotten goes with it, and the tests can see it.
        self.process = subprocess.Popen(
            ["containerd", "-c", str(self.folder / "config.toml")],
            stdin=subprocess.DEVNULL,
            stdout=self.log,
            stderr=self.log,
            env={**os.environ, "PATH": os.environ["PATH"] + ":/usr/sbin:/sbin"},
        )
        wait_for(lambda: run("ctr", "--address", self.socket, "version").returncode == 0, "containerd's start")
        archive = self.folder / "image.tar"
        image.write_archive(archive, IMAGE)
        imported = self.ctr("image", "import", archive)
        assert imported.returncode == 0, imported.stderr

    def ctr(self, *words, **options):
        return run("ctr", "--address", self.socket, *words, **options)

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(20)
        self.log.close()
        for line in reversed(mounts(str(self.folder))):
            subprocess.run(["umount", "-l", line.split()[4]], check=False)
        shutil.rmtree(self.folder, ignore_errors=True)


def main():
    unittest.main(verbosity=2, argv=[sys.argv[0]] + sys.argv[1:])

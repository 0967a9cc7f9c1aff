"""A bundle of busybox in a folder of its own, and the command under test."""

import copy
import json
import os
import pathlib
import shutil
import subprocess
import tempfile

import image

BULKHEAD = os.environ["BULKHEAD"]

CAPABILITIES = ["CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_KILL", "CAP_SETUID", "CAP_SETGID", "CAP_MKNOD"]

CONFIG = {
    "ociVersion": "1.2.0",
    "process": {
        "args": ["true"],
        "cwd": "/",
        "env": ["PATH=/bin"],
        "user": {"uid": 0, "gid": 0},
        "capabilities": {kind: CAPABILITIES for kind in ("bounding", "permitted", "effective")},
    },
    "root": {"path": "rootfs"},
    "mounts": [
        {"destination": "/proc", "type": "proc", "source": "proc"},
        {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755"]},
        {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["ro"]},
    ],
    "linux": {"namespaces": [{"type": kind} for kind in ("pid", "network", "ipc", "uts", "mount")]},
}


class Bundle:
    def __init__(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="bulkhead-oci-"))
        self.cgroup = self.folder.name  # nobody else's, for tests that put their container into one
        self.rootfs = self.folder / "rootfs"
        self.state = self.folder / "state"
        image.fill_root(self.rootfs)
        self.config = copy.deepcopy(CONFIG)
        self.options = []  # more of bulkhead's own

    def remove(self):
        shutil.rmtree(self.folder)

    def save(self):
        (self.folder / "config.json").write_text(json.dumps(self.config))

    def command(self, *words, **options):
        """Runs `bulkhead WORD...` on this bundle's state directory, by the command `before` if there is one."""
        options.setdefault("timeout", 60)
        if "input" not in options and "stdin" not in options:
            options["stdin"] = subprocess.DEVNULL
        text = options.pop("text", True)
        options.setdefault("cwd", self.folder)
        return subprocess.run(
            [*options.pop("before", ()), BULKHEAD, "--root", str(self.state), *self.options] + [str(word) for word in words],
            capture_output=True,
            text=text,
            **options,
        )

    def run(self, *args, **options):
        """The container from beginning to end, with `args` for its program if given."""
        if args:
            self.config["process"]["args"] = list(args)
        self.save()
        return self.command("run", "box", **options)

    def create(self, *args, id="box", extra=()):
        """A container in the background; its output goes to a file."""
        if args:
            self.config["process"]["args"] = list(args)
        self.save()
        with open(self.folder / "out", "w") as out:
            done = subprocess.run(
                [BULKHEAD, "--root", str(self.state), "--log", str(self.folder / "log.json"), "--log-format", "json", *self.options]
                + ["create", "--pid-file", str(self.folder / "pid"), *extra, id],
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                timeout=60,
            )
        return done.returncode

    def output(self):
        return (self.folder / "out").read_text()

    def pid(self):
        return int((self.folder / "pid").read_text())

    def status(self, id="box"):
        return json.loads(self.command("state", id).stdout)["status"]

    def log_lines(self):
        path = self.folder / "log.json"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

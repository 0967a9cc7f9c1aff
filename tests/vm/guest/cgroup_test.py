"""Containers in cgroups of version 2, by the driver that DRIVER names: cgroupfs, or systemd's scopes."""

import json
import os
import pathlib
import signal
import subprocess
import time
import unittest

from bundle import Bundle
from engine import jailed, wait_for

SYSTEMD = os.environ["DRIVER"] == "systemd"
TOP = pathlib.Path("/sys/fs/cgroup")
UNIT = "vm-box.scope"
MIB = 1 << 20


def systemctl(*words):
    return subprocess.run(["systemctl", *words], capture_output=True, text=True, timeout=60)


def properties():
    lines = systemctl("show", UNIT).stdout.splitlines()
    return dict(line.split("=", 1) for line in lines)


class Cgroups(unittest.TestCase):
    def setUp(self):
        self.box = Bundle()
        self.addCleanup(self.box.remove)
        if SYSTEMD:
            self.box.options = ["--systemd-cgroup"]
        self.linux = self.box.config["linux"]
        self.linux["cgroupsPath"] = "bulkheadtest.slice:vm:box" if SYSTEMD else "/bulkhead-vm/box"
        self.jailed = jailed()

    def tearDown(self):
        self.box.command("delete", "--force", "box")
        self.assertEqual(jailed() - self.jailed, set())
        self.assertFalse(self.box.state.exists())
        self.assert_nothing_left()

    def assert_nothing_left(self):
        if SYSTEMD:
            self.assertEqual(properties()["LoadState"], "not-found")
            self.assertEqual(list(TOP.rglob(UNIT)), [])
        else:
            self.assertFalse((TOP / "bulkhead-vm").exists())

    def create(self, *args, **options):
        self.assertEqual(self.box.create(*args, **options), 0, self.box.output())

    def start(self, *args):
        self.create(*args)
        self.assertEqual(self.box.command("start", "box").returncode, 0)

    def folder(self):
        line = pathlib.Path(f"/proc/{self.box.pid()}/cgroup").read_text().strip()
        self.assertTrue(line.startswith("0::/"), line)
        return TOP / line.removeprefix("0::/")

    def value(self, file):
        return (self.folder() / file).read_text().strip()

    def test_where_it_is(self):
        self.create("sleep", "1000")
        name = f"bulkheadtest.slice/{UNIT}" if SYSTEMD else "bulkhead-vm/box"
        self.assertEqual(self.folder(), TOP / name)
        members = {int(pid) for pid in self.value("cgroup.procs").split()}
        self.assertIn(self.box.pid(), members)
        self.assertEqual(jailed() - self.jailed - members, set())
        self.assertGreaterEqual(len(jailed() - self.jailed), 2)  # sentry, gofer, and stubs that wait
        if SYSTEMD:
            unit = properties()
            self.assertEqual((unit["ActiveState"], unit["Slice"], unit["Delegate"]), ("active", "bulkheadtest.slice", "yes"))
            self.assertEqual(unit["ControlGroup"], "/" + name)

    def test_limits(self):
        disk = pathlib.Path("/sys/block/vda/dev").read_text().strip()
        major, minor = (int(number) for number in disk.split(":"))
        controllers = (TOP / "cgroup.controllers").read_text().split()
        self.assertLessEqual({"memory", "cpu", "cpuset", "pids", "io"}, set(controllers))
        self.linux["resources"] = {
            "memory": {"limit": 200 * MIB, "swap": 300 * MIB, "reservation": 50 * MIB},
            "cpu": {"shares": 1024, "quota": 50000, "period": 100000, "cpus": "0", "mems": "0"},
            "pids": {"limit": 100},
            "blockIO": {"throttleReadBpsDevice": [{"major": major, "minor": minor, "rate": 50 * MIB}]},
            "unified": {"memory.high": str(190 * MIB), "pids.max": "300"},
        }
        hugetlb = "hugetlb" in controllers and not SYSTEMD  # systemd has nothing for it
        if hugetlb:
            self.linux["resources"]["hugepageLimits"] = [{"pageSize": "2MB", "limit": 4 * MIB}]
        self.start("sleep", "1000")
        expected = {
            "memory.max": str(200 * MIB),
            "memory.swap.max": str(100 * MIB),
            "memory.low": str(50 * MIB),
            "memory.high": str(190 * MIB),
            "cpu.weight": "39",
            "cpu.max": "50000 100000",
            "cpuset.cpus": "0",
            "cpuset.mems": "0",
            "pids.max": "300",
            "io.max": f"{disk} rbps={50 * MIB} wbps=max riops=max wiops=max",
        }
        if hugetlb:
            expected["hugetlb.2MB.max"] = str(4 * MIB)
        self.assertEqual({file: self.value(file) for file in expected}, expected)
        if SYSTEMD:
            unit = properties()
            wanted = {
                "MemoryMax": str(200 * MIB),
                "MemorySwapMax": str(100 * MIB),
                "MemoryLow": str(50 * MIB),
                "MemoryHigh": str(190 * MIB),
                "CPUWeight": "39",
                "CPUQuotaPerSecUSec": "500ms",
                "TasksMax": "300",
                "AllowedCPUs": "0",
                "AllowedMemoryNodes": "0",
            }
            self.assertEqual({name: unit[name] for name in wanted}, wanted)
            # What systemd writes again by itself must be the same.
            self.assertEqual(systemctl("daemon-reload").returncode, 0)
            self.assertEqual({file: self.value(file) for file in expected}, expected)
        # The guest sees them, too.
        self.assertIn(str(200 << 10), self.box.command("exec", "box", "head", "-1", "/proc/meminfo").stdout)

    def test_update(self):
        self.linux["resources"] = {"memory": {"limit": 100 * MIB}, "pids": {"limit": 50}}
        self.start("sleep", "1000")
        update = {"memory": {"limit": 150 * MIB}, "cpu": {"quota": 30000, "period": 50000, "shares": 2}, "pids": {"limit": 60}}
        done = self.box.command("update", "--resources", "-", "box", input=json.dumps(update))
        self.assertEqual(done.returncode, 0, done.stderr)
        files = ("memory.max", "cpu.max", "cpu.weight", "pids.max")
        self.assertEqual([self.value(file) for file in files], [str(150 * MIB), "30000 50000", "1", str(60 * 2 + 64)])
        if SYSTEMD:
            unit = properties()
            self.assertEqual(
                [unit[name] for name in ("MemoryMax", "CPUQuotaPerSecUSec", "CPUWeight", "TasksMax")],
                [str(150 * MIB), "600ms", "1", str(60 * 2 + 64)],
            )
        done = self.box.command("update", "--cpu-quota", "20000", "box")
        self.assertEqual((done.returncode, self.value("cpu.max")), (0, "20000 50000"), done.stderr)
        stats = json.loads(self.box.command("events", "--stats", "box").stdout)["data"]
        self.assertEqual(stats["memory"]["usage"]["limit"], 150 * MIB)
        self.assertGreater(stats["memory"]["usage"]["usage"], 0)
        self.assertGreater(stats["cpu"]["usage"]["total"], 0)
        self.assertGreater(stats["pids"]["current"], 2)

    def test_a_limit_that_version_2_lacks(self):
        self.linux["resources"] = {"memory": {"swappiness": 10}}
        self.assertEqual(self.box.create("true"), 125)
        self.assertIn("linux.resources.memory.swappiness", self.box.log_lines()[-1]["msg"])
        self.assert_nothing_left()

    def test_out_of_memory(self):
        self.linux["resources"] = {"memory": {"limit": 64 * MIB, "swap": 64 * MIB}}
        program = ("sh", "-c", "exec dd if=/dev/zero of=/dev/null bs=300M count=1")
        done = self.box.run(*program)
        self.assertEqual(done.returncode, 137, done.stderr)
        # A scope may be gone with its last process, and with it the count of what its limit has killed.
        if not SYSTEMD or done.stderr:
            self.assertIn("memory limit", done.stderr)
        # In the background the supervisor is in the cgroup, which so outlives what was killed.
        self.start(*program)
        wait_for(lambda: self.box.status() == "stopped", "the end", 60)
        self.assertIn(f"reached its memory limit ({64 * MIB} bytes)", self.box.log_lines()[-1]["msg"])

    def test_task_limit(self):
        self.linux["resources"] = {"pids": {"limit": 4}}
        done = self.box.run("sh", "-c", "for i in 1 2 3 4 5 6; do sleep 1 & done; wait")
        self.assertIn("fork", done.stderr)

    def test_processor_quota(self):
        self.linux["resources"] = {"cpu": {"quota": 10000, "period": 100000}}
        self.start("sh", "-c", "while :; do :; done")
        wait_for(lambda: "nr_throttled 0\n" not in (self.folder() / "cpu.stat").read_text(), "throttling", 60)
        self.box.command("delete", "--force", "box")

    def test_kill_all(self):
        self.start("sh", "-c", "sleep 1000 & sleep 1000 & wait")
        folder = self.folder()
        self.assertEqual(self.box.command("kill", "--all", "box", "9").returncode, 0)
        wait_for(lambda: self.box.status() == "stopped", "the end", 60)
        populated = folder / "cgroup.events"
        wait_for(lambda: not populated.exists() or "populated 0" in populated.read_text(), "an empty cgroup", 60)
        self.assertEqual(self.box.command("delete", "box").returncode, 0)
        self.assertFalse(folder.exists())

    def test_pause(self):
        self.start("sh", "-c", "i=0; while :; do i=$((i+1)); echo $i; sleep 0.01; done")
        wait_for(lambda: len(self.box.output()) > 10, "output", 60)
        self.assertEqual(self.box.command("pause", "box").returncode, 0)
        self.assertEqual(self.box.status(), "paused")
        before = self.box.output()
        time.sleep(1)
        self.assertEqual(self.box.output(), before)
        self.assertEqual(self.box.command("resume", "box").returncode, 0)
        wait_for(lambda: len(self.box.output()) > len(before), "more output", 60)

    def test_exec_is_in_it(self):
        self.start("sleep", "1000")
        pid_file = self.box.folder / "exec.pid"
        words = ["exec", "--detach", "--pid-file", str(pid_file), "box", "sleep", "1001"]
        with open(os.devnull, "r+") as null:
            subprocess.run(
                [os.environ["BULKHEAD"], "--root", self.box.state, *self.box.options, *words],
                check=True, stdin=null, stdout=null, stderr=null, timeout=60,
            )
        self.assertIn(pid_file.read_text().strip(), self.value("cgroup.procs").split())

    def test_a_failed_create_leaves_nothing(self):
        for args, status in ((["nosuch"], 127), (["/etc/passwd"], 126)):
            self.assertEqual(self.box.create(*args), status)
            self.assert_nothing_left()
        self.create("true")

    def test_its_process_is_killed(self):
        for _ in range(3):  # the name is free again at once
            self.create("sleep", "1000")
            os.kill(self.box.pid(), signal.SIGKILL)
            wait_for(lambda: self.box.status() == "stopped", "the end", 60)
            self.assertEqual(self.box.command("delete", "box").returncode, 0)
            self.assert_nothing_left()

    def test_in_the_foreground(self):
        done = self.box.run("sh", "-c", "exit 7")
        self.assertEqual(done.returncode, 7, done.stderr)
        self.assert_nothing_left()

    @unittest.skipUnless(SYSTEMD, "of systemd's driver")
    def test_default_path(self):
        del self.linux["cgroupsPath"]
        self.create("sleep", "1000")
        self.assertEqual(self.folder(), TOP / "system.slice/bulkhead-box.scope")

    @unittest.skipUnless(SYSTEMD, "of systemd's driver")
    def test_paths_of_the_other_driver(self):
        for path in ("/a/b", "nonsense", "x:y:z"):
            self.linux["cgroupsPath"] = path
            self.assertEqual(self.box.create("true"), 125)
            self.assertIn("linux.cgroupsPath", self.box.log_lines()[-1]["msg"])
            self.assertFalse(self.box.state.exists())

    @unittest.skipUnless(SYSTEMD, "of systemd's driver")
    def test_a_unit_that_exists(self):
        self.create("sleep", "1000")
        self.assertEqual(self.box.create("true", id="other"), 125)
        self.assertIn(UNIT, self.box.log_lines()[-1]["msg"])
        self.assertEqual(self.box.status(), "created")  # and whose it is keeps it
        self.assertEqual(properties()["ActiveState"], "active")

    @unittest.skipUnless(SYSTEMD, "of systemd's driver")
    def test_systemd_stops_it(self):
        self.start("sh", "-c", "trap 'exit 0' TERM; echo up; while :; do sleep 0.1; done")
        wait_for(lambda: "up" in self.box.output(), "the program", 60)
        self.assertEqual(systemctl("stop", UNIT).returncode, 0)
        self.assertEqual(self.box.status(), "stopped")


if __name__ == "__main__":
    unittest.main(verbosity=2)

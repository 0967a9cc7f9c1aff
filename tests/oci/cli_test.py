"""The verbs as engines call them, without an engine."""

import json
import os
import pathlib
import pwd
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import termios
import time
import unittest

from bundle import BULKHEAD, Bundle
from engine import cgroups, jailed, wait_for


def has_ended(pid):
    try:
        return not pathlib.Path(f"/proc/{pid}/cmdline").read_bytes()  # nobody may have waited for it
    except OSError:
        return True


class Verbs(unittest.TestCase):
    def setUp(self):
        self.box = Bundle()
        self.addCleanup(self.box.remove)
        self.jailed = jailed()

    def tearDown(self):
        for id in self.box.command("list", "-q").stdout.split():
            self.box.command("delete", "--force", id)
        self.assertEqual(jailed() - self.jailed, set())
        self.assertFalse(self.box.state.exists())
        self.assertEqual(cgroups(self.box.cgroup), [])

    def start(self, *args):
        self.box.config["linux"]["cgroupsPath"] = f"/{self.box.cgroup}"
        self.assertEqual(self.box.create(*args), 0, self.box.output())
        self.assertEqual(self.box.command("start", "box").returncode, 0)

    def test_life(self):
        self.assertEqual(self.box.create("sh", "-c", "echo hello; exit 7"), 0, self.box.output())
        state = json.loads(self.box.command("state", "box").stdout)
        self.assertEqual((state["id"], state["status"], state["pid"]), ("box", "created", self.box.pid()))
        self.assertEqual(state["bundle"], str(self.box.folder))
        self.assertEqual(state["rootfs"], str(self.box.rootfs))
        self.assertEqual(self.box.output(), "")  # nothing runs before `start`
        done = self.box.command("delete", "nosuch")
        self.assertNotEqual(done.returncode, 0)
        self.assertIn("does not exist", done.stderr)
        self.assertEqual(self.box.command("start", "box").returncode, 0)
        wait_for(lambda: self.box.status() == "stopped", "the end")
        self.assertEqual(self.box.output(), "hello\n")
        self.assertEqual(json.loads(self.box.command("state", "box").stdout)["pid"], 0)
        again = self.box.command("start", "box")
        self.assertIn("it is stopped", again.stderr)
        killed = self.box.command("kill", "box", "15")
        self.assertIn("container not running", killed.stderr)
        self.assertEqual(self.box.command("kill", "--all", "box", "9").returncode, 0)
        self.assertIn("exists already", self.box.command("run", "box").stderr)
        self.assertEqual(self.box.command("delete", "box").returncode, 0)
        self.assertEqual(self.box.command("delete", "--force", "box").returncode, 0)

    def test_supervisor_stands_for_the_container(self):
        # Its parent after the command's end is a subreaper, as a shim is.
        script = f"""
import ctypes, os, subprocess, sys
ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER
run = lambda *words: subprocess.run([{BULKHEAD!r}, "--root", {str(self.box.state)!r}, *words], check=True)
run("create", "--pid-file", "pid", "box")
pid = int(open("pid").read())
run("start", "box")
if len(sys.argv) > 1:
    open("ready").read()
    os.kill(pid, int(sys.argv[1]))
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"""

        def status(program, *signals):
            self.box.config["process"]["args"] = ["sh", "-c", program]
            self.box.save()
            done = subprocess.run(
                [sys.executable, "-c", script, *signals], cwd=self.box.folder, capture_output=True, text=True, timeout=60
            )
            self.assertEqual(self.box.command("delete", "box").returncode, 0, done.stderr)
            return done.stdout.split()[-1]

        ready = self.box.folder / "ready"
        os.mkfifo(ready)
        self.box.config["mounts"].append(
            {"destination": "/out", "type": "bind", "source": str(self.box.folder), "options": ["rbind"]}
        )
        self.assertEqual(status("exit 42"), "42")
        self.assertEqual(status("kill -9 $$; exec false"), "1")  # pid 1 is safe from its own signals
        ready.unlink()
        ready.write_text("")
        self.assertEqual(status("exec sleep 100", "9"), "-9")

    def test_signals_reach_the_program(self):
        self.start("sh", "-c", "trap 'echo got; exit 3' USR1; echo up; while :; do sleep 0.05; done")
        wait_for(lambda: "up" in self.box.output(), "the program")
        os.kill(self.box.pid(), signal.SIGUSR1)
        wait_for(lambda: self.box.status() == "stopped", "the end")
        self.assertIn("got", self.box.output())

    def test_every_signal_that_can_be_caught(self):
        wanted = sorted(set(range(1, 65)) - {signal.SIGKILL, signal.SIGSTOP, 32, 33})  # 32 and 33 are glibc's own
        os.mkfifo(self.box.rootfs / "fifo")  # both ends open: nothing comes
        traps = "; ".join(f"trap 'echo got-{number}.' {number}" for number in wanted)
        self.start("sh", "-c", f"{traps}; echo up; while :; do read line; done <>/fifo")
        wait_for(lambda: "up" in self.box.output(), "the program")
        for number in wanted:
            os.kill(self.box.pid(), number)
            wait_for(lambda: f"got-{number}." in self.box.output(), f"signal {number}")
        # The same for a process that exec has left in the background.
        with open(self.box.folder / "exec.out", "w+") as out:
            done = subprocess.run(
                [BULKHEAD, "--root", self.box.state, "exec", "--detach", "--pid-file", self.box.folder / "exec.pid", "box",
                 "sh", "-c", f"{traps}; echo up; while :; do read line; done <>/fifo"],
                stdin=subprocess.DEVNULL, stdout=out, stderr=out, timeout=60,
            )
            said = lambda: (self.box.folder / "exec.out").read_text()
            self.assertEqual(done.returncode, 0, said())
            wait_for(lambda: "up" in said(), "the second program")
            for number in wanted:
                os.kill(int((self.box.folder / "exec.pid").read_text()), number)
                wait_for(lambda: f"got-{number}." in said(), f"signal {number}")

    def test_two_starts_at_once(self):
        tally = self.box.folder / "tally"
        self.box.config["hooks"] = {
            "poststart": [{"path": "/bin/sh", "args": ["sh", "-c", f"cat >/dev/null; echo started >>{tally}; sleep 0.3"]}]
        }
        self.assertEqual(self.box.create("sleep", "100"), 0, self.box.output())
        command = [BULKHEAD, "--root", self.box.state, "start", "box"]
        starts = [
            subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
            for _ in range(4)
        ]
        said = [start.communicate(timeout=60)[1] for start in starts]
        self.assertEqual(sorted(start.returncode for start in starts), [0, 125, 125, 125], said)
        for start, text in zip(starts, said):
            if start.returncode != 0:
                self.assertRegex(text, "it is (being started|running), not created")
        self.assertEqual(tally.read_text(), "started\n")

    def test_kill_by_name_and_number(self):
        for number in ("TERM", "SIGTERM", "15"):
            self.start("sh", "-c", "trap 'exit 0' TERM; echo up; while :; do sleep 0.05; done")
            wait_for(lambda: "up" in self.box.output(), "the program")
            self.assertEqual(self.box.command("kill", "box", number).returncode, 0)
            wait_for(lambda: self.box.status() == "stopped", "the end")
            self.assertEqual(self.box.command("delete", "box").returncode, 0)
        self.assertIn("there is no signal", self.box.command("kill", "box", "SIGNONE").stderr)
        # kill(2): 0 asks whether it is there.
        self.start("sleep", "1000")
        self.assertEqual(self.box.command("kill", "box", "0").returncode, 0)
        self.assertEqual(self.box.status(), "running")
        self.assertEqual(self.box.command("kill", "box", "9").returncode, 0)
        wait_for(lambda: self.box.status() == "stopped", "the end")
        self.assertIn("container not running", self.box.command("kill", "box", "0").stderr)

    def test_exec(self):
        self.start("sleep", "1000")
        box = self.box
        self.assertEqual(box.command("exec", "box", "sh", "-c", "exit 5").returncode, 5)
        self.assertEqual(box.command("exec", "box", "cat", input="data").stdout, "data")
        done = box.command("exec", "-e", "A=b", "--cwd=/tmp", "--user", "5:6", "box", "sh", "-c", "echo $A $PWD $(id -u) $(id -g)")
        self.assertEqual(done.stdout, "b /tmp 5 6\n")
        done = box.command("exec", "box", "sh", "-c", "kill -TERM $$")
        self.assertEqual(done.returncode, 128 + 15)
        done = box.command("exec", "box", "nosuch")
        self.assertEqual((done.returncode, done.stdout), (127, ""))
        self.assertIn("nosuch", done.stderr)
        bits = "0x" + box.command("exec", "--cap", "CAP_SYS_ADMIN", "box", "grep", "CapEff", "/proc/self/status").stdout.split()[1]
        self.assertTrue(int(bits, 16) & 1 << 21)
        for user, home in (("0", "/root"), ("1000", "/")):
            done = box.command("exec", "--user", user, "box", "sh", "-c", "echo $HOME")
            self.assertEqual(done.stdout, home + "\n", done.stderr)
        kept = box.command("exec", "--cap", "CAP_SYS_ADMIN", "box", "grep", "-E", "CapInh|CapAmb", "/proc/self/status").stdout.split()
        self.assertEqual(kept, ["CapInh:", "0" * 16, "CapAmb:", "0" * 16])
        process = dict(box.config["process"], args=["sh", "-c", "echo $X"], env=["X=y", "PATH=/bin"])
        (box.folder / "process.json").write_text(json.dumps(process))
        self.assertEqual(box.command("exec", "--process", "process.json", "box").stdout, "y\n")
        process["capabilities"] = {"bounding": ["CAP_KILL", "CAP_OF_NEXT_YEAR"]}
        (box.folder / "process.json").write_text(json.dumps(process))
        done = box.command("--log", "log", "exec", "--process", "process.json", "box")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("capabilities.bounding: CAP_OF_NEXT_YEAR: not honoured", (box.folder / "log").read_text())
        words = [BULKHEAD, "--root", box.state, "exec", "--preserve-fds", "1", "box", "sh", "-c", "echo there >&3"]
        subprocess.run(["sh", "-c", f'exec "$@" 3>{box.folder}/more', "sh", *words], check=True)
        self.assertEqual((box.folder / "more").read_text(), "there\n")
        for given in ("/", "memory:/"):
            self.assertEqual(self.box.command("exec", "--cgroup", given, "box", "echo", "in").stdout, "in\n")
        self.assertIn("--cgroup /sub: ", self.box.command("exec", "--cgroup", "/sub", "box", "true").stderr)

    def test_exec_in_the_background(self):
        self.start("sleep", "1000")
        pid_file = self.box.folder / "exec.pid"
        # Its standard streams are the process's: not a pipe that somebody reads to the end.
        words = [BULKHEAD, "--root", self.box.state, "exec", "--detach", "--pid-file", pid_file, "box", "sleep"]
        subprocess.run([*words, "1001"], check=True, stdin=subprocess.DEVNULL)
        pid = int(pid_file.read_text())
        listed = json.loads(self.box.command("ps", "--format", "json", "box").stdout)
        self.assertEqual(sorted(listed), sorted([self.box.pid(), pid]))
        self.assertIn("sleep 1001", self.box.command("exec", "box", "ps").stdout)
        # The host's process gone, so is the guest's.
        os.kill(pid, signal.SIGKILL)
        wait_for(lambda: "sleep 1001" not in self.box.command("exec", "box", "ps").stdout, "the end of an exec")
        subprocess.run([*words, "1002"], check=True, stdin=subprocess.DEVNULL)
        pid = int(pid_file.read_text())
        os.kill(pid, signal.SIGTERM)
        wait_for(lambda: "sleep 1002" not in self.box.command("exec", "box", "ps").stdout, "the end of an exec")

    def test_console_socket(self):
        path = str(self.box.folder / "console")
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listener.bind(path)
        listener.listen()
        self.box.config["process"]["terminal"] = True
        self.box.config["process"]["consoleSize"] = {"height": 31, "width": 97}
        program = "stty size; test -t 0 && test -t 1 && test -t 2 && echo terminal; read line; echo got $line; stty size"
        self.assertEqual(self.box.create("sh", "-c", program, extra=("--console-socket", path)), 0, self.box.output())
        connection, _ = listener.accept()
        _, fds, _, _ = socket.recv_fds(connection, 4096, 1)
        master = fds[0]
        self.assertEqual(self.box.command("start", "box").returncode, 0)
        text = b""

        def read_until(what):
            nonlocal text
            while what not in text:
                try:
                    text += os.read(master, 4096)
                except OSError as error:
                    self.fail(f"the terminal ended with {error} after {text!r}, before {what!r}")

        read_until(b"terminal\r\n")
        self.assertIn(b"31 97\r\n", text)
        termios.tcsetwinsize(master, (40, 100))
        os.write(master, b"word\n")
        read_until(b"got word\r\n")
        read_until(b"40 100\r\n")
        os.close(master)
        wait_for(lambda: self.box.status() == "stopped", "the end")
        refused = self.box.create("true", id="other")
        self.assertNotEqual(refused, 0)
        self.assertIn("--console-socket", self.box.log_lines()[-1]["msg"])

    def test_pause(self):
        self.start("sh", "-c", "i=0; while :; do i=$((i+1)); echo $i; sleep 0.01; done")
        wait_for(lambda: len(self.box.output()) > 10, "output")
        self.assertEqual(self.box.command("pause", "box").returncode, 0)
        self.assertEqual(self.box.status(), "paused")
        self.assertIn("it is paused", self.box.command("pause", "box").stderr)
        self.assertIn("paused", self.box.command("exec", "box", "true").stderr)
        before = self.box.output()
        time.sleep(0.3)
        self.assertEqual(self.box.output(), before)
        self.assertEqual(self.box.command("resume", "box").returncode, 0)
        wait_for(lambda: len(self.box.output()) > len(before), "more output")
        self.assertIn("it is running", self.box.command("resume", "box").stderr)
        self.box.command("pause", "box")
        self.assertEqual(self.box.command("delete", "--force", "box").returncode, 0)

    def test_limits_and_their_update(self):
        if os.geteuid() != 0:
            self.skipTest("cgroups are root's")
        self.box.config["linux"]["resources"] = {"memory": {"limit": 64 << 20}, "pids": {"limit": 50}}
        self.start("sleep", "1000")
        self.assertIn(str(64 << 10), self.box.command("exec", "box", "head", "-1", "/proc/meminfo").stdout)
        text = pathlib.Path(f"/proc/{self.box.pid()}/cgroup").read_text()
        self.assertIn(self.box.cgroup, text)
        update = json.dumps({"memory": {"limit": 128 << 20}, "pids": {"limit": 60}})
        done = self.box.command("update", "--resources", "-", "box", input=update)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn(str(128 << 10), self.box.command("exec", "box", "head", "-1", "/proc/meminfo").stdout)
        stats = json.loads(self.box.command("events", "--stats", "box").stdout)
        self.assertEqual(stats["data"]["memory"]["usage"]["limit"], 128 << 20)
        self.assertGreater(stats["data"]["cpu"]["usage"]["total"], 0)
        done = self.box.command("update", "--resources", "-", "box", input='{"memory": {"limit": "x"}}')
        self.assertIn("memory.limit: expected a whole number", done.stderr)
        for given, mib in (("96M", 96), ("100m", 100), (str(80 << 20), 80)):
            self.assertEqual(self.box.command("update", "--memory", given, "--memory-swap", "256M", "box").returncode, 0)
            self.assertIn(str(mib << 10), self.box.command("exec", "box", "head", "-1", "/proc/meminfo").stdout)
        done = self.box.command("update", "--cpu-rt-period", "1000000", "--cpu-rt-runtime", "0", "box")
        if done.returncode != 0:  # the host has none
            self.assertIn("linux.resources.cpu.realtimePeriod", done.stderr)
        self.assertIn("--memory: \"64X\" is not a size", self.box.command("update", "--memory", "64X", "box").stderr)

    def test_update_of_processor_time(self):
        if os.geteuid() != 0:
            self.skipTest("cgroups are root's")
        self.box.config["mounts"].append({"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": ["ro"]})
        self.box.config["linux"]["resources"] = {"cpu": {"quota": 30000, "period": 50000}}
        self.start("sleep", "1000")
        seen = lambda: self.box.command("exec", "box", "sh", "-c", "cat /sys/fs/cgroup/cpu.max; nproc").stdout.split()
        self.assertEqual(seen(), ["30000", "50000", "1"])
        all_of_them = str(len(os.sched_getaffinity(0)))
        for resources, expected in (
            ({"quota": 125000, "period": 100000}, ["125000", "100000", str(min(2, int(all_of_them)))]),
            ({"quota": 20000}, ["20000", "100000", "1"]),  # the period stays
            ({"shares": 512}, ["20000", "100000", "1"]),
            ({"quota": -1}, ["max", "100000", all_of_them]),
        ):
            done = self.box.command("update", "--resources", "-", "box", input=json.dumps({"cpu": resources}))
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertEqual(seen(), expected)
        self.box.command("update", "--cpu-quota", "5000", "box")
        self.box.command("exec", "box", "sh", "-c", "i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done")
        stats = json.loads(self.box.command("events", "--stats", "box").stdout)["data"]
        self.assertGreater(stats["cpu"]["throttling"]["throttledPeriods"], 0)
        self.assertGreater(stats["cpu"]["throttling"]["throttledTime"], 0)
        self.assertGreater(stats["cpu"]["usage"]["user"] + stats["cpu"]["usage"]["kernel"], 0)
        self.assertIn("rss" if "rss" in stats["memory"]["raw"] else "anon", stats["memory"]["raw"])

    def test_out_of_memory(self):
        if os.geteuid() != 0:
            self.skipTest("cgroups are root's")
        self.box.config["linux"]["resources"] = {"memory": {"limit": 32 << 20, "swap": 32 << 20}}
        self.box.config["linux"]["cgroupsPath"] = f"/{self.box.cgroup}"
        done = self.box.run("sh", "-c", "exec dd if=/dev/zero of=/dev/null bs=200M count=1")
        self.assertEqual(done.returncode, 137, done.stderr)
        self.assertIn("reached its memory limit (33554432 bytes)", done.stderr)

    def test_unknown_call_is_logged_and_refused(self):
        # The sentry's line of JSON has the time in it, for which it must not ask the host for a file.
        code = bytes.fromhex("b8f4010000 0f05 4883f8da 0f95c0 0fb6f8 b83c000000 0f05")  # exit(syscall(500) != -ENOSYS)
        start, size = 0x400000, 120
        header = b"\x7fELF\2\1\1" + bytes(9) + struct.pack(
            "<HHIQQQIHHHHHH", 2, 62, 1, start + size, 64, 0, 0, 64, 56, 1, 0, 0, 0
        )
        segment = struct.pack("<IIQQQQQQ", 1, 5, 0, start, start, size + len(code), size + len(code), 0x1000)
        program = self.box.rootfs / "unknown"
        program.write_bytes(header + segment + code)
        program.chmod(0o755)
        self.box.options = ["--log", str(self.box.folder / "log.json"), "--log-format", "json"]
        done = self.box.run("/unknown")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("system call 500 is not known", " ".join(line["msg"] for line in self.box.log_lines()))

    def test_exec_with_a_terminal(self):
        self.start("sleep", "1000")
        path = str(self.box.folder / "console")
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.addCleanup(listener.close)
        listener.bind(path)
        listener.listen()
        words = ["exec", "--tty", "--detach", "--console-socket", path, "--pid-file", "exec.pid", "box", "sh", "-c"]
        done = self.box.command(*words, "tty; read word; echo got $word")
        self.assertEqual(done.returncode, 0, done.stderr)
        connection, _ = listener.accept()
        self.addCleanup(connection.close)
        _, (master,), _, _ = socket.recv_fds(connection, 4096, 1)
        self.addCleanup(os.close, master)
        os.write(master, b"word\n")
        text = b""
        while b"got word\r\n" not in text:
            text += os.read(master, 4096)
        self.assertIn(b"/dev/pts/0\r\n", text)

    def test_ps_and_events(self):
        if os.geteuid() != 0:
            self.skipTest("cgroups are root's")
        self.start("sleep", "1000")
        table = self.box.command("ps", "box").stdout.splitlines()
        self.assertIn("PID", table[0])
        self.assertIn(str(self.box.pid()), table[1].split())
        words = [BULKHEAD, "--root", str(self.box.state), "events", "--interval", "100ms", "box"]
        with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as events:
            for _ in range(2):
                event = json.loads(events.stdout.readline())
                self.assertEqual((event["type"], event["id"]), ("stats", "box"))
            self.assertEqual(self.box.command("kill", "box", "9").returncode, 0)
            self.assertEqual(events.wait(60), 0)  # with the container

    def test_missing_program_fails_at_create(self):
        for args, status in ((["nosuch"], 127), (["/etc/passwd"], 126)):
            self.assertEqual(self.box.create(*args), status)
            line = self.box.log_lines()[-1]
            self.assertEqual(line["level"], "error")
            self.assertIn(args[0], line["msg"])
            self.assertRegex(line["time"], r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$")
            self.assertFalse(self.box.state.exists())
            self.assertFalse((self.box.folder / "pid").exists())

    def test_two_deletes_at_once(self):
        self.box.create("true")
        deletes = [
            subprocess.Popen([BULKHEAD, "--root", self.box.state, "delete", "box"], stderr=subprocess.DEVNULL) for _ in range(4)
        ]
        statuses = sorted(delete.wait(60) for delete in deletes)
        self.assertEqual(statuses, [0, 125, 125, 125])

    def test_hooks(self):
        out = self.box.folder / "hooks"
        hook = self.box.folder / "hook.sh"
        hook.write_text(f'#!/bin/sh\nread -r state\necho "$1 $state" >> {out}\n')
        hook.chmod(0o755)
        inside = self.box.rootfs / "bin/inside"
        inside.write_text('#!/bin/sh\nread -r state\necho "startContainer $state"  > /tmp/inside\n')
        inside.chmod(0o755)
        kinds = ("prestart", "createRuntime", "createContainer", "poststart", "poststop")
        self.box.config["hooks"] = {kind: [{"path": str(hook), "args": ["hook", kind]}] for kind in kinds}
        self.box.config["hooks"]["startContainer"] = [{"path": "/bin/inside", "env": ["PATH=/bin"]}]
        self.assertEqual(self.box.create("cat", "/tmp/inside"), 0, self.box.output())
        told = [line.split(" ", 1) for line in out.read_text().splitlines()]
        self.assertEqual([kind for kind, _ in told], ["prestart", "createRuntime", "createContainer"])
        for _, state in told:
            state = json.loads(state)
            self.assertEqual((state["id"], state["status"], state["pid"]), ("box", "creating", self.box.pid()))
        done = self.box.command("start", "box")
        self.assertEqual(done.returncode, 0, done.stderr)
        wait_for(lambda: self.box.status() == "stopped", "the end")
        self.assertIn('startContainer {"ociVersion"', self.box.output())
        self.assertEqual(self.box.command("delete", "box").returncode, 0)
        told = [line.split(" ", 1)[0] for line in out.read_text().splitlines()]
        self.assertEqual(told[3:], ["poststart", "poststop"])

    def test_delete_while_a_hook_runs(self):
        hook = self.box.folder / "hook"
        self.box.config["hooks"] = {"createRuntime": [{"path": "/bin/sh", "args": ["sh", "-c", f"echo $$ > {hook}; exec sleep 1000"]}]}
        for kill in (False, True):
            self.box.save()
            create = subprocess.Popen([BULKHEAD, "--root", self.box.state, "create", "box"], cwd=self.box.folder, stderr=subprocess.PIPE)
            wait_for(lambda: hook.exists() and hook.read_text(), "the hook")
            pid = int(hook.read_text())
            hook.unlink()
            if kill:
                create.kill()
                create.wait()
            done = self.box.command("delete", "--force", "box")
            self.assertEqual(done.returncode, 0, done.stderr)
            if not kill:
                self.assertIn(b"createRuntime[0] (/bin/sh): killed", create.communicate()[1])
            wait_for(lambda: has_ended(pid), "the hook's end")
            self.assertFalse(self.box.state.exists())

    def test_a_poststart_hook_that_fails(self):
        self.box.config["hooks"] = {"poststart": [{"path": "/bin/sh", "args": ["sh", "-c", "echo no >&2; exit 3"]}]}
        done = self.box.run("sleep", "100")
        self.assertEqual(done.returncode, 125, done.stderr)
        self.assertIn("hooks.poststart[0] (/bin/sh): exit status 3: no", done.stderr)
        self.assertFalse(self.box.state.exists())
        self.assertEqual(self.box.create("sleep", "100"), 0, self.box.output())
        done = self.box.command("start", "box")
        self.assertEqual(done.returncode, 125, done.stderr)
        self.assertIn("hooks.poststart[0]", done.stderr)
        self.assertFalse(self.box.state.exists())

    def test_where_hooks_run(self):
        # On the host: neither in the container's network, nor in its cgroup, nor with its priorities.
        if os.geteuid() != 0:
            self.skipTest("cgroups are root's")
        seen = self.box.folder / "seen"
        script = f"""
state=$(cat); pid=$(echo "$state" | sed 's/.*"pid":\\([0-9]*\\).*/\\1/')
echo "$0 $(readlink /proc/self/ns/net) $(grep -c {self.box.cgroup} /proc/self/cgroup) $(cat /proc/self/oom_score_adj)" >> {seen}
[ "$pid" = 0 ] || echo "$0-pid $(readlink /proc/$pid/ns/net) $(grep -c {self.box.cgroup} /proc/$pid/cgroup)" >> {seen}
"""
        kinds = ("prestart", "createRuntime", "poststart", "poststop")
        self.box.config["hooks"] = {kind: [{"path": "/bin/sh", "args": [kind, "-c", script, kind], "env": [f"PATH={os.environ['PATH']}"]}] for kind in kinds}
        self.box.config["linux"]["cgroupsPath"] = f"/{self.box.cgroup}"
        self.box.config["process"]["oomScoreAdj"] = 77
        here, adjusted = os.readlink("/proc/self/ns/net"), pathlib.Path("/proc/self/oom_score_adj").read_text().strip()

        def check(foreground):
            lines = dict(line.split(" ", 1) for line in seen.read_text().splitlines())
            seen.unlink()
            for kind in kinds:
                where = lines[kind].split()
                # In the foreground the command itself has the container's priorities once it has begun.
                wanted = [here, "0", "77" if foreground and kind.startswith("post") else adjusted]
                self.assertEqual(where, wanted, kind)
            for kind in ("prestart", "createRuntime"):  # later it may have ended
                space, grouped = lines[kind + "-pid"].split()
                self.assertNotEqual(space, here)
                self.assertEqual(grouped != "0", not foreground)

        self.assertEqual(self.box.create("true"), 0, self.box.output())
        self.assertEqual(self.box.command("start", "box").returncode, 0)
        wait_for(lambda: self.box.status() == "stopped", "the end")
        self.assertEqual(self.box.command("delete", "box").returncode, 0)
        check(False)
        self.assertEqual(self.box.run().returncode, 0)
        check(True)

    def test_what_hooks_leave_behind(self):
        if os.geteuid() != 0:
            self.skipTest("cgroups are root's")
        left = self.box.folder / "left"
        leaves = {"path": "/bin/sh", "args": ["sh", "-c", f"sleep 1234 >/dev/null 2>&1 & echo $! > {left}"]}
        self.box.config["linux"]["cgroupsPath"] = f"/{self.box.cgroup}"
        # One that runs in the container is the container's, and ends with it.
        self.box.config["hooks"] = {"createContainer": [leaves]}
        self.assertEqual(self.box.create("true"), 0, self.box.output())
        self.assertEqual(cgroups(self.box.cgroup) != [], True)
        self.assertEqual(self.box.command("delete", "box").stderr, "")
        self.assertEqual(cgroups(self.box.cgroup), [])
        # One of the host's is nobody's business.
        self.box.config["hooks"] = {"createRuntime": [leaves]}
        self.assertEqual(self.box.create("true"), 0, self.box.output())
        self.assertEqual(self.box.command("delete", "box").stderr, "")
        pid = int(left.read_text())
        self.assertEqual(pathlib.Path(f"/proc/{pid}/comm").read_text(), "sleep\n")
        os.kill(pid, signal.SIGKILL)

    def test_cgroup_of_another(self):
        if os.geteuid() != 0:
            self.skipTest("cgroups are root's")
        self.start("sleep", "100")
        self.assertNotEqual(self.box.create("sleep", "100", id="other"), 0)
        self.assertIn("linux.cgroupsPath: the cgroup", self.box.log_lines()[-1]["msg"])
        self.assertEqual(self.box.status(), "running")

    def test_words_that_runc_takes(self):
        self.start("sleep", "100")
        for words in (("exec", "--", "box", "echo", "a"), ("exec", "box", "--", "echo", "a")):
            self.assertEqual(self.box.command(*words).stdout, "a\n")
        if os.geteuid() == 0:
            done = self.box.command("update", "--kernel-memory", "5000000", "box")
            self.assertEqual(done.returncode, 0, done.stderr)

    def test_memory_limit_met_by_a_child(self):
        # A guest's large read is its own memory, not the sandbox's: the child is killed, and its parent goes on.
        if os.geteuid() != 0:
            self.skipTest("cgroups are root's")
        self.box.config["linux"]["resources"] = {"memory": {"limit": 40 << 20}}
        for source in ("zero", "urandom"):
            self.box.config["process"]["args"] = [
                "sh", "-c", f"dd if=/dev/{source} of=/dev/null bs=100M count=1 2>/dev/null; echo child $?"]
            done = self.box.run()
            self.assertEqual((done.returncode, done.stdout), (0, "child 137\n"), done.stderr)

    def test_cgroup_of_the_host(self):
        # In a pid namespace: whoever kills what is in the cgroup kills that only.
        self.box.config["process"]["args"] = ["true"]
        for path in ("/", "//", "/.", "./", "."):
            self.box.config["linux"]["cgroupsPath"] = path
            self.box.save()
            (self.box.folder / "log").unlink(missing_ok=True)
            done = self.box.command("--log", "log", "run", "box", before=["unshare", "--pid", "--fork", "--mount-proc"])
            self.assertNotEqual(done.returncode, 0, path)
            self.assertIn("linux.cgroupsPath", (self.box.folder / "log").read_text())
            self.assertFalse(self.box.state.exists())

    def test_start_hook_fails(self):
        # It runs in the sandbox, before the program: which then never runs.
        self.box.config["hooks"] = {"startContainer": [{"path": "/bin/sh", "args": ["sh", "-c", "exit 3"]}]}
        self.box.config["process"]["args"] = ["echo", "ran"]
        for words in (["run", "box"], ["run", "--detach", "box"]):
            self.box.save()
            done = self.box.command("--log", "log", *words)
            self.assertEqual((done.returncode, done.stdout), (125, ""), done.stderr)
            self.assertEqual(done.stderr, "bulkhead: hooks.startContainer[0] (/bin/sh): exit status 3\n")
            self.assertIn(done.stderr, (self.box.folder / "log").read_text())
            self.assertFalse(self.box.state.exists())
        self.assertEqual(self.box.create(), 0, self.box.output())
        done = self.box.command("start", "box")
        self.assertEqual((done.returncode, len(done.stderr.splitlines())), (125, 1), done.stderr)
        self.assertFalse(self.box.state.exists())
        self.box.config["hooks"] = {}
        self.assertEqual(self.box.run().stdout, "ran\n")

    def test_parent_cgroups(self):
        # Of the directories above a container's the last one there removes those that containers have made.
        if os.geteuid() != 0:
            self.skipTest("cgroups are root's")
        def config(path):
            self.box.config["linux"]["cgroupsPath"] = path
        top = pathlib.Path("/sys/fs/cgroup") / ("" if pathlib.Path("/sys/fs/cgroup/cgroup.procs").exists() else "pids")
        engines = pathlib.Path(tempfile.mkdtemp(prefix="bulkhead-engines-", dir=top))
        self.addCleanup(engines.rmdir)
        config(f"/{engines.name}/sub/one")
        self.assertEqual(self.box.create("true", id="one"), 0, self.box.output())
        config(f"/{engines.name}/sub/two")
        self.assertEqual(self.box.create("true", id="two"), 0, self.box.output())
        self.assertEqual(self.box.command("delete", "one").returncode, 0)
        self.assertTrue((engines / "sub/two").is_dir())
        self.assertFalse((engines / "sub/one").exists())
        self.assertEqual(self.box.command("delete", "two").returncode, 0)
        self.assertFalse((engines / "sub").exists())
        self.assertEqual(cgroups(engines.name), [engines])

    def test_full_disk(self):
        if os.geteuid() != 0:
            self.skipTest("making a small file system takes root")
        self.box.save()
        script = f"""
mount -t tmpfs -o size=4k,nr_inodes=8 tmpfs small || exit 99
{BULKHEAD} --root "$PWD/small/state" create --pid-file pid box 2>err && exit 98
test "$(wc -l <err)" = 1 || exit 97
test -z "$(ls small)" || exit 96
"""
        (self.box.folder / "small").mkdir()
        done = subprocess.run(["unshare", "-m", "sh", "-c", script], cwd=self.box.folder, capture_output=True, text=True)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("No space left on device", (self.box.folder / "err").read_text())

    def test_dead_sandbox(self):
        # Whoever kills a supervisor leaves a container that has stopped, and only that.
        self.assertEqual(self.box.create("sleep", "1000"), 0, self.box.output())
        os.kill(self.box.pid(), signal.SIGKILL)
        wait_for(lambda: self.box.status() == "stopped", "the end")
        self.assertIn("has ended", self.box.command("create", "box").stderr)
        self.assertEqual(self.box.command("delete", "box").returncode, 0)
        self.assertEqual(self.box.create("true"), 0, self.box.output())

    def test_state_of_others(self):
        if os.geteuid() != 0:
            self.skipTest("giving a directory away takes root")
        other = self.box.folder / "other"
        other.mkdir()
        os.chown(other, 65534, 65534)
        self.box.save()
        done = subprocess.run([BULKHEAD, "--root", other, "create", "box"], cwd=self.box.folder, capture_output=True, text=True)
        self.assertEqual(done.returncode, 125)
        self.assertIn("belongs to user 65534", done.stderr)
        self.assertEqual(list(other.iterdir()), [])

    def test_state_that_others_made(self):
        if os.geteuid() != 0:
            self.skipTest("giving a directory away takes root")
        ran = self.box.folder / "ran"
        self.box.config["hooks"] = {"poststop": [{"path": "/bin/touch", "args": ["touch", str(ran)]}]}
        self.assertEqual(self.box.create("sleep", "100"), 0, self.box.output())
        folder, file, moved = self.box.state / "box", self.box.state / "box/state.json", self.box.folder / "moved"

        def refused(message):
            for words in (["delete", "box"], ["delete", "--force", "box"], ["kill", "box", "9"], ["start", "box"], ["state", "box"]):
                done = self.box.command(*words)
                self.assertEqual(done.returncode, 125, words)
                self.assertIn(message, done.stderr)

        for path in (self.box.state, folder, file):
            os.chown(path, 65534, 65534)
            refused(f"{path} belongs to user 65534")
            os.chown(path, 0, 0)
        for path in (folder, file):
            path.rename(moved)
            path.symlink_to(moved)
            refused(f"{path} is a symbolic link")
            path.unlink()
            moved.rename(path)
        self.assertEqual(self.box.status(), "created")
        self.assertFalse(ran.exists())
        self.assertEqual(self.box.command("delete", "--force", "box").returncode, 0)
        self.assertTrue(ran.exists())

    def test_mount_over_a_symbolic_link(self):
        # It leads out of the root only in the eyes of the host.
        (self.box.rootfs / "link").symlink_to("/../../../../etc")
        (self.box.folder / "shared").mkdir()
        (self.box.folder / "shared/file").write_text("x")
        self.box.config["mounts"].append(
            {"destination": "/link/in", "type": "bind", "source": str(self.box.folder / "shared"), "options": ["bind"]}
        )
        self.assertEqual(self.box.run("ls", "/etc/in").stdout, "file\n")
        self.assertFalse(pathlib.Path("/etc/in").exists())

    def test_mount_over_a_dangling_link(self):
        # What a link names is made: in the root, wherever the host would find it.
        (self.box.folder / "shared").mkdir()
        (self.box.folder / "shared/file").write_text("x")
        outside = f"{self.box.folder}/outside"
        links = {
            "absolute": "/made/one",
            "relative": "made/two",
            "above": "../../../../../../made/three",
            "twice": "bin/../twice-more",
            "twice-more": "made/four/",
            "host": outside,
        }
        for name, target in links.items():
            (self.box.rootfs / name).symlink_to(target)
            self.box.config["mounts"].append(
                {"destination": f"/{name}/in", "type": "bind", "source": str(self.box.folder / "shared"), "options": ["bind"]}
            )
        (self.box.rootfs / "file-link").symlink_to("made/file")
        self.box.config["mounts"].append(
            {"destination": "/file-link", "type": "bind", "source": str(self.box.folder / "shared/file"), "options": ["bind"]}
        )
        names = " ".join(links)
        done = self.box.run("sh", "-c", f"for name in {names}; do cat /$name/in/file; done; cat /made/file; ls /made")
        self.assertEqual(done.stdout, "xxxxxxxfile\nfour\none\nthree\ntwo\n", done.stderr)
        self.assertFalse(pathlib.Path(outside).exists())
        self.assertFalse(pathlib.Path("/made").exists())
        self.assertTrue((self.box.rootfs / f".{outside}/in").is_dir())
        (self.box.rootfs / "loop").symlink_to("loop")
        self.box.config["mounts"][-1]["destination"] = "/loop"
        done = self.box.run("true")
        self.assertEqual((done.returncode, len(done.stderr.splitlines())), (125, 1), done.stderr)
        self.assertIn("mounting /loop", done.stderr)

    def test_signals_before_the_start(self):
        # No program has said what it handles: what ends a process ends the container.
        for name, status in (("TERM", 15), ("HUP", 1), ("USR1", 10), ("QUIT", 3)):
            self.assertEqual(self.box.create("sleep", "1000"), 0, self.box.output())
            self.assertEqual(self.box.command("kill", "box", "WINCH").returncode, 0)
            self.assertEqual(self.box.status(), "created")
            self.assertEqual(self.box.command("kill", "box", name).returncode, 0)
            wait_for(lambda: self.box.status() == "stopped", "the end")
            self.assertIn("it is stopped", self.box.command("start", "box").stderr)
            self.assertEqual(self.box.command("delete", "box").returncode, 0)

    def test_null_is_absent(self):
        # As engines' JSON decoders have it.
        config = self.box.config
        config.update(hooks=None, annotations=None, hostname=None, vm=None)
        config["process"].update(rlimits=None, oomScoreAdj=None, terminal=None, selinuxLabel=None, execCPUAffinity=None)
        config["process"]["capabilities"]["ambient"] = None
        config["root"]["readonly"] = None
        config["mounts"][0]["options"] = None
        config["linux"].update(resources=None, seccomp=None, intelRdt=None, devices=None)
        done = self.box.run("echo", "works")
        self.assertEqual((done.stdout, done.stderr), ("works\n", ""))
        config["process"]["args"] = None
        self.assertIn("config.json: process.args: required, but not there", self.box.run().stderr)

    def test_spec_runs(self):
        for rootless in ([], ["--rootless"]):
            (self.box.folder / "config.json").unlink(missing_ok=True)
            self.assertEqual(self.box.command("spec", *rootless).returncode, 0)
            self.assertNotEqual(self.box.command("spec").returncode, 0)  # never over an old one
            config = json.loads((self.box.folder / "config.json").read_text())
            self.assertTrue(config["process"]["terminal"])
            config["process"].update(terminal=False, args=["echo", "works"])
            self.box.config = config
            self.assertEqual(self.box.run().stdout, "works\n")

    def test_features_and_checkpoint(self):
        features = json.loads(self.box.command("features").stdout)
        self.assertEqual(features["ociVersionMin"], "1.0.0")
        self.assertEqual(len(features["hooks"]), 6)
        self.assertIn("rbind", features["mountOptions"])
        self.assertEqual(features["annotations"]["org.bulkhead.guest-network"], "loopback")
        for words in (["checkpoint", "--help"], ["checkpoint", "--image-path", "/x", "box"], ["restore", "box"]):
            done = self.box.command(*words)
            self.assertNotEqual(done.returncode, 0)
            self.assertIn("not supported", done.stderr)

    def test_list(self):
        self.box.create("true", id="one")
        self.box.create("true", id="two")
        self.assertEqual(self.box.command("list", "-q").stdout.split(), ["one", "two"])
        self.assertEqual([each["id"] for each in json.loads(self.box.command("list", "--format", "json").stdout)], ["one", "two"])
        lines = self.box.command("list").stdout.splitlines()
        self.assertEqual(lines[0].split(), ["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"])
        self.assertEqual(lines[1].split()[2], "created")
        owner = pwd.getpwuid(os.geteuid()).pw_name
        self.assertEqual(lines[1].split()[-1], owner)
        self.assertEqual({each["owner"] for each in json.loads(self.box.command("list", "--format", "json").stdout)}, {owner})
        # One that cannot be read is not passed over in silence.
        (self.box.state / "one/state.json").rename(self.box.folder / "kept")
        (self.box.state / "one/state.json").write_text("garbage")
        done = self.box.command("list", "-q")
        self.assertEqual(done.stdout, "two\n")
        self.assertIn("one/state.json: not valid JSON", done.stderr)
        (self.box.folder / "kept").rename(self.box.state / "one/state.json")


if __name__ == "__main__":
    unittest.main(verbosity=2)

"""Bad input: one line in the asked format that says what and where, and nothing left behind."""

import copy
import json
import os
import pathlib
import subprocess
import unittest

from bundle import BULKHEAD, Bundle
from engine import cgroups, jailed, wait_for


class Refusals(unittest.TestCase):
    def setUp(self):
        self.box = Bundle()
        self.addCleanup(self.box.remove)
        self.box.config["linux"]["cgroupsPath"] = f"/{self.box.cgroup}/box"
        self.good = copy.deepcopy(self.box.config)
        self.before = jailed()
        self.log = self.box.folder / "log.json"

    def tearDown(self):
        self.assert_nothing_left()

    def assert_nothing_left(self):
        self.assertFalse(self.box.state.exists(), list(self.box.folder.glob("state/*")))
        self.assertEqual(jailed() - self.before, set())
        self.assertEqual(cgroups(self.box.cgroup), [])

    def refused(self, message, *words, status=125, prefix=()):
        """The command fails with one line for people and the same one for programs."""
        self.log.unlink(missing_ok=True)
        # With nobody to read its standard streams to their end: they are the container's, if there is one after all.
        with open(self.box.folder / "out", "w+") as out:
            done = subprocess.run(
                [*prefix, BULKHEAD, "--root", self.box.state, "--log", self.log, "--log-format", "json", *words],
                cwd=self.box.folder, stdin=subprocess.DEVNULL, stdout=out, stderr=out, timeout=60,
            )
        said = self.box.output()
        self.assertEqual(done.returncode, status, said)
        self.assertEqual(len(said.splitlines()), 1, said)
        lines = self.box.log_lines()
        if os.geteuid() != 0:  # who has no cgroups is told so, too
            lines = [line for line in lines if "an ordinary user has no cgroups" not in line["msg"]]
        self.assertEqual([line["level"] for line in lines], ["error"], lines)
        self.assertRegex(lines[0]["time"], r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$")
        self.assertEqual(said, f"bulkhead: {lines[0]['msg']}\n")
        self.message = lines[0]["msg"]
        self.assertIn(message, self.message)

    def create_refused(self, message, status=125, prefix=()):
        self.refused(message, "create", "--pid-file", "pid", "box", status=status, prefix=prefix)
        self.assert_nothing_left()
        self.assertFalse((self.box.folder / "pid").exists())

    def assert_works(self):
        self.box.config = copy.deepcopy(self.good)
        self.assertEqual(self.box.create("true"), 0, self.box.output())
        self.assertEqual(self.box.command("delete", "box").returncode, 0)
        (self.box.folder / "pid").unlink()

    def refused_with(self, message, change, status=125):
        """A changed config.json is refused; the right one then works under the same id."""
        self.box.config = copy.deepcopy(self.good)
        change(self.box.config)
        self.box.save()
        self.create_refused(message, status)
        self.assert_works()

    def test_ids(self):
        self.box.save()
        for id, message in (
            ("a/b", 'the container\'s id "a/b" may hold'),
            ("../x", "may hold"),
            ("..", "may hold"),
            ("", "the container's id is empty"),
            ("x" * 1024, "1024 characters, 255 are possible"),
        ):
            self.refused(message, "create", "--", id)
            self.assert_nothing_left()
        self.assertEqual(self.box.create("sleep", "100"), 0)
        self.refused("exists already", "create", "box")
        self.assertEqual(self.box.status(), "created")  # the one that has it stays
        self.assertEqual(self.box.command("delete", "--force", "box").returncode, 0)
        self.assert_works()

    def test_log_in_text(self):
        log = self.box.folder / "log.txt"
        for words in (["--log-format", "text"], []):
            done = self.box.command("--log", log, *words, "kill", "box")
            self.assertEqual(done.returncode, 125)
            self.assertEqual(log.read_text(), done.stderr)
            self.assertEqual(done.stderr, 'bulkhead: the container "box" does not exist\n')
            log.unlink()
        # A log that takes nothing is no reason to say nothing.
        done = self.box.command("--log", "/dev/full", "kill", "box")
        self.assertEqual((done.returncode, done.stderr), (125, 'bulkhead: the container "box" does not exist\n'))
        done = self.box.command("--log", "/no/such/log", "kill", "box")
        self.assertEqual((done.returncode, done.stderr), (125, "bulkhead: --log /no/such/log: No such file or directory\n"))

    def test_documents_of_other_commands(self):
        self.assertEqual(self.box.create("sleep", "100"), 0, self.box.output())
        self.assertEqual(self.box.command("start", "box").returncode, 0)
        document = self.box.folder / "document"
        good = {"args": ["true"], "cwd": "/", "env": ["PATH=/bin"], "user": {"uid": 0, "gid": 0}}
        for change, message, status in (
            ({"args": []}, "document: args: expected a program", 125),
            ({"cwd": "relative"}, "document: cwd: expected an absolute path", 125),
            ({"cwd": "/no/such"}, "working directory /no/such: No such file or directory", 125),
            ({"args": ["nosuch"]}, "nosuch: No such file or directory", 127),
            ({"user": {"uid": "root"}}, "document: user.uid: expected a whole number", 125),
            ({"rlimits": [{"type": "RLIMIT_NO", "soft": 1, "hard": 1}]}, "document: rlimits[0].type: expected", 125),
            ({"capabilities": {"effective": ["CAP_KILL"]}}, "document: capabilities.effective", 125),
        ):
            document.write_text(json.dumps({**good, **change}))
            for detached in ([], ["--detach", "--pid-file", "pid"]):
                self.refused(message, "exec", *detached, "--process", "document", "box", status=status)
        (self.box.folder / "pid").unlink(missing_ok=True)
        for text, message in (
            ("garbage", "not valid JSON"),
            ("[]", "expected an object"),
            ('{"memory": {"limit": -2}}', "memory.limit: expected"),
            ('{"unified": {"../x": "1"}}', "is not the name of a file in a cgroup"),
            ('{"cpu": {"period": 5}}', "cpu.period" if os.geteuid() == 0 else "has no cgroups"),
        ):
            document.write_text(text)
            self.refused(message, "update", "--resources", "document", "box")
        for words in (["exec", "--process"], ["update", "--resources"]):
            self.refused("nothere: No such file or directory", *words, "nothere", "box")
            self.refused("/dev/zero: File too large", *words, "/dev/zero", "box")
        self.assertEqual(self.box.command("exec", "box", "echo", "alive").stdout, "alive\n")
        self.assertEqual(self.box.command("delete", "--force", "box").returncode, 0)
        self.assert_works()

    def test_bundles(self):
        config = self.box.folder / "config.json"
        self.create_refused(f"cannot read {config}: No such file or directory")
        self.refused("cannot use the bundle /no/such: No such file or directory", "create", "--bundle", "/no/such", "box")
        config.mkdir()
        self.create_refused(f"cannot read {config}: Is a directory")
        config.rmdir()
        os.mkfifo(config)
        self.create_refused(f"cannot read {config}: it is not a regular file")
        config.unlink()
        config.symlink_to("/dev/zero")
        self.create_refused(f"cannot read {config}: it is not a regular file")
        config.unlink()
        with open(config, "w") as file:
            file.truncate(1 << 40)
        self.create_refused(f"cannot read {config}: File too large")
        for text, message in (
            ("{", "config.json: not valid JSON at line 1, column 2: unexpected end of input; expected string literal"),
            ("", "config.json: not valid JSON at line 1, column 1: unexpected end of input"),
            ('{"a":\n [1 2]}', "config.json: not valid JSON at line 2, column 5: unexpected number literal; expected ']'"),
            ('{"a": tru}', "invalid literal"),
            ("[]", "config.json: expected an object, not an array"),
        ):
            config.write_text(text)
            self.create_refused(message)
        self.assert_works()

    def test_unreadable_bundle(self):
        if os.geteuid() != 0:
            self.skipTest("root makes what others cannot read")
        self.box.save()
        config = self.box.folder / "config.json"
        config.chmod(0)
        # Without the capabilities that let root read all.
        prefix = ("setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups", "--inh-caps=-all")
        self.box.folder.chmod(0o777)
        self.create_refused(f"cannot read {config}: Permission denied", prefix=prefix)
        config.chmod(0o644)
        self.assert_works()

    def test_configurations(self):
        (self.box.folder / "link").symlink_to("rootfs")
        (self.box.folder / "outside").symlink_to("/etc")

        def root(path):
            return lambda config: config["root"].update(path=path)

        def put(**values):
            return lambda config: config.update(values)

        for message, change in (
            ("ociVersion", put(ociVersion="3.0.0")),
            ("ociVersion: expected a string", put(ociVersion=1)),
            ("process: expected an object, not an array", put(process=[])),
            ("process.args[0]: expected a string, not 1", lambda config: config["process"].update(args=[1])),
            ("mounts[1].options: expected an array", lambda config: config["mounts"][1].update(options="ro")),
            ("linux.namespaces[0].type", lambda config: config["linux"]["namespaces"][0].update(type="no")),
            ("linux.resources.memory.limit: expected a whole number", lambda config: config["linux"].update(resources={"memory": {"limit": 0.5}})),
            ("root.path: / is outside of the bundle", root("../" * 8)),
            ("is outside of the bundle", root("rootfs/../../")),
            ("is outside of the bundle", root("outside/ssl")),
            ("is a symbolic link", root("link")),
            ("is a symbolic link", root(str(self.box.folder / "link"))),
            ("root.path", root("nothing")),
            ("root.path", root("config.json")),
            ("mounts[3].source", lambda config: config["mounts"].append({"destination": "/x", "type": "bind", "source": "/no/such", "options": ["bind"]})),
        ):
            with self.subTest(message):
                self.refused_with(message, change)

    def test_systemd_driver(self):
        if os.path.exists("/run/systemd/system"):
            self.skipTest("this host runs systemd")
        self.box.save()
        self.refused("--systemd-cgroup: ", "--systemd-cgroup", "create", "box")
        self.assert_nothing_left()
        self.assert_works()

    def test_programs(self):
        for args, status in ((["nosuch"], 127), (["/no/such"], 127), (["/etc/passwd"], 126), (["/etc"], 126)):
            self.refused_with(args[0], lambda config: config["process"].update(args=args), status)
            self.box.config["process"]["args"] = args
            self.box.save()
            self.refused(args[0], "run", "box", status=status)
            self.assert_nothing_left()

    def test_usage(self):
        self.refused("--bogus", "kill", "--bogus", "box")
        self.refused("--bogus", "exec", "--bogus", "box", "true")
        self.refused('there is no verb "nosuch"', "nosuch")
        self.refused("no verb given")

    def test_end_of_a_foreground_run(self):
        if os.geteuid() != 0:
            self.skipTest("cgroups are root's")
        limits = {"memory": {"limit": 32 << 20, "swap": 32 << 20}}
        self.box.config["linux"]["resources"] = limits
        self.box.config["process"]["args"] = ["dd", "if=/dev/zero", "of=/dev/null", "bs=256M"]
        self.box.save()
        self.refused("the sandbox reached its memory limit", "run", "box", status=137)

    def test_hooks(self):
        for hook, message in (
            ({"path": "/bin/false"}, "exit status 1"),
            ({"path": "/no/such"}, "cannot be executed: No such file or directory"),
            ({"path": "/bin/sh", "args": ["sh", "-c", "echo why; echo no >&2; exit 3"]}, "exit status 3: why no"),
            ({"path": "/bin/sh", "args": ["sh", "-c", "head -c 100000 /dev/urandom; exit 1"]}, "exit status 1"),
            ({"path": "/bin/sh", "args": ["sh", "-c", "kill -9 $$"]}, "signal 9"),
            ({"path": "/bin/sh", "args": ["sh", "-c", "sleep 100 & wait"], "timeout": 1}, "ran longer than its timeout (1 s): killed"),
        ):
            for kind in ("prestart", "createRuntime", "createContainer"):
                with self.subTest(kind=kind, message=message):
                    self.refused_with(message, lambda config: config.update(hooks={kind: [hook]}))
                    self.assertIn(f"hooks.{kind}[0] ({hook['path']}): ", self.message)
        # Garbage of one that succeeds is nobody's business.
        self.box.config["hooks"] = {"createRuntime": [{"path": "/bin/sh", "args": ["sh", "-c", "head -c 100000 /dev/urandom; exit 0"]}]}
        self.assertEqual(self.box.create("true"), 0)
        self.assertEqual(self.box.command("delete", "box").returncode, 0)

    def test_hooks_in_the_sandbox(self):
        for hook, message in (
            ({"path": "/bin/false"}, "exit status 1"),
            ({"path": "/no/such"}, "/no/such"),
            ({"path": "/bin/sh", "args": ["sh", "-c", "head -c 100000 /dev/urandom; exit 3"]}, "exit status 3"),
            ({"path": "/bin/sleep", "args": ["sleep", "100"], "timeout": 1}, "longer than"),
        ):
            with self.subTest(message):
                self.box.config = dict(copy.deepcopy(self.good), hooks={"startContainer": [hook]})
                self.assertEqual(self.box.create("true"), 0, self.box.output())
                self.refused("hooks.startContainer[0]", "start", "box")
                self.assertIn(message, self.message)
                self.assert_nothing_left()
                self.assert_works()

    def test_wrong_states(self):
        for words in (["start", "box"], ["kill", "box", "15"], ["exec", "box", "true"], ["delete", "box"], ["state", "box"], ["pause", "box"]):
            self.refused('the container "box" does not exist', *words)
        self.assertEqual(self.box.create("sleep", "100"), 0, self.box.output())
        self.refused("it is created, not running", "pause", "box")
        self.assertEqual(self.box.command("start", "box").returncode, 0)
        self.refused("it is running, not created", "start", "box")
        self.refused("it is running, not stopped (--force kills it)", "delete", "box")
        self.refused("it is running", "resume", "box")
        self.refused("there is no signal SIGNONE", "kill", "box", "SIGNONE")
        self.refused("there is no signal 65", "kill", "box", "65")
        self.assertEqual(self.box.command("kill", "box", "9").returncode, 0)
        wait_for(lambda: self.box.status() == "stopped", "the end")
        self.refused("it is stopped, not created", "start", "box")
        for words in (["kill", "box", "15"], ["exec", "box", "true"], ["pause", "box"], ["update", "--pids-limit", "5", "box"]):
            self.refused("container not running", *words)
        self.refused("exists already; it has ended (bulkhead delete box)", "create", "box")
        self.assertEqual(self.box.command("delete", "box").returncode, 0)
        self.assert_works()

    def test_states_on_disk(self):
        # A state directory that something else has made, or damaged.
        state = self.box.state / "box"
        state.mkdir(parents=True)
        for text in ("", "garbage", "{}", '{"state": 1}'):
            (state / "state.json").write_text(text)
            self.refused("state.json", "state", "box")
        self.box.save()
        self.assertEqual(self.box.create("true"), 0, self.box.output())
        self.assertEqual(self.box.command("delete", "box").returncode, 0)


if __name__ == "__main__":
    unittest.main(verbosity=2)

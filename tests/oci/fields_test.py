"""Holds the table of docs/oci.md against what happens: a probe for each of its rows."""

import copy
import json
import os
import pathlib
import re
import socket
import subprocess
import sys
import unittest

import bundle
from bundle import Bundle

DOCS = pathlib.Path(os.environ["DOCS"]) / "oci.md"
IS_ROOT = os.geteuid() == 0
IS_UNIFIED = pathlib.Path("/sys/fs/cgroup/cgroup.controllers").exists()

PROBES = {}


def probe(*rows):
    def register(function):
        for row in rows:
            assert row not in PROBES, row
            PROBES[row] = function
        return function

    return register


class Probe:
    """What a probe works with: a bundle, and the test that judges."""

    def __init__(self, test, box):
        self.test, self.box = test, box
        self.config = box.config
        self.process, self.linux = box.config["process"], box.config["linux"]

    def expect(self, program, output):
        done = self.box.run("sh", "-c", program)
        self.test.assertEqual(done.stdout.strip(), output, done.stderr)

    def expect_match(self, program, pattern):
        done = self.box.run("sh", "-c", program)
        self.test.assertRegex(done.stdout, pattern, done.stderr)

    def refused(self, path):
        """The container is refused with the JSON path."""
        done = self.box.run("true")
        self.test.assertEqual(done.returncode, 125, done.stderr)
        self.test.assertIn("config.json: " + path, done.stderr)
        self.test.assertFalse(self.box.state.exists())

    def set(self, path, value):
        """Sets a field of config.json by its path."""
        *folders, last = path.split(".")
        place = self.config
        for folder in folders:
            place = place.setdefault(folder, {})
        place[last] = value

    def status(self, name):
        return f"grep {name}: /proc/self/status | cut -f2"


@probe("ociVersion")
def _(p):
    for version in ("1.0.0", "1.0.2-dev", "1.1.0", "1.2.1", "1.2.0-rc.1+build"):
        p.set("ociVersion", version)
        p.expect("echo yes", "yes")
    for version in ("2.0.0", "1.3.0", "0.9.0", "1.0", "1.0.foo", "1.0.0foo", "1.0.0-", "1.0.0-a b", ""):
        p.set("ociVersion", version)
        p.refused("ociVersion")


@probe("process.args")
def _(p):
    p.expect("echo $0 word", "sh word")


@probe("process.cwd")
def _(p):
    p.set("process.cwd", "/tmp")
    p.expect("pwd", "/tmp")
    p.set("process.cwd", "/made/here")
    p.set("process.user", {"uid": 1000, "gid": 1000})
    owner = "0 0" if IS_ROOT else "1000 1000"  # an ordinary user has but one id
    p.expect("pwd; stat -c '%a %u %g' /made .", f"/made/here\n755 {owner}\n755 {owner}")
    p.test.assertTrue((p.box.rootfs / "made/here").is_dir())
    p.config["root"]["readonly"] = True
    p.set("process.cwd", "/kept/away")
    p.expect("pwd", "/kept/away")
    p.test.assertFalse((p.box.rootfs / "kept").exists())
    p.set("process.cwd", "/etc/passwd")
    done = p.box.run("true")
    p.test.assertEqual((done.returncode, done.stderr), (125, "bulkhead: working directory /etc/passwd: Not a directory\n"))


@probe("process.env")
def _(p):
    p.set("process.env", ["PATH=/bin", "A=b c"])
    p.expect("echo $A", "b c")
    # Where it says nothing of HOME, the container's passwd(5) does.
    passwd = p.box.rootfs / "etc/passwd"
    passwd.write_text("root:x:0:0:root:/root:/bin/sh\nnobody:x\nuser:x:1000:1000::/home/user:/bin/sh\n")
    passwd.chmod(0o600)
    for uid, env, home in ((0, [], "/root"), (1000, ["HOME="], "/home/user"), (7, [], "/"), (0, ["HOME=/x"], "/x")):
        p.set("process.env", ["PATH=/bin", *env])
        p.set("process.user", {"uid": uid, "gid": 0})
        p.expect("echo $HOME; env | grep -c HOME=", home + "\n1")
    passwd.unlink()
    os.mkfifo(passwd)
    p.set("process.env", ["PATH=/bin"])
    p.expect("echo $HOME", "/")


@probe("process.user.uid, gid")
def _(p):
    p.set("process.user", {"uid": 1000, "gid": 1001})
    p.expect("id -u; id -g", "1000\n1001")


@probe("process.user.additionalGids")
def _(p):
    p.set("process.user.additionalGids", [7, 8])
    p.expect("id -G", "0 7 8")


@probe("process.user.umask")
def _(p):
    p.set("process.user.umask", 0o27)
    p.expect("umask", "0027")


def _capabilities(kind, row):
    # A user that is not root: exec(2) gives root all that is bounding.
    def check(p):
        p.set("process.user", {"uid": 1000, "gid": 1000})
        some = ["CAP_KILL", "CAP_CHOWN"]
        sets = {each: some for each in ("bounding", "permitted", "effective", "inheritable", "ambient")}
        p.set("process.capabilities", sets)
        p.expect(p.status(row), f"{1 << 5 | 1 << 0:016x}")
        if kind in ("permitted", "effective"):
            sets["ambient"] = []
            p.expect(p.status(row), "0" * 16)  # capabilities(7): nothing else survives exec
        else:
            sets["ambient"] = sets[kind] = ["CAP_KILL"]
            p.expect(p.status(row), f"{1 << 5:016x}")

    PROBES["process.capabilities." + kind] = check


for _kind, _row in (("bounding", "CapBnd"), ("effective", "CapEff"), ("permitted", "CapPrm"), ("inheritable", "CapInh"), ("ambient", "CapAmb")):
    _capabilities(_kind, _row)


@probe("process.rlimits")
def _(p):
    p.set("process.rlimits", [{"type": "RLIMIT_NOFILE", "soft": 77, "hard": 99}])
    p.expect("ulimit -Sn; ulimit -Hn", "77\n99")


@probe("process.noNewPrivileges")
def _(p):
    p.expect(p.status("NoNewPrivs"), "0")
    p.set("process.noNewPrivileges", True)
    p.expect(p.status("NoNewPrivs"), "1")


@probe("process.oomScoreAdj")
def _(p):
    for score in (500, -500):  # the latter is beyond an ordinary user's power, and seen all the same
        p.set("process.oomScoreAdj", score)
        p.expect("cat /proc/self/oom_score_adj", str(score))


@probe("process.scheduler")
def _(p):
    p.set("process.scheduler", {"policy": "SCHED_BATCH", "nice": 5})
    p.expect("awk '{print $41, $19}' /proc/self/stat", "3 5")
    p.set("process.scheduler", {"policy": "SCHED_DEADLINE"})
    p.refused("process.scheduler.policy")


@probe("process.ioPriority")
def _(p):
    p.set("process.ioPriority", {"class": "IOPRIO_CLASS_IDLE", "priority": 0})
    p.expect("ionice", "idle")


def _redundant(path):
    def check(p):
        p.set(path, "some-profile")
        p.box.save()
        done = p.box.command("--log", "log", "run", "box")
        p.test.assertEqual(done.returncode, 0, done.stderr)
        p.test.assertIn(f"config.json: {path}: redundant", (p.box.folder / "log").read_text())
        features = json.loads(p.box.command("features").stdout)
        p.test.assertIn(path, features["annotations"]["org.bulkhead.redundant"].split(","))

    PROBES[path] = check


for _path in ("process.apparmorProfile", "process.selinuxLabel", "linux.mountLabel"):
    _redundant(_path)


@probe("process.execCPUAffinity")
def _(p):
    p.set("process.execCPUAffinity", {"initial": "0"})
    p.refused("process.execCPUAffinity")


@probe("process.terminal", "process.consoleSize")
def _(p):
    path = str(p.box.folder / "console")
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(path)
    listener.listen()
    p.set("process.terminal", True)
    p.set("process.consoleSize", {"height": 11, "width": 22})
    p.test.assertEqual(p.box.create("sh", "-c", "tty; stty size", extra=("--console-socket", path)), 0)
    _, (master,), _, _ = socket.recv_fds(listener.accept()[0], 4096, 1)
    p.box.command("start", "box")
    text = b""
    while b"11 22\r\n" not in text:
        text += os.read(master, 4096)
    p.test.assertIn(b"/dev/pts/0\r\n", text)
    os.close(master)
    p.box.command("delete", "--force", "box")


@probe("root.path")
def _(p):
    p.set("root.path", str(p.box.rootfs))
    p.expect("echo yes", "yes")
    p.set("root.path", "../..")
    p.refused("root.path")


@probe("root.readonly")
def _(p):
    p.expect("touch /new && echo yes", "yes")
    p.test.assertTrue((p.box.rootfs / "new").exists())
    p.set("root.readonly", True)
    p.expect("touch /new2 2>/dev/null || echo no", "no")


@probe("hostname")
def _(p):
    p.set("hostname", "some-name")
    p.expect("hostname", "some-name")


@probe("domainname")
def _(p):
    p.set("domainname", "some.domain")
    p.expect("cat /proc/sys/kernel/domainname", "some.domain")


def mounted(p, kind, destination, options=(), **more):
    p.config["mounts"].append({"destination": destination, "type": kind, "source": kind, "options": list(options), **more})


@probe("mounts: proc")
def _(p):
    p.expect("test -e /proc/self/status && echo yes", "yes")
    p.config["mounts"] = []
    p.expect("test -e /proc/self/status || echo no", "no")


@probe("mounts: sysfs")
def _(p):
    p.expect_match("grep ' /sys ' /proc/mounts", r"sysfs ro")


@probe("mounts: tmpfs")
def _(p):
    mounted(p, "tmpfs", "/mnt", ("size=64k", "mode=700", "uid=3", "gid=4"))
    p.expect(
        "stat -c '%a %u %g' /mnt; dd if=/dev/zero of=/mnt/x bs=1k count=100 2>/dev/null || stat -c %s /mnt/x",
        "700 3 4\n65536",
    )
    p.config["mounts"][-1]["options"] = ["nr_inodes=4", "mode=711", "sync"]
    p.expect("stat -c %a /mnt; cd /mnt; touch a b c 2>/dev/null; touch d 2>/dev/null || echo full; ls | wc -l", "711\nfull\n3")
    # Without a mode it has that of what it lies on, if there is something.
    (p.box.rootfs / "there").mkdir(mode=0o750)
    for place, mode in (("/there", "750"), ("/new", "1777")):
        p.config["mounts"][-1] = {"destination": place, "type": "tmpfs", "source": "tmpfs"}
        p.expect(f"stat -c %a {place}", mode)
    p.config["mounts"][-1] = {"destination": "/mnt", "type": "tmpfs", "source": "tmpfs", "options": ["size=50%"]}
    if IS_ROOT:  # of the memory that the container has
        p.set("linux.resources.memory", {"limit": 64 << 20})
        p.expect("df -k /mnt | awk 'END { print $2 }'", str(32 << 10))
        del p.linux["resources"]
    for wrong in ("size=x", "size=101%", "nr_inodes=-1", "mode=9"):
        p.config["mounts"][-1]["options"] = [wrong]
        p.refused("mounts[3].options")
    p.config["mounts"][-1] = {"destination": "/etc", "type": "tmpfs", "source": "tmpfs", "options": ["tmpcopyup"]}
    p.expect("grep -c root /etc/passwd; echo x > /etc/passwd; cat /etc/passwd", "1\nx")
    p.test.assertIn("root", (p.box.rootfs / "etc/passwd").read_text())


@probe("mounts: devpts")
def _(p):
    mounted(p, "devpts", "/dev/pts", ("newinstance", "ptmxmode=0666"))
    p.expect_match("grep ' /dev/pts ' /proc/mounts", "devpts")


@probe("mounts: mqueue")
def _(p):
    mounted(p, "mqueue", "/dev/mqueue")
    p.expect_match("grep ' /dev/mqueue ' /proc/mounts", "mqueue")


@probe("mounts: cgroup")
def _(p):
    mounted(p, "cgroup", "/sys/fs/cgroup", ("ro",))
    p.expect_match("grep ' /sys/fs/cgroup' /proc/mounts", "cgroup")


@probe("mounts: bind")
def _(p):
    (p.box.folder / "shared").mkdir()
    (p.box.folder / "shared/file").write_text("host")
    mounted(p, "bind", "/shared", ("rbind",), source=str(p.box.folder / "shared"))
    p.expect("cat /shared/file; echo guest > /shared/back", "host")
    p.test.assertEqual((p.box.folder / "shared/back").read_text(), "guest\n")
    mounted(p, "bind", "/one", ("bind", "ro"), source=str(p.box.folder / "shared/file"))
    p.expect("cat /one; echo x 2>/dev/null > /one || echo no", "hostno")
    # The sandbox's own device of that number; others stay outside.
    p.config["mounts"][-1].update(source="/dev/null", destination="/etc/passwd", options=["bind"])
    p.expect("cat /etc/passwd; echo x > /etc/passwd && echo gone", "gone")
    p.test.assertIn("root", (p.box.rootfs / "etc/passwd").read_text())
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(p.box.folder / "socket"))
    p.config["mounts"][-1]["source"] = str(p.box.folder / "socket")
    p.refused("mounts[4].source")
    listener.close()


@probe("mounts: nosymfollow")
def _(p):
    mounted(p, "tmpfs", "/mnt", ("nosymfollow",))
    p.expect("ln -s /etc/passwd /mnt/link; cat /mnt/link 2>&1; readlink /mnt/link; grep -c nosymfollow /proc/mounts",
             "cat: can't open '/mnt/link': Too many levels of symbolic links\n/etc/passwd\n1")


@probe("mounts: ro, nosuid, nodev, noexec")
def _(p):
    mounted(p, "tmpfs", "/mnt", ("ro", "nosuid", "nodev", "noexec"))
    p.expect("grep ' /mnt ' /proc/mounts | cut -d' ' -f4", "ro,nosuid,nodev,noexec,relatime")
    p.config["mounts"][-1]["options"] = ["noexec"]
    p.expect("cp /bin/busybox /mnt/true; /mnt/true 2>/dev/null; echo $?", "126")


@probe("mounts: other types and options")
def _(p):
    mounted(p, "ext4", "/mnt")
    p.refused("mounts[3].type")
    p.config["mounts"][-1].update(type="tmpfs", options=["nonsense"])
    p.refused("mounts[3].options")


def _hook(kind):
    def check(p):
        out = p.box.folder / "told"
        p.set(f"hooks.{kind}", [{"path": "/bin/sh", "args": ["sh", "-c", f"read -r state; echo $state > {out}"]}])
        if kind == "startContainer":
            p.set(f"hooks.{kind}", [{"path": "/bin/sh", "args": ["sh", "-c", "read -r s; echo $s > /told"]}])
            out = p.box.rootfs / "told"
        p.expect("echo yes", "yes")
        p.test.assertEqual(json.loads(out.read_text())["id"], "box")
        if kind != "startContainer":
            p.set(f"hooks.{kind}", [{"path": "/bin/sh", "args": ["sh", "-c", f"pwd -P > {out}"]}])
            p.box.save()
            p.test.assertEqual(p.box.command("run", "--bundle", p.box.folder, "box", cwd="/").returncode, 0)
            p.test.assertEqual(out.read_text().strip(), os.path.realpath(p.box.folder))

    PROBES["hooks." + kind] = check


for _kind in ("prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"):
    _hook(_kind)


@probe("annotations")
def _(p):
    p.set("annotations", {"a.b": "c"})
    p.box.create("true")
    p.test.assertEqual(json.loads(p.box.command("state", "box").stdout)["annotations"], {"a.b": "c"})
    p.box.command("delete", "box")


@probe("linux.namespaces: new")
def _(p):
    kinds = ("pid", "network", "ipc", "uts", "mount", "cgroup", "user", "time")
    p.set("linux.namespaces", [{"type": kind} for kind in kinds])
    p.expect("echo $$; ls /proc/self/ns | wc -l; ip link 2>/dev/null | grep -c mtu", "1\n10\n1")
    # Without one the host's is asked for, which no guest gets: that is said.
    p.set("linux.namespaces", [{"type": "pid"}])
    p.box.save()
    done = p.box.command("--log", "log", "run", "box")
    p.test.assertEqual(done.returncode, 0, done.stderr)
    said = (p.box.folder / "log").read_text()
    for kind in ("network", "ipc", "uts", "mount"):
        p.test.assertIn(f'linux.namespaces: no "{kind}"', said)
    p.test.assertNotIn('no "pid"', said)
    p.expect("hostname", os.uname().nodename)


@probe("linux.namespaces: network by path")
def _(p):
    if not IS_ROOT:
        return
    with subprocess.Popen(["unshare", "--net", "sh", "-c", "echo made; exec sleep 100"], stdout=subprocess.PIPE) as holder:
        try:
            holder.stdout.readline()
            path = f"/proc/{holder.pid}/ns/net"
            p.linux["namespaces"] = [{"type": "network", "path": path}]
            p.test.assertEqual(p.box.create("sleep", "100"), 0, p.box.output())
            p.test.assertEqual(os.readlink(f"/proc/{p.box.pid()}/ns/net"), os.readlink(path))
            p.test.assertEqual(p.box.command("exec", "box", "ls", "/sys/class/net").stdout.split(), ["lo"])
            p.test.assertEqual(p.box.command("delete", "--force", "box").returncode, 0)
            # That the guest does not get what it asks for is said.
            warnings = [line["msg"] for line in p.box.log_lines() if line["level"] == "warning"]
            p.test.assertIn("linux.namespaces[0].path: joined", "".join(warnings))
        finally:
            holder.kill()
    os.mkfifo(p.box.folder / "pipe")
    for path in ("/no/such", "/proc/self/ns/uts", "/dev/zero", str(p.box.folder / "config.json"), str(p.box.folder / "pipe")):
        p.linux["namespaces"] = [{"type": "network", "path": path}]
        p.refused("linux.namespaces[0].path: " + path)


@probe("linux.namespaces: others by path")
def _(p):
    for kind in ("pid", "ipc", "uts", "user", "mount", "cgroup", "time"):
        p.linux["namespaces"] = [{"type": kind, "path": f"/proc/self/ns/{'mnt' if kind == 'mount' else kind}"}]
        p.refused("linux.namespaces[0].path")


def _mappings(row, file):
    def check(p):
        p.linux["namespaces"].append({"type": "user"})
        for each in ("uidMappings", "gidMappings"):
            p.set("linux." + each, [{"containerID": 0, "hostID": 100000 if IS_ROOT else os.geteuid(), "size": 1000 if IS_ROOT else 1}])
        if IS_ROOT:
            os.chown(p.box.rootfs / "etc/passwd", 100000 + 7, 100000 + 8)
            for path in [p.box.folder, p.box.rootfs, p.box.rootfs / "tmp"]:
                os.chown(path, 100000, 100000)
        p.expect_match(f"cat /proc/self/{file}", r"^ +0 +\d+ +1")
        p.set("process.user." + file[:3], 1000)
        p.refused(f"process.user.{file[:3]}: 1000 is not in linux.{file[:3]}Mappings")
        p.set("process.user." + file[:3], 0)
        p.set("process.user.additionalGids", [1000])
        p.refused("process.user.additionalGids: 1000 is not in linux.gidMappings")
        del p.process["user"]["additionalGids"]
        if IS_ROOT:
            p.expect("stat -c '%u %g' /etc/passwd; touch /tmp/mine", "7 8")
            status = (p.box.rootfs / "tmp/mine").stat()
            p.test.assertEqual((status.st_uid, status.st_gid), (100000, 100000))

    PROBES[row] = check


_mappings("linux.uidMappings", "uid_map")
_mappings("linux.gidMappings", "gid_map")


@probe("linux.devices")
def _(p):
    p.set("linux.devices", [{"path": "/dev/fuse", "type": "c", "major": 10, "minor": 229, "fileMode": 0o640, "uid": 5, "gid": 6}])
    p.expect("stat -c '%F %t:%T %a %u %g' /dev/fuse; cat /dev/fuse 2>&1", "character special file a:e5 640 5 6\ncat: can't open '/dev/fuse': No such device or address")
    p.test.assertFalse((p.box.rootfs / "dev/fuse").exists())
    p.linux["devices"][0]["path"] = "/other"
    p.refused("linux.devices[0].path")


def on_host_cgroup(p, controller, first, second):
    """Path of the container's cgroup and the text of a file there, while it runs; the file's name by the version."""
    p.set("linux.cgroupsPath", f"/{p.box.cgroup}")
    p.test.assertEqual(p.box.create("sleep", "100"), 0, p.box.output() + str(p.box.log_lines()))
    for line in pathlib.Path(f"/proc/{p.box.pid()}/cgroup").read_text().splitlines():
        _, names, path = line.split(":", 2)
        if controller in names.split(",") or IS_UNIFIED:
            break
    text = pathlib.Path(f"/sys/fs/cgroup/{names}{path}/{second if IS_UNIFIED else first}").read_text().strip()
    p.test.assertEqual(p.box.command("delete", "--force", "box").returncode, 0)
    return path, text


def needs_cgroups(check):
    def wrapped(p):
        if not IS_ROOT:
            p.test.skipTest("cgroups are root's")
        check(p)

    return wrapped


@probe("linux.cgroupsPath")
@needs_cgroups
def _(p):
    path, _ = on_host_cgroup(p, "pids", "pids.max", "pids.max")
    p.test.assertEqual(path, f"/{p.box.cgroup}")


@probe("linux.resources.memory")
@needs_cgroups
def _(p):
    p.set("linux.resources.memory", {"limit": 50 << 20})
    p.test.assertEqual(on_host_cgroup(p, "memory", "memory.limit_in_bytes", "memory.max")[1], str(50 << 20))
    p.expect("awk '/MemTotal/ {print $2}' /proc/meminfo", str(50 << 10))


@probe("linux.resources.cpu")
@needs_cgroups
def _(p):
    p.set("linux.resources.cpu", {"shares": 1024, "quota": 50000, "period": 100000})
    shares, quota = ("39", "50000 100000") if IS_UNIFIED else ("1024", "50000")
    p.test.assertEqual(on_host_cgroup(p, "cpu", "cpu.shares", "cpu.weight")[1], shares)
    p.test.assertEqual(on_host_cgroup(p, "cpu", "cpu.cfs_quota_us", "cpu.max")[1], quota)
    p.expect("nproc", "1")


@probe("linux.resources.cpu.cpus, mems")
@needs_cgroups
def _(p):
    p.set("linux.resources.cpu", {"cpus": "0", "mems": "0"})
    p.test.assertEqual(on_host_cgroup(p, "cpuset", "cpuset.cpus", "cpuset.cpus")[1], "0")
    p.test.assertEqual(on_host_cgroup(p, "cpuset", "cpuset.mems", "cpuset.mems")[1], "0")


@probe("linux.resources.pids")
@needs_cgroups
def _(p):
    p.set("linux.resources.pids", {"limit": 4})
    p.test.assertNotEqual(on_host_cgroup(p, "pids", "pids.max", "pids.max")[1], "max")
    p.expect_match("(for i in 1 2 3 4 5; do sleep 0.1 & done) 2>&1; true", "fork")


@probe("linux.resources.blockIO")
@needs_cgroups
def _(p):
    p.set("linux.resources.blockIO", {"weightDevice": [{"major": 8, "minor": 0, "weight": 100}]})
    p.refused("linux.resources.blockIO.weightDevice")
    major, minor = next(
        (line.split()[0].split(":") for line in _block_devices()), (None, None)
    )
    if major is None:
        return
    p.set("linux.resources.blockIO", {"throttleReadBpsDevice": [{"major": int(major), "minor": int(minor), "rate": 1000000}]})
    p.test.assertIn("1000000", on_host_cgroup(p, "blkio", "blkio.throttle.read_bps_device", "io.max")[1])


def _block_devices():
    return [(folder / "dev").read_text() for folder in pathlib.Path("/sys/block").glob("[svn]*") if (folder / "dev").exists()]


@probe("linux.resources.hugepageLimits")
@needs_cgroups
def _(p):
    p.set("linux.resources.hugepageLimits", [{"pageSize": "2MB", "limit": 4 << 20}])
    controllers = pathlib.Path("/sys/fs/cgroup/cgroup.controllers").read_text().split() if IS_UNIFIED else os.listdir("/sys/fs/cgroup")
    if "hugetlb" in controllers:
        limit = on_host_cgroup(p, "hugetlb", "hugetlb.2MB.limit_in_bytes", "hugetlb.2MB.max")[1]
        p.test.assertEqual(limit, str(4 << 20))
    else:
        p.refused("linux.resources.hugepageLimits")


@probe("linux.resources.devices")
def _(p):
    p.set("linux.devices", [{"path": "/dev/copy", "type": "c", "major": 1, "minor": 3, "fileMode": 0o666}])
    p.set("linux.resources.devices", [{"allow": True, "type": "a", "access": "rwm"}])
    mounted(p, "tmpfs", "/mnt")
    p.expect("head -c 3 /dev/zero | wc -c; mknod /mnt/n c 10 229 && echo made", "3\nmade")
    p.set("linux.resources.devices", [{"allow": False, "access": "rwm"}])
    p.expect("head -c 3 /dev/zero | wc -c", "3")  # what every container may use
    p.set("linux.devices", [{"path": "/dev/fuse", "type": "c", "major": 10, "minor": 229, "fileMode": 0o666}])
    p.expect("cat /dev/fuse 2>&1", "cat: can't open '/dev/fuse': Operation not permitted")


@probe("linux.resources.unified")
def _(p):
    if not IS_ROOT:
        p.test.skipTest("needs root")
    p.set("linux.resources.unified", {"memory.high": "100000000"})
    if IS_UNIFIED:
        p.test.assertEqual(on_host_cgroup(p, "", "", "memory.high")[1], str(100000000 // 4096 * 4096))
    else:
        p.refused("linux.resources.unified")


@probe("linux.resources.network, rdma")
def _(p):
    p.set("linux.resources.network", {"classID": 7})
    p.refused("linux.resources.network")
    p.set("linux.resources", {"rdma": {"mlx5_1": {"hcaHandles": 3}}})
    p.refused("linux.resources.rdma")


@probe("linux.sysctl")
def _(p):
    p.set("linux.sysctl", {"net.core.somaxconn": "77"})
    p.expect("cat /proc/sys/net/core/somaxconn", "77")
    p.set("linux.sysctl", {"net.core.nothing": "1"})
    p.refused("linux.sysctl.net.core.nothing")
    bad = {
        "net.core.somaxconn": ("abc", "", "-1", "1 2", "2147483648"),
        "net.ipv4.ip_local_port_range": ("40000", "50000 40000", "0 5", "1000 2000", "5 70000"),
        "kernel.sem": ("1 2 3", "1 2 3 32769"),
        "kernel.pid_max": ("300", "4194305"),
        "net.ipv4.ping_group_range": ("0", "x y"),
        "vm.swappiness": ("10",),
        "kernel.hostname": ("other",),
    }
    for name, values in bad.items():
        for value in values:
            p.set("linux.sysctl", {"net.core.somaxconn": "5", name: value})
            p.refused(f"linux.sysctl.{name}: ")
    p.set("linux.sysctl", {"vm.swappiness": " 60", "net/ipv4/tcp_rmem": "1 0x2 3", "kernel.domainname": "some.domain"})
    p.expect("cd /proc/sys; cat vm/swappiness net/ipv4/tcp_rmem kernel/domainname", "60\n1\t2\t3\nsome.domain")
    # They are in force.
    p.set("linux.sysctl", {"net.ipv4.ip_unprivileged_port_start": "80", "net.ipv4.ip_local_port_range": "500 500"})
    p.set("process.user", {"uid": 1000, "gid": 1000})
    p.set("process.capabilities", {})
    ports = "ports() { cat /proc/net/tcp /proc/net/tcp6; }; "
    p.expect(ports + "nc -l -p 79 2>&1; nc -l -p 80 & until ports | grep -q ':0050 '; do :; done; echo yes", "nc: bind: Permission denied\nyes")
    client = "until ports | grep -q ':005A '; do :; done; sleep 9 | nc 127.0.0.1 90 & until ports | grep -q ':01F4 '; do :; done; echo yes"
    p.expect(f"{ports}sleep 9 | nc -l -p 90 & {client}", "yes")
    p.set("linux.sysctl", {"fs.mqueue.queues_max": "2", "kernel.pid_max": "310"})
    p.expect("cd /dev/mqueue; touch a b; touch c 2>&1", "touch: c: No space left on device")
    p.expect_match("i=0; while [ $i -lt 400 ]; do sh -c 'echo $$'; i=$((i + 1)); done | sort -n | tail -1", "^30[0-9]$")


def _filter(*rules, default="SCMP_ACT_ALLOW"):
    return {"defaultAction": default, "architectures": ["SCMP_ARCH_X86_64"], "syscalls": list(rules)}


@probe("linux.seccomp")
def _(p):
    p.expect("mkdir /tmp/a && echo yes", "yes")
    p.set("linux.seccomp", _filter({"names": ["mkdir", "no_such_call"], "action": "SCMP_ACT_ERRNO", "errnoRet": 19}))
    p.expect("mkdir /tmp/b 2>&1; grep -c '^Seccomp:.2' /proc/self/status", "mkdir: can't create directory '/tmp/b': No such device\n1")
    p.set("linux.seccomp", _filter({"names": ["mkdir"], "action": "SCMP_ACT_KILL_PROCESS"}))
    p.expect("mkdir /tmp/b 2>/dev/null; echo $?", str(128 + 31))
    p.set("linux.seccomp", _filter({"names": ["mkdir"], "action": "SCMP_ACT_TRAP"}))
    p.expect("mkdir /tmp/b 2>/dev/null; echo $?", str(128 + 31))
    p.set("linux.seccomp", _filter({"names": ["mkdir"], "action": "SCMP_ACT_TRACE"}))
    p.expect("mkdir /tmp/b 2>&1", "mkdir: can't create directory '/tmp/b': Function not implemented")
    p.set("linux.seccomp", _filter({"names": ["mkdir"], "action": "SCMP_ACT_LOG"}))
    p.expect("mkdir /tmp/c && echo yes", "yes")
    # By argument: kill(2) with SIGUSR1 only.
    rule = {"names": ["kill"], "action": "SCMP_ACT_ERRNO", "args": [{"index": 1, "value": 10, "op": "SCMP_CMP_EQ"}]}
    p.set("linux.seccomp", _filter(rule))
    p.expect("kill -USR1 $$ 2>/dev/null || echo no; kill -WINCH $$ && echo yes", "no\nyes")
    rule["args"][0].update(op="SCMP_CMP_GT", value=20)
    p.expect("kill -WINCH $$ 2>/dev/null || echo no; kill -0 $$ && echo yes", "no\nyes")
    rule["args"][0].update(op="SCMP_CMP_MASKED_EQ", value=0xFF, valueTwo=28)
    p.expect("kill -WINCH $$ 2>/dev/null || echo no; kill -0 $$ && echo yes", "no\nyes")
    p.set("linux.seccomp", _filter({"names": ["mkdir"], "action": "SCMP_ACT_NOTIFY"}))
    p.refused("linux.seccomp.syscalls[0].action")
    p.set("linux.seccomp", {"defaultAction": "SCMP_ACT_ALLOW", "listenerPath": "/x"})
    p.refused("linux.seccomp.listenerPath")


@probe("linux.maskedPaths")
def _(p):
    p.set("linux.maskedPaths", ["/etc/passwd", "/root", "/proc/meminfo", "/no/such"])
    (p.box.rootfs / "root/secret").write_text("x")
    p.expect("cat /etc/passwd /proc/meminfo; ls /root; touch /root/x 2>/dev/null || echo no", "no")


@probe("linux.readonlyPaths")
def _(p):
    p.set("linux.readonlyPaths", ["/tmp", "/proc/sys"])
    p.expect("touch /tmp/x 2>&1; touch /root/y && echo yes", "touch: /tmp/x: Read-only file system\nyes")
    # What is mounted on such a path, and below, stays as it is.
    inner = p.box.folder / "inner"
    inner.mkdir()
    (inner / "file").write_text("bound\n")
    p.config["mounts"] += [
        {"destination": "/t", "type": "tmpfs", "source": "tmpfs"},
        {"destination": "/t/one", "source": str(inner), "options": ["bind"]},
        {"destination": "/t/two", "source": str(inner), "options": ["bind", "ro"]},
        {"destination": "/etc/passwd", "source": str(inner / "file"), "options": ["bind"]},
    ]
    p.set("linux.readonlyPaths", ["/etc", "/t"])
    p.expect("cat /etc/passwd /t/one/file; touch /etc/passwd /t/one/new && ls /t/two", "bound\nbound\nfile\nnew")
    for path in ("/etc/x", "/t/x", "/t/two/x"):
        p.expect(f"touch {path} 2>&1", f"touch: {path}: Read-only file system")
    p.set("linux.readonlyPaths", ["/", "/etc", "/proc"])
    p.expect("cat /etc/passwd; touch /x 2>/dev/null || touch /t/x && test -e /proc/self/status && echo yes", "bound\nyes")


@probe("linux.rootfsPropagation")
def _(p):
    for kind in ("private", "rslave", "unbindable"):
        p.set("linux.rootfsPropagation", kind)
        p.expect("echo yes", "yes")
    p.set("linux.rootfsPropagation", "rshared")
    p.refused("linux.rootfsPropagation")


@probe("linux.personality")
def _(p):
    p.set("linux.personality", {"domain": "LINUX"})
    p.expect("cat /proc/self/personality", "00000000")
    p.set("linux.personality", {"domain": "LINUX32"})
    p.refused("linux.personality.domain")


@probe("linux.timeOffsets")
def _(p):
    p.linux["namespaces"].append({"type": "time"})
    p.set("linux.timeOffsets", {"monotonic": {"secs": 5000000}, "boottime": {"secs": 1000000}})
    # /proc/uptime and the time since boot at which a process began (ps) follow the latter.
    program = "cut -d. -f1 /proc/uptime; cut -d' ' -f22 /proc/self/stat; grep btime /proc/stat; date +%s"
    done = p.box.run("sh", "-c", program)
    with open("/proc/uptime") as file:
        host = float(file.read().split()[0])
    uptime, begin, booted, now = (int(line.split()[-1]) for line in done.stdout.splitlines())
    p.test.assertAlmostEqual(uptime, host + 1000000, delta=100, msg=done.stderr)
    p.test.assertAlmostEqual(begin / 100, uptime, delta=100)
    p.test.assertAlmostEqual(now - booted, uptime, delta=100)
    p.linux["namespaces"].pop()
    p.refused("linux.timeOffsets")


@probe("linux.intelRdt, memoryPolicy, netDevices")
def _(p):
    for name in ("intelRdt", "memoryPolicy", "netDevices"):
        p.linux[name] = {}
        p.refused("linux." + name)
        del p.linux[name]


@probe("vm, windows, solaris, zos, freebsd")
def _(p):
    for name in ("vm", "windows", "solaris", "zos", "freebsd"):
        p.set(name, {})
        p.refused(name + ": ")
        del p.config[name]


# What other runtimes were probed for, 61 fields, and the rows of the table that they are in: runc honours 54 of them,
# crun 57, runsc 34.
COMPARED = {
    **{f"process.{name}": None for name in ("args", "cwd", "env", "rlimits", "noNewPrivileges", "oomScoreAdj", "scheduler")},
    **{f"process.{name}": None for name in ("ioPriority", "apparmorProfile", "terminal", "consoleSize")},
    "process.user.uid": "process.user.uid, gid",
    "process.user.gid": "process.user.uid, gid",
    **{f"process.user.{name}": None for name in ("additionalGids", "umask")},
    **{f"process.capabilities.{name}": None for name in ("bounding", "effective", "permitted", "inheritable", "ambient")},
    **{name: None for name in ("ociVersion", "root.path", "root.readonly", "hostname", "domainname", "annotations")},
    **{f"mounts: {name}": None for name in ("proc", "tmpfs", "bind", "devpts", "mqueue", "sysfs", "cgroup")},
    "mounts: nosuid": "mounts: ro, nosuid, nodev, noexec",
    "mounts: noexec": "mounts: ro, nosuid, nodev, noexec",
    **{f"hooks.{name}": None for name in ("prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop")},
    "linux.namespaces: new": None,
    "linux.namespaces: by path": "linux.namespaces: network by path",
    **{f"linux.{name}": None for name in ("uidMappings", "gidMappings", "devices", "cgroupsPath", "sysctl", "maskedPaths")},
    **{f"linux.resources.{name}": None for name in ("memory", "cpu", "pids", "devices", "unified")},
    "linux.resources.cpuset": "linux.resources.cpu.cpus, mems",
    "linux.seccomp: actions": "linux.seccomp",
    "linux.seccomp: arguments": "linux.seccomp",
    **{f"linux.{name}": None for name in ("readonlyPaths", "rootfsPropagation", "personality", "timeOffsets")},
}


class Fields(unittest.TestCase):
    maxDiff = None

    def rows(self):
        text = DOCS.read_text().split("## config.json", 1)[1]
        return dict(re.findall(r"^\| ([^|]+?) \| (honoured|refused|redundant) \|", text, re.MULTILINE))

    def test_the_table_has_every_probe(self):
        self.assertEqual(sorted(self.rows()), sorted(PROBES))

    def test_beside_other_runtimes(self):
        rows = self.rows()
        statuses = {field: rows[row or field] for field, row in COMPARED.items()}
        self.assertEqual(len(statuses), 61)
        self.assertEqual([field for field, status in statuses.items() if status != "honoured"], ["process.apparmorProfile"])

    def test_fields(self):
        for row, check in PROBES.items():
            box = Bundle()
            try:
                with self.subTest(row):
                    check(Probe(self, box))
                    self.assertFalse(box.state.exists())
            finally:
                for id in box.command("list", "-q").stdout.split():
                    box.command("delete", "--force", id)
                box.remove()


if __name__ == "__main__":
    unittest.main(verbosity=2)

"""Sandboxes inside a container under a seccomp profile: they run where that allows user namespaces, or say what it takes."""

import json
import os
import pathlib
import platform
import sys
import unittest

from bundle import BULKHEAD, Bundle
from engine import need, run

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "bench/hap/guest"))
import oci  # noqa: E402

PROFILE = pathlib.Path("/usr/share/containers/seccomp.json")  # podman's, in Docker's own form
KERNEL = tuple(int(part) for part in platform.release().split("-")[0].split(".")[:2])


def podmans(capabilities):
    return oci.seccomp(json.loads(PROFILE.read_text()), capabilities, KERNEL)


def dockers(capabilities):
    """Docker's, as far as it differs here: no pivot_root, and namespaces for CAP_SYS_ADMIN only."""
    profile = podmans(capabilities) | {"defaultErrnoRet": 1}
    refused = {"pivot_root"}
    if "CAP_SYS_ADMIN" not in capabilities:
        refused |= {"clone", "clone3", "unshare", "setns", "mount", "umount", "umount2"}
    for rule in profile["syscalls"]:
        rule["names"] = [name for name in rule["names"] if name not in refused]
    profile["syscalls"] = [rule for rule in profile["syscalls"] if rule["names"]]
    if "clone3" in refused:
        new_namespaces = 0x7E020000
        profile["syscalls"] += [
            {"names": ["clone"], "action": "SCMP_ACT_ALLOW",
             "args": [{"index": 0, "value": new_namespaces, "valueTwo": 0, "op": "SCMP_CMP_MASKED_EQ"}]},
            {"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38},
        ]
    return profile


class Nested(unittest.TestCase):
    def setUp(self):
        self.box = Bundle()
        self.addCleanup(self.box.remove)

    def inside(self, profile, capabilities, uid, *words):
        """Runs bulkhead in a container of runc's with this profile, on the host's programs."""
        config = self.box.config
        config["process"].update(
            args=["/bulkhead/bulkhead", *words], user={"uid": uid, "gid": uid},
            env=["PATH=/usr/bin:/bin", "HOME=/tmp"], noNewPrivileges=False,
            capabilities={kind: capabilities if uid == 0 or kind == "bounding" else []
                          for kind in ("bounding", "permitted", "effective")},
        )
        seen = [{"destination": path, "type": "bind", "source": path, "options": ["rbind", "ro"]}
                for path in ("/usr", "/lib", "/lib64", "/etc") if os.path.exists(path)]
        seen.append({"destination": "/bulkhead", "type": "bind", "source": os.path.dirname(BULKHEAD), "options": ["rbind", "ro"]})
        seen.append({"destination": "/tmp", "type": "tmpfs", "source": "tmpfs", "options": ["mode=1777"]})
        config["mounts"] = [mount for mount in config["mounts"] if mount["destination"] in ("/proc", "/dev")] + seen
        config["linux"]["seccomp"] = profile(capabilities)
        self.box.save()
        return run("runc", "--root", self.box.folder / "runc", "run", "--bundle", self.box.folder, self.box.folder.name)

    def test_profiles_that_allow_user_namespaces(self):
        admin = [*oci.CAPABILITIES, "CAP_SYS_ADMIN"]
        for name, profile, capabilities in (("podman", podmans, oci.CAPABILITIES), ("docker", dockers, admin)):
            for uid in (0, 1000):
                for kind in ("trap", "ptrace"):
                    with self.subTest(profile=name, uid=uid, platform=kind):
                        done = self.inside(profile, capabilities, uid, "do", "--platform", kind, "--", "/usr/bin/sh", "-c",
                                           "echo $((6 * 7)) | cat; ls /usr/bin/env; exit 3")
                        self.assertEqual((done.stdout, done.returncode), ("42\n/usr/bin/env\n", 3), done.stderr)

    def test_a_profile_that_forbids_them(self):
        for uid in (0, 1000):
            with self.subTest(uid=uid):
                done = self.inside(dockers, oci.CAPABILITIES, uid, "do", "--", "/usr/bin/true")
                self.assertEqual(done.returncode, 125, done.stderr)
                self.assertEqual(len(done.stderr.splitlines()), 1, done.stderr)
                for words in ("seccomp", "clone3", "--security-opt seccomp=unconfined"):
                    self.assertIn(words, done.stderr)


if __name__ == "__main__":
    need("runc")
    if not PROFILE.exists():
        print(f"SKIP: there is no {PROFILE}")
        sys.exit(77)
    unittest.main(verbosity=2)

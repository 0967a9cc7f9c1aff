"""An OCI bundle as Docker would make it, and Docker's default seccomp profile in OCI form."""
import json
import os

# Docker's default capabilities.
CAPABILITIES = ["CAP_" + name for name in (
    "CHOWN DAC_OVERRIDE FSETID FOWNER MKNOD NET_RAW SETGID SETUID SETFCAP SETPCAP NET_BIND_SERVICE SYS_CHROOT "
    "KILL AUDIT_WRITE").split()]

MASKED = ["/proc/acpi", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/timer_list", "/proc/timer_stats",
          "/proc/sched_debug", "/proc/scsi", "/sys/firmware"]
READONLY = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"]


def seccomp(profile, capabilities, kernel):
    """Docker's profile (its own format, with conditions) as the OCI's linux.seccomp for x86-64."""
    def holds(conditions, default):
        answers = []
        if conditions.get("arches"):
            answers.append("amd64" in conditions["arches"])
        if conditions.get("caps"):
            answers.append(any(cap in capabilities for cap in conditions["caps"]))
        if conditions.get("minKernel"):
            answers.append(kernel >= tuple(int(part) for part in conditions["minKernel"].split(".")))
        if not answers:
            return default
        return all(answers) if default else any(answers)

    rules = []
    for rule in profile["syscalls"]:
        if not holds(rule.get("includes") or {}, True) or holds(rule.get("excludes") or {}, False):
            continue
        entry = {"names": rule.get("names") or [rule["name"]], "action": rule["action"]}
        if rule.get("args"):
            entry["args"] = [{key: arg[key] for key in ("index", "value", "valueTwo", "op") if key in arg}
                             for arg in rule["args"]]
        if "errnoRet" in rule:
            entry["errnoRet"] = rule["errnoRet"]
        rules.append(entry)
    result = {"defaultAction": profile["defaultAction"], "syscalls": rules,
              "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"]}
    if "defaultErrnoRet" in profile:
        result["defaultErrnoRet"] = profile["defaultErrnoRet"]
    return result


def config(argv, rootfs, profile=None, network_namespace=None):
    """config.json of a container that runs `argv`."""
    network = {"type": "network"}
    if network_namespace:
        network["path"] = network_namespace
    linux = {
        "namespaces": [{"type": kind} for kind in ("pid", "ipc", "uts", "mount", "cgroup")] + [network],
        "maskedPaths": MASKED,
        "readonlyPaths": READONLY,
        "resources": {"devices": [{"allow": False, "access": "rwm"}]},
    }
    if profile:
        linux["seccomp"] = profile
    dull = ["nosuid", "noexec", "nodev"]
    return {
        "ociVersion": "1.0.2",
        "process": {
            "terminal": False, "cwd": "/", "args": list(argv), "noNewPrivileges": True,
            "user": {"uid": 0, "gid": 0},
            "env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "LANG=C.UTF-8"],
            "capabilities": {kind: CAPABILITIES for kind in ("bounding", "effective", "permitted")},
            "rlimits": [{"type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024}],
        },
        "root": {"path": rootfs, "readonly": False},
        "hostname": "hap",
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs",
             "options": ["nosuid", "strictatime", "mode=755", "size=65536k"]},
            {"destination": "/dev/pts", "type": "devpts", "source": "devpts",
             "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]},
            {"destination": "/dev/shm", "type": "tmpfs", "source": "shm", "options": dull + ["mode=1777", "size=65536k"]},
            {"destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue", "options": dull},
            {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": dull + ["ro"]},
        ],
        "linux": linux,
    }


def write_bundle(folder, document):
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, "config.json"), "w") as file:
        json.dump(document, file)

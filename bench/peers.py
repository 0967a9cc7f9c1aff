"""The sandboxes that a bench compares: what to put before a program to run it in each, and where the table goes."""
import json
import os
import shutil
import subprocess


def add_options(parser, root):
    parser.add_argument("--bin", default=os.path.join(root, "build/bin"), metavar="DIR", help="where bulkhead is")
    parser.add_argument("--reps", type=int, default=3, metavar="N", help="repetitions of everything (default: 3)")
    parser.add_argument("--no-peers", action="store_true", help="native and bulkhead only")
    parser.add_argument("--runtime", action="append", default=[], metavar="NAME=PATH", help="one more OCI runtime")
    parser.add_argument("--markdown", metavar="FILE", help="put the table into this page, between its marks")


def ways(options, folder):
    """By name, the words before the program's own. The folder is there everywhere, and so is a /tmp in memory."""
    bulkhead = os.path.join(options.bin, "bulkhead")
    box = ["--bind", f"{folder}:{folder}:ro", "--"]
    found = {
        "native": [],
        "bulkhead trap": [bulkhead, "do", "--platform", "trap", *box],
        "bulkhead ptrace": [bulkhead, "do", "--platform", "ptrace", *box],
    }
    if not options.no_peers:
        if shutil.which("runsc"):
            found["gVisor ptrace"] = ["runsc", "--platform=ptrace", "--network=none", "do"]
        oci = [("runc", "runc")] if shutil.which("runc") else []
        for name, path in oci + [entry.split("=", 1) for entry in options.runtime]:
            found[name] = bundle_command(folder, name, path)
    return found


def bundle_command(folder, name, path):
    """An OCI bundle over the host's root, as `do` shows it, in a shell line that writes and runs it."""
    bundle = os.path.join(folder, name)
    rootfs = os.path.join(bundle, "rootfs")
    os.makedirs(os.path.join(rootfs, "tmp"), exist_ok=True)
    script = f'''cd "{bundle}" && exec {path} run "bulkhead-bench-$$" '''
    subprocess.run(["runc", "spec", "-b", bundle], check=True, capture_output=True)
    with open(os.path.join(bundle, "config.json"), encoding="utf-8") as file:
        spec = json.load(file)
    spec["process"]["terminal"] = False
    spec["root"] = {"path": "rootfs", "readonly": True}
    # Not every host's runc can show its cgroups, and nothing here looks at them.
    spec["mounts"] = [mount for mount in spec["mounts"] if mount["type"] != "cgroup"]
    for entry in os.scandir("/"):  # "/" itself cannot be a container's root
        place = os.path.join(rootfs, entry.name)
        if entry.is_symlink():
            os.symlink(os.readlink(entry.path), place)
        elif entry.is_dir() and entry.name not in ("proc", "sys", "dev", "tmp", "run"):
            os.mkdir(place)
            spec["mounts"].append({"destination": entry.path, "type": "bind", "source": entry.path,
                                   "options": ["rbind", "ro"]})
        elif entry.is_dir():
            os.makedirs(place, exist_ok=True)
    spec["mounts"].append({"destination": "/tmp", "type": "tmpfs", "source": "tmpfs"})
    with open(os.path.join(bundle, "config.json"), "w", encoding="utf-8") as file:
        json.dump(spec, file)
    edit = f'''python3 - "$@" <<'X'
import json, sys
path = "{bundle}/config.json"
spec = json.load(open(path))
spec["process"]["args"] = sys.argv[1:]
json.dump(spec, open(path, "w"))
X
'''
    return ["sh", "-c", edit + script, "sh"]


def machine(options):
    """The line above a table."""
    info = os.uname()
    return (f"{info.machine}, {os.cpu_count()} processors, Linux {info.release}, load {os.getloadavg()[0]:.1f}, "
            f"{options.reps} repetitions")


def put_between(path, start, end, text):
    """Replaces what stands between two lines of a page."""
    with open(path, encoding="utf-8") as file:
        before, rest = file.read().split(start + "\n", 1)
    after = rest.split(end, 1)[1]
    with open(path, "w", encoding="utf-8") as file:
        file.write(f"{before}{start}\n{text}{end}{after}")

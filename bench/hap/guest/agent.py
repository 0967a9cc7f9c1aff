"""Runs inside the measuring machine (or on the host): every workload under every runtime of the job, traced.

    agent.py JOB.json OUT_DIR [DEVICE]

Needs /hap (programs, workloads, this folder) and root. One folder a pair in OUT_DIR, with what hap_trace wrote. What is
complete goes to DEVICE as an archive now and then, and at the end.
"""
import json
import os
import platform
import shutil
import subprocess
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)) + "/..")
from guest import oci  # noqa: E402
from workloads import RUNTIMES, UNION, Runtime, Workload  # noqa: E402

TENANT = 1000  # the plain user of the shared login
MERGED = "/srv/merged"
EXT_ADDRESS = "10.99.0.2"
NETNS = "hapext"


def progress(text):
    print(f"hap> {text}", flush=True)


def sh(*argv, check=True):
    return subprocess.run(argv, check=check, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True)


class Machine:
    """The stage: one root file system for all sandboxes (an overlay on the machine's own), one network to outside."""

    def __init__(self, job):
        self.job = job
        self.profile = None
        if os.path.exists("/hap/docker-seccomp.json"):
            with open("/hap/docker-seccomp.json") as file:
                kernel = tuple(int(part) for part in platform.release().split(".")[:2])
                self.profile = oci.seccomp(json.load(file), oci.CAPABILITIES, kernel)

    def prepare(self):
        os.makedirs("/var/hap", exist_ok=True)
        os.chmod("/var/hap", 0o1777)
        for folder in (MERGED, "/srv/upper", "/srv/work"):
            os.makedirs(folder, exist_ok=True)
        sh("mount", "-t", "overlay", "overlay", "-o", "lowerdir=/,upperdir=/srv/upper,workdir=/srv/work", MERGED)
        sh("ip", "link", "set", "lo", "up")
        sh("ip", "netns", "add", NETNS)
        sh("ip", "link", "add", "hap0", "type", "veth", "peer", "name", "eth0", "netns", NETNS)
        sh("ip", "addr", "add", "10.99.0.1/24", "dev", "hap0")
        sh("ip", "link", "set", "hap0", "up")
        self.give_address()
        sh("ip", "-n", NETNS, "link", "set", "eth0", "up")
        sh("ip", "-n", NETNS, "link", "set", "lo", "up")

    @staticmethod
    def give_address():
        """For each run: gVisor takes the address from the namespace's interface for its own network stack."""
        sh("ip", "-n", NETNS, "addr", "replace", EXT_ADDRESS + "/24", "dev", "eth0")

    def command(self, runtime, workload, identity):
        """The command that runs `workload` under `runtime`, and the address at which its network is reached."""
        if runtime.kind == "native":
            return ["setpriv", f"--reuid={TENANT}", f"--regid={TENANT}", "--clear-groups", *workload.argv], "127.0.0.1"
        if runtime.kind == "bwrap":
            share = ["--share-net"] if workload.external else []
            return ["setpriv", f"--reuid={TENANT}", f"--regid={TENANT}", "--clear-groups",
                    "bwrap", "--unshare-all", *share, "--die-with-parent", "--bind", MERGED, "/", "--proc", "/proc",
                    "--dev", "/dev", "--", *workload.argv], "127.0.0.1"
        if runtime.kind == "oci":
            bundle = f"/run/hap/{identity}"
            oci.write_bundle(bundle, oci.config(
                workload.argv, MERGED, profile=self.profile if runtime.seccomp else None,
                network_namespace=f"/run/netns/{NETNS}" if workload.external else None))
            program = f"/hap/bin/{os.path.basename(runtime.program)}" if runtime.program else runtime.name
            options = list(runtime.options)
            if runtime.name == "gvisor":
                program = "runsc"
                options.append("--network=" + ("sandbox" if workload.external else "none"))
            elif runtime.name == "runc-seccomp":
                program = "runc"
            return [program, *options, "run", *runtime.run_options, "--bundle", bundle, identity], EXT_ADDRESS
        if runtime.kind == "do":  # nothing that its user would not say: the settings are the command's own
            return [f"/hap/bin/{os.path.basename(runtime.program)}", "do", *runtime.run_options, "--",
                    *workload.argv], ""
        if runtime.kind == "qemu":
            accelerator = runtime.options[0]
            inner = "runc" if "runc" in runtime.options else "native"
            return ["qemu-system-x86_64", "-accel", accelerator, "-cpu", "max" if accelerator == "tcg" else "host",
                    "-m", "1024", "-smp", "1", "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
                    # One thread for the disk, which stays: else it is chance whether one is started, and makes its
                    # heap, while the guest works.
                    "-object", "main-loop,id=main-loop,thread-pool-min=1,thread-pool-max=1",
                    "-sandbox", "on", "-serial", "stdio", "-kernel", "/hap/kernel", "-initrd", "/hap/initramfs",
                    "-append", f"console=ttyS0 quiet loglevel=0 nokaslr panic=-1 hap.inner={inner}"
                               f" hap.workload={workload.name}",
                    "-drive", "file=/dev/vdd,format=raw,if=virtio,snapshot=on",
                    "-drive", "file=/dev/vdb,format=raw,if=virtio,readonly=on"], ""
        raise ValueError(runtime.kind)


def run_once(machine, runtime, workload, mode, out, tag):
    """One traced run; the recorder's files appear in `out`. Returns an error message or None."""
    identity = f"hap-{os.getpid()}-{runtime.name}-{workload.name}-{tag}"
    command, address = machine.command(runtime, workload, identity)
    recorder = ["/hap/bin/hap_trace", "record", "--mode", "nothing" if mode == "user" else mode,
                "--out", f"{out}/{tag}.txt", "--timeout", str(int(workload.timeout_s * machine.job["patience"]))]
    if machine.job.get("buffer_kib"):
        recorder += ["--buffer-kib", str(machine.job["buffer_kib"])]
    if mode == "syscalls":
        recorder += ["--filters", f"{out}/filters.txt", "--computes", "yes" if workload.computes else "no"]
    if mode == "user":
        recorder += ["--user-names", runtime.above, "--user-out", f"{out}/user-functions.txt"]
    if runtime.kind == "qemu":
        recorder += ["--kill-at-end", "yes"]  # a serial line does not tell its guest that the other side has gone
    if workload.external:
        machine.give_address()
        recorder += ["--external", workload.external.format(address=address)]
    began = time.monotonic()
    with open(f"{out}/{tag}.log", "w") as log:
        status = subprocess.run(recorder + ["--", *command], stdin=subprocess.DEVNULL, stdout=log, stderr=log).returncode
    if runtime.kind == "oci":
        # A run that was broken off leaves its container behind.
        if status != 0 or mode == "user":
            sh(command[0], *runtime.options, "delete", "--force", identity, check=False)
        shutil.rmtree(f"/run/hap/{identity}", ignore_errors=True)
    with open(f"{out}/{tag}.log") as log:
        said = log.read().strip()
    seconds = time.monotonic() - began
    if status != 0:
        progress(f"{runtime.name} {workload.name} {tag}: FAILED after {seconds:.0f} s: {said[-800:]}")
        return said or f"hap_trace exited with {status}"
    progress(f"{runtime.name} {workload.name} {tag}: {seconds:.0f} s")
    return None


def version(*argv):
    """The line of a program's answer that tells its version."""
    try:
        lines = sh(*argv, check=False).stdout.strip().splitlines()
    except FileNotFoundError:
        return "absent"
    return lines[0] if lines else "silent"


def write_facts(out):
    """What the figures depend on: symbols, syscall numbers, versions."""
    for path in ("/proc/kallsyms", "/usr/include/x86_64-linux-gnu/asm/unistd_64.h"):
        with open(path) as source, open(f"{out}/{os.path.basename(path)}", "w") as target:
            shutil.copyfileobj(source, target)
    with open("/proc/cpuinfo") as file:
        cpu = next((line.split(":")[1].strip() for line in file if line.startswith("model name")), "?")
    facts = {"kernel": " ".join(platform.uname()[i] for i in (0, 2, 3)), "cpu": cpu, "cpus": os.cpu_count(),
             "versions": {name: version(*argv) for name, argv in {
                 "bwrap": ("bwrap", "--version"), "runc": ("runc", "--version"), "crun": ("crun", "--version"),
                 "runsc": ("runsc", "--version"), "qemu": ("qemu-system-x86_64", "--version"),
                 "python": ("python3", "--version"), "redis": ("redis-server", "--version"),
                 "node": ("node", "--version"), "gcc": ("gcc", "--version")}.items()}}
    with open(f"{out}/facts.json", "w") as file:
        json.dump(facts, file)


class Outcome:
    """What the host reads: which rows are complete, which are broken, and what the figures depend on."""
    EVERY_S = 30

    def __init__(self, folder, device):
        self.folder, self.device = folder, device
        self.complete, self.broken = [], {}
        self.saved_at = time.monotonic()

    def save(self):
        write_facts(self.folder)
        for name, content in (("order.json", [*self.complete, *self.broken]), ("broken.json", self.broken)):
            with open(f"{self.folder}/{name}", "w") as file:
                json.dump(content, file)
        if self.device:
            sh("tar", "cf", self.device, "-C", self.folder, ".")
            os.sync()
        self.saved_at = time.monotonic()
        progress(f"saved {len(self.complete)} rows")

    def save_now_and_then(self):
        if time.monotonic() - self.saved_at > self.EVERY_S:
            self.save()


def main():
    job_path, out, *device = sys.argv[1:]
    with open(job_path) as file:
        job = json.load(file)
    machine = Machine(job)
    machine.prepare()
    runtimes = [Runtime(**{**r, "options": tuple(r["options"]),
                           "run_options": tuple(r["run_options"])}) for r in job["runtimes"]]
    workloads = [Workload(**{**w, "argv": tuple(w["argv"])}) for w in job["workloads"]]
    pairs = [(r, w) for w in workloads for r in runtimes if r.network or not w.external]
    # No row pays for the disk: what a workload reads is in the page cache before it is traced. Primitives read nothing.
    for workload in workloads if job["syscalls"] else ():
        run_once(machine, RUNTIMES["native"], workload, "nothing", out, "warm")
    # Row by row, so that what there is when the time is over is whole rows; then the further repetitions.
    repetitions = [] if job["syscalls_only"] else [f"functions-{n}" for n in range(1, job["reps"] + 1)]
    last_of_row = repetitions[0] if repetitions else "syscalls"
    plan = [(tag, r, w) for r, w in pairs for tag in (["syscalls"] if job["syscalls"] else []) + repetitions[:1]]
    if not job["syscalls_only"]:
        plan += [("user", r, w) for r, w in pairs if r.above and w.name in UNION]
    plan += [(tag, r, w) for tag in repetitions[1:] for r, w in pairs]
    outcome = Outcome(out, device[0] if device else None)
    for number, (tag, runtime, workload) in enumerate(plan, 1):
        name = f"{runtime.name}.{workload.name}"
        if name in outcome.broken:
            continue
        folder = f"{out}/{name}"
        os.makedirs(folder, exist_ok=True)
        progress(f"[{number}/{len(plan)}] {runtime.name} {workload.name} {tag}")
        error = run_once(machine, runtime, workload, tag.split("-")[0], folder, tag)
        if error:
            outcome.broken[name] = f"{tag}: {error}"
            outcome.complete = [one for one in outcome.complete if one != name]
        elif tag == last_of_row:
            outcome.complete.append(name)
        outcome.save_now_and_then()
    sh("/hap/bin/hap_trace", "remove", check=False)
    outcome.save()


if __name__ == "__main__":
    main()

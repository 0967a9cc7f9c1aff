"""The workloads and the ways of running them. Used on both sides: the host plans, the agent runs."""
import dataclasses


@dataclasses.dataclass(frozen=True)
class Workload:
    """A program on standard streams: says it is ready, waits for a line, works, says it is done, waits for the end."""
    name: str
    argv: tuple
    what: str
    external: str = ""  # the load that comes from outside, a shell command with {address}
    timeout_s: int = 900
    computes: bool = False  # nothing else: its process can be looked into while it works


WORKLOADS = {w.name: w for w in (
    Workload("spin", ("/hap/bin/hap_spin",), "computes, asks for nothing: the noise floor",
             computes=True),
    Workload("true", ("/bin/sh", "/hap/workloads/true.sh"), "starts 20 small programs"),
    Workload("files", ("/bin/sh", "/hap/workloads/files.sh"), "a shell script's work on files"),
    Workload("python", ("/usr/bin/python3", "/hap/workloads/python.py"), "compute, threads, files, memory"),
    Workload("redis", ("/bin/sh", "/hap/workloads/redis.sh"), "redis and its clients, inside"),
    Workload("redis-ext", ("/bin/sh", "/hap/workloads/redis-ext.sh"), "redis inside, clients outside",
             external="redis-benchmark -h {address} -p 7379 -n 200 -c 10 -q -t set,get,incr,lpush,lrange_100,sadd"
                      " > /dev/null"),
    Workload("node", ("/usr/bin/node", "/hap/workloads/node.js"), "an http server and its clients, inside"),
    Workload("compile", ("/bin/sh", "/hap/workloads/compile.sh"), "gcc compiles and runs a program"),
    Workload("sweep", ("/hap/bin/hap_sweep",), "every syscall number with dull arguments", timeout_s=1800),
    Workload("sweep-nofork", ("/hap/bin/hap_sweep", "nofork"), "the same without calls that make a process",
             timeout_s=1800),
)}

# The summary row is over these, however many workloads there are.
UNION = ("true", "files", "python", "redis")


# Who shares what with whom, in the order of the pictures.
MODELS = ("shared login", "container", "guarded container", "hypervisor", "nested", "sandbox")


@dataclasses.dataclass(frozen=True)
class Runtime:
    """A way of running a workload. `kind` says how the agent builds the command; the rest is for that kind."""
    name: str
    kind: str  # native, bwrap, oci, do, qemu
    label: str
    program: str = ""      # host path of an OCI runtime that is not in the image
    options: tuple = ()    # global options of an OCI runtime; qemu: the accelerator, then the runtime inside
    run_options: tuple = ()  # options of its verb "run", or "do"
    seccomp: bool = False  # Docker's default profile in the bundle
    network: bool = True   # whether redis-ext can reach it
    above: str = ""        # names of the provider's programs between tenant and host kernel, comma-separated
    model: str = "container"  # one of MODELS

    @property
    def ours(self):
        return self.program == "build/bin/bulkhead"


RUNTIMES = {r.name: r for r in (
    Runtime("native", "native", "plain process", model="shared login"),
    Runtime("bwrap", "bwrap", "bubblewrap", model="container"),
    Runtime("runc", "oci", "runc"),
    Runtime("runc-seccomp", "oci", "runc, Docker's seccomp profile", seccomp=True, model="guarded container"),
    Runtime("crun", "oci", "crun"),
    Runtime("gvisor", "oci", "gVisor, ptrace", options=("--platform=ptrace", "--ignore-cgroups"), above="runsc",
            model="sandbox"),
    Runtime("qemu-tcg", "qemu", "qemu, TCG (no KVM)", options=("tcg",), network=False, above="qemu-system",
            model="hypervisor"),
    Runtime("qemu-kvm", "qemu", "qemu, KVM", options=("kvm",), network=False, above="qemu-system",
            model="hypervisor"),
    Runtime("nested-tcg", "qemu", "runc inside qemu, TCG (no KVM)", options=("tcg", "runc"), network=False,
            above="qemu-system", model="nested"),
    Runtime("nested-kvm", "qemu", "runc inside qemu, KVM", options=("kvm", "runc"), network=False,
            above="qemu-system", model="nested"),
    Runtime("bulkhead", "do", "bulkhead, trap", program="build/bin/bulkhead", run_options=("--platform=trap",),
            network=False, above="bulkhead", model="sandbox"),
    Runtime("bulkhead-run", "oci", "bulkhead run, trap", program="build/bin/bulkhead",
            run_options=("--platform=trap",), network=False, above="bulkhead", model="sandbox"),
    Runtime("bulkhead-ptrace", "do", "bulkhead, ptrace", program="build/bin/bulkhead",
            run_options=("--platform=ptrace",), network=False, above="bulkhead", model="sandbox"),
)}

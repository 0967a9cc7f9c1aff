"""The measuring machine: a stock Debian kernel and root in qemu, made once and kept, thrown back after each run."""
import hashlib
import io
import json
import lzma
import os
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import time

PACKAGES = ("linux-image-amd64 python3 redis-server redis-tools nodejs gcc libc6-dev bubblewrap runc crun runsc "
            "busybox-static iproute2 qemu-system-x86 kmod procps").split()
SUITE = "bookworm"
# Docker's own profile is a file in its source package.
PROFILE_PACKAGE = "golang-github-docker-docker-dev"
PROFILE_PATH = "./usr/share/gocode/src/github.com/docker/docker/profiles/seccomp/default.json"
# What the initramfs loads to find the root file system; their dependencies come along.
MODULES = ("virtio_pci", "virtio_blk", "crc32c_generic", "ext4")
IMAGE_BYTES = 4 << 30
OUTPUT_BYTES = 1 << 30
MEMORY_MIB = 3072
# 4 ns an instruction; an idle machine's clock jumps to its next timer.
ICOUNT = "shift=2,sleep=off"


class VmError(Exception):
    pass


def say(text):
    print(f"hap: {text}", file=sys.stderr, flush=True)


def run(argv, **options):
    """Runs a step of the set-up that says nothing of interest unless it fails."""
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          **options)
    if done.returncode != 0:
        raise VmError(f"{' '.join(argv)} failed with {done.returncode}:\n{done.stdout[-3000:]}")
    return done.stdout


def run_with_progress(argv, mark, **options):
    """Runs a long step and shows those of its lines that begin with `mark`."""
    said = []
    with subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          errors="replace", **options) as child:
        for line in child.stdout:
            said.append(line)
            if line.startswith(mark):
                say("  " + line.removeprefix(mark).strip())
    if child.returncode != 0:
        raise VmError(f"{' '.join(argv)} failed with {child.returncode}:\n{''.join(said)[-3000:]}")


def cpio(entries):
    """A cpio archive in "newc" form (cpio(5)) of (path, mode, bytes)."""
    out = io.BytesIO()
    for number, (path, mode, data) in enumerate([*entries, ("TRAILER!!!", 0, b"")], 1):
        name = path.encode() + b"\0"
        fields = (number, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name), 0)
        out.write(b"070701" + b"".join(b"%08x" % field for field in fields) + name)
        out.write(b"\0" * (-out.tell() % 4) + data)
        out.write(b"\0" * (-out.tell() % 4))
    return out.getvalue()


def module_order(dependencies, wanted):
    """The wanted modules with what they need, each after its own needs; from the lines of modules.dep."""
    needs, path_of = {}, {}
    for line in dependencies.splitlines():
        path, _, rest = line.partition(":")
        needs[path] = rest.split()
        path_of[re.sub(r"\.ko.*", "", os.path.basename(path)).replace("-", "_")] = path
    order = []

    def add(path):
        if path not in order:
            for need in needs[path]:
                add(need)
            order.append(path)

    for name in wanted:
        if name in path_of:  # absent: built in
            add(path_of[name])
    return order


def unpack_kernel(image):
    """The ELF kernel inside a bzImage, which qemu can start as it is (PVH): an emulated CPU takes many seconds to unpack
    it by itself. Kernels that are not packed with xz are left as they are."""
    at = image.find(b"\xfd7zXZ\0")
    if at < 0:
        return image
    kernel = lzma.LZMADecompressor(format=lzma.FORMAT_XZ).decompress(image[at:])
    if kernel[:4] != b"\x7fELF":
        raise VmError("the kernel image holds no ELF kernel")
    return kernel


def end(process):
    """Ends what still runs. What has children is unshare(1), which waits for the first process of its pid namespace, and
    that one for all others: none is left when this returns."""
    if process.poll() is not None:
        return
    with open(f"/proc/{process.pid}/task/{process.pid}/children") as file:
        children = file.read().split()
    for child in children:
        os.kill(int(child), signal.SIGKILL)
    if not children:
        process.kill()
    process.wait()


class VirtualMachine:
    """`here` has guest/initramfs-init.sh; `packages` are what the root is made of; `profile` says whether Docker's seccomp
    profile is among the inputs."""

    def __init__(self, cache, here, packages=PACKAGES, profile=True):
        self.cache = cache
        self.here = here
        self.packages = packages
        self.kernel = os.path.join(cache, "vmlinux")
        self.initramfs = os.path.join(cache, "initramfs")
        self.image = os.path.join(cache, "root.ext4")
        self.profile = os.path.join(cache, "docker-seccomp.json") if profile else None

    # What the image is made of: another list makes another image.
    def stamp(self):
        return hashlib.sha256(json.dumps([SUITE, self.packages, MODULES, IMAGE_BYTES, "vmlinux"]).encode()).hexdigest()

    def ensure(self):
        """Makes what is missing; minutes the first time."""
        os.makedirs(self.cache, exist_ok=True)
        for program, package in (("qemu-system-x86_64", "qemu-system-x86"), ("mmdebstrap", "mmdebstrap"),
                                 ("mke2fs", "e2fsprogs"), ("dpkg-deb", "dpkg")):
            if shutil.which(program) is None:
                raise VmError(f"{program} is missing: apt-get install {package}")
        stamp_path = os.path.join(self.cache, "stamp")
        if not os.path.exists(stamp_path) or open(stamp_path).read() != self.stamp():
            self.make_image()
            with open(stamp_path, "w") as file:
                file.write(self.stamp())
        self.make_initramfs()
        if self.profile and not os.path.exists(self.profile):
            self.fetch_profile()

    def make_image(self):
        tar = os.path.join(self.cache, "root.tar")
        if not os.path.exists(tar):
            say(f"making the machine's root from {SUITE} with mmdebstrap (once, about 2 minutes)")
            with tempfile.TemporaryDirectory(dir=self.cache) as scratch:
                made = os.path.join(scratch, "root.tar")
                run_with_progress(["nice", "mmdebstrap", "--variant=minbase", '--aptopt=APT::Install-Recommends "false"',
                     "--dpkgopt=path-exclude=/usr/share/doc/*", "--dpkgopt=path-exclude=/usr/share/man/*",
                     "--dpkgopt=path-exclude=/usr/share/locale/*", "--include=" + ",".join(self.packages), SUITE, made,
                     "http://deb.debian.org/debian"], "I: ", env={**os.environ, "TMPDIR": scratch})
                os.rename(made, tar)
        say("making the disk image")
        with tempfile.TemporaryDirectory(dir=self.cache) as scratch:
            root = os.path.join(scratch, "root")
            os.mkdir(root)
            run(["tar", "xpf", tar, "-C", root, "--exclude=./dev/*"])
            boot = os.path.join(root, "boot")
            kernels = [name for name in os.listdir(boot) if name.startswith("vmlinuz-")]
            if len(kernels) != 1:
                raise VmError(f"expected one kernel in the root, found {kernels}")
            with open(os.path.join(boot, kernels[0]), "rb") as packed, open(self.kernel, "wb") as unpacked:
                unpacked.write(unpack_kernel(packed.read()))
            release = kernels[0].removeprefix("vmlinuz-")
            modules = os.path.join(root, "lib/modules", release)
            with open(os.path.join(modules, "modules.dep")) as file:
                order = module_order(file.read(), MODULES)
            kept = os.path.join(self.cache, "modules")
            shutil.rmtree(kept, ignore_errors=True)
            os.makedirs(kept)
            for path in order:
                shutil.copy(os.path.join(modules, path), kept)
            with open(os.path.join(kept, "order"), "w") as file:
                file.write("\n".join(os.path.basename(path) for path in order))
            shutil.copy(os.path.join(root, "bin/busybox"), os.path.join(self.cache, "busybox"))
            image = os.path.join(scratch, "root.ext4")
            with open(image, "wb") as file:
                file.truncate(IMAGE_BYTES)
            run(["mke2fs", "-q", "-t", "ext4", "-d", root, image])
            os.rename(image, self.image)
        os.unlink(tar)

    def make_initramfs(self):
        with open(os.path.join(self.cache, "busybox"), "rb") as file:
            entries = [("bin", 0o40755, b""), ("bin/busybox", 0o100755, file.read())]
        with open(os.path.join(self.here, "guest/initramfs-init.sh"), "rb") as file:
            entries.append(("init", 0o100755, file.read()))
        entries.append(("modules", 0o40755, b""))
        kept = os.path.join(self.cache, "modules")
        for name in sorted(os.listdir(kept)):
            with open(os.path.join(kept, name), "rb") as file:
                entries.append((f"modules/{name}", 0o100644, file.read()))
        with open(self.initramfs, "wb") as file:
            file.write(cpio(entries))

    def fetch_profile(self):
        say("fetching Docker's default seccomp profile")
        with tempfile.TemporaryDirectory(dir=self.cache) as scratch:
            run(["apt-get", "download", PROFILE_PACKAGE], cwd=scratch)
            package = next(name for name in os.listdir(scratch) if name.endswith(".deb"))
            archive = subprocess.run(["dpkg-deb", "--fsys-tarfile", os.path.join(scratch, package)], check=True,
                                     stdout=subprocess.PIPE).stdout
            with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
                content = tar.extractfile(PROFILE_PATH).read()
        with open(self.profile, "wb") as file:
            file.write(content)

    @staticmethod
    def function_tracer_here(program):
        """Whether this host's kernel lets the function tracer run; hap_trace's own word if not."""
        if os.geteuid() != 0:
            return False, "only root may trace"
        done = subprocess.run(["unshare", "--mount", "sh", "-c", 'mount -t tracefs tracefs /mnt && exec "$0" probe '
                               '--tracefs /mnt', program], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True)
        return done.returncode == 0, done.stdout.strip()

    def run_here(self, inputs, job, out, enough_s):
        """The same on this host, in namespaces of its own: nothing outside of the scratch folder is written to, no
        process and no mount remains. Needs root."""
        os.makedirs(self.cache, exist_ok=True)
        if not os.path.exists(self.profile):
            self.fetch_profile()
        with tempfile.TemporaryDirectory(dir=self.cache) as scratch:
            stage = os.path.join(scratch, "hap")
            for path, source in {**inputs, "docker-seccomp.json": self.profile}.items():
                target = os.path.join(stage, path)
                os.makedirs(os.path.dirname(target), exist_ok=True)
                if os.path.isdir(source):
                    shutil.copytree(source, target)
                else:
                    shutil.copy(source, target)
            with open(os.path.join(stage, "job.json"), "w") as file:
                file.write(job)
            os.mkdir(os.path.join(stage, "out"))
            try:
                self.follow(["nice", "unshare", "--mount", "--net", "--uts", "--ipc", "--pid", "--fork", "--kill-child",
                             "sh", os.path.join(self.here, "guest/here.sh"), scratch], scratch, False, 3600, enough_s)
            finally:  # the trace instance is the whole host's
                run(["unshare", "--mount", "sh", "-c", "mount -t tracefs tracefs /mnt && exec $0 remove --tracefs /mnt",
                     os.path.join(stage, "bin/hap_trace")])
            shutil.copytree(os.path.join(stage, "out"), out, dirs_exist_ok=True)

    def guest(self):
        """What the machine needs to run a machine itself."""
        return {"kernel": self.kernel, "initramfs": self.initramfs}

    def run(self, inputs, out, accelerator="tcg", guests=False, verbose=False, enough_s=None, limit_s=6 * 3600):
        """Boots, gives the machine `inputs` ({path below /hap: host path or bytes}), waits for it to finish, or for
        `enough_s` seconds and what it saves next, and unpacks what it brought out into `out`. The image is left as it
        was."""
        self.ensure()
        with tempfile.TemporaryDirectory(dir=self.cache) as scratch:
            given = os.path.join(scratch, "input.tar")
            with tarfile.open(given, "w", dereference=True) as tar:
                for path, content in {**inputs, **({"docker-seccomp.json": self.profile} if self.profile else {}),
                                      **(self.guest() if guests else {})}.items():
                    if isinstance(content, bytes):
                        info = tarfile.TarInfo(path)
                        info.size = len(content)
                        info.mode = 0o755
                        tar.addfile(info, io.BytesIO(content))
                    else:
                        tar.add(content, path)
            with open(given, "ab") as file:
                file.truncate((file.tell() + 511) // 512 * 512)
            brought = os.path.join(scratch, "output.img")
            with open(brought, "wb") as file:
                file.truncate(OUTPUT_BYTES)
            self.boot(given, brought, scratch, accelerator, verbose, limit_s, enough_s)
            os.makedirs(out, exist_ok=True)
            with tarfile.open(brought, "r:") as tar:
                tar.extractall(out)

    @staticmethod
    def processor(accelerator):
        """Emulated, the machine's time follows the instructions it executes, not the host's clock: however busy the
        host is, the same work meets the same number of timer ticks. "tcg-clock" goes by the host's clock all the
        same: a guest of the machine under KVM stands still without it (qemu 7.2)."""
        if accelerator == "tcg":
            return ["-accel", "tcg", "-icount", ICOUNT, "-cpu", "max,la57=off,svm=on"]
        if accelerator == "tcg-clock":
            return ["-accel", "tcg", "-cpu", "max,la57=off,svm=on"]
        return ["-accel", accelerator, "-cpu", "host"]

    def boot(self, given, brought, scratch, accelerator, verbose, limit_s, enough_s):
        disk = "file={},format=raw,if=virtio,{}"
        argv = ["setpriv", "--pdeathsig", "KILL", "qemu-system-x86_64",
                *self.processor(accelerator), "-smp", "1", "-m", str(MEMORY_MIB), "-nodefaults", "-no-user-config",
                "-display", "none", "-no-reboot",
                "-serial", "stdio", "-kernel", self.kernel, "-initrd", self.initramfs,
                "-append", "console=ttyS0 quiet nokaslr panic=-1",
                "-drive", disk.format(self.image, "snapshot=on"), "-drive", disk.format(given, "readonly=on"),
                "-drive", disk.format(brought, "cache=unsafe"),
                # The same root once more, for the guests that the machine itself runs.
                "-drive", disk.format(self.image, "snapshot=on")]
        say("booting the machine")
        self.follow(argv, scratch, verbose, limit_s, enough_s)

    def follow(self, argv, scratch, verbose, limit_s, enough_s):
        """Runs the stage, shows its progress, and makes sure that it brought its results out."""
        began = time.monotonic()
        console, written = [], False
        # TMPDIR is where qemu's snapshot=on keeps its changes.
        machine = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                   text=True, errors="replace", env={**os.environ, "TMPDIR": scratch})
        try:
            for line in machine.stdout:
                console.append(line)
                written = written or "hap> results written" in line
                if verbose or "hap> " in line:
                    say(f"{time.monotonic() - began:6.0f} s  " + line.split("hap> ")[-1].rstrip())
                if enough_s and "hap> saved" in line and time.monotonic() - began > enough_s:
                    written = True
                    break
                if time.monotonic() - began > limit_s:
                    raise VmError(f"the machine was not done after {limit_s} s")
            else:
                machine.wait()
        finally:
            end(machine)
        if not written:
            raise VmError("the machine ended without results; its console:\n" + "".join(console[-60:]))

"""OCI images made without any registry: of a static busybox, and of a small Debian."""

import gzip
import hashlib
import io
import json
import os
import pathlib
import shutil
import subprocess
import tarfile
import tempfile

BUSYBOX = "/bin/busybox"


def applets():
    return subprocess.run([BUSYBOX, "--list"], check=True, capture_output=True, text=True).stdout.split()


def fill_root(root):
    """A root file system below the pathlib.Path `root`: busybox and what programs expect."""
    for folder in ("bin", "dev", "etc", "proc", "sys", "tmp", "root", "run"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    (root / "tmp").chmod(0o1777)
    shutil.copyfile(BUSYBOX, root / "bin/busybox")
    (root / "bin/busybox").chmod(0o755)
    for name in applets():
        if name != "busybox" and not (root / "bin" / name).is_symlink():
            (root / "bin" / name).symlink_to("busybox")
    (root / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000::/:/bin/sh\n")
    (root / "etc/group").write_text("root:x:0:\nuser:x:1000:\n")


def _busybox_layer():
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w") as tar:

        def add(name, mode=0o755, content=None, link=None, kind=tarfile.REGTYPE):
            member = tarfile.TarInfo(name)
            member.mode, member.type = mode, kind
            if link:
                member.linkname = link
            if content is not None:
                member.size = len(content)
            tar.addfile(member, io.BytesIO(content) if content is not None else None)

        for folder in ("bin", "dev", "etc", "proc", "sys", "root", "run"):
            add(folder, kind=tarfile.DIRTYPE)
        add("tmp", 0o1777, kind=tarfile.DIRTYPE)
        add("bin/busybox", content=pathlib.Path(BUSYBOX).read_bytes())
        for name in applets():
            if name != "busybox":
                add("bin/" + name, link="busybox", kind=tarfile.SYMTYPE)
        add("etc/passwd", 0o644, b"root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000::/:/bin/sh\n")
        add("etc/group", 0o644, b"root:x:0:\nuser:x:1000:\n")
    return raw.getvalue()


def debian_layer():
    """A minimal Debian with python3. Made by mmdebstrap once, which takes a minute or two, and kept."""
    cache = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache") / "bulkhead/oci"
    words = [
        "mmdebstrap", "--variant=minbase", '--aptopt=APT::Install-Recommends "false"', "--include=python3",
        *(f"--dpkgopt=path-exclude=/usr/share/{name}/*" for name in ("doc", "man", "locale")),
        "bookworm", "-", "http://deb.debian.org/debian",
    ]  # fmt: skip
    kept = cache / f"debian-{hashlib.sha256(repr(words).encode()).hexdigest()[:16]}.tar"
    if not kept.exists():
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache) as scratch:
            fresh = pathlib.Path(scratch) / "root.tar"
            with open(fresh, "wb") as tar:
                subprocess.run(words, check=True, stdout=tar, env={**os.environ, "TMPDIR": scratch})
            fresh.rename(kept)
    return kept.read_bytes()


def write_archive(path, name, command=("sh",), layer=None):
    """Writes an OCI archive (a tar of an image layout) that holds one image called `name`. `layer` is a tar of its files,
    without which it is busybox."""
    blobs = {}

    def blob(data):
        digest = hashlib.sha256(data).hexdigest()
        blobs[digest] = data
        return {"digest": "sha256:" + digest, "size": len(data)}

    layer = layer or _busybox_layer()
    packed = blob(gzip.compress(layer, 1))
    config = {
        "architecture": "amd64",
        "os": "linux",
        "config": {"Env": ["PATH=/usr/bin:/bin"], "Cmd": list(command), "WorkingDir": "/"},
        "rootfs": {"type": "layers", "diff_ids": ["sha256:" + hashlib.sha256(layer).hexdigest()]},
        "history": [],
    }
    manifest = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": {"mediaType": "application/vnd.oci.image.config.v1+json", **blob(json.dumps(config).encode())},
        "layers": [{"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", **packed}],
    }
    index = {
        "schemaVersion": 2,
        "manifests": [
            {
                "mediaType": "application/vnd.oci.image.manifest.v1+json",
                **blob(json.dumps(manifest).encode()),
                "platform": {"architecture": "amd64", "os": "linux"},
                "annotations": {"org.opencontainers.image.ref.name": name, "io.containerd.image.name": name},
            }
        ],
    }
    with tarfile.open(path, "w") as tar:
        files = {"oci-layout": b'{"imageLayoutVersion":"1.0.0"}', "index.json": json.dumps(index).encode()}
        files.update({"blobs/sha256/" + digest: data for digest, data in blobs.items()})
        for file, data in files.items():
            member = tarfile.TarInfo(file)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))

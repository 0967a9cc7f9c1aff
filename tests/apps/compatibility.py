#!/usr/bin/python3
"""Writes docs/compatibility.md: what each program of tests/apps does in a sandbox, compared with its native run.

compatibility.py BULKHEAD [--size short|full] [--python INSIDE NATIVE]

INSIDE is the output of python_suite.sh in its full size in a sandbox, NATIVE that of a native run, of the modules at
least that did not pass inside; without them the page's section on CPython stays as it is. Exit status 1 if any program's runs differ.
"""
import argparse
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
PAGE = os.path.join(ROOT, "docs", "compatibility.md")
# What each script runs: the programs by name, with their Debian packages.
PROGRAMS = {
    "archive.sh": {"tar": "tar", "xz": "xz-utils"},
    "busybox.sh": {"busybox": "busybox-static"},
    "compile.sh": {"gcc, g++": "gcc", "make": "make"},
    "crypto.sh": {"ssh-keygen": "openssh-client", "openssl, with openssl speed": "openssl"},
    "ffmpeg.sh": {"ffmpeg": "ffmpeg"},
    "find_root.sh": {"find": "findutils"},
    "gdb.sh": {"gdb": "gdb"},
    "git.sh": {"git": "git"},
    "go.sh": {"go": "golang-go"},
    "java.sh": {"OpenJDK 17": "openjdk-17-jdk-headless"},
    "memcached.sh": {"memcached": "memcached"},
    "monitor.sh": {"ps, top, free, vmstat": "procps", "htop": "htop", "lsof": "lsof", "ip, ss": "iproute2"},
    "nginx.sh": {"nginx": "nginx-light", "wrk": "wrk"},
    "node.sh": {"node": "nodejs", "npm": "npm"},
    "perl.pl": {"perl": "perl"},
    "php.sh": {"php": "php-cli"},
    "postgres.sh": {"PostgreSQL 15": "postgresql-15"},
    "python.py": {"python3": "python3"},
    "redis.sh": {"redis": "redis-server"},
    "ruby.sh": {"ruby": "ruby"},
    "rust.sh": {"rustc": "rustc", "cargo": "cargo"},
    "shell.sh": {"bash": "bash", "coreutils": "coreutils"},
    "sqlite.sh": {"sqlite3": "sqlite3"},
    "strace.sh": {"strace": "strace"},
    "stress.sh": {"stress-ng": "stress-ng"},
    "tmux.sh": {"tmux": "tmux"},
}


def version(package):
    done = subprocess.run(["dpkg-query", "-W", "-f=${Version}", package], stdout=subprocess.PIPE,
                          stderr=subprocess.DEVNULL, text=True)
    if done.returncode == 0 and done.stdout:
        return f"{package} {done.stdout}"
    if package == "npm" and shutil.which("npm"):  # some packages of Node.js bring it along
        return "npm " + subprocess.run(["npm", "--version"], stdout=subprocess.PIPE, text=True).stdout.strip()
    return None


def summary(script):
    """The first sentence of the comment that a script begins with."""
    with open(os.path.join(HERE, script), encoding="utf-8") as file:
        text = re.search(r'^(?:#!.*\n)?((?:# .*\n)+|"""[^"]*""")', file.read())
    words = " ".join(re.sub(r'^# |"""', "", text[1], flags=re.MULTILINE).split())
    return re.split(r"\.(?: |$)", words)[0]


def run(mode, script, size, results, bulkhead):
    done = subprocess.run([os.path.join(ROOT, "tests", "run_app_test.sh"), mode, size, os.path.join(HERE, script),
                           results, bulkhead], cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, errors="replace")
    return done.returncode, done.stdout


def judge(script, size, results, bulkhead):
    """(passed, what the table says)"""
    status, output = run("native", script, size, results, bulkhead)
    if status != 0:
        return False, f"fails natively on this machine (status {status})"
    status, output = run("sandboxed", script, size, results, bulkhead)
    if status == 0:
        return True, "the same output"
    lines = [line for line in output.split("\n") if re.match(r"[-+][^-+]", line)]
    return False, f"{len(lines)} lines differ, first `{lines[0] if lines else output.strip().splitlines()[-1]}`"


def python_section(inside_path, native_path):
    def read(path):
        with open(path, encoding="utf-8") as file:
            return dict(line.rstrip("\n").split(" ", 1) for line in file)
    inside, native = read(inside_path), read(native_path)
    with open(os.path.join(HERE, "python_reasons.txt"), encoding="utf-8") as file:
        reasons = dict(re.split(r"\s+", line.strip(), maxsplit=1) for line in file
                       if line.strip() and not line.startswith("#"))
    passed = [name for name in inside if inside[name] == "passed"]
    skipped = [name for name in inside if inside[name] == "skipped"]
    failing = [name for name in inside if inside[name] not in ("passed", "skipped")]
    unknown = [name for name in failing if name not in native]
    if unknown:
        sys.exit(f"no native result of {' '.join(unknown)}")
    ours = [name for name in failing if native[name] == "passed"]
    others = [name for name in failing if native[name] != "passed"]
    text = ["## CPython's own tests", "",
            f"{version('libpython3.11-testsuite')}, {len(inside)} modules: {len(passed)} pass inside and {len(skipped)}",
            f"skip themselves. Of the other {len(failing)}, {len(others)} do not pass natively on the same machine either",
            f"({', '.join(others)}). Inside pass {100 * len(passed) / (len(passed) + len(ours)):.1f} % of what passes natively;",
            "the rest:", "", "| module | inside | why |", "|---|---|---|"]
    text += [f"| {name} | {inside[name]} | {reasons.get(name, 'not explained')} |" for name in ours]
    return "\n".join(text) + "\n"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("bulkhead")
    parser.add_argument("--size", choices=["short", "full"], default="short")
    parser.add_argument("--python", nargs=2, metavar=("INSIDE", "NATIVE"))
    arguments = parser.parse_args()
    rows, failed = [], False
    with tempfile.TemporaryDirectory() as results:
        for script, programs in sorted(PROGRAMS.items()):
            versions = {name: version(package) for name, package in programs.items()}
            missing = [programs[name] for name, found in versions.items() if found is None and name != "npm"]
            if missing:
                sys.exit(f"{script}: install {' '.join(missing)} first (./dev test-all does)")
            passed, words = judge(script, arguments.size, results, os.path.abspath(arguments.bulkhead))
            failed |= not passed
            for name, found in versions.items():
                verdict = "not installed here" if found is None else \
                    f"{'**pass**: ' if passed else '**differs**: '}{words}"
                rows.append(f"| {name} | [{script}](../tests/apps/{script}): {summary(script)} | {found or ''} | {verdict} |")
                print(rows[-1], flush=True)
    python = ""
    if arguments.python:
        python = python_section(*arguments.python)
    elif os.path.exists(PAGE):
        with open(PAGE, encoding="utf-8") as file:
            found = re.search(r"## CPython's own tests.*", file.read(), re.DOTALL)
        python = found[0] if found else ""
    with open(PAGE, "w", encoding="utf-8") as file:
        file.write("# What runs\n\n"
                   "Written by `tests/apps/compatibility.py`, which runs each script natively and then, unmodified, by\n"
                   f"`bulkhead do`, and compares outputs and exit statuses byte for byte. Size: {arguments.size}; host:\n"
                   f"Linux {platform.release()}, Debian packages.\n\n"
                   "| program | what runs | package | result |\n|---|---|---|---|\n"
                   + "\n".join(rows) + "\n\n" + python)
    sys.exit(failed)


main()

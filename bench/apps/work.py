"""What runs inside, in any sandbox: prepares each program's files in memory, warms it up, and runs it when told.

    work.py FOLDER NAME=RUNS...

Says "ready" once there, and then of each program "begin NAME", waits for a line, runs it RUNS times, and says
"end NAME SECONDS" with the mean of a run."""
import os
import shutil
import subprocess
import sys
import tempfile
import time

PYTHON = "/usr/bin/python3"
FILES = 5000


def tree(folder):
    """5,000 files in 50 folders, of a few hundred bytes to 8 KiB."""
    for i in range(FILES):
        place = os.path.join(folder, f"folder{i % 50}")
        if i < 50:
            os.makedirs(place)
        with open(os.path.join(place, f"file{i}"), "w", encoding="ascii") as file:
            file.write(f"line {i}\n" * (20 + i * 7919 % 600))


def quietly(*words, cwd=None):
    subprocess.run(words, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, cwd=cwd)


def prepare_python(_):
    return lambda: quietly(PYTHON, "-c", "pass")


def prepare_subprocess(_):
    code = "import subprocess\nfor _ in range(50): subprocess.run(['/bin/true'], check=True)"
    return lambda: quietly(PYTHON, "-c", code)


def prepare_bash(_):
    return lambda: quietly("bash", "-c", "for i in {1..200}; do /bin/true; done")


def prepare_git(folder):
    tree(folder)
    # Files of the same second as the index it reads again each time, since they may have changed in that second.
    past = time.time() - 3600
    for at, folders, names in os.walk(folder):
        for name in folders + names:
            os.utime(os.path.join(at, name), (past, past))
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@b", "-c", "gc.auto=0", "-c", "safe.directory=*"]
    quietly(*git, "init", "-q", cwd=folder)
    quietly(*git, "add", ".", cwd=folder)
    quietly(*git, "commit", "-q", "-m", "all", cwd=folder)
    return lambda: quietly(*git, "status", cwd=folder)


def prepare_gcc(folder):
    names = []
    for i in range(20):
        names.append(f"file{i}.c")
        with open(os.path.join(folder, names[-1]), "w", encoding="ascii") as file:
            file.write("#include <stdio.h>\n#include <stdlib.h>\n#include <string.h>\n")
            for j in range(40):
                file.write(f"int f{i}_{j}(int n) {{ int s = {j}; for (int k = 0; k < n; k++) s += k * {i} % (s + 7);\n"
                           f'  if (s == 1) printf("%d", s); return s; }}\n')
    return lambda: quietly("gcc", "-O1", "-c", *names, cwd=folder)


def prepare_tar(folder):
    tree(os.path.join(folder, "tree"))
    return lambda: quietly("tar", "-cf", "tree.tar", "tree", cwd=folder)


def prepare_sqlite(folder):
    with open(os.path.join(folder, "inserts.sql"), "w", encoding="ascii") as file:
        file.write("create table t (a integer primary key, b text, c real);\nbegin;\n")
        for i in range(100000):
            file.write(f"insert into t values ({i}, 'text of row {i}', {i / 7});\n")
        file.write("commit;\n")

    def work():
        database = os.path.join(folder, "database")
        if os.path.exists(database):
            os.remove(database)
        with open(os.path.join(folder, "inserts.sql"), "rb") as file:
            subprocess.run(["sqlite3", database], check=True, stdin=file)
    return work


def main():
    folder, wanted = sys.argv[1], [word.split("=") for word in sys.argv[2:]]
    os.environ["HOME"] = folder  # git looks for its settings there
    print("ready", flush=True)
    for name, runs in wanted:
        place = tempfile.mkdtemp(prefix=f"bulkhead-apps-{name}-", dir=folder)
        try:
            work = globals()[f"prepare_{name}"](place)
            work()  # what is read for the first time is no program's cost
            print(f"begin {name}", flush=True)
            if not sys.stdin.readline():
                return 1
            start = time.perf_counter()
            for _ in range(int(runs)):
                work()
            print(f"end {name} {(time.perf_counter() - start) / int(runs):.6f}", flush=True)
        finally:
            shutil.rmtree(place)
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""A host where nobody may trace anybody (Yama's ptrace_scope of 3, which lasts until the next boot)."""

import os
import pathlib
import subprocess
import unittest

BULKHEAD = os.environ["BULKHEAD"]
SCOPE = pathlib.Path("/proc/sys/kernel/yama/ptrace_scope")
# Processes, threads, signals, files.
WORK = "echo $(seq 100 | grep -c 7); (exit 3); echo $?; kill -0 $$ && python3 -c 'import threading; t = threading.Thread(target=print, args=(\"thread\",)); t.start(); t.join()'"


class Yama(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        SCOPE.write_text("3")

    def check(self, *before):
        for program, output in (("true", ""), (WORK, "19\n3\nthread\n")):
            done = subprocess.run(
                [*before, BULKHEAD, "do", "--", "sh", "-c", program],
                capture_output=True, text=True, timeout=120, cwd="/", stdin=subprocess.DEVNULL,
            )
            self.assertEqual((done.returncode, done.stdout, done.stderr), (0, output, ""))

    def test_is_in_force(self):
        self.assertEqual(SCOPE.read_text().strip(), "3")

    def test_as_root(self):
        self.check()

    def test_as_an_ordinary_user(self):
        self.check("setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups", "--inh-caps=-all")


if __name__ == "__main__":
    unittest.main(verbosity=2)

"""The arithmetic of the figures, on made-up recordings."""
import contextlib
import io
import json
import lzma
import os
import subprocess
import sys
import tempfile
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
import mechanisms  # noqa: E402
import page  # noqa: E402
import report  # noqa: E402
import results  # noqa: E402
import vm  # noqa: E402
from guest import oci  # noqa: E402

KALLSYMS = """\
0000000000000000 A fixed_percpu_data
ffffffff81000000 T _text
ffffffff81000100 t helper
ffffffff81000180 t helper
ffffffff81000200 T __se_sys_read
ffffffff81000200 t __do_sys_read
ffffffff81000200 W sys_read
ffffffff81000240 D some_data
ffffffffc0000000 t helper	[ext4]
ffffffffc0000040 t last	[ext4]
"""


def recording(steady, setup=(), softirq=(), syscalls=()):
    lines = ["phase setup events 1 lost 0 malformed 0 seconds 0.5"]
    lines += [f"f {address:x} 1 0" for address in setup]
    lines += ["phase steady events 2 lost 0 malformed 0 seconds 1.5"]
    lines += [f"f {address:x} 2 0" for address in steady] + [f"f {address:x} 0 1" for address in softirq]
    lines += [f"s {number} 3" for number in syscalls]
    return "\n".join(lines + ["exit 0"])


class SymbolsTest(unittest.TestCase):
    def setUp(self):
        self.symbols = results.Symbols(KALLSYMS)

    def test_names(self):
        self.assertEqual(self.symbols.name(0xffffffff81000100), "helper")
        self.assertEqual(self.symbols.name(0xffffffff81000180), "helper#2")
        self.assertEqual(self.symbols.name(0xffffffffc0000000), "helper[ext4]")
        self.assertEqual(self.symbols.name(0xffffffff81000200), "sys_read")
        self.assertEqual(self.symbols.name(0x1234), "0x1234")

    def test_sizes(self):
        self.assertEqual(self.symbols.size(0xffffffff81000100), 0x80)
        self.assertEqual(self.symbols.size(0xffffffff81000200), 0x40)  # data ends it
        self.assertEqual(self.symbols.size(0xffffffff81000180), 0x80)
        self.assertEqual(self.symbols.size(0xffffffffc0000040), 0)  # nothing follows


class ResultsTest(unittest.TestCase):
    def setUp(self):
        self.symbols = results.Symbols(KALLSYMS)

    def row(self, runtime, workload, *recordings, calls=()):
        row = results.Row(runtime, workload)
        row.add_passes([results.read_recording(text, self.symbols) for text in recordings])
        row.add_calls(results.read_recording(recording((), syscalls=calls), self.symbols))
        return row

    def results(self, *rows):
        sizes = {name: self.symbols.size(address) for address, name in self.symbols.names.items()}
        return results.Results(rows, sizes, {0: "read"}, {"kernel": "k"})

    def test_phases_contexts_and_repetitions(self):
        row = self.row("a", "true", recording((0xffffffff81000100,), setup=(0xffffffff81000000,)),
                       recording((0xffffffff81000100, 0xffffffff81000200), softirq=(0xffffffff81000180,)))
        self.assertEqual(row.functions, {"helper", "sys_read"})
        self.assertEqual(row.always, {"helper"})
        self.assertEqual(row.softirq, {"helper#2"})
        self.assertEqual(row.with_setup(), {"helper", "sys_read", "_text"})
        self.assertEqual(row.per_pass, [1, 2])
        self.assertEqual(self.results(row).code_bytes(row.functions), 0x80 + 0x40)

    def test_a_recording_that_breaks_off_is_no_recording(self):
        with self.assertRaises(ValueError):
            results.read_recording("phase setup events 1 lost 0 malformed 0 seconds 1\n", self.symbols)

    def test_union_is_over_four_workloads_only(self):
        texts = {"true": 0xffffffff81000000, "files": 0xffffffff81000100, "python": 0xffffffff81000180,
                 "redis": 0xffffffff81000200, "sweep": 0xffffffffc0000000}
        rows = [self.row("a", name, recording((address,)), calls=(number,))
                for number, (name, address) in enumerate(texts.items())]
        union = self.results(*rows).union("a")
        self.assertEqual(union.functions, {"_text", "helper", "helper#2", "sys_read"})
        self.assertEqual(union.syscalls, {0, 1, 2, 3})
        rows[0].userspace = {"sentry": {"main": 32}}
        self.assertEqual(self.results(*rows).union("a").userspace, {})  # of one workload only
        for row in rows[1:4]:
            row.userspace = {"sentry": {"main": 32, row.workload: 8}}
        self.assertEqual(len(self.results(*rows).union("a").userspace["sentry"]), 4)
        self.assertIsNone(self.results(*rows[1:]).union("a"))
        rows[0].error = "it broke"
        self.assertIsNone(self.results(*rows).union("a"))

    def test_explanation(self):
        def run(*rows):
            return self.results(*(self.row(*row) for row in rows))
        sandbox = run(("a", "true", recording([0xffffffff81000100, 0xffffffff81000180, 0xffffffff81000200])))
        prices = run(("native", "spin", recording([0xffffffff81000100])),
                     *(("native", name, recording([0xffffffff81000100, 0xffffffff81000180]))
                       for name, _ in mechanisms.PRIMITIVES if name != "spin"))
        text = mechanisms.explanation_text(sandbox, prices, "a", "true")
        self.assertRegex(text, r"only computes +1 ")
        self.assertRegex(text, r"anonymous page faults +1 ")
        self.assertRegex(text, r"mprotect +0 ")
        self.assertRegex(text, r"none of these +1 ")
        self.assertTrue(text.endswith("\n\nsys_read"))
        with self.assertRaises(KeyError):
            mechanisms.explanation_text(sandbox, sandbox, "a", "true")
        page = mechanisms.remaining_page(sandbox, prices, "a", {"true": 2, "python": 5})
        self.assertIn("| measured | 3 **MISSED** |", page)
        self.assertIn("## None of these", page)
        for name in ("helper", "helper#2", "sys_read"):
            self.assertEqual(page.count(f"`{name}`"), 1)

    def test_difference_and_agreement(self):
        first = self.results(self.row("a", "true", recording((0xffffffff81000000, 0xffffffff81000100))),
                             self.row("b", "true", recording((0xffffffff81000100, 0xffffffff81000200))))
        only_a, only_b, _, _ = results.difference(first, "a", "b", "true")
        self.assertEqual((only_a, only_b), ({"_text"}, {"sys_read"}))
        with self.assertRaises(KeyError):
            results.difference(first, "a", "b", "files")
        second = self.results(self.row("a", "true", recording((0xffffffff81000100,))))
        self.assertEqual(results.agreement(first, second), {("a", "true"): 0.5})
        self.assertEqual(results.agreement(first, first), {})  # one measurement, not two that agree
        second.rows["a", "true"].build = "abc1234"
        self.assertEqual(results.agreement(first, second), {})  # what changed between two builds is no noise
        second.rows["a", "true"].build = ""
        whole = self.results(*(self.row("a", name, recording((0xffffffff81000000,))) for name in results.UNION))
        half = results.merge(whole, second)
        self.assertEqual(results.agreement(whole, half), {("a", "true"): 0.0})  # not the union
        text, agree = report.agreement_text(first, second)
        self.assertRegex(text, r"a true +2 +1 +50.0 % DIFFERS")
        self.assertIn("not measured twice: b true", text)
        self.assertIn("same in 1 of them.", text)
        second.rows["a", "true"].syscalls = {0, 9}
        self.assertIn("same in 0 of them, and apart in a true (9, read).", report.agreement_text(first, second)[0])
        self.assertFalse(agree)

    def test_page(self):
        def run(address):
            return self.results(*(self.row("runc", name, recording((0xffffffff81000000, address)), calls=(0,))
                                  for name in ("true", "files", "python", "redis")))
        text = "".join(f"before {name}\n<!-- {name} -->\nold {name}\n<!-- /{name} -->\n"
                       for name in ("union", "more", "details", "agreement", "targets", "when"))
        first, second = run(0xffffffff81000100), run(0xffffffff81000000)
        first.labels = second.labels = {"runc": {"label": "runc", "model": "container"}}
        del first.rows["runc", "redis"]
        first.rows["runc", "files"].error = "it broke"
        for row in second.rows.values():
            row.measured, row.build = "2026-01-02 03:04", "abc1234"
        for row in first.rows.values():
            row.build = "abc1234"
        second.rows["runc", "python"].measured = "2026-01-02 03:05"
        filled = page.filled(text, second, first, None)
        self.assertIn("| runc | 1 / 1 | 1 / 1 | 1 / 1 | 1 / 1 | 1 / 1 |", filled)
        self.assertIn("| runc | 2, 1 **DIFFERS** | 2, 1 **DIFFERS** |", filled)
        self.assertIn("0 of these 2 rows agree within 3 %", filled)
        self.assertIn("| runc | at a time that was not noted | 2026-01-02 03:04 – 03:05, abc1234 | files, redis | – | – |",
                      filled)
        self.assertIn("before details", filled)
        self.assertIn("| runc | – | 1024, -100 % |", page.known(second))
        self.assertNotIn("old union", filled)
        self.assertIn("old targets", filled)  # there is no row of ours
        self.assertEqual(page.filled(filled, second, first, None), filled)
        for broken in ("", "<!-- other -->\n<!-- /other -->\n", "<!-- /union -->\n", text + text):
            with self.assertRaises(KeyError):
                page.filled(broken, second, first, None)

    def test_page_of_our_own_rows(self):
        workloads = ("true", "files", "python", "redis", "sweep", "sweep-nofork")
        sandbox = self.results(*(self.row("bulkhead", name, recording((0xffffffff81000000, 0xffffffff81000100)), calls=(0,))
                                 for name in workloads))
        sandbox.rows["bulkhead", "spin"] = results.Row("bulkhead", "spin", error="it broke")
        # The first is a part of the platform, the second is not.
        reached = {"futex": 0xffffffff81000000, "random": 0xffffffff81000100}
        prices = self.results(*(self.row("native", name, recording([reached[name]] if name in reached else []))
                                for name, _ in mechanisms.PRIMITIVES))
        names = ("union", "more", "details", "targets", "remaining", "parts", "calls", "prices")
        filled = page.filled("".join(f"<!-- {name} -->\n<!-- /{name} -->\n" for name in names), sandbox, None, prices)
        self.assertIn("| union: functions | 800 | 2 | met |", filled)
        self.assertIn("| *These together: the platform* | 1 | 1 | 1 | 1 | 1 |", filled)
        self.assertIn("| The sentry's loop | 1 | 1 | 1 | 1 | 1 |", filled)
        self.assertIn("| random numbers | 1 | 1 | 1 | 1 | 1 |", filled)
        self.assertIn("| futex wait/wake between processes | +1 | +23 | 1 | 1 |", filled)
        self.assertIn("| directories listed | 0 | 0 | 0 | 0 | 0 |", filled)
        self.assertIn("<!-- calls -->\n1 calls: read.\n", filled)
        for name in ("bulkhead-run", "runc", "gvisor"):
            sandbox.rows.update(self.results(*(self.row(name, one, recording([0xffffffff81000000])) for one in workloads)).rows)
        self.assertIn("\n`bulkhead do` reaches 2 where a container under runc reaches 1 and",
                      page.filled("<!-- summary -->\n<!-- /summary -->\n", sandbox, None, None))
        self.assertIn("| bulkhead | – | at a time that was not noted | true, files, python, redis, sweep, sweep-nofork | spin | – |",
                      page.when(sandbox, None))

    def test_the_picture_shows_every_model_and_what_was_not_counted(self):
        models = dict(zip(("runsc", "native", "runc", "kvm", "nested", "guarded"),
                          ("sandbox", "shared login", "container", "hypervisor", "nested", "guarded container")))
        run = self.results(*(self.row(name, workload, recording((0xffffffff81000000, 0xffffffff81000100)))
                             for name in models for workload in results.UNION))
        run.labels = {name: {"label": name, "model": model} for name, model in models.items()}
        picture = report.ownership_svg(run, "union")
        for word in ("shared login", "container", "hypervisor", "nested", "sandbox", "guarded"):
            self.assertIn(f">{word}</text>", picture)
        self.assertEqual(picture.count("not counted"), 3)  # the hypervisors' and the sandbox's own programs
        self.assertEqual(picture.count("<title>guest kernel"), 2)
        for row in run.rows.values():
            row.userspace = {"program": {"main": 32}}
        self.assertNotIn("not counted", report.ownership_svg(run, "union"))
        page_text = report.html_page(run)
        self.assertNotIn("<script", page_text)
        self.assertIn(report.ownership_svg(run, "union"), page_text)

    def test_merge_prefers_the_second(self):
        first = self.results(self.row("a", "true", recording((0xffffffff81000000,))),
                             self.row("b", "true", recording((0xffffffff81000100,))))
        second = self.results(self.row("a", "files", recording((0xffffffff81000200,))),
                              self.row("b", "true", recording((0xffffffff81000200,))))
        first.rows["b", "true"].userspace = {"sentry": {"main": 32}}
        both = results.merge(first, second)
        self.assertEqual(both.row("b", "true").userspace, {"sentry": {"main": 32}})
        self.assertEqual(list(both.rows), [("a", "true"), ("a", "files"), ("b", "true")])
        self.assertEqual(both.row("b", "true").functions, {"sys_read"})
        first.facts["machine"], second.facts["machine"] = "one; two", "two"
        self.assertEqual(results.merge(second, first).facts["machine"], "two; one")

    def test_json_keeps_everything(self):
        row = self.row("a", "true", recording((0xffffffff81000100,), softirq=(0xffffffff81000180,)), calls=(0,))
        row.processes = results.read_filters(FiltersTest.TEXT)
        row.userspace = results.read_user_functions("program sentry .symtab all 9\nu 10 32 main\nu 20 8 -\n")
        self.assertEqual(row.userspace, {"sentry": {"main": 32, "20": 8}})
        first = self.results(row)
        second = results.Results.from_json(json.loads(json.dumps(first.to_json())))
        self.assertEqual(second.rows, first.rows)
        self.assertEqual(second.names, first.names)
        self.assertEqual(second.code_bytes({"helper"}), 0x80)
        older = first.to_json()
        for entry in older["rows"]:
            del entry["measured"], entry["build"]
        self.assertEqual(results.Results.from_json(older).rows, first.rows)


class FiltersTest(unittest.TestCase):
    TEXT = ("process 10 runsc parent 1 depth 1 seccomp 0 unfiltered\n"
            "process 11 exe parent 10 depth 2 seccomp 2 filters 1 allowed 0,1,400 consulted 5\n"
            "process 12 exe parent 10 depth 2 seccomp 2 filters 2 allowed - consulted -\n"
            "process 13 exe parent 12 depth 2 seccomp 2 unreadable PTRACE_SEIZE: Operation not permitted\n")

    def test_only_what_is_inside_counts(self):
        processes = results.read_filters(self.TEXT)
        self.assertEqual([p.name for p in results.inside(processes)], ["exe", "exe", "exe/stub"])
        self.assertEqual(results.reachable(processes, {n: str(n) for n in range(300)}), {0, 1})
        self.assertEqual(processes[1].consulted, {5})

    def test_without_namespaces_all_count(self):
        processes = results.read_filters(self.TEXT.splitlines()[0])
        self.assertEqual(results.reachable(processes, {0: "read", 1: "write"}), {0, 1})


class MachineTest(unittest.TestCase):
    def test_progress_of_a_long_step(self):
        said = io.StringIO()
        with contextlib.redirect_stderr(said):
            vm.run_with_progress(["sh", "-c", "echo 'I: unpacking'; echo other"], "I: ")
            with self.assertRaisesRegex(vm.VmError, "failed with 3:\nwhy"):
                vm.run_with_progress(["sh", "-c", "echo why; exit 3"], "I: ")
        self.assertEqual(said.getvalue(), "hap:   unpacking\n")

    def test_modules_come_after_what_they_need(self):
        dependencies = "fs/ext4.ko: fs/jbd2.ko lib/crc16.ko\nfs/jbd2.ko: lib/crc16.ko\nlib/crc16.ko:\nnet/x.ko:\n"
        self.assertEqual(vm.module_order(dependencies, ["ext4", "built_in"]), ["lib/crc16.ko", "fs/jbd2.ko", "fs/ext4.ko"])

    def test_kernels_are_unpacked(self):
        kernel = b"\x7fELF and more"
        self.assertEqual(vm.unpack_kernel(b"loader" + lzma.compress(kernel) + b"behind"), kernel)
        self.assertEqual(vm.unpack_kernel(b"packed otherwise"), b"packed otherwise")
        with self.assertRaises(vm.VmError):
            vm.unpack_kernel(b"loader" + lzma.compress(b"no kernel"))

    def test_cpio(self):
        archive = vm.cpio([("a", 0o100644, b"12345")])
        self.assertTrue(archive.startswith(b"070701"))
        self.assertEqual(len(archive) % 4, 0)
        self.assertEqual(archive[110:117], b"a\x0012345")
        self.assertIn(b"TRAILER!!!", archive)


class ProfileTest(unittest.TestCase):
    def test_conditions(self):
        profile = {"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [
            {"names": ["read"], "action": "SCMP_ACT_ALLOW", "args": None, "includes": {}, "excludes": {}},
            {"names": ["mount"], "action": "SCMP_ACT_ALLOW", "includes": {"caps": ["CAP_SYS_ADMIN"]}},
            {"names": ["clone"], "action": "SCMP_ACT_ALLOW", "excludes": {"caps": ["CAP_SYS_ADMIN"]}},
            {"names": ["arm"], "action": "SCMP_ACT_ALLOW", "includes": {"arches": ["arm64"]}},
            {"names": ["ptrace"], "action": "SCMP_ACT_ALLOW", "includes": {"minKernel": "4.8"}},
            {"names": ["kill"], "action": "SCMP_ACT_ALLOW", "excludes": {"arches": ["amd64"]}}]}
        names = [name for rule in oci.seccomp(profile, oci.CAPABILITIES, (6, 1))["syscalls"] for name in rule["names"]]
        self.assertEqual(names, ["read", "clone", "ptrace"])


class BadInput(unittest.TestCase):
    """What cannot be is said before anything is measured."""

    def refused(self, *words):
        hap = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "run")
        run = subprocess.run([sys.executable, hap, "--runtimes", "native", "--workloads", "true", *words],
                             stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60)
        self.assertNotEqual(run.returncode, 0)
        self.assertNotIn("Traceback", run.stdout)
        return run.stdout

    def test_numbers(self):
        for option in ("--reps", "--patience", "--for", "--buffer-kib"):
            for number in ("0", "-1", "x"):
                self.assertIn(option, self.refused(option, number))

    def test_places_that_cannot_be_written(self):
        self.assertIn("/proc/nope cannot be made", self.refused("--out", "/proc/nope"))
        with tempfile.TemporaryDirectory() as folder:
            self.assertIn("hap.json is not there", self.refused("--add", "--out", folder))

    def test_runtimes_of_ones_own(self):
        for name in ("a/b", "", "a b", ".."):
            self.assertIn("want NAME=PATH", self.refused("--runtime", f"{name}=/bin/true"))
        self.assertIn("want NAME=PATH", self.refused("--runtime", "mine=/nowhere"))
        self.assertIn("want NAME=PATH", self.refused("--runtime", "mine=/bin"))
        self.assertIn("is a runtime native already", self.refused("--runtime", "native=/bin/true"))
        self.assertIn("is a runtime mine already", self.refused("--runtime", "mine=/bin/true", "--runtime", "mine=/bin/true"))

    def test_programs_that_are_not_built(self):
        self.assertIn("nobuild/bin is not there", self.refused("--build", "nobuild"))

    def test_results_without_rows(self):
        with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
            json.dump(results.Results([], {}, {}, {}).to_json(), file)
            file.flush()
            self.assertIn("holds no rows", self.refused("--from", file.name))


class EndTest(unittest.TestCase):
    def test_a_stage_ends_with_all_that_it_started(self):
        words = ["unshare", *([] if os.geteuid() == 0 else ["--user"]), "--pid", "--fork", "--kill-child",
                 "sh", "-c", "sleep 1000 & echo; wait"]
        with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as stage:
            stage.stdout.readline()
            vm.end(stage)
            self.assertIsNotNone(stage.returncode)
            self.assertEqual(stage.stdout.read(), b"")  # whoever held it is gone
            vm.end(stage)


if __name__ == "__main__":
    unittest.main()

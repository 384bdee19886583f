"""Checks that the projects in this folder are what the tests that use them take them for. Functions that would harm
the machine (forks, eats-memory, …) are only asked for their configuration and their bundle."""

import json
import os
import re
import subprocess
import sys
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
PROJECTS = sorted(d for d in os.listdir(HERE) if os.path.exists(os.path.join(HERE, d, "serverless.yml")))


def read(*path):
    with open(os.path.join(HERE, *path)) as f:
        return f.read()


# Where each function in Python is: its project and its module there.
MODULES = {"echo-v2": ("echo-v2", "handler")}
for key, name in re.findall(r"^  ([a-z0-9-]+): {handler: (\w+)\.process", read("python", "serverless.yml"), re.M):
    MODULES[key] = ("python", name)

ONE, TWO = "11111111-1111-4111-8111-111111111111", "22222222-2222-4222-8222-222222222222"

CALL = """
import json, sys
sys.path.insert(0, ".")
module = __import__(sys.argv[1])
answer = json.dumps(getattr(module, sys.argv[2])(json.load(sys.stdin), None))
open(sys.argv[3], "w").write(answer)
"""


def call(function, entry, event):
    """The answer of a Python entry in a process of its own; subprocess.CalledProcessError if it fails."""
    project, module = MODULES[function]
    answer = os.path.join(os.environ.get("TMPDIR", "/tmp"), f"she-projects-{os.getpid()}.json")
    try:
        subprocess.run(
            [sys.executable, "-B", "-c", CALL, module, entry, answer],
            cwd=os.path.join(HERE, project), input=json.dumps(event).encode(), check=True, capture_output=True, timeout=60,
        )
        with open(answer) as f:
            return json.load(f)
    finally:
        if os.path.exists(answer):
            os.remove(answer)


def process(function, *data, endpoint="test/in"):
    records = [{"endpoint": endpoint, "recordId": i, "data": d} for i, d in zip((ONE, TWO), data)]
    return call(function, "process", {"functionConfiguration": {}, "request": {"data": {endpoint: records}, "linkRecords": True}})


class Projects(unittest.TestCase):
    def test_shared_files_are_equal(self):
        self.assertEqual(read("python", "entries.py"), read("echo-v2", "entries.py"))

    def test_every_function_has_its_three_entries(self):
        for project in PROJECTS:
            keys = re.findall(r"^  ([a-z0-9-]+):", read(project, "serverless.yml").split("\nfunctions:\n")[1], re.M)
            for process, bundle, configuration in zip(keys[::3], keys[1::3], keys[2::3], strict=True):
                self.assertEqual((process + "-bundle", process + "-configuration"), (bundle, configuration), project)

    def test_every_module_is_a_function(self):
        files = {f[:-3] for f in os.listdir(os.path.join(HERE, "python")) if f.endswith(".py")} - {"entries"}
        self.assertEqual(files, {module for project, module in MODULES.values() if project == "python"})

    def test_every_project_and_function_is_in_the_table(self):
        for name in [*PROJECTS, *MODULES]:
            self.assertIn(f"`{name}`", read("README.md"))

    def test_configurations_and_bundles(self):
        for function in MODULES:
            if function == "init-fails":
                continue
            c = call(function, "configuration", "")
            self.assertEqual(c["id"], "echo" if function == "echo-v2" else function)
            self.assertEqual(c["dataBundle"], call(function, "bundle", {"fromDate": None, "untilDate": None}))

    def test_init_fails(self):
        with self.assertRaises(subprocess.CalledProcessError):
            call("init-fails", "configuration", "")

    def test_the_second_echo_asks_for_more(self):
        one, two = (set(call(p, "bundle", {})["bundle"]) for p in ("echo", "echo-v2"))
        self.assertLess(one, two)


class Doings(unittest.TestCase):
    def test_echo(self):
        for project in ("echo", "echo-v2"):
            self.assertEqual(
                process(project, {"a": 1}, [2]),
                [
                    {"namespace": "test", "endpoint": "out", "linkedRecords": [i],
                     "data": [{"of": i, "from": "test/in", "data": d}]}
                    for i, d in ((ONE, {"a": 1}), (TWO, [2]))
                ],
            )

    def test_slow(self):
        self.assertEqual([r["data"][0]["of"] for r in process("slow", {"seconds": 0.01}, 5)], [ONE, TWO])

    def test_holds_memory(self):
        self.assertEqual(process("holds-memory", {"mebibytes": 3})[0]["data"], [{"held": 3}])

    def test_raises_tells_what_it_was_given(self):
        with self.assertRaises(subprocess.CalledProcessError) as e:
            process("raises", {"secret": "canary"})
        self.assertIn(b"canary", e.exception.stderr)

    def test_exits(self):
        for how, status in ((None, 0), ("sys.exit", 3), ("kill", -9), ("segfault", -11)):
            try:
                process("exits", {"how": how} if how else {})
                self.fail("it answered")
            except subprocess.CalledProcessError as e:
                self.assertEqual(e.returncode, status)
            except FileNotFoundError:  # it ended well, but without an answer
                self.assertEqual(status, 0)

    def test_garbage(self):
        ways = re.findall(r'^    "([a-z-]+)": lambda', read("python", "garbage.py"), re.M)
        self.assertGreater(len(ways), 10)
        for how in ways:
            self.assertIn(f"`{how}`", read("README.md"))
            if how == "unserialisable":
                with self.assertRaises(subprocess.CalledProcessError):
                    process("garbage", {"how": how})
            else:
                process("garbage", {"how": how})
        self.assertEqual(process("garbage", {}), {"not": "a list"})

    def test_empty(self):
        self.assertIsNone(process("empty", {}))
        self.assertEqual(process("empty", {"how": "list"}), [])

    def test_foreign_endpoint(self):
        (r,) = process("foreign-endpoint", {})
        self.assertEqual((r["namespace"], r["endpoint"]), ("rumpel", "notablesv1"))
        right, wrong = process("foreign-endpoint", {"endpoint": "out/deeper", "namespace": "test", "hidden": True})
        self.assertEqual((right["endpoint"], wrong["endpoint"]), ("out", "out/deeper"))

    def test_network_reports_what_succeeds(self):
        import socket
        import threading

        with socket.create_server(("127.0.0.1", 0)) as catcher:
            port = catcher.getsockname()[1]
            caught = []

            def catch():
                with catcher.accept()[0] as caller:
                    caught.append(caller.recv(100))

            thread = threading.Thread(target=catch)
            thread.start()
            (r,) = process("network", {"host": "127.0.0.1", "port": port, "name": "localhost", "unix": "/no/such/socket"})
            thread.join()
        found = r["data"][0]
        self.assertEqual(found["tcp"], "connected")
        self.assertTrue(caught[0].startswith(b"canary"))
        self.assertIn("127.0.0.1", found["dns"])
        self.assertEqual(found["unix"], "ENOENT")
        (r,) = process("network", {"host": "127.0.0.1", "port": port})
        self.assertEqual(r["data"][0]["tcp"], "ECONNREFUSED")

    def test_leftover_finds_what_it_left(self):
        marker = f"test-{os.getpid()}"
        (first,) = process("leftover", {"marker": marker})
        left = first["data"][0]["left"]
        try:
            self.assertTrue(any(f.startswith("/tmp/") for f in left))
            (second,) = process("leftover", {"marker": marker})
            self.assertLessEqual(set(left), set(second["data"][0]["found"]["files"]))
        finally:
            for f in left:
                os.remove(f)


if __name__ == "__main__":
    unittest.main()

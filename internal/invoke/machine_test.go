package invoke_test

import (
	"os/exec"
	"testing"
)

// tutorial is a bootstrap as AWS's own tutorial for custom runtimes has it: for a /bin/sh that is bash.
const tutorial = `#!/bin/sh
set -euo pipefail
source $LAMBDA_TASK_ROOT/"$(echo $_HANDLER | cut -d. -f1).sh"
while true
do
  HEADERS="$(mktemp)"
  exec 3<>/dev/tcp/127.0.0.1/9001
  printf 'GET /2018-06-01/runtime/invocation/next HTTP/1.1\r\nHost: x\r\n\r\n' >&3
  length=0
  while IFS= read -r line <&3; do
    line=${line%%[[:space:]]}
    [[ -n $line ]] || break
    case ${line,,} in
    lambda-runtime-aws-request-id:*) id=${line##* } ;;
    content-length:*) length=${line##* } ;;
    esac
  done
  EVENT="$(head -c "$length" <&3)"
  RESPONSE=$($(echo "$_HANDLER" | cut -d. -f2) "$EVENT")
  exec 4<>/dev/tcp/127.0.0.1/9001
  LC_ALL=C
  printf 'POST /2018-06-01/runtime/invocation/%s/response HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s' "$id" "${#RESPONSE}" "$RESPONSE" >&4
  sleep 1000
done
`

const shellFunction = `
function handler () {
  echo "printed" > /dev/stdout 1>&2
  local all=("$1" "${LANG}" "$(/usr/bin/env sh -c 'echo ${BASH_VERSION:+bash}')")
  printf '["%s"' "${all[0]}"; printf ',"%s"' "${all[@]:1}"; printf ']'
}
`

const machineOfPython = `
import errno, locale, multiprocessing, os, subprocess, sys
def handler(event, context):
    found = {}
    try:
        multiprocessing.Lock()
        found["lock"] = "made"
    except OSError as e:
        found["lock"] = e.errno
    found["locale"] = locale.setlocale(locale.LC_ALL, "en_US.UTF-8")
    found["number"] = locale.format_string("%d", 1234567, grouping=True)
    found["default"] = locale.setlocale(locale.LC_ALL, "")
    found["money"] = locale.currency(1234.5, grouping=True)
    locale.setlocale(locale.LC_ALL, "C.UTF-8")
    found["python"] = subprocess.run(["python", "-c", "import sys; print(sys.version_info[0])"], capture_output=True, text=True).stdout
    found["same"] = os.path.samefile("/var/lang/bin/python3", sys.executable)
    for name in ("/dev/stdout", "/dev/stderr", "/dev/fd/1", "/proc/self/fd/2"):
        with open(name, "w") as f:
            f.write(name + "\n")
    print("printed", file=open("/dev/stdout", "a"))
    subprocess.run("echo by the shell > /dev/stderr; echo to its own | cat > /dev/stdout", shell=True)
    found["shell"] = subprocess.run("set -o pipefail; source /dev/null; echo ${BASH_VERSION:+bash}", shell=True, capture_output=True, text=True).stdout
    found["shm"] = os.path.exists("/dev/shm")
    return found
`

const machineOfNode = `
const fs = require('fs')
const { execFileSync } = require('child_process')
exports.handler = async () => {
  fs.writeFileSync('/dev/stdout', 'to stdout\n')
  fs.appendFileSync('/dev/stderr', 'to stderr\n')
  return [String(execFileSync('node', ['-p', '1 + 1'])), fs.realpathSync('/var/lang/bin/node') === process.execPath, process.env.LANG]
}
`

// TestMachineInside: what projects find around them is what Lambda's images have there.
func TestMachineInside(t *testing.T) {
	slow(t)
	t.Parallel()
	v := newInvoker(t)
	if _, err := exec.LookPath("bash"); err == nil {
		c := function(t, "provided.al2023", "function.handler", map[string]string{"bootstrap": tutorial, "function.sh": shellFunction})
		a := wantAnswer(t, v, c, `1`, `["1","en_US.UTF-8","bash"]`)
		if string(a.Log) != "printed\n" {
			t.Errorf("log %q", a.Log)
		}
	}
	c := function(t, "python3.11", "app.handler", map[string]string{"app.py": machineOfPython})
	a := wantAnswer(t, v, c, `1`, `{"lock": 38, "locale": "en_US.UTF-8", "number": "1,234,567", "default": "en_US.UTF-8", "money": "$1,234.50", "python": "3\n", `+
		`"same": true, "shell": "bash\n", "shm": false}`)
	if want := "/dev/stdout\n/dev/stderr\n/dev/fd/1\n/proc/self/fd/2\nprinted\nby the shell\nto its own\n"; string(a.Log) != want {
		t.Errorf("log %q, want %q", a.Log, want)
	}
	c = function(t, "nodejs20.x", "index.handler", map[string]string{"index.js": machineOfNode})
	if a := wantAnswer(t, v, c, `1`, `["2\n",true,"en_US.UTF-8"]`); string(a.Log) != "to stdout\nto stderr\n" {
		t.Errorf("log %q", a.Log)
	}
}

// TestMachineOfAnAuthor: what the author sets wins.
func TestMachineOfAnAuthor(t *testing.T) {
	slow(t)
	t.Parallel()
	v := newInvoker(t)
	c := function(t, "python3.11", "app.handler", map[string]string{"app.py": "import os\ndef handler(e, c): return [os.environ['LANG'], os.environ['PATH']]"})
	c.Env = map[string]string{"LANG": "C", "PATH": "/usr/bin"}
	wantAnswer(t, v, c, `1`, `["C", "/usr/bin"]`)
}

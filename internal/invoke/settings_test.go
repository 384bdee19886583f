package invoke_test

import (
	"strings"
	"testing"
	"time"

	"she/internal/invoke"
)

// settled calls a function that sets something for its whole process, at INIT and after each event: an instance of its own,
// one that waited after it had been tried, one that fails and one that fails without words.
func settled(t *testing.T, v *invoke.Invoker, c invoke.Code, answer string) {
	t.Helper()
	const event = `{"title":"Title","id":41,"info":null}`
	for _, start := range []invoke.Start{invoke.Cold, invoke.Warm} {
		a, err := ask(t, v, c, event)
		switch {
		case err != nil:
			t.Errorf("%s, %s: %v\n%s\n%s", c.Env["SETTING"], start, err, a.Payload, a.Log)
		case string(a.Payload) != answer || a.Start != start:
			t.Errorf("%s, %s: answered %s, want %s of one that is %s", c.Env["SETTING"], a.Start, a.Payload, answer, start)
		case !strings.HasSuffix(string(a.Log), "logged ä\n"):
			t.Errorf("%s, %s: log %q", c.Env["SETTING"], start, a.Log)
		}
		v.Settle()
	}
	a, err := ask(t, v, c, `{"title":"fail"}`)
	if err == nil || !strings.Contains(err.Error(), "Unhandled") || !strings.Contains(string(a.Payload), `"errorMessage":"secret ä\ud800"`) ||
		!strings.Contains(string(a.Log), "logged ä\n[ERROR] ") || !strings.Contains(string(a.Log), "secret ä") {
		t.Errorf("%s: failed with %v\n%s\n%s", c.Env["SETTING"], err, a.Payload, a.Log)
	}
	v.Settle()
	a, err = ask(t, v, c, `{"title":"mute"}`)
	if err == nil || !strings.Contains(err.Error(), "Unhandled") || !strings.Contains(string(a.Payload), "its text can't be had") {
		t.Errorf("%s: failed without words, and with %v\n%s\n%s", c.Env["SETTING"], err, a.Payload, a.Log)
	}
	v.Settle()
	for _, s := range v.Stats().Functions {
		if s.NoCopies != "" || s.Fallbacks > 0 {
			t.Errorf("%s: %+v", c.Env["SETTING"], s)
		}
	}
}

// TestSettingsOfJava: what a function in Java sets for its process is not in the way of its events, answers and log.
func TestSettingsOfJava(t *testing.T) {
	slow(t)
	t.Parallel()
	classes := javaClasses(t)
	for _, setting := range []string{"streams", "no streams", "closes", "locale", "properties", "sockets", "interrupts", "thread", "security", "providers", "environment", "files"} {
		t.Run(setting, func(t *testing.T) {
			v := openInvoker(t, invoke.Config{Images: t.TempDir(), Waiting: 1})
			c := javaCode(t, classes)("apart.Settings::handle")
			c.Env = map[string]string{"SETTING": setting}
			c.WarmUp = []byte(`{"title":"large"}`)
			if setting == "security" {
				c.Env["JAVA_TOOL_OPTIONS"] = "-Djava.security.manager=allow"
			}
			if setting == "files" {
				c.WarmUp = []byte(`{"title":"warm"}`)
			}
			settled(t, v, c, `{"id":42,"title":"Title","info":["test-dev-fn",256,true]}`)
			if setting == "security" { // forbids the runtime to end
				c.Env["SETTING"], c.WarmUp = "security and failure", nil
				wantFailure(t, v, c, `{}`, invoke.Author, "Unhandled", "apart.Settings$Own")
			}
		})
	}
}

// TestSettingsOfDotnet: the same in .NET.
func TestSettingsOfDotnet(t *testing.T) {
	slow(t)
	t.Parallel()
	dir := dotnetPackage(t)
	for _, setting := range []string{"streams", "closes", "culture", "contexts", "interrupts", "environment", "network", "threads", "files", "connection"} {
		t.Run(setting, func(t *testing.T) {
			v := openInvoker(t, invoke.Config{Images: t.TempDir(), Waiting: 1, Find: testDotnet})
			c := dotnetCode(t, dir, "Settings::Tests.Settings::Handle")
			c.Env = map[string]string{"SETTING": setting}
			c.WarmUp = []byte(`{"Title":"large"}`)
			switch setting {
			case "interrupts":
				c.Handler = "Settings::Tests.Settings::Interrupted"
			case "files":
				c.WarmUp = []byte(`{"Title":"warm"}`)
			}
			settled(t, v, c, `{"Id":42,"Title":"Title","Info":["test-dev-fn",256,true]}`)
		})
	}
}

const settingsOfShell = `#!/bin/bash
umask 777
cd /
ulimit -c 0
trap '' TERM HUP INT
exec 0<&- 1>&-
export LANG=C LC_ALL=tr_TR PATH=/nowhere IFS=x
unset HOME TMPDIR AWS_LAMBDA_FUNCTION_NAME
api=$AWS_LAMBDA_RUNTIME_API
unset AWS_LAMBDA_RUNTIME_API
read_reply() {
	id=; length=0
	while IFS=$' \t\r' read -r name value <&7 && [ -n "$name" ]; do
		case $name in
		[Ll]ambda-[Rr]untime-[Aa]ws-[Rr]equest-[Ii]d:) id=$value ;;
		[Cc]ontent-[Ll]ength:) length=$value ;;
		esac
	done
	IFS= read -r -N "$length" body <&7
}
exec 7<>"/dev/tcp/${api%:*}/${api#*:}"
while :; do
	printf 'GET /2018-06-01/runtime/invocation/next HTTP/1.1\r\nHost: x\r\n\r\n' >&7
	read_reply
	printf 'seen %s\n' "$body" >&2
	printf 'POST /2018-06-01/runtime/invocation/%s/response HTTP/1.1\r\nHost: x\r\nContent-Length: %s\r\n\r\n%s' "$id" "${#body}" "$body" >&7
	read_reply
done
`

// TestSettingsOfCustomRuntimes: a custom runtime has a process of its own making; what it sets there is not in the way of
// process 1, which serves it, nor of the next event.
func TestSettingsOfCustomRuntimes(t *testing.T) {
	slow(t)
	t.Parallel()
	v := openInvoker(t, invoke.Config{Waiting: 1})
	shell := function(t, "provided.al2023", "x", map[string]string{"bootstrap": settingsOfShell})
	shell.WarmUp, shell.Sample = []byte(`{}`), true
	for range 2 {
		if a := wantAnswer(t, v, shell, `{"a":1}`, `{"a":1}`); !strings.HasSuffix(string(a.Log), "seen {\"a\":1}\n") {
			t.Errorf("shell: %s, log %q", a.Start, a.Log)
		}
		v.Settle()
	}
	c := golambda(t)
	c.Timeout = 30 * time.Second
	c.WarmUp, c.Sample = []byte(`{"do":"settings"}`), true
	for range 2 {
		wantAnswer(t, v, c, `{"do":"settings"}`, `"set"`)
		v.Settle()
	}
}

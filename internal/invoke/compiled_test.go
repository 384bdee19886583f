package invoke_test

import (
	"archive/zip"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"she/internal/invoke"
)

// TestScala: a fat jar, as sbt-assembly makes it, with the library of the language beside the author's classes.
func TestScala(t *testing.T) {
	slow(t)
	t.Parallel()
	v := newInvoker(t)
	c := function(t, "java11", "", nil)
	c.Timeout = time.Minute
	c.Dir = compileOnce(t, "scala", func(dir string) {
		compiler, err := exec.LookPath("scalac")
		if err == nil {
			compiler, err = filepath.EvalSymlinks(compiler)
		}
		if err != nil {
			missing(t, "apt-get install scala")
		}
		interfaces, err := filepath.Glob("../runtimes/java/com/amazonaws/services/lambda/runtime/*.java")
		if err != nil {
			t.Fatal(err)
		}
		// Of the interfaces only the signatures are read.
		if out, err := exec.Command(compiler, append([]string{"-d", dir, "testdata/scala/Handlers.scala"}, interfaces...)...).CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		library, err := zip.OpenReader(filepath.Join(filepath.Dir(compiler), "..", "lib", "scala-library.jar"))
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(os.CopyFS(dir, library), library.Close()); err != nil {
			t.Fatal(err)
		}
	})
	with := func(handler string) invoke.Code { c := c; c.Handler = handler; return c }
	a := wantAnswer(t, v, with("scalas.Words::handleRequest"), `{"text":"The cat, a Cat"}`, `{"counts":{"cat":2},"function":"test-dev-fn"}`)
	if string(a.Log) != "counted 1\n" {
		t.Errorf("log %q", a.Log)
	}
	wantAnswer(t, v, with("scalas.Raw"), `12`, `21`)
	wantAnswer(t, v, with("scalas.Alone::primesUpTo"), `12`, `[2,3,5,7,11]`)
	wantFailure(t, v, with("scalas.Alone::fails"), `7`, invoke.Author, "Unhandled", "scala.MatchError")
}

// TestRust: a custom runtime that speaks HTTP by itself.
func TestRust(t *testing.T) {
	slow(t)
	t.Parallel()
	v := newInvoker(t)
	c := function(t, "provided.al2023", "whatever", nil)
	c.Dir = compileOnce(t, "rust", func(dir string) {
		compiler, err := exec.LookPath("rustc")
		if err != nil {
			missing(t, "apt-get install rustc")
		}
		if out, err := exec.Command(compiler, "--edition", "2018", "-O", "-o", filepath.Join(dir, "bootstrap"), "testdata/rust/bootstrap.rs").CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
	})
	a := wantAnswer(t, v, c, `"Grüße"`, `"eßürG"`)
	if string(a.Log) != "9 bytes\n" {
		t.Errorf("log %q", a.Log)
	}
	wantFailure(t, v, c, `"fail"`, invoke.Author, "Unhandled", "a secret went wrong")
	wantFailure(t, v, c, `"panic"`, invoke.Author, "Runtime.ExitError", "status 101")
}

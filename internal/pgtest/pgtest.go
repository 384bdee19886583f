// Package pgtest is what the tests of PostgreSQL's semantics share: a real PostgreSQL to ask, and random JSON to ask about.
package pgtest

import (
	"context"
	"math/rand/v2"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/jackc/pgx/v5"
)

// Start starts a PostgreSQL that lives as long as the test, on a socket in a directory of its own, and connects to
// it. It skips the test on a machine without PostgreSQL, unless all tests are to run.
func Start(t *testing.T) *pgx.Conn {
	bin := serverPrograms()
	if bin == "" {
		const missing = "no PostgreSQL server found: apt-get install postgresql-15"
		if os.Getenv("SHE_TEST_ALL") == "1" {
			t.Fatal(missing)
		}
		t.Skip(missing)
	}
	// Not t.TempDir: the server runs as another user, who could not pass through it.
	dir, err := os.MkdirTemp("", "pg")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	attr := unprivileged(t, dir)
	run := func(name string, args ...string) *exec.Cmd {
		cmd := exec.Command(filepath.Join(bin, name), args...)
		cmd.Dir, cmd.SysProcAttr = dir, attr
		cmd.Env = []string{"PATH=" + bin + ":/usr/bin:/bin", "LC_ALL=C.UTF-8", "TZ=UTC"}
		return cmd
	}
	data := filepath.Join(dir, "data")
	if out, err := run("initdb", "-D", data, "-U", "she", "--auth=trust", "--encoding=UTF8", "--lc-collate=C", "--lc-ctype=C.UTF-8", "--no-sync").CombinedOutput(); err != nil {
		t.Fatalf("initdb: %v\n%s", err, out)
	}
	// pg_ctl -w returns when the server takes connections.
	start := run("pg_ctl", "-D", data, "-w", "-t", "60", "-l", filepath.Join(dir, "log"), "start", "-o",
		"-c listen_addresses='' -c fsync=off -c timezone=UTC -c datestyle=ISO,MDY -k "+dir)
	if err := start.Run(); err != nil {
		log, _ := os.ReadFile(filepath.Join(dir, "log"))
		t.Fatalf("pg_ctl start: %v\n%s", err, log)
	}
	t.Cleanup(func() {
		if out, err := run("pg_ctl", "-D", data, "-w", "-m", "immediate", "stop").CombinedOutput(); err != nil {
			t.Errorf("pg_ctl stop: %v\n%s", err, out)
		}
	})
	conn, err := pgx.Connect(t.Context(), "host="+dir+" user=she dbname=postgres")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn
}

func serverPrograms() string {
	var dirs []string
	if out, err := exec.Command("pg_config", "--bindir").Output(); err == nil {
		dirs = append(dirs, strings.TrimSpace(string(out)))
	}
	known, _ := filepath.Glob("/usr/lib/postgresql/*/bin")
	slices.Reverse(known)
	dirs = append(append(dirs, known...), "/usr/local/pgsql/bin", "/usr/local/bin", "/opt/homebrew/bin")
	for _, dir := range dirs {
		if _, err := os.Stat(filepath.Join(dir, "initdb")); err == nil {
			if _, err := os.Stat(filepath.Join(dir, "pg_ctl")); err == nil {
				return dir
			}
		}
	}
	return ""
}

// unprivileged gives the directory to a user PostgreSQL is willing to run as: it refuses root.
func unprivileged(t *testing.T, dir string) *syscall.SysProcAttr {
	if os.Getuid() != 0 {
		return nil
	}
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, _ := strconv.Atoi(u.Uid)
		gid, _ := strconv.Atoi(u.Gid)
		if err := os.Chown(dir, uid, gid); err != nil {
			t.Fatal(err)
		}
		return &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}
	}
	t.Fatal("neither the user postgres nor nobody exists")
	return nil
}

// Column collects the rows of one column of text, "" for NULL.
func Column(t *testing.T, conn *pgx.Conn, sql string, args ...any) []string {
	t.Helper()
	rows, err := conn.Query(t.Context(), sql, args...)
	if err != nil {
		t.Fatal(err)
	}
	got, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (string, error) {
		var s *string
		err := row.Scan(&s)
		if s == nil {
			s = new(string)
		}
		return *s, err
	})
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// A Random makes random JSON out of few parts, so that values often meet.
type Random struct{ *rand.Rand }

// Pick returns one of the values.
func Pick[T any](r Random, from ...T) T { return from[r.IntN(len(from))] }

// Scalar returns the JSON of a value that is neither an array nor an object.
func (r Random) Scalar() string {
	return Pick(r, `null`, `true`, `false`, `0`, `1`, `10`, `1.5`, `-1`, `-10`, `-1.5`, `9.5`, `0.1`, `1e2`, `1E-3`, `1.50`,
		`12345678901234567890`, `12345678901234567891`, `1e30`, `-1e30`, `1e-30`, `1e300`, `0.00001`, `123.456`,
		`""`, `"a"`, `"b"`, `"ab"`, `"A"`, `"10"`, `"é"`, `"z"`, `"𝄞"`, `"a\"b"`, `"a\\b"`, `"a\nb"`, `"\u0041"`, `"~"`, `"\u0001"`)
}

// Value returns the JSON of a value that nests so deep at most.
func (r Random) Value(depth int) string {
	if depth == 0 || r.IntN(3) == 0 {
		return r.Scalar()
	}
	n := r.IntN(4)
	parts := make([]string, n)
	if r.IntN(2) == 0 {
		for i := range parts {
			parts[i] = r.Value(depth - 1)
		}
		return "[" + strings.Join(parts, ",") + "]"
	}
	for i := range parts {
		parts[i] = Pick(r, `"a"`, `"b"`, `"aa"`, `"0"`, `"1"`, `""`, `"é"`, `"a\"b"`) + ":" + r.Value(depth-1)
	}
	return "{" + strings.Join(parts, ",") + "}"
}

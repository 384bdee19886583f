package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// What stories do without root.

const nobody = 65534

// asPerson is a command of somebody without root, with a cache that stays for later tests: the first try fills it with a GB.
func (s *story) asPerson(ts *testscript.TestScript, args []string) (*exec.Cmd, error) {
	cache := filepath.Join(os.TempDir(), "she-tests-nobody")
	if err := os.Mkdir(cache, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, err
	}
	if err := os.Chown(cache, nobody, nobody); err != nil {
		return nil, err
	}
	if err := opened(s.env.WorkDir); err != nil {
		return nil, err
	}
	program := args[0]
	if program == "she" {
		program = s.env.Getenv("SHE")
	}
	cmd := exec.Command(program, args[1:]...)
	cmd.Dir = s.env.WorkDir
	cmd.Env = []string{"PATH=" + s.env.Getenv("PATH"), "XDG_CACHE_HOME=" + cache, "HOME=/nonexistent"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	cmd.Stdout, cmd.Stderr = ts.Stdout(), ts.Stderr()
	return cmd, nil
}

// opened lets everybody enter and read a directory; /tmp keeps its own mode.
func opened(dir string) error {
	for ; dir != "/"; dir = filepath.Dir(dir) {
		info, err := os.Stat(dir)
		if err == nil && info.Mode()&0o005 != 0o005 {
			err = os.Chmod(dir, info.Mode()|0o055)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (s *story) unprivileged(ts *testscript.TestScript, args []string) error {
	cmd, err := s.asPerson(ts, args)
	if err != nil {
		return err
	}
	return cmd.Run()
}

// peopleMakeNamespaces says whether somebody without root can run a program, and make a user namespace.
func peopleMakeNamespaces(program string) bool {
	cmd := exec.Command("unshare", "--user", "--map-root-user", program, "--help")
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	return cmd.Run() == nil
}

// noNamespaces runs a program in a user namespace that allows no further one, without root. It must end with 1.
func (s *story) noNamespaces(ts *testscript.TestScript, args []string) error {
	cmd, err := s.asPerson(ts, append([]string{"/bin/sh", "-c",
		`echo 0 > /proc/sys/user/max_user_namespaces && exec setpriv --reuid 65534 --regid 65534 --clear-groups "$@"`, "sh"}, args...))
	if err != nil {
		return err
	}
	all := []syscall.SysProcIDMap{{ContainerID: 0, HostID: 0, Size: nobody + 1}}
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWUSER, UidMappings: all, GidMappings: all, GidMappingsEnableSetgroups: true,
	}
	return s.exits(ts, exitFailed, cmd)
}

// killedInFlight kills a command when its sandbox runs, and waits until nothing of it is left.
func (s *story) killedInFlight(ts *testscript.TestScript, args []string) error {
	cmd, err := s.asPerson(ts, args)
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	var all []int
	err = soon("its sandbox runs", func() bool {
		all = descendants(cmd.Process.Pid)
		return strings.Contains(commandLines(all), "runsc-sandbox")
	})
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	if err != nil {
		return err
	}
	return soon("nothing of it is left", func() bool { return commandLines(all) == "" })
}

// soon waits until something holds, for a minute at most.
func soon(what string, holds func() bool) error {
	look := time.NewTicker(20 * time.Millisecond)
	defer look.Stop()
	late := time.After(time.Minute)
	for !holds() {
		select {
		case <-look.C:
		case <-late:
			return fmt.Errorf("it is not true within a minute that %s", what)
		}
	}
	return nil
}

// descendants are the processes below one, by the parents that /proc tells.
func descendants(pid int) []int {
	children := map[int][]int{}
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, file := range stats {
		b, err := os.ReadFile(file)
		if err != nil {
			continue
		}
		f := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
		child, _ := strconv.Atoi(filepath.Base(filepath.Dir(file)))
		if parent, err := strconv.Atoi(f[1]); err == nil {
			children[parent] = append(children[parent], child)
		}
	}
	all := []int{pid}
	for i := 0; i < len(all); i++ {
		all = append(all, children[all[i]]...)
	}
	return all
}

// commandLines are those of processes that have not ended.
func commandLines(pids []int) string {
	var all strings.Builder
	for _, pid := range pids {
		line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
		if err == nil {
			all.Write(line)
		}
	}
	return all.String()
}

// largeEvent writes JSON of so many bytes.
func (s *story) largeEvent(ts *testscript.TestScript, args []string) error {
	size, err := strconv.Atoi(args[1])
	if err != nil {
		return err
	}
	return os.WriteFile(ts.MkAbs(args[0]), []byte(`"`+strings.Repeat("x", size-2)+`"`), 0o644)
}

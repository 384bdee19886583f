package cgroup

import (
	"maps"
	"strings"
	"testing"
)

// The lines are what proc_pid_mountinfo(5) and cgroups(7) show on hosts of each kind.
func TestParseHierarchies(t *testing.T) {
	for name, c := range map[string]struct {
		mounts, own string
		v1          map[string]string
		v2          place
	}{
		"version 2": {
			"30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n",
			"0::/system.slice/she.service\n",
			nil, place{"/sys/fs/cgroup", "/system.slice/she.service"},
		},
		"version 2 in a container": {
			"1207 1206 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup rw\n", "0::/\n",
			nil, place{"/sys/fs/cgroup", "/"},
		},
		"version 2 in a container that sees the host's paths": {
			"1207 1206 0:26 /docker/abc /sys/fs/cgroup rw - cgroup2 cgroup rw\n", "0::/docker/abc\n",
			nil, place{"/sys/fs/cgroup", "/"},
		},
		"version 1": {
			"33 25 0:28 / /sys/fs/cgroup/cpu,cpuacct rw shared:9 - cgroup cgroup rw,cpu,cpuacct\n" +
				"34 25 0:29 / /sys/fs/cgroup/memory rw shared:10 - cgroup cgroup rw,memory\n" +
				"35 25 0:30 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids\n",
			"4:pids:/user.slice\n3:memory:/user.slice/a\n2:cpu,cpuacct:/\n1:name=systemd:/init.scope\n",
			map[string]string{"cpu": "/sys/fs/cgroup/cpu,cpuacct", "cpuacct": "/sys/fs/cgroup/cpu,cpuacct", "memory": "/sys/fs/cgroup/memory/user.slice/a", "pids": "/sys/fs/cgroup/pids/user.slice"},
			place{},
		},
		"hybrid": {
			"34 25 0:29 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n36 25 0:31 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n",
			"3:memory:/x\n0::/\n",
			map[string]string{"memory": "/sys/fs/cgroup/memory/x"}, place{"/sys/fs/cgroup/unified", "/"},
		},
		"version 1 in a container": {
			"34 25 0:29 /docker/abc /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n", "3:memory:/docker/abc/inner\n",
			map[string]string{"memory": "/sys/fs/cgroup/memory/inner"}, place{},
		},
	} {
		v1, v2, err := parseHierarchies(strings.NewReader(c.mounts), strings.NewReader(c.own))
		if err != nil || !maps.Equal(v1, c.v1) || v2 != c.v2 {
			t.Errorf("%s: %v %+v %v", name, v1, v2, err)
		}
	}
	if _, _, err := parseHierarchies(strings.NewReader(""), strings.NewReader("garbage\n")); err == nil {
		t.Error("garbage was taken")
	}
}

package seal

import (
	"context"
	"fmt"
)

// toTheNext: what one invocation can tell a later one, of the same person or another.
func toTheNext() []trial {
	return []trial{
		{
			channel: "next", observer: "the next invocation of the same function", reuse: true,
			probes: [][2]string{
				{"left-in-tmp", "a file in /tmp"}, {"left-in-home", "a file in $HOME"}, {"left-in-cwd", "a file beside the code"},
				{"left-in-var-tmp", "a file in /var/tmp"}, {"left-in-shm", "a file in /dev/shm"}, {"left-in-dev", "a file in /dev"}, {"left-in-run", "a file in /run"},
				{"left-in-var", "a file in /var"}, {"left-in-root", "a file in /"}, {"left-in-opt", "a file in /opt"}, {"left-in-etc", "a file in /etc"},
				{"left-in-usr", "a file in /usr/bin"}, {"left-in-homes", "a file in /home"}, {"left-in-mnt", "a file in /mnt"},
				{"sysv-shm", "System V shared memory"}, {"sysv-sem", "a System V semaphore"}, {"sysv-msg", "a System V message queue"},
				{"posix-mq", "a POSIX message queue"}, {"abstract-socket", "an abstract socket that stays open"},
				{"key-of-user", "a key on the user's keyring"}, {"key-of-session", "a key on the session's keyring"}, {"key-of-user-session", "a key on the user session's keyring"},
				{"hostname", "the host name"}, {"memfd", "an anonymous file that stays open"}, {"open-file", "a deleted file that stays open"},
				{"environment", "a variable of the environment"}, {"module-global", "a variable of the program"}, {"umask", "the mode of new files"},
				{"priority", "the priority"}, {"timer", "a running timer"}, {"generator", "the state of a generator of random numbers"},
				{"background-process", "a process in a session of its own"},
			},
			try: func(ctx context.Context, p *place) (map[string]string, error) {
				e := event{Do: "leave", Mark: newMark()}
				if !p.walls {
					e.Bytes = 1
				}
				var left map[string]string
				if err := p.ask(ctx, e, &left); err != nil {
					return nil, err
				}
				if left["left-in-tmp"] == "" {
					return nil, fmt.Errorf("not even /tmp could be written")
				}
				return p.managed(ctx, event{Do: "find", Mark: e.Mark})
			},
		},
		{
			channel: "next", observer: "the next invocation, which compares what numbers it is given", reuse: true,
			probes: [][2]string{
				{"pid-numbers", "use up process numbers"}, {"inode-numbers", "use up file numbers"}, {"pipe-numbers", "use up numbers of pipes"},
				{"ipc-numbers", "use up numbers of System V objects"}, {"accounting", "use up what is accounted for children"},
				{"access-time", "read a file of the package, which moves its access time"},
			},
			try: func(ctx context.Context, p *place) (map[string]string, error) {
				const used = 60
				var before, after map[string]int64
				if err := p.ask(ctx, event{Do: "counters"}, &before); err != nil {
					return nil, err
				}
				var n int
				if err := p.ask(ctx, event{Do: "busy", Bytes: used}, &n); err != nil {
					return nil, err
				}
				if n == 0 {
					return nil, fmt.Errorf("the package's file can't be read")
				}
				if err := p.ask(ctx, event{Do: "counters"}, &after); err != nil {
					return nil, err
				}
				got := map[string]string{}
				for name, n := range after {
					moved := n - before[name]
					if name == "access-time" && moved > 0 || moved >= used {
						got[name] = fmt.Sprintf("moved by %d", moved)
					}
				}
				return got, nil
			},
		},
	}
}

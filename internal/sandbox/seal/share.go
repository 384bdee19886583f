package seal

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"she/internal/sandbox"
)

// share: taking more than one's share. The limits of a place are small; without walls an attempt ends a little beyond
// them.
func share() []trial {
	const host = "this machine, which counts and holds the clock"
	return []trial{
		{channel: "share", observer: host, probes: [][2]string{{"processes", "start more processes than it may"}}, try: beyond(event{Do: "fork", Bytes: limits.Processes + 40}, "children", limits.Processes+16)},
		{channel: "share", observer: host, probes: [][2]string{{"descriptors", "open more files than it may"}}, try: beyond(event{Do: "files", Bytes: limits.Files + 40}, "open", limits.Files)},
		{channel: "share", observer: host, probes: [][2]string{{"tmp-bytes", "write more to /tmp than it may"}}, try: beyond(event{Do: "fill", Bytes: int(limits.Tmp) + 8<<20}, "bytes", int(limits.Tmp))},
		{channel: "share", observer: host, probes: [][2]string{{"memory", "use more memory than it may"}}, try: answered("memory", event{Do: "eat", Bytes: int(limits.Memory) + 96<<20}, ample)},
		{channel: "share", observer: "the file system of this machine, which counts its free inodes", probes: [][2]string{{"inodes", "make files without content"}}, try: takeInodes},
		{channel: "share", observer: host, probes: [][2]string{{"time", "answer after the deadline"}}, try: answered("time", event{Do: "sleep", Millis: 1800}, time.Second)},
		{channel: "share", observer: host, probes: [][2]string{{"spinning", "compute past the deadline"}}, try: answered("spinning", event{Do: "spin", Bytes: 1800}, time.Second)},
		{channel: "share", observer: host, probes: [][2]string{{"answer-size", "answer with 6 MiB and one byte"}}, try: answered("answer-size", event{Do: "size", Bytes: sandbox.MaxAnswer + 1}, ample)},
		{channel: "share", observer: host, probes: [][2]string{{"headers", "answer with 8 MiB of headers"}}, try: func(ctx context.Context, p *place) (map[string]string, error) {
			var status string
			if err := p.ask(ctx, event{Do: "headers"}, &status); err != nil {
				return nil, err
			}
			if status[:1] == "2" {
				return map[string]string{"headers": "taken: " + status}, nil
			}
			return nil, nil
		}},
		{channel: "share", observer: host, probes: [][2]string{{"log", "print more than is kept"}}, try: func(ctx context.Context, p *place) (map[string]string, error) {
			r, err := p.run(ctx, event{Do: "flood", Bytes: 2 << 20}, ample)
			if err != nil {
				return nil, err
			}
			if len(r.Log) > sandbox.MaxLog+100 {
				return map[string]string{"log": fmt.Sprintf("%d bytes were kept", len(r.Log))}, nil
			}
			return nil, nil
		}},
		{channel: "share", observer: host, coldOnly: true, probes: [][2]string{{"endless-init", "never end INIT"}}, try: func(ctx context.Context, p *place) (map[string]string, error) {
			i, _, err := p.m.Start(ctx, p.program("INIT=slow"))
			if err != nil {
				return nil, notOurs(err)
			}
			return map[string]string{"endless-init": "INIT took longer than it may"}, i.Close()
		}},
		{channel: "share", observer: "this machine, which looks for the process when the answer is there", probes: [][2]string{{"outliving", "leave a process that runs on"}}, try: func(ctx context.Context, p *place) (map[string]string, error) {
			if _, err := p.run(ctx, event{Do: "linger"}, ample); err != nil {
				return nil, err
			}
			if left := processesOf(p.dir + "/bootstrap"); len(left) > 0 {
				return map[string]string{"outliving": fmt.Sprintf("%d processes live on", len(left))}, nil
			}
			return nil, nil
		}, reuse: true},
	}
}

// beyond is an attempt that answers how much it got.
func beyond(e event, what string, most int) func(context.Context, *place) (map[string]string, error) {
	return func(ctx context.Context, p *place) (map[string]string, error) {
		p.roomy = e.Do == "fork"
		r, err := p.run(ctx, e, ample)
		if err != nil {
			return nil, notOurs(err)
		}
		var got map[string]any
		if err := json.Unmarshal(r.Payload, &got); err != nil {
			return nil, err
		}
		n, ok := got[what].(float64)
		if !ok {
			return nil, fmt.Errorf("the answer lacks %s", what)
		}
		if int(n) > most {
			return map[string]string{nameOf(e): fmt.Sprintf("%.0f %s, the limit is %d", n, what, most)}, nil
		}
		return nil, nil
	}
}

func takeInodes(ctx context.Context, p *place) (map[string]string, error) {
	const files = 20_000
	var before, after unix.Statfs_t
	i, _, err := p.m.Start(ctx, p.program())
	if err != nil {
		return nil, err
	}
	err = unix.Statfs(p.Dir, &before)
	if err == nil {
		_, err = give(ctx, i, event{Do: "inodes", Bytes: files}, ample)
	}
	if err = errors.Join(err, unix.Statfs(p.Dir, &after), i.Close()); err != nil {
		return nil, notOurs(err)
	}
	if took := int64(before.Ffree) - int64(after.Ffree); took > files/2 {
		return map[string]string{"inodes": fmt.Sprintf("%d of the machine's inodes", took)}, nil
	}
	return nil, nil
}

// nameOf is the probe a verb with one attempt is for.
func nameOf(e event) string {
	return map[string]string{"fork": "processes", "files": "descriptors", "fill": "tmp-bytes"}[e.Do]
}

// answered is an attempt that must end without an answer.
func answered(name string, e event, limit time.Duration) func(context.Context, *place) (map[string]string, error) {
	return func(ctx context.Context, p *place) (map[string]string, error) {
		if _, err := p.run(ctx, e, limit); err != nil {
			return nil, notOurs(err)
		}
		return map[string]string{name: "the answer was taken"}, nil
	}
}

// notOurs lets an author's failure pass: that is what stopping an attempt looks like.
func notOurs(err error) error {
	var f *sandbox.Failure
	if errors.As(err, &f) && f.Blame == sandbox.Author {
		return nil
	}
	return err
}

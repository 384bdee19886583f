// Command bootstrap is whatever functions the file functions.json beside it describes, and each does what the records
// it is given say. A test writes that file, and so has as many functions as it needs in one package.
//
//	{"<id>": {"configuration": …, "bundle": …, "answersFrom": …, "asksFrom": …, "namespace": …, "endpoint": …}}
//
// The handler is "<id>.configuration", "<id>.bundle" or "<id>.process". Configuration and bundle are answered as they
// stand; without a bundle it is the one of the configuration. Before answersFrom, in milliseconds since 1970, the
// configuration entry fails; the bundle entry fails while it is asked for a time that ends before asksFrom: that is how to
// make a function fail by the server's clock, where that is not the host's.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/aws/aws-lambda-go/lambda"
)

type function struct {
	Configuration, Bundle json.RawMessage
	AnswersFrom, AsksFrom int64
	Namespace, Endpoint   string
}

// An entry answers bytes as they are, also such as are no JSON.
type entry func(ctx context.Context, event []byte) ([]byte, error)

func (e entry) Invoke(ctx context.Context, event []byte) ([]byte, error) { return e(ctx, event) }

func main() {
	e, err := find(filepath.Join(os.Getenv("LAMBDA_TASK_ROOT"), "functions.json"), os.Getenv("_HANDLER"))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	lambda.Start(e)
}

func find(file, handler string) (entry, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var all map[string]function
	if err := json.Unmarshal(text, &all); err != nil {
		return nil, err
	}
	id, which, _ := strings.Cut(handler, ".")
	f, ok := all[id]
	entries := map[string]entry{"configuration": f.configuration, "bundle": f.bundle, "process": f.process}
	if !ok || entries[which] == nil {
		return nil, fmt.Errorf("no entry %q", handler)
	}
	return entries[which], nil
}

func (f function) configuration(_ context.Context, event []byte) ([]byte, error) {
	if string(event) != `""` {
		return nil, fmt.Errorf("the configuration entry was given %q", event)
	}
	if time.Now().UnixMilli() < f.AnswersFrom {
		return nil, errors.New("not yet")
	}
	return f.Configuration, nil
}

func (f function) bundle(_ context.Context, event []byte) ([]byte, error) {
	fmt.Printf("bundle entry: %s\n", event)
	var window struct{ UntilDate time.Time }
	if err := json.Unmarshal(event, &window); err != nil {
		return nil, err
	}
	if window.UntilDate.UnixMilli() < f.AsksFrom {
		return nil, errors.New("not yet")
	}
	if f.Bundle != nil {
		return f.Bundle, nil
	}
	var c struct{ DataBundle json.RawMessage }
	err := json.Unmarshal(f.Configuration, &c)
	return c.DataBundle, err
}

// An order is what one record asks for.
type order struct {
	Seconds     float64 // take so long
	FailsBefore int64   // fail until then, in milliseconds since 1970
	Thin        int     // fail when given fewer records
	Fails       string  // fail with this message
	Exits       *int    // end the process with this status
	Tell        bool    // answer with the event as it came, one record
	Remaining   bool    // answer with the milliseconds that are left
	Numbers     int     // answer with so many different records
	Answer      *string // answer this text, whatever it is
	Bytes       []byte  // the same in base64
	Repeat      *struct {
		Head, Part, Tail string // answer Head, Times times Part, Tail
		Times            int
	}
}

type record struct {
	RecordID string          `json:"recordId"`
	Data     json.RawMessage `json:"data"`
}

type response struct {
	Namespace     string   `json:"namespace"`
	Endpoint      string   `json:"endpoint"`
	Data          []any    `json:"data"`
	LinkedRecords []string `json:"linkedRecords"`
}

// process does what each record asks for; if none asks for an answer, it is one Response for each record, with what the
// record holds and linked to it.
func (f function) process(ctx context.Context, text []byte) ([]byte, error) {
	var event struct {
		Request struct{ Data map[string][]record }
	}
	if err := json.Unmarshal(text, &event); err != nil {
		return nil, err
	}
	var (
		answer []byte
		given  int
		copies = []response{}
	)
	for _, records := range event.Request.Data {
		given += len(records)
	}
	for _, records := range event.Request.Data {
		for _, r := range records {
			var o order
			_ = json.Unmarshal(r.Data, &o) // data of another shape asks for nothing
			time.Sleep(time.Duration(o.Seconds * float64(time.Second)))
			switch {
			case o.Fails != "":
				return nil, errors.New(o.Fails)
			case time.Now().UnixMilli() < o.FailsBefore:
				return nil, errors.New("not yet")
			case given < o.Thin:
				return nil, fmt.Errorf("%d records are too few", given)
			case o.Exits != nil:
				os.Exit(*o.Exits)
			case o.Tell:
				answer = f.respond(json.RawMessage(text))
			case o.Remaining:
				deadline, _ := ctx.Deadline()
				answer = f.respond(time.Until(deadline).Milliseconds())
			case o.Numbers > 0:
				all := make([]any, o.Numbers)
				for i := range all {
					all[i] = i
				}
				answer = f.respond(all...)
			case o.Answer != nil:
				answer = []byte(*o.Answer)
			case o.Bytes != nil:
				answer = o.Bytes
			case o.Repeat != nil:
				answer = []byte(o.Repeat.Head + strings.Repeat(o.Repeat.Part, o.Repeat.Times) + o.Repeat.Tail)
			}
			copies = append(copies, response{f.Namespace, f.Endpoint, []any{map[string]any{"of": r.RecordID, "data": r.Data}}, []string{r.RecordID}})
		}
	}
	if answer != nil {
		return answer, nil
	}
	return json.Marshal(copies)
}

func (f function) respond(data ...any) []byte {
	text, _ := json.Marshal([]response{{f.Namespace, f.Endpoint, data, []string{}}}) // always encodes
	return text
}

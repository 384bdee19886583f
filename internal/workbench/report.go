package workbench

import (
	"bytes"
	"encoding/json"
	"time"

	"she/internal/catalog"
	"she/internal/hat"
	"she/internal/invoke"
	"she/internal/sandbox"
)

// Entry names one of the three entries of a function.
type Entry string

// The entries, in the order a run asks them.
const (
	Configuration Entry = "configuration"
	Bundle        Entry = "bundle"
	Process       Entry = "process"
)

// Entries are all of them.
var Entries = []Entry{Configuration, Bundle, Process}

// A Report is what came of a try. Answers and logs are what the function made of the data it was given.
type Report struct {
	Function string   `json:"function"`
	File     string   `json:"file,omitempty"`
	Warnings []string `json:"warnings,omitempty"` // of reading the project, with file and line
	Notes    []string `json:"notes,omitempty"`    // of the try, for people
	Steps    []Step   `json:"steps"`
	Data     *Data    `json:"data,omitempty"` // of a try with data
	Verdict  Verdict  `json:"verdict"`
}

// A Step is one event and its answer.
type Step struct {
	Entry   Entry           `json:"entry"`
	Name    string          `json:"name"` // as deployed
	Handler string          `json:"handler"`
	Runtime string          `json:"runtime"`
	Event   int             `json:"eventBytes"`
	Answer  json.RawMessage `json:"answer,omitempty"`     // nil if there is none, or it is no JSON
	Text    string          `json:"answerText,omitempty"` // an answer that is no JSON
	Log     string          `json:"log,omitempty"`
	Fault   *Fault          `json:"fault,omitempty"`
	Timing  Timing          `json:"timing"`
	Limits  []Limit         `json:"limits"`
}

// A Fault is why an entry gave no answer.
type Fault struct {
	Who     string   `json:"who"`
	Code    string   `json:"code"`
	Text    string   `json:"text"`
	Type    string   `json:"errorType,omitempty"`    // the function's own
	Message string   `json:"errorMessage,omitempty"` // the function's own
	Stack   []string `json:"stack,omitempty"`        // innermost as the language has it; in the author's files
}

// Timing is where the time of a step went, in milliseconds.
type Timing struct {
	Sandbox float64 `json:"sandboxMS"` // starting it, INIT included
	Init    float64 `json:"initMS"`
	Run     float64 `json:"runMS"` // from event to answer
}

// A Limit is how much of what a function may use was used.
type Limit struct {
	Name string `json:"name"`
	Used int64  `json:"used"`
	Most int64  `json:"most"`
	Unit string `json:"unit"` // "ms" or "bytes"
}

// Data is what a function was shown of the data of a try, and what was stored.
type Data struct {
	Stored     int            `json:"stored"`    // records of the data
	Endpoints  map[string]int `json:"endpoints"` // records at each
	From       time.Time      `json:"from"`      // the window of the bundle
	Until      time.Time      `json:"until"`
	Shown      int            `json:"shown"`  // links included
	Hidden     int            `json:"hidden"` // behind the bundle's own limit
	QueryMS    float64        `json:"queryMS"`
	SaveMS     float64        `json:"saveMS"`
	Written    int            `json:"written"`
	Duplicates int            `json:"duplicates"` // equal to what is there
	Output     string         `json:"output,omitempty"`
}

// A Verdict says whether the engine takes the answer.
type Verdict struct {
	Accepted bool     `json:"accepted"`
	Records  int      `json:"records"`           // that the answer of the process entry holds
	Writes   string   `json:"writes,omitempty"`  // where to
	Reasons  []Reason `json:"reasons,omitempty"` // all of them, if it is refused
}

// A Reason is one thing that keeps an answer from being taken.
type Reason struct {
	Entry Entry  `json:"entry"`
	Who   string `json:"who"`
	Code  string `json:"code"`
	Text  string `json:"text"`
}

func (r *Report) refuse(e Entry, faults ...*hat.Fault) {
	for _, f := range faults {
		r.Verdict.Accepted = false
		r.Verdict.Reasons = append(r.Verdict.Reasons, Reason{e, string(f.Who), f.Code, f.Text})
	}
}

func newReport(f catalog.Function) Report {
	return Report{Function: f.Process.Name, Warnings: f.Warnings, Verdict: Verdict{Accepted: true}}
}

// limits are those a step came near to, or not. CPU is among them where it is counted and not held.
func limits(e catalog.Entry, s Step, a invoke.Answer, unheld bool) []Limit {
	all := []Limit{
		{"time", a.Timing.Run.Milliseconds(), e.Timeout.Milliseconds(), "ms"},
		{"memory", a.Usage.MaxMemory, int64(e.Memory) << 20, "bytes"},
		{"event", int64(s.Event), sandbox.MaxEvent, "bytes"},
		{"answer", int64(len(a.Payload)), sandbox.MaxAnswer, "bytes"},
	}
	if unheld {
		all = append(all, Limit{"cpu", a.Usage.CPU.Milliseconds(), share(e).Milliseconds(), "ms"})
	}
	return all
}

// share is how much of a processor an entry has on a server until its time is over: in proportion to its
// memory, 1769 MB are one, and a second's worth at once.
func share(e catalog.Entry) time.Duration {
	return time.Duration(float64(e.Timeout+time.Second) * float64(e.Memory) / 1769)
}

func inMS(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// Indented is an answer for people to read.
func Indented(answer json.RawMessage) []byte {
	var out bytes.Buffer
	if json.Indent(&out, answer, "", "  ") != nil {
		return answer
	}
	return out.Bytes()
}

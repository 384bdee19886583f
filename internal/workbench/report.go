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

// The entries, in the order in which a run calls them.
const (
	Configuration Entry = "configuration"
	Bundle        Entry = "bundle"
	Process       Entry = "process"
)

// Entries lists all entries.
var Entries = []Entry{Configuration, Bundle, Process}

// A Report is the result of a try. Answers and logs are what the function made of its data.
type Report struct {
	Function string   `json:"function"`
	File     string   `json:"file,omitempty"`
	Warnings []string `json:"warnings,omitempty"` // about the project, with file and line
	Notes    []string `json:"notes,omitempty"`    // about the try, for people
	Steps    []Step   `json:"steps"`
	Data     *Data    `json:"data,omitempty"` // if the try has data
	Verdict  Verdict  `json:"verdict"`
}

// A Step is one event and its answer.
type Step struct {
	Entry   Entry           `json:"entry"`
	Name    string          `json:"name"` // the deployed name
	Handler string          `json:"handler"`
	Runtime string          `json:"runtime"`
	Event   int             `json:"eventBytes"`
	Answer  json.RawMessage `json:"answer,omitempty"`     // nil if there is none, or if it is not JSON
	Text    string          `json:"answerText,omitempty"` // an answer that is not JSON
	Log     string          `json:"log,omitempty"`
	Fault   *Fault          `json:"fault,omitempty"`
	Timing  Timing          `json:"timing"`
	Limits  []Limit         `json:"limits"`
}

// A Fault is the reason why an entry gave no answer.
type Fault struct {
	Who     string   `json:"who"`
	Code    string   `json:"code"`
	Text    string   `json:"text"`
	Type    string   `json:"errorType,omitempty"`    // the function's own
	Message string   `json:"errorMessage,omitempty"` // the function's own
	Stack   []string `json:"stack,omitempty"`        // in the language's order; in the author's files
}

// Timing says how the time of a step was spent, in milliseconds.
type Timing struct {
	Sandbox float64 `json:"sandboxMS"` // starting it, with INIT
	Init    float64 `json:"initMS"`
	Run     float64 `json:"runMS"` // from event to answer
}

// A Limit says how much of one of its limits a function used.
type Limit struct {
	Name string `json:"name"`
	Used int64  `json:"used"`
	Most int64  `json:"most"`
	Unit string `json:"unit"` // "ms" or "bytes"
}

// Data says what the function saw of the data of a try, and what was stored.
type Data struct {
	Stored     int            `json:"stored"`    // records in the data
	Endpoints  map[string]int `json:"endpoints"` // records at each
	From       time.Time      `json:"from"`      // the window of the bundle
	Until      time.Time      `json:"until"`
	Shown      int            `json:"shown"`  // with links
	Hidden     int            `json:"hidden"` // cut off by the bundle's own limit
	QueryMS    float64        `json:"queryMS"`
	SaveMS     float64        `json:"saveMS"`
	Written    int            `json:"written"`
	Duplicates int            `json:"duplicates"` // equal to existing records
	Output     string         `json:"output,omitempty"`
}

// A Verdict says whether the engine accepts the answer.
type Verdict struct {
	Accepted bool     `json:"accepted"`
	Records  int      `json:"records"`           // in the answer of the process entry
	Writes   string   `json:"writes,omitempty"`  // the endpoint
	Reasons  []Reason `json:"reasons,omitempty"` // all reasons, if it is refused
}

// A Reason is one reason to refuse an answer.
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

// limits returns the limits of a step and how much of each was used. CPU is included if it is counted but not
// enforced.
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

// share is the processor time that a server gives an entry until its time limit. It is proportional to the
// memory, with 1769 MB for one processor, plus one second's worth at the start.
func share(e catalog.Entry) time.Duration {
	return time.Duration(float64(e.Timeout+time.Second) * float64(e.Memory) / 1769)
}

func inMS(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// Indented formats an answer for people.
func Indented(answer json.RawMessage) []byte {
	var out bytes.Buffer
	if json.Indent(&out, answer, "", "  ") != nil {
		return answer
	}
	return out.Bytes()
}

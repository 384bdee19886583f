package hat

import "fmt"

// An OutputMode says what a Function's newest result does to its earlier ones. The zero value is AppendOutput.
type OutputMode string

const (
	AppendOutput  OutputMode = ""        // it is added to them
	ReplaceOutput OutputMode = "replace" // it takes their place; they are kept as superseded
)

// ParseOutputMode reads "append" or "replace".
func ParseOutputMode(s string) (OutputMode, error) {
	switch s {
	case AppendOutput.String():
		return AppendOutput, nil
	case ReplaceOutput.String():
		return ReplaceOutput, nil
	}
	return AppendOutput, fmt.Errorf("output %.40q: want append or replace", s)
}

func (m OutputMode) String() string {
	if m == AppendOutput {
		return "append"
	}
	return string(m)
}

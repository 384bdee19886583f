package hat

import "fmt"

// An OutputMode says what a Function's newest result does to its former ones. The zero value is AppendOutput.
type OutputMode string

const (
	AppendOutput  OutputMode = ""        // it is added to them
	ReplaceOutput OutputMode = "replace" // it replaces them; they are kept as superseded
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

// An EqualMode says what happens to a result that equals one of a former run. The zero value is DropEqual.
type EqualMode string

const (
	DropEqual EqualMode = ""     // it is dropped and counted: equal records are one
	KeepEqual EqualMode = "keep" // it is stored: the run is part of a record's identity
)

// ParseEqualMode reads "drop" or "keep".
func ParseEqualMode(s string) (EqualMode, error) {
	switch s {
	case DropEqual.String():
		return DropEqual, nil
	case KeepEqual.String():
		return KeepEqual, nil
	}
	return DropEqual, fmt.Errorf("equal %.40q: want drop or keep", s)
}

func (m EqualMode) String() string {
	if m == DropEqual {
		return "drop"
	}
	return string(m)
}

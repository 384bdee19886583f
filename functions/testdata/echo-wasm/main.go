// Command bootstrap.wasm is echo as a WASI command: it copies each record it is given, and links the copy to it. The event
// is on standard input, the answer goes to standard output, and _HANDLER says which entry is asked for.
package main

import (
	"encoding/json"
	"fmt"
	"os"
)

type object = map[string]any

type event struct {
	Request struct {
		Data map[string][]struct {
			RecordID string          `json:"recordId"`
			Data     json.RawMessage `json:"data"`
		} `json:"data"`
	} `json:"request"`
}

func main() {
	bundle := object{"name": "echo-wasm", "bundle": object{"test/in": object{"endpoints": []object{{"endpoint": "test/in"}}}}}
	switch handler := os.Getenv("_HANDLER"); handler {
	case "configuration":
		answer(object{
			"id": "echo-wasm",
			"info": object{
				"version":            "1.0.0",
				"versionReleaseDate": "2024-01-08T10:00:00.000Z",
				"name":               "echo-wasm",
				"headline":           "A function for tests",
				"description":        object{"text": "A function for tests"},
				"termsUrl":           "https://example.org/terms",
				"supportContact":     "tests@example.org",
				"dataPreview":        []any{},
				"graphics":           object{"banner": object{"normal": ""}, "logo": object{"normal": ""}, "screenshots": []any{}},
			},
			"developer":  object{"id": "tests", "name": "Tests", "url": "https://example.org"},
			"trigger":    object{"triggerType": "individual"},
			"dataBundle": bundle,
			"status":     object{"available": true, "enabled": false},
		})
	case "bundle":
		answer(bundle)
	case "process":
		process()
	default:
		fail("NoEntry", "no entry "+handler)
	}
}

func process() {
	var e event
	if err := json.NewDecoder(os.Stdin).Decode(&e); err != nil {
		fail("BadEvent", err.Error())
	}
	answers := []object{}
	for _, r := range e.Request.Data["test/in"] {
		var asked struct {
			Fail string `json:"fail"`
		}
		if json.Unmarshal(r.Data, &asked) == nil && asked.Fail != "" {
			fail("Asked", asked.Fail)
		}
		fmt.Fprintln(os.Stderr, "echoes", r.RecordID)
		answers = append(answers, object{
			"namespace": "test", "endpoint": "out",
			"data":          []any{object{"of": r.RecordID, "data": r.Data}},
			"linkedRecords": []string{r.RecordID},
		})
	}
	answer(answers)
}

func answer(v any) {
	if err := json.NewEncoder(os.Stdout).Encode(v); err != nil {
		os.Exit(1)
	}
}

// fail ends with an error in Lambda's form.
func fail(errorType, message string) {
	answer(map[string]string{"errorType": errorType, "errorMessage": message})
	os.Exit(1)
}

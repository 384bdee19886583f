// The configuration and bundle entries of a test function written in Go, and which entry this process is. A package must
// be complete in itself, so each project has its own copy of this file; test_projects.py keeps the copies equal.
package main

import (
	"encoding/json"
	"fmt"
	"os"

	"github.com/aws/aws-lambda-go/lambda"
)

type object = map[string]any

// serve runs the entry that _HANDLER names.
func serve(id string, process func(records []record) ([]response, error)) {
	bundle := object{"name": id, "bundle": object{"test/in": object{"endpoints": []object{{"endpoint": "test/in"}}}}}
	switch handler := os.Getenv("_HANDLER"); handler {
	case "configuration":
		lambda.Start(func() (object, error) { return configuration(id, bundle), nil })
	case "bundle":
		lambda.Start(func() (object, error) { return bundle, nil })
	case "process":
		lambda.Start(func(e event) ([]response, error) {
			return process(e.Request.Data["test/in"])
		})
	default:
		fmt.Fprintf(os.Stderr, "no entry %q\n", handler)
		os.Exit(1)
	}
}

type event struct {
	Request struct {
		Data map[string][]record `json:"data"`
	} `json:"request"`
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

func configuration(id string, bundle object) object {
	return object{
		"id": id,
		"info": object{
			"version":            "1.0.0",
			"versionReleaseDate": "2024-01-08T10:00:00.000Z",
			"name":               id,
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
	}
}

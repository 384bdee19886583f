// Command bootstrap is the SHE function places: it finds the places its owner spends time at in the location points
// of their phone. One executable holds the three entries; the handler named in serverless.yml picks one.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/aws/aws-lambda-go/lambda"
)

func main() {
	entry, err := entryFor(os.Getenv("_HANDLER"), os.Getenv("AWS_LAMBDA_FUNCTION_NAME"))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	lambda.Start(entry)
}

type entry = func(context.Context, json.RawMessage) (any, error)

// entryFor goes by the handler's name; where all three are called the same, as is usual for custom runtimes
// ("bootstrap"), by the end of the function's name.
func entryFor(handler, function string) (entry, error) {
	switch {
	case handler == "configuration", strings.HasSuffix(function, "-configuration"):
		return func(context.Context, json.RawMessage) (any, error) { return configuration(), nil }, nil
	case handler == "bundle", strings.HasSuffix(function, "-bundle"):
		return func(context.Context, json.RawMessage) (any, error) { return bundle(), nil }, nil
	case handler == "process", strings.HasSuffix(function, "-places"):
		return func(_ context.Context, event json.RawMessage) (any, error) { return process(event, time.Now()) }, nil
	}
	return nil, fmt.Errorf("neither handler %q nor function name %q says which entry to be", handler, function)
}

// object keeps the literals below as readable as the JSON they become.
type object = map[string]any

func bundle() object {
	return object{
		"name": "places",
		"bundle": object{
			"locations": object{
				"endpoints": []object{{
					"endpoint": "rumpel/locations/ios",
					"mapping": object{
						"latitude":           "latitude",
						"longitude":          "longitude",
						"accuracy":           "accuracy",
						"horizontalAccuracy": "horizontalAccuracy",
						"speed":              "speed",
						"dateCreated":        "dateCreated",
						"dateCreatedLocal":   "dateCreatedLocal",
					},
				}},
				"orderBy":  "dateCreated",
				"ordering": "ascending",
			},
		},
	}
}

func configuration() object {
	return object{
		"id": "places",
		"info": object{
			"version":            "1.0.0",
			"versionReleaseDate": "2024-06-01T12:00:00.000Z",
			"name":               "Places",
			"headline":           "Where your weeks are spent",
			"description": object{
				"text": "Once a week, groups the location points of your phone into places: how often you were there, for " +
					"how many hours, and which of them look like home and work. Map and names of places are not used; " +
					"everything is worked out from the points alone, inside your HAT.",
			},
			"termsUrl":       "https://example.org/places/terms",
			"supportContact": "places@example.org",
			"dataPreview":    []any{},
			"graphics": object{
				"banner":      object{"normal": ""},
				"logo":        object{"normal": ""},
				"screenshots": []any{},
			},
		},
		"developer":  object{"id": "she-examples", "name": "SHE examples", "url": "https://example.org"},
		"trigger":    object{"triggerType": "periodic", "period": "P1W"},
		"dataBundle": bundle(),
		"status":     object{"available": true, "enabled": false},
	}
}

// A response is what the server stores: one record at drops/insights/places.
type response struct {
	Namespace     string   `json:"namespace"`
	Endpoint      string   `json:"endpoint"`
	Data          []report `json:"data"`
	LinkedRecords []string `json:"linkedRecords"`
}

func process(event json.RawMessage, now time.Time) ([]response, error) {
	var e struct {
		Request struct {
			Data struct {
				Locations []struct {
					Data json.RawMessage `json:"data"`
				} `json:"locations"`
			} `json:"data"`
		} `json:"request"`
	}
	if err := json.Unmarshal(event, &e); err != nil {
		return nil, fmt.Errorf("the event is not what a HAT sends to a function: %T", err)
	}
	points := make([]json.RawMessage, 0, len(e.Request.Data.Locations))
	for _, record := range e.Request.Data.Locations {
		points = append(points, record.Data)
	}
	r := study(points)
	if r.Summary.Used == 0 {
		return []response{}, nil
	}
	r.Timestamp = wireTime(now)
	return []response{{
		Namespace:     "drops",
		Endpoint:      "insights/places",
		Data:          []report{r},
		LinkedRecords: []string{},
	}}, nil
}

func wireTime(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z") }

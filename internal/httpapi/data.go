package httpapi

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"she/internal/bundle"
	"she/internal/hat"
)

// postData: POST /data/{namespace}/{endpoint}. An array is one record for each element, any other value is one.
func (s *server) postData(w *recorder, q *request) error {
	e, err := q.endpoint()
	if err != nil {
		return err
	}
	values, err := q.query()
	if err != nil {
		return err
	}
	skip, _, err := boolParam(values, "skipErrors")
	if err != nil {
		return err
	}
	text, err := q.body(w)
	if err != nil {
		return err
	}
	list, isArray, err := hat.ParseDataList(text, maxRecords)
	if err != nil {
		return err
	}
	if !isArray {
		data, err := hat.ParseData(text)
		if err != nil {
			return err
		}
		stored, err := q.vault.Append(q.Context(), q.caller, []hat.Draft{{Endpoint: e, Data: data}}, false)
		if err != nil {
			return err
		}
		s.wake(q)
		writeBytes(w, http.StatusCreated, appendRecord(nil, &stored[0], true))
		return nil
	}
	if err := q.hold(dataFactor*int64(len(text)) + recordHold*int64(len(list))); err != nil {
		return err
	}
	drafts := make([]hat.Draft, len(list))
	for i, data := range list {
		drafts[i] = hat.Draft{Endpoint: e, Data: data}
	}
	var stored []hat.Record
	if len(drafts) > 0 {
		if stored, err = q.vault.Append(q.Context(), q.caller, drafts, skip); err != nil {
			return err
		}
		s.wake(q)
	}
	writeBytes(w, http.StatusCreated, appendRecords(nil, stored, true))
	return nil
}

// wake tells the engine that something was committed, unless no function is there for it. It may be lost: the engine finds
// due work by itself, later.
func (s *server) wake(q *request) {
	if !q.vault.Idle() {
		s.Functions.Wake(q.hat.ID)
	}
}

const defaultTake = 1000

// getData: GET /data/{namespace}/{endpoint}?take&skip&orderBy&ordering&<attribute>.
func (s *server) getData(w *recorder, q *request) error {
	e, err := q.endpoint()
	if err != nil {
		return err
	}
	values, err := q.query()
	if err != nil {
		return err
	}
	page, err := pageOf(values)
	if err != nil {
		return err
	}
	property, err := sorted(values)
	if err != nil {
		return err
	}
	property.Endpoints = []bundle.EndpointQuery{{Endpoint: e}}
	within := bundle.Within{Page: page, Keep: keep(values["recordId"])}
	if within.Attributes, err = attributes(values, "take", "skip", "orderBy", "ordering", "recordId"); err != nil {
		return err
	}
	return q.answerList(w, property, within)
}

// pageOf reads skip and take.
func pageOf(values url.Values) (bundle.Page, error) {
	skip, err := intParam(values, "skip", 0)
	if err != nil {
		return bundle.Page{}, err
	}
	take, err := intParam(values, "take", defaultTake)
	return bundle.Page{Skip: skip, Take: &take}, err
}

// sorted reads orderBy and ordering; any ordering but "descending" is ascending.
func sorted(values url.Values) (bundle.PropertyQuery, error) {
	q := bundle.PropertyQuery{OrderBy: values.Get("orderBy"), Ordering: values.Get("ordering")}
	if len(q.OrderBy) > bundle.MaxText {
		return q, badRequest("Parameter orderBy is too long")
	}
	return q, nil
}

// keep makes a condition of recordId, which older clients send: the record's own id; nil if there is none.
func keep(ids []string) func(hat.Record) bool {
	if ids == nil {
		return nil
	}
	wanted := make(map[hat.RecordID]bool, len(ids))
	for _, text := range ids {
		if id, err := hat.ParseRecordID(text); err == nil {
			wanted[id] = true
		}
	}
	return func(r hat.Record) bool { return wanted[r.ID] }
}

// attributes are the HAT API's little filters on GET data: query parameters that are none of its own, such as ?k=v. All of
// them must hold. What the call itself understands is in known.
func attributes(values url.Values, known ...string) (all []bundle.Attribute, err error) {
	for name, wanted := range values {
		if slices.Contains(known, name) || strings.EqualFold(name, tokenHeader) {
			continue
		}
		if all = append(all, bundle.Attribute{Name: name, Values: wanted}); len(all) > bundle.MaxAttributes {
			return nil, badRequest(fmt.Sprintf("More than %d attributes in one request", bundle.MaxAttributes))
		}
	}
	return all, nil
}

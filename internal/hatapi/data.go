package hatapi

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"she/internal/bundle"
	"she/internal/edge"
	"she/internal/hat"
)

// postData: POST /data/{namespace}/{endpoint}. An array becomes one record per element; any other value
// becomes one record.
func (s *API) postData(w *edge.Recorder, q *edge.Request) error {
	e, err := q.Endpoint()
	if err != nil {
		return err
	}
	values, err := q.Query()
	if err != nil {
		return err
	}
	skip, _, err := edge.BoolParam(values, "skipErrors")
	if err != nil {
		return err
	}
	text, err := q.JSON(w)
	if err != nil {
		return err
	}
	list, isArray, err := hat.ParseDataList(text, edge.MaxRecords)
	if err != nil {
		return err
	}
	if !isArray {
		data, err := hat.ParseData(text)
		if err != nil {
			return err
		}
		stored, err := recordsOf(q).Append(q.Context(), q.Caller, []hat.Draft{{Endpoint: e, Data: data}}, false)
		if err != nil {
			return err
		}
		s.Committed(q)
		edge.WriteBytes(w, http.StatusCreated, appendRecord(nil, &stored[0], true))
		return nil
	}
	if err := q.Hold(edge.DataFactor*int64(len(text)) + edge.RecordHold*int64(len(list))); err != nil {
		return err
	}
	drafts := make([]hat.Draft, len(list))
	for i, data := range list {
		drafts[i] = hat.Draft{Endpoint: e, Data: data}
	}
	var stored []hat.Record
	if len(drafts) > 0 {
		if stored, err = recordsOf(q).Append(q.Context(), q.Caller, drafts, skip); err != nil {
			return err
		}
		s.Committed(q)
	}
	edge.WriteBytes(w, http.StatusCreated, appendRecords(nil, stored, true))
	return nil
}

const defaultTake = 1000

// getData: GET /data/{namespace}/{endpoint}?take&skip&orderBy&ordering&<attribute>.
func (s *API) getData(w *edge.Recorder, q *edge.Request) error {
	e, err := q.Endpoint()
	if err != nil {
		return err
	}
	values, err := q.Query()
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
	return answerList(q, w, property, within)
}

// pageOf reads skip and take.
func pageOf(values url.Values) (bundle.Page, error) {
	skip, err := edge.IntParam(values, "skip", 0)
	if err != nil {
		return bundle.Page{}, err
	}
	take, err := edge.IntParam(values, "take", defaultTake)
	return bundle.Page{Skip: skip, Take: &take}, err
}

// sorted reads orderBy and ordering. Every ordering other than "descending" means ascending.
func sorted(values url.Values) (bundle.PropertyQuery, error) {
	q := bundle.PropertyQuery{OrderBy: values.Get("orderBy"), Ordering: values.Get("ordering")}
	if len(q.OrderBy) > bundle.MaxText {
		return q, edge.BadRequest("Parameter orderBy is too long")
	}
	return q, nil
}

// keep returns a filter for the parameter recordId, which older clients send: it keeps the records with these
// ids. It returns nil if there are no ids.
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

// attributes reads the HAT API's simple filters on GET data: query parameters that the call itself does not
// know, such as ?k=v. A record must match all of them. known names the parameters of the call itself.
func attributes(values url.Values, known ...string) (all []bundle.Attribute, err error) {
	for name, wanted := range values {
		if slices.Contains(known, name) || strings.EqualFold(name, edge.TokenHeader) {
			continue
		}
		if all = append(all, bundle.Attribute{Name: name, Values: wanted}); len(all) > bundle.MaxAttributes {
			return nil, edge.BadRequest(fmt.Sprintf("More than %d attributes in one request", bundle.MaxAttributes))
		}
	}
	return all, nil
}

package hatapi

import (
	"errors"
	"fmt"
	"net/http"

	"she/internal/access"
	"she/internal/edge"
	"she/internal/hat"
	"she/internal/jsonb"
	"she/internal/vault"
)

func recordsMissing(doing string) *edge.Error {
	return controller(http.StatusBadRequest, "Data Missing", fmt.Sprintf("Could not %s records: Records missing for %s", doing, gerund[doing]))
}

var gerund = map[string]string{"delete": "deleting", "update": "updating", "link": "linking"}

func forbidden(cause string) *edge.Error {
	return controller(http.StatusForbidden, "Forbidden", "Access Denied - "+cause)
}

var errCouldNotInsert = controller(http.StatusBadRequest, "Bad Request", "Could not insert data - Duplicate data")

// items returns the elements of a request body that must be an array. objectAt parses them one by one, so
// that not all are in memory as objects at once.
func items(q *edge.Request, w *edge.Recorder) ([]string, error) {
	text, err := q.JSON(w)
	if err != nil {
		return nil, err
	}
	canonical, err := jsonb.Canonical(text)
	if err != nil {
		return nil, err
	}
	if jsonb.KindOf(canonical) != jsonb.Array {
		return nil, &hat.FieldError{Path: rootPath, Message: "error.expected.jsarray"}
	}
	list, err := elements(canonical)
	if err != nil {
		return nil, err
	}
	if err := q.Hold(edge.DataFactor*int64(len(text)) + edge.RecordHold*int64(len(list))); err != nil {
		return nil, err
	}
	return list, nil
}

// elements returns the elements of an array in canonical text.
func elements(array string) (list []string, err error) {
	for element := range jsonb.Elements(array) {
		if len(list) == edge.MaxRecords {
			return nil, edge.ErrTooMany
		}
		list = append(list, element)
	}
	return list, nil
}

func itemPath(path string, i int) string { return fmt.Sprintf("%s[%d]", path, i) }

// endpointData reads the two fields that all records of a request body have: endpoint and data. The document
// is canonical.
func (o object) endpointData() (e hat.Endpoint, d hat.Data, err error) {
	name, err := o.text("endpoint")
	if err != nil {
		return e, d, err
	}
	if e, err = hat.ParseEndpoint(name); err != nil {
		return e, d, o.wrongAt("endpoint", hat.ErrEndpointInvalid.Error())
	}
	raw, err := o.required("data")
	if err != nil {
		return e, d, err
	}
	return e, hat.DataFromStoredText(raw), nil // a part of a canonical text is canonical
}

// draft reads one record to store. It accepts and ignores sourceTimestamp, sourceUniqueId and recordId. It
// reads links one level deep.
func (o object) draft(withLinks bool) (d hat.Draft, err error) {
	if d.Endpoint, d.Data, err = o.endpointData(); err != nil || !withLinks {
		return d, err
	}
	raw, found := o.optional("links")
	if !found {
		return d, nil
	}
	if jsonb.KindOf(raw) != jsonb.Array {
		return d, o.wrongAt("links", "error.expected.jsarray")
	}
	list, err := elements(raw)
	if err != nil {
		return d, err
	}
	for i, element := range list {
		link, err := objectAt(itemPath(o.path+".links", i), element)
		if err != nil {
			return d, err
		}
		l, err := link.draft(false)
		if err != nil {
			return d, err
		}
		d.Links = append(d.Links, l)
	}
	return d, nil
}

// postBatch: POST /data-batch.
func (s *API) postBatch(w *edge.Recorder, q *edge.Request) error {
	list, err := items(q, w)
	if err != nil {
		return err
	}
	drafts, total := make([]hat.Draft, len(list)), 0
	for i, element := range list {
		o, err := objectAt(itemPath(rootPath, i), element)
		if err != nil {
			return err
		}
		if drafts[i], err = o.draft(true); err != nil {
			return err
		}
		if total += 1 + len(drafts[i].Links); total > edge.MaxRecords {
			return edge.ErrTooMany
		}
		if links := len(drafts[i].Links); links > 0 {
			if err := q.Memory.Grow(q.Context(), edge.RecordHold*int64(links)); err != nil {
				return err
			}
		}
	}
	stored, err := recordsOf(q).Append(q.Context(), q.Caller, drafts, false)
	switch {
	case errors.Is(err, access.ErrDenied):
		return forbidden("No rights to insert some or all of the data in the batch")
	case errors.Is(err, vault.ErrDuplicate):
		return errCouldNotInsert
	case err != nil:
		return err
	}
	if len(stored) > 0 {
		s.Committed(q)
	}
	edge.WriteBytes(w, http.StatusCreated, appendRecords(nil, stored, true))
	return nil
}

// putData: PUT /data. It replaces the data of a record. The endpoint can't change: a body with another
// endpoint is refused.
func (s *API) putData(w *edge.Recorder, q *edge.Request) error {
	list, err := items(q, w)
	if err != nil {
		return err
	}
	changes := make([]vault.Change, len(list))
	for i, element := range list {
		o, err := objectAt(itemPath(rootPath, i), element)
		if err != nil {
			return err
		}
		c := &changes[i]
		if c.Endpoint, c.Data, err = o.endpointData(); err != nil {
			return err
		}
		id, err := o.optionalText("recordId")
		if err != nil {
			return err
		}
		if id == "" {
			return recordsMissing("update")
		}
		if c.ID, err = hat.ParseRecordID(id); err != nil {
			return o.wrongAt("recordId", "error.expected.uuid")
		}
	}
	stored, err := recordsOf(q).Update(q.Context(), q.Caller, changes)
	switch {
	case errors.Is(err, vault.ErrNotFound):
		return recordsMissing("update")
	case errors.Is(err, access.ErrDenied):
		return forbidden("No rights to update some or all of the data requested")
	case errors.Is(err, vault.ErrDuplicate):
		return errCouldNotInsert
	case err != nil:
		return err
	}
	if len(stored) > 0 {
		s.Committed(q)
	}
	edge.WriteBytes(w, http.StatusCreated, appendRecords(nil, stored, false))
	return nil
}

// deleteRecords: DELETE /data?records=….
func (s *API) deleteRecords(w *edge.Recorder, q *edge.Request) error {
	values, err := q.Query()
	if err != nil {
		return err
	}
	ids, err := edge.RecordsParam(values)
	if err != nil {
		return err
	}
	err = recordsOf(q).Erase(q.Context(), q.Caller, ids)
	switch {
	case errors.Is(err, vault.ErrNotFound):
		return recordsMissing("delete")
	case errors.Is(err, access.ErrDenied):
		return forbidden("Permissions to modify records in some of the namespaces missing")
	case err != nil:
		return err
	}
	s.Committed(q) // pending work may wait for space
	edge.WriteJSON(w, http.StatusOK, edge.Message("All records deleted"))
	return nil
}

// deleteEndpoint: DELETE /data/{namespace}/{endpoint}.
func (s *API) deleteEndpoint(w *edge.Recorder, q *edge.Request) error {
	e, err := q.Endpoint()
	if err != nil {
		return err
	}
	if err := recordsOf(q).EraseEndpoint(q.Context(), q.Caller, e); err != nil {
		return err
	}
	s.Committed(q) // pending work may wait for space
	edge.WriteJSON(w, http.StatusOK, edge.Message("All records deleted"))
	return nil
}

// linkRecords: POST /data-link?records=….
func (s *API) linkRecords(w *edge.Recorder, q *edge.Request) error {
	values, err := q.Query()
	if err != nil {
		return err
	}
	ids, err := edge.RecordsParam(values)
	if err != nil {
		return err
	}
	if len(ids) < 2 {
		return controller(http.StatusBadRequest, "Data Missing", "Could not link records: At least two different records are needed")
	}
	err = recordsOf(q).Link(q.Context(), q.Caller, ids)
	if errors.Is(err, vault.ErrNotFound) {
		return recordsMissing("link")
	} else if err != nil {
		return err
	}
	edge.WriteJSON(w, http.StatusCreated, edge.Message("Grouping registered"))
	return nil
}

// endpointsHold is the memory of a page of endpoints, each at most 512 bytes, and of the rows they were read
// from.
const endpointsHold = vault.EndpointsPage * 2 * 512

// sources: GET /data/sources. The vault returns the endpoints of one namespace together.
func (s *API) sources(w *edge.Recorder, q *edge.Request) error {
	if err := q.Grow(endpointsHold); err != nil {
		return err
	}
	out := q.Spool(w)
	out.Text("{")
	namespace := ""
	err := recordsOf(q).EachEndpoint(q.Context(), q.Caller, func(e hat.Endpoint) error {
		if ns := e.Namespace().String(); ns != namespace {
			if err := out.Hold(len(ns) + 8); err != nil {
				return err
			}
			if namespace != "" {
				out.Text("],")
			}
			out.Name(ns)
			out.Begin()
			namespace = ns
		}
		return out.Element(e.Path(), 2*len(e.Path())+8)
	})
	if err != nil {
		return err
	}
	if namespace != "" {
		out.Text("]")
	}
	out.Text("}")
	return out.End()
}

// getRecord: GET /data-record/{record}.
func (s *API) getRecord(w *edge.Recorder, q *edge.Request) error {
	id, err := hat.ParseRecordID(q.Params["record"])
	if err != nil {
		return edge.CannotParse("recordId", "UUID", "Invalid UUID string: "+edge.Clip(q.Params["record"]))
	}
	r, err := recordsOf(q).Record(q.Context(), q.Caller, id)
	if errors.Is(err, vault.ErrNotFound) {
		return controller(http.StatusBadRequest, "Data Missing",
			"Could not find unique record: No single record found for provided ID")
	} else if err != nil {
		return err
	}
	edge.WriteBytes(w, http.StatusOK, appendRecord(nil, &r, false))
	return nil
}

// appendRecord writes a record as clients read it:
//
//	{"endpoint":"rumpel/notes","recordId":"5f0c…","data":{"any":"json"},"links":[…]}
//
// links tells whether to write the key "links"; linked records never have it.
func appendRecord(b []byte, r *hat.Record, links bool) []byte {
	b = append(b, `{"endpoint":"`...)
	b = append(b, r.Endpoint.String()...)
	b = append(b, `","recordId":"`...)
	b = append(b, r.ID.String()...)
	b = append(b, `","data":`...)
	b = append(b, r.Data.JSON()...)
	if links {
		b = append(b, `,"links":`...)
		b = appendRecords(b, r.Links, false)
	}
	return append(b, '}')
}

func appendRecords(b []byte, records []hat.Record, links bool) []byte {
	b = append(b, '[')
	for i := range records {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendRecord(b, &records[i], links)
	}
	return append(b, ']')
}

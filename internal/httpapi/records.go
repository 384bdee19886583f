package httpapi

import (
	"errors"
	"fmt"
	"net/http"

	"she/internal/access"
	"she/internal/hat"
	"she/internal/jsonb"
	"she/internal/vault"
)

func recordsMissing(doing string) *apiError {
	return controller(http.StatusBadRequest, "Data Missing", fmt.Sprintf("Could not %s records: Records missing for %s", doing, gerund[doing]))
}

var gerund = map[string]string{"delete": "deleting", "update": "updating", "link": "linking"}

func forbidden(cause string) *apiError {
	return controller(http.StatusForbidden, "Forbidden", "Access Denied - "+cause)
}

var errCouldNotInsert = controller(http.StatusBadRequest, "Bad Request", "Could not insert data - Duplicate data")

// items are the elements of a request body that must be an array. objectAt reads each when its turn comes, so that not
// all are in memory as objects.
func (q *request) items(w *recorder) ([]string, error) {
	text, err := q.body(w)
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
	if err := q.hold(dataFactor*int64(len(text)) + recordHold*int64(len(list))); err != nil {
		return nil, err
	}
	return list, nil
}

// elements are those of an array in canonical text.
func elements(array string) (list []string, err error) {
	for element := range jsonb.Elements(array) {
		if len(list) == maxRecords {
			return nil, errTooMany
		}
		list = append(list, element)
	}
	return list, nil
}

func itemPath(path string, i int) string { return fmt.Sprintf("%s[%d]", path, i) }

// endpointData reads, in a canonical document, what is common to all records of a body: where, and what.
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
	return e, hat.DataFromStoredText(raw), nil // a piece of canonical text is canonical
}

// draft reads one record to store. sourceTimestamp, sourceUniqueId and recordId are accepted and ignored; of links
// one level counts.
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
func (s *server) postBatch(w *recorder, q *request) error {
	list, err := q.items(w)
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
		if total += 1 + len(drafts[i].Links); total > maxRecords {
			return errTooMany
		}
		if links := len(drafts[i].Links); links > 0 {
			if err := q.memory.Grow(q.Context(), recordHold*int64(links)); err != nil {
				return err
			}
		}
	}
	stored, err := q.vault.Append(q.Context(), q.caller, drafts, false)
	switch {
	case errors.Is(err, access.ErrDenied):
		return forbidden("No rights to insert some or all of the data in the batch")
	case errors.Is(err, vault.ErrDuplicate):
		return errCouldNotInsert
	case err != nil:
		return err
	}
	if len(stored) > 0 {
		s.wake(q)
	}
	writeBytes(w, http.StatusCreated, appendRecords(nil, stored, true))
	return nil
}

// putData: PUT /data. What a record says is replaced; where it is stays, and so a body that claims another place
// is refused.
func (s *server) putData(w *recorder, q *request) error {
	list, err := q.items(w)
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
	stored, err := q.vault.Update(q.Context(), q.caller, changes)
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
		s.wake(q)
	}
	writeBytes(w, http.StatusCreated, appendRecords(nil, stored, false))
	return nil
}

// deleteRecords: DELETE /data?records=….
func (s *server) deleteRecords(w *recorder, q *request) error {
	values, err := q.query()
	if err != nil {
		return err
	}
	ids, err := recordsParam(values)
	if err != nil {
		return err
	}
	err = q.vault.Erase(q.Context(), q.caller, ids)
	switch {
	case errors.Is(err, vault.ErrNotFound):
		return recordsMissing("delete")
	case errors.Is(err, access.ErrDenied):
		return forbidden("Permissions to modify records in some of the namespaces missing")
	case err != nil:
		return err
	}
	s.wake(q) // work may have waited for room
	writeJSON(w, http.StatusOK, message("All records deleted"))
	return nil
}

// deleteEndpoint: DELETE /data/{namespace}/{endpoint}.
func (s *server) deleteEndpoint(w *recorder, q *request) error {
	e, err := q.endpoint()
	if err != nil {
		return err
	}
	if err := q.vault.EraseEndpoint(q.Context(), q.caller, e); err != nil {
		return err
	}
	s.wake(q) // work may have waited for room
	writeJSON(w, http.StatusOK, message("All records deleted"))
	return nil
}

// linkRecords: POST /data-link?records=….
func (s *server) linkRecords(w *recorder, q *request) error {
	values, err := q.query()
	if err != nil {
		return err
	}
	ids, err := recordsParam(values)
	if err != nil {
		return err
	}
	if len(ids) < 2 {
		return controller(http.StatusBadRequest, "Data Missing", "Could not link records: At least two different records are needed")
	}
	err = q.vault.Link(q.Context(), q.caller, ids)
	if errors.Is(err, vault.ErrNotFound) {
		return recordsMissing("link")
	} else if err != nil {
		return err
	}
	writeJSON(w, http.StatusCreated, message("Grouping registered"))
	return nil
}

// endpointsHold is a page of endpoints, each of at most 512 bytes, and the row it was read from.
const endpointsHold = vault.EndpointsPage * 2 * 512

// sources: GET /data/sources. The endpoints of a namespace follow each other.
func (s *server) sources(w *recorder, q *request) error {
	if err := q.grow(endpointsHold); err != nil {
		return err
	}
	out := q.spool(w)
	out.text("{")
	namespace := ""
	err := q.vault.EachEndpoint(q.Context(), q.caller, func(e hat.Endpoint) error {
		if ns := e.Namespace().String(); ns != namespace {
			if err := out.hold(len(ns) + 8); err != nil {
				return err
			}
			if namespace != "" {
				out.text("],")
			}
			out.name(ns)
			out.begin()
			namespace = ns
		}
		return out.element(e.Path(), 2*len(e.Path())+8)
	})
	if err != nil {
		return err
	}
	if namespace != "" {
		out.text("]")
	}
	out.text("}")
	return out.end()
}

// getRecord: GET /data-record/{record}.
func (s *server) getRecord(w *recorder, q *request) error {
	id, err := hat.ParseRecordID(q.params["record"])
	if err != nil {
		return cannotParse("recordId", "UUID", "Invalid UUID string: "+clip(q.params["record"]))
	}
	r, err := q.vault.Record(q.Context(), q.caller, id)
	if errors.Is(err, vault.ErrNotFound) {
		return controller(http.StatusBadRequest, "Data Missing",
			"Could not find unique record: No single record found for provided ID")
	} else if err != nil {
		return err
	}
	writeBytes(w, http.StatusOK, appendRecord(nil, &r, false))
	return nil
}

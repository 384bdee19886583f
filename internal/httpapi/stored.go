package httpapi

import (
	"errors"
	"fmt"
	"net/http"

	"she/internal/bundle"
	"she/internal/hat"
	"she/internal/vault"
)

// put stores one document by itself.
func (q *request) put(k vault.DocumentKind, id string, body []byte) error {
	return q.vault.EditDocuments(q.Context(), q.caller, func(e vault.Edit) error { return e.Put(k, id, body) })
}

// postCombinator: POST /combinator/{combinator}.
func (s *server) postCombinator(w *recorder, q *request) error {
	id := q.params["combinator"]
	text, err := q.body(w)
	if err != nil {
		return err
	}
	queries, err := bundle.ParseCombinator(text)
	if err != nil {
		return err
	}
	if err := q.put(vault.Combinators, id, bundle.MarshalCombinator(queries)); err != nil {
		return err
	}
	writeJSON(w, http.StatusCreated, message(fmt.Sprintf("Combinator %s registered", id)))
	return nil
}

// getCombinator: GET /combinator/{combinator}?orderBy&ordering&skip&take.
func (s *server) getCombinator(w *recorder, q *request) error {
	id := q.params["combinator"]
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
	d, err := q.vault.Document(q.Context(), q.caller, vault.Combinators, id)
	if errors.Is(err, vault.ErrNotFound) {
		return controller(http.StatusNotFound, "Combinator Not Found", fmt.Sprintf("Combinator %s not found", id))
	} else if err != nil {
		return err
	}
	if property.Endpoints, err = bundle.ParseCombinator(d.Body); err != nil {
		return errors.New("a stored combinator can't be read")
	}
	return q.answerList(w, property, bundle.Within{Page: page})
}

// ask begins a question, which takes its turns with those of other HATs.
func (q *request) ask(properties map[string]bundle.PropertyQuery) *bundle.Question {
	return bundle.Ask(properties, q.turns)
}

// answerList evaluates a property and sends its rows as an array.
func (q *request) answerList(w *recorder, property bundle.PropertyQuery, within bundle.Within) error {
	out := q.spool(w)
	within.Grow = q.grow
	err := q.vault.Read(q.Context(), q.caller, func(src bundle.Source, _ hat.Seq) error {
		return out.list(func(yield func(bundle.Row) error) error {
			_, err := q.ask(map[string]bundle.PropertyQuery{"": property}).Evaluate(q.Context(), "", src, within, yield)
			return err
		})
	})
	if err != nil {
		return err
	}
	return out.end()
}

// grow is bundle.Within.Grow.
func (q *request) grow(bytes int64) error { return q.memory.Grow(q.Context(), bytes) }

// properties writes the answers of a question as an object of arrays.
func (q *request) properties(out *spool, all *bundle.Question, src bundle.Source) error {
	out.text("{")
	for i, name := range all.Names() {
		if i > 0 {
			out.text(",")
		}
		out.name(name)
		err := out.list(func(yield func(bundle.Row) error) error {
			_, err := all.Evaluate(q.Context(), name, src, bundle.Within{Grow: q.grow}, yield)
			return err
		})
		if err != nil {
			return err
		}
	}
	out.text("}")
	return nil
}

// postBundle: POST /data-bundle/{bundle}. The body is the inner map, not {name,bundle}.
func (s *server) postBundle(w *recorder, q *request) error {
	id := q.params["bundle"]
	text, err := q.body(w)
	if err != nil {
		return err
	}
	properties, err := bundle.ParseProperties(text)
	if err != nil {
		return err
	}
	if err := q.put(vault.Bundles, id, bundle.MarshalProperties(properties)); err != nil {
		return err
	}
	writeJSON(w, http.StatusCreated, message(fmt.Sprintf("Bundle %s registered", id)))
	return nil
}

func (q *request) storedBundle() (bundle.Bundle, error) {
	id := q.params["bundle"]
	d, err := q.vault.Document(q.Context(), q.caller, vault.Bundles, id)
	if errors.Is(err, vault.ErrNotFound) {
		return bundle.Bundle{}, controller(http.StatusNotFound, "Bundle Not Found", fmt.Sprintf("Bundle %s not found", id))
	} else if err != nil {
		return bundle.Bundle{}, err
	}
	properties, err := bundle.ParseProperties(d.Body)
	if err != nil {
		return bundle.Bundle{}, errors.New("a stored bundle can't be read")
	}
	return bundle.Bundle{Name: id, Properties: properties}, nil
}

// getBundle: GET /data-bundle/{bundle}.
func (s *server) getBundle(w *recorder, q *request) error {
	b, err := q.storedBundle()
	if err != nil {
		return err
	}
	out := q.spool(w)
	err = q.vault.Read(q.Context(), q.caller, func(src bundle.Source, _ hat.Seq) error {
		return q.properties(out, q.ask(b.Properties), src)
	})
	if err != nil {
		return err
	}
	return out.end()
}

// getBundleStructure: GET /data-bundle/{bundle}/structure.
func (s *server) getBundleStructure(w *recorder, q *request) error {
	b, err := q.storedBundle()
	if err != nil {
		return err
	}
	body, err := b.MarshalJSON()
	if err != nil {
		return err
	}
	writeBytes(w, http.StatusOK, body)
	return nil
}

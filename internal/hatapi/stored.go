package hatapi

import (
	"errors"
	"fmt"
	"net/http"

	"she/internal/bundle"
	"she/internal/edge"
	"she/internal/hat"
	"she/internal/vault"
)

// put stores one document in its own transaction.
func put(q *edge.Request, k vault.DocumentKind, id string, body []byte) error {
	return documentsOf(q).EditDocuments(q.Context(), q.Caller, func(e vault.Edit) error { return e.Put(k, id, body) })
}

// postCombinator: POST /combinator/{combinator}.
func (s *API) postCombinator(w *edge.Recorder, q *edge.Request) error {
	id := q.Params["combinator"]
	text, err := q.JSON(w)
	if err != nil {
		return err
	}
	queries, err := bundle.ParseCombinator(text)
	if err != nil {
		return err
	}
	if err := put(q, vault.Combinators, id, bundle.MarshalCombinator(queries)); err != nil {
		return err
	}
	edge.WriteJSON(w, http.StatusCreated, edge.Message(fmt.Sprintf("Combinator %s registered", id)))
	return nil
}

// getCombinator: GET /combinator/{combinator}?orderBy&ordering&skip&take.
func (s *API) getCombinator(w *edge.Recorder, q *edge.Request) error {
	id := q.Params["combinator"]
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
	d, err := documentsOf(q).Document(q.Context(), q.Caller, vault.Combinators, id)
	if errors.Is(err, vault.ErrNotFound) {
		return controller(http.StatusNotFound, "Combinator Not Found", fmt.Sprintf("Combinator %s not found", id))
	} else if err != nil {
		return err
	}
	if property.Endpoints, err = bundle.ParseCombinator(d.Body); err != nil {
		return errors.New("a stored combinator can't be read")
	}
	return answerList(q, w, property, bundle.Within{Page: page})
}

// answerList evaluates a property and sends its rows as an array.
func answerList(q *edge.Request, w *edge.Recorder, property bundle.PropertyQuery, within bundle.Within) error {
	out := q.Spool(w)
	within.Grow = q.Grow
	err := reading(q).Read(q.Context(), q.Caller, func(src bundle.Source, _ hat.Seq) error {
		return out.List(func(yield func(bundle.Row) error) error {
			_, err := q.Ask(map[string]bundle.PropertyQuery{"": property}).Evaluate(q.Context(), "", src, within, yield)
			return err
		})
	})
	if err != nil {
		return err
	}
	return out.End()
}

// properties writes the answers to a question as an object of arrays.
func properties(q *edge.Request, out *edge.Spool, all *bundle.Question, src bundle.Source) error {
	out.Text("{")
	for i, name := range all.Names() {
		if i > 0 {
			out.Text(",")
		}
		out.Name(name)
		err := out.List(func(yield func(bundle.Row) error) error {
			_, err := all.Evaluate(q.Context(), name, src, bundle.Within{Grow: q.Grow}, yield)
			return err
		})
		if err != nil {
			return err
		}
	}
	out.Text("}")
	return nil
}

// postBundle: POST /data-bundle/{bundle}. The body is the inner object, not {name,bundle}.
func (s *API) postBundle(w *edge.Recorder, q *edge.Request) error {
	id := q.Params["bundle"]
	text, err := q.JSON(w)
	if err != nil {
		return err
	}
	properties, err := bundle.ParseProperties(text)
	if err != nil {
		return err
	}
	if err := put(q, vault.Bundles, id, bundle.MarshalProperties(properties)); err != nil {
		return err
	}
	edge.WriteJSON(w, http.StatusCreated, edge.Message(fmt.Sprintf("Bundle %s registered", id)))
	return nil
}

func storedBundle(q *edge.Request) (bundle.Bundle, error) {
	id := q.Params["bundle"]
	d, err := documentsOf(q).Document(q.Context(), q.Caller, vault.Bundles, id)
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
func (s *API) getBundle(w *edge.Recorder, q *edge.Request) error {
	b, err := storedBundle(q)
	if err != nil {
		return err
	}
	out := q.Spool(w)
	err = reading(q).Read(q.Context(), q.Caller, func(src bundle.Source, _ hat.Seq) error {
		return properties(q, out, q.Ask(b.Properties), src)
	})
	if err != nil {
		return err
	}
	return out.End()
}

// getBundleStructure: GET /data-bundle/{bundle}/structure.
func (s *API) getBundleStructure(w *edge.Recorder, q *edge.Request) error {
	b, err := storedBundle(q)
	if err != nil {
		return err
	}
	body, err := b.MarshalJSON()
	if err != nil {
		return err
	}
	edge.WriteBytes(w, http.StatusOK, body)
	return nil
}

package server

import (
	"fmt"
	"net/http"
	"time"

	"she/internal/accesskey"
	"she/internal/hat"
)

// NewKey is the request for an access key: for these functions, by id, or for all.
type NewKey struct {
	Functions []string `json:"functions"`
	All       bool     `json:"all"`
	Note      string   `json:"note"`
}

// AccessKey is a key as commands show it. Only the answer to its creation contains the secret.
type AccessKey struct {
	ID        string    `json:"id"`
	Secret    string    `json:"secret,omitempty"`
	Functions []string  `json:"functions,omitempty"` // none: all
	Note      string    `json:"note,omitempty"`
	Created   time.Time `json:"created"`
}

func viewKey(k accesskey.Key) AccessKey {
	v := AccessKey{ID: k.ID, Secret: k.Secret, Note: k.Note, Created: k.Created}
	for _, f := range k.Functions {
		v.Functions = append(v.Functions, f.String())
	}
	return v
}

func (n *node) listKeys(*http.Request) (any, error) {
	views := []AccessKey{}
	for _, k := range n.keys.List() {
		views = append(views, viewKey(k))
	}
	return views, nil
}

func (n *node) createKey(r *http.Request) (any, error) {
	req, err := requestOf[NewKey](r)
	if err != nil {
		return nil, err
	}
	if req.All == (len(req.Functions) > 0) {
		return nil, fmt.Errorf("an access key is for functions that are named, or for all")
	}
	var functions []hat.FunctionID
	for _, text := range req.Functions {
		id, err := hat.ParseFunctionID(text)
		if err != nil {
			return nil, err
		}
		functions = append(functions, id)
	}
	k, err := n.keys.Create(functions, req.Note, time.Now())
	if err != nil {
		return nil, err
	}
	return viewKey(k), nil
}

func (n *node) deleteKey(r *http.Request) (any, error) {
	id := r.PathValue("id")
	if err := n.keys.Delete(id); err != nil {
		return nil, fmt.Errorf("%w; see she access-key list", err)
	}
	return AccessKey{ID: id}, nil
}

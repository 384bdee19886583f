package httpapi

import (
	"she/internal/access"
)

// An Application is one entry of the catalogue.
type Application struct {
	ID string
}

func (s *server) applicationCaller(q *request) (access.Caller, error) {
	return access.Caller{}, nil
}

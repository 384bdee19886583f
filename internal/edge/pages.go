package edge

import (
	"maps"
	"net/url"
	"strconv"
)

// TotalHeader says how many elements a list has on all its pages together.
const TotalHeader = "X-Total-Count"

// Cut says in the headers how many elements there are in all and, if more follow, where the next page is (RFC 8288): the same
// request with the parameter in place of its former value.
func (q *Request) Cut(w *Recorder, total int, values url.Values, parameter, next string) {
	h := w.Header()
	h.Set(TotalHeader, strconv.Itoa(total))
	expose(h, "Link", TotalHeader)
	if next == "" {
		return
	}
	other := maps.Clone(values)
	if other == nil {
		other = url.Values{}
	}
	other.Set(parameter, next)
	h.Set("Link", "<"+q.URL.EscapedPath()+"?"+other.Encode()+`>; rel="next"`)
}

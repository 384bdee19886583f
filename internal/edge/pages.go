package edge

import (
	"maps"
	"net/url"
	"strconv"
)

// TotalHeader carries the number of elements on all pages of a list together.
const TotalHeader = "X-Total-Count"

// Cut writes the total number of elements to a header. If more elements follow, it adds a link to the next
// page (RFC 8288): the same request with next as the value of parameter.
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

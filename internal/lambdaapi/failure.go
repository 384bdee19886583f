package lambdaapi

import (
	"encoding/json"
	"net/http"
)

// A failure is an error in the form that AWS's clients read. Its type decides whether they try again.
type failure struct {
	status  int
	kind    string // "ResourceNotFoundException"
	message string
	reason  string // of a TooManyRequestsException
	after   string // seconds until another try; "": not sent
}

func fail(status int, kind, message string) *failure {
	return &failure{status: status, kind: kind, message: message}
}

func (f *failure) Error() string { return f.kind + ": " + f.message }

func (f *failure) write(w http.ResponseWriter) {
	body := map[string]string{"message": f.message, "Message": f.message, "Type": "User"}
	if f.status >= http.StatusInternalServerError {
		body["Type"] = "Service"
	}
	if f.reason != "" {
		body["Reason"] = f.reason
	}
	text, _ := json.Marshal(body) // a struct of strings always encodes
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("X-Amzn-Errortype", f.kind)
	if f.after != "" {
		h.Set("Retry-After", f.after)
	}
	w.WriteHeader(f.status)
	_, _ = w.Write(text) // a client may have gone away
}

func throttled(reason, message string) *failure {
	return &failure{status: http.StatusTooManyRequests, kind: "TooManyRequestsException", message: message, reason: reason, after: "1"}
}

func notFound(arn string) *failure {
	return fail(http.StatusNotFound, "ResourceNotFoundException", "Function not found: "+arn)
}

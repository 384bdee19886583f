package lambdaapi

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"she/internal/accesskey"
)

// No header content causes a panic or is accepted without the secret.
func FuzzSignature(f *testing.F) {
	f.Add("AWS4-HMAC-SHA256 Credential=K/20260304/local/lambda/aws4_request, SignedHeaders=host;x-amz-date, Signature="+strings.Repeat("ab", 32), "20260304T090000Z", "/2015-03-31/functions/a/invocations", "Qualifier=1", "{}")
	f.Add("AWS4-HMAC-SHA256", "", "//", "%", "")
	f.Fuzz(func(t *testing.T, authorization, date, path, query, body string) {
		r := httptest.NewRequest(http.MethodPost, "http://127.0.0.1/", strings.NewReader(body))
		r.URL.Path, r.URL.RawQuery = path, query
		r.Header["Authorization"], r.Header["X-Amz-Date"] = []string{authorization}, []string{date}
		s, wrong := parseSignature(r, time.Date(2026, 3, 4, 9, 0, 0, 0, time.UTC))
		if wrong == nil && s.check(r, []byte(body), accesskey.Key{ID: s.keyID, Secret: "a secret that the fuzzer does not know"}) == nil {
			t.Fatalf("let in: %q", authorization)
		}
	})
}

func FuzzFunctionNames(f *testing.F) {
	f.Add("arn:aws:lambda:eu-west-1:000000000000:function:f:$LATEST", "")
	f.Add("f", "$LATEST")
	f.Fuzz(func(t *testing.T, name, beside string) {
		got, wrong := parseName(name, beside)
		if wrong == nil && (got == "" || strings.ContainsAny(got, ":/ \x00") || len(got) > maxName) {
			t.Fatalf("%q %q is the name %q", name, beside, got)
		}
	})
}

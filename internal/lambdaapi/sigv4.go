package lambdaapi

import (
	"cmp"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"she/internal/accesskey"
)

// Signature Version 4 of AWS, as described in "Create a signed AWS API request" in the IAM user guide. The
// client signs the digest of the request in a canonical form, together with time and scope. The signing key
// is derived from the secret for day, region and service.

const (
	algorithm = "AWS4-HMAC-SHA256"
	service   = "lambda"
	timeForm  = "20060102T150405Z"
	// clockSlack is the tolerated difference of a client's clock, as at AWS.
	clockSlack = 15 * time.Minute
	// Bounds on the header, which strangers can write.
	maxAuthorization = 4 << 10
	maxSigned        = 64 // headers
)

// A signature is the content of a request's Authorization header.
type signature struct {
	keyID, date, region string
	headers             []string // names of the signed headers, in order
	signed              []byte
	at                  time.Time
}

// scope returns the scope of the derived key.
func (s signature) scope() string { return s.date + "/" + s.region + "/" + service + "/aws4_request" }

// parseSignature reads the signature. It reads only headers.
func parseSignature(r *http.Request, now time.Time) (s signature, _ *failure) {
	text := r.Header.Get("Authorization")
	if text == "" {
		return s, fail(http.StatusForbidden, "MissingAuthenticationTokenException", "Missing Authentication Token")
	}
	incomplete := func(format string, args ...any) (signature, *failure) {
		return s, fail(http.StatusForbidden, "IncompleteSignatureException", fmt.Sprintf(format, args...))
	}
	rest, ok := strings.CutPrefix(text, algorithm)
	if !ok || len(text) > maxAuthorization {
		return incomplete("Authorization header requires %s with Credential, SignedHeaders and Signature", algorithm)
	}
	parts := map[string]string{}
	for part := range strings.SplitSeq(rest, ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(part), "=")
		parts[name] = value
	}
	scope := strings.Split(parts["Credential"], "/")
	if len(scope) != 5 || scope[4] != "aws4_request" {
		return incomplete("Authorization header requires 'Credential' as KEY/DATE/REGION/%s/aws4_request", service)
	}
	if scope[3] != service {
		return s, fail(http.StatusForbidden, "InvalidSignatureException", "Credential should be scoped to correct service: 'lambda'.")
	}
	s.keyID, s.date, s.region = scope[0], scope[1], scope[2]
	s.headers = strings.Split(parts["SignedHeaders"], ";")
	if len(s.headers) > maxSigned || !slices.IsSorted(s.headers) {
		return incomplete("SignedHeaders must be sorted, and at most %d", maxSigned)
	}
	if !slices.Contains(s.headers, "host") {
		return incomplete("'Host' must be a 'SignedHeader' in the AWS Authorization.")
	}
	var err error
	if s.signed, err = hex.DecodeString(parts["Signature"]); err != nil || len(s.signed) != sha256.Size {
		return incomplete("Authorization header requires 'Signature' parameter: 64 hexadecimal digits.")
	}
	stamp, signedAs := r.Header.Get("X-Amz-Date"), "x-amz-date"
	if s.at, err = time.Parse(timeForm, stamp); err != nil {
		if s.at, err = http.ParseTime(r.Header.Get("Date")); err != nil {
			return incomplete("Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header.")
		}
		signedAs = "date"
	}
	s.at = s.at.UTC()
	if !slices.Contains(s.headers, signedAs) || s.at.Format("20060102") != s.date {
		return s, fail(http.StatusForbidden, "InvalidSignatureException", "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP")
	}
	now = now.UTC()
	switch {
	case s.at.Before(now.Add(-clockSlack)):
		return s, fail(http.StatusForbidden, "InvalidSignatureException",
			fmt.Sprintf("Signature expired: %s is now earlier than %s (%s - 15 min.)", s.at.Format(timeForm), now.Add(-clockSlack).Format(timeForm), now.Format(timeForm)))
	case s.at.After(now.Add(clockSlack)):
		return s, fail(http.StatusForbidden, "InvalidSignatureException",
			fmt.Sprintf("Signature not yet current: %s is still later than %s (%s + 15 min.)", s.at.Format(timeForm), now.Add(clockSlack).Format(timeForm), now.Format(timeForm)))
	}
	return s, nil
}

// check verifies that the key signed this request with this body.
func (s signature) check(r *http.Request, body []byte, key accesskey.Key) *failure {
	for _, name := range []string{"X-Amz-Invocation-Type", "X-Amz-Log-Type"} { // these change the meaning of a request
		if r.Header.Get(name) != "" && !slices.Contains(s.headers, strings.ToLower(name)) {
			return fail(http.StatusForbidden, "InvalidSignatureException", "The header "+name+" is not among the SignedHeaders")
		}
	}
	digest := sha256.Sum256(body)
	payload := hex.EncodeToString(digest[:])
	if said := r.Header.Get("X-Amz-Content-Sha256"); said != "" && said != payload {
		return fail(http.StatusForbidden, "InvalidSignatureException", "The value of X-Amz-Content-Sha256 is not the digest of the body")
	}
	canonical := sha256.Sum256([]byte(canonicalRequest(r, s.headers, payload)))
	toSign := algorithm + "\n" + s.at.Format(timeForm) + "\n" + s.scope() + "\n" + hex.EncodeToString(canonical[:])
	derived := mac([]byte("AWS4"+key.Secret), s.date)
	for _, part := range []string{s.region, service, "aws4_request"} {
		derived = mac(derived, part)
	}
	if !hmac.Equal(mac(derived, toSign), s.signed) {
		return fail(http.StatusForbidden, "InvalidSignatureException",
			"The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key and signing method. Consult the service documentation for details.")
	}
	return nil
}

func mac(key []byte, text string) []byte {
	m := hmac.New(sha256.New, key)
	m.Write([]byte(text))
	return m.Sum(nil)
}

// canonicalRequest returns the method, path, query, headers and digest of the body, in the form that client
// and server both compute.
func canonicalRequest(r *http.Request, signed []string, payload string) string {
	var b strings.Builder
	b.WriteString(r.Method + "\n" + canonicalPath(r.URL) + "\n" + canonicalQuery(r.URL.RawQuery) + "\n")
	for _, name := range signed {
		b.WriteString(name + ":")
		if name == "host" {
			b.WriteString(r.Host)
		} else {
			values := r.Header.Values(name)
			if name == "content-length" && len(values) == 0 && r.ContentLength >= 0 {
				values = []string{fmt.Sprint(r.ContentLength)} // net/http removes it from the headers
			}
			for i, value := range values {
				if i > 0 {
					b.WriteByte(',')
				}
				b.WriteString(strings.Join(strings.Fields(value), " "))
			}
		}
		b.WriteByte('\n')
	}
	b.WriteString("\n" + strings.Join(signed, ";") + "\n" + payload)
	return b.String()
}

// canonicalPath escapes the path, which is already escaped, a second time. AWS does this for every service
// but S3.
func canonicalPath(u *url.URL) string {
	path := u.EscapedPath()
	if path == "" {
		path = "/"
	}
	return escape(path, true)
}

// canonicalQuery returns the parameters sorted by name and value, each escaped.
func canonicalQuery(raw string) string {
	if raw == "" {
		return ""
	}
	var pairs [][2]string
	for part := range strings.SplitSeq(raw, "&") {
		name, value, _ := strings.Cut(part, "=")
		n, errN := url.PathUnescape(name)
		v, errV := url.PathUnescape(value)
		if errN != nil || errV != nil {
			n, v = name, value // no client signs this
		}
		pairs = append(pairs, [2]string{escape(n, false), escape(v, false)})
	}
	slices.SortFunc(pairs, func(a, b [2]string) int { return cmp.Or(strings.Compare(a[0], b[0]), strings.Compare(a[1], b[1])) })
	var b strings.Builder
	for i, pair := range pairs {
		if i > 0 {
			b.WriteByte('&')
		}
		b.WriteString(pair[0] + "=" + pair[1])
	}
	return b.String()
}

// escape leaves letters, digits and -._~ unchanged, and slashes too if slashes is true.
func escape(text string, slashes bool) string {
	var b strings.Builder
	for i := range len(text) {
		c := text[i]
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', strings.IndexByte("-._~", c) >= 0, c == '/' && slashes:
			b.WriteByte(c)
		default:
			fmt.Fprintf(&b, "%%%02X", c)
		}
	}
	return b.String()
}

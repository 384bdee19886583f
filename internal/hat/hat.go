// Package hat holds the words of the project: the types of a HAT, an Endpoint, a Record, a Run, and what
// makes each of them valid. It knows nothing of storage, networks or sandboxes. Of the other packages it
// imports only jsonb, which decides when two JSON texts are one value.
//
// Values that cross a trust boundary come only from a parser: Name, Domain, Namespace, Endpoint, FunctionID
// and Version are comparable, and their zero value is invalid and prints as such. Values that the server
// creates itself (ID, Seq, RecordID, RunID) are defined types.
package hat

import (
	"crypto/rand"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"github.com/google/uuid"
)

// An ID names a HAT for good, and the file of its vault. It is random letters, which say nothing about the person.
type ID string

// NewID creates one.
func NewID() ID { return ID(strings.ToLower(rand.Text())) }

// A Domain is the host name of a HAT, with its port unless that is the default: "alice.localhost:7777". It is
// lower case. ":80" and ":443" are dropped because clients leave them out.
type Domain struct{ s string }

// ParseDomain reads a Host header or a configured domain, in any case.
func ParseDomain(s string) (Domain, error) {
	host, port := strings.ToLower(s), ""
	if i := strings.LastIndexByte(host, ':'); i >= 0 {
		host, port = host[:i], host[i+1:]
		if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 || port[0] == '0' {
			return Domain{}, fmt.Errorf("domain %.80q: the part after the colon is not a port", s)
		}
	}
	if len(host) > 253 || !isHost(host) {
		return Domain{}, fmt.Errorf("domain %.80q: want a host name such as alice.localhost:7777", s)
	}
	if port != "" && port != "80" && port != "443" {
		return Domain{host + ":" + port}, nil
	}
	return Domain{host}, nil
}

// isHost reports whether host is labels of lower-case letters, digits and inner hyphens, separated by dots.
// It runs for every request, where a regular expression would cost too much. So does isSegment.
func isHost(host string) bool {
	return allOf(host, ".", func(label string) bool {
		return isSegment(label) && label[0] != '-' && label[len(label)-1] != '-'
	})
}

// isSegment reports whether s is one or more lower-case letters, digits and hyphens.
func isSegment(s string) bool {
	for _, c := range []byte(s) {
		if !('a' <= c && c <= 'z' || '0' <= c && c <= '9' || c == '-') {
			return false
		}
	}
	return s != ""
}

func allOf(s, separator string, holds func(string) bool) bool {
	for part := range strings.SplitSeq(s, separator) {
		if !holds(part) {
			return false
		}
	}
	return true
}

// Name is the first label of the domain; the original calls it the HAT name.
func (d Domain) Name() Name {
	host, _, _ := strings.Cut(d.s, ":")
	label, _, _ := strings.Cut(host, ".")
	return Name{label}
}

func (d Domain) String() string { return orInvalid(d.s, "domain") }

// A Name is the first label of a HAT's domain, and the Owner's usual login.
type Name struct{ s string }

var labelPattern = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)

// ParseName reads a HAT name: one DNS label in lower case.
func ParseName(s string) (Name, error) {
	if !labelPattern.MatchString(s) {
		return Name{}, fmt.Errorf("HAT name %.80q: want lower-case letters, digits and hyphens, as in alice", s)
	}
	return Name{s}, nil
}

func (n Name) String() string { return orInvalid(n.s, "name") }

// A Namespace is the first segment of an Endpoint; rights are given for each namespace.
type Namespace struct{ s string }

// ParseNamespace reads a namespace: lower-case letters, digits and hyphens.
func ParseNamespace(s string) (Namespace, error) {
	if len(s) > maxEndpoint || !isSegment(s) {
		return Namespace{}, fmt.Errorf("namespace %.80q: %w", s, ErrEndpointInvalid)
	}
	return Namespace{s}, nil
}

func (n Namespace) String() string { return orInvalid(n.s, "namespace") }

// An Endpoint is the address of Records: a namespace and a path below it, "rumpel/locations/ios". It exists
// as soon as one Record has it.
type Endpoint struct{ s string }

// maxEndpoint bounds an endpoint in bytes. The original has no limit; real ones have less than 60.
const maxEndpoint = 512

// ErrEndpointInvalid is wrapped by ParseEndpoint. Its text is part of the HAT API.
var ErrEndpointInvalid = errors.New("Endpoint invalid") //nolint:staticcheck // wire text

// ParseEndpoint reads "namespace/path": lower-case letters, digits, hyphens, single slashes, none at the ends.
func ParseEndpoint(s string) (Endpoint, error) {
	if len(s) > maxEndpoint || !strings.Contains(s, "/") || !allOf(s, "/", isSegment) {
		return Endpoint{}, fmt.Errorf("endpoint %.80q: %w", s, ErrEndpointInvalid)
	}
	return Endpoint{s}, nil
}

// Namespace is the first segment.
func (e Endpoint) Namespace() Namespace {
	ns, _, _ := strings.Cut(e.s, "/")
	return Namespace{ns}
}

// Path is the part after the namespace, with its slashes.
func (e Endpoint) Path() string {
	_, path, _ := strings.Cut(e.s, "/")
	return path
}

func (e Endpoint) IsZero() bool   { return e.s == "" }
func (e Endpoint) String() string { return orInvalid(e.s, "endpoint") }

// MarshalText makes an Endpoint a JSON string.
func (e Endpoint) MarshalText() ([]byte, error) {
	if e.s == "" {
		return nil, errors.New("an empty endpoint can't be encoded")
	}
	return []byte(e.s), nil
}

// UnmarshalText parses, so that decoding foreign JSON can't make an invalid Endpoint.
func (e *Endpoint) UnmarshalText(b []byte) (err error) {
	*e, err = ParseEndpoint(string(b))
	return err
}

// A FunctionID names a Function in the registry and in routes: "sentiment-tracker".
type FunctionID struct{ s string }

var functionIDPattern = regexp.MustCompile(`^[0-9a-z]([0-9a-z-]{0,62}[0-9a-z])?$`)

// ParseFunctionID reads a function id: lower-case letters, digits, hyphens, at most 64 bytes.
func ParseFunctionID(s string) (FunctionID, error) {
	if !functionIDPattern.MatchString(s) {
		return FunctionID{}, fmt.Errorf("function id %.80q: want lower-case letters, digits and hyphens", s)
	}
	return FunctionID{s}, nil
}

func (f FunctionID) IsZero() bool   { return f.s == "" }
func (f FunctionID) String() string { return orInvalid(f.s, "function id") }

// MarshalText writes the id; the zero value, "no Function", is the empty text.
func (f FunctionID) MarshalText() ([]byte, error) { return []byte(f.s), nil }

// UnmarshalText reads what MarshalText writes.
func (f *FunctionID) UnmarshalText(b []byte) (err error) {
	if len(b) == 0 {
		*f = FunctionID{}
		return nil
	}
	*f, err = ParseFunctionID(string(b))
	return err
}

// A Version is a function's version, "a.b.c" in decimal numbers.
type Version struct{ s string }

var versionPattern = regexp.MustCompile(`^(0|[1-9][0-9]{0,8})\.(0|[1-9][0-9]{0,8})\.(0|[1-9][0-9]{0,8})$`)

// ParseVersion reads "a.b.c".
func ParseVersion(s string) (Version, error) {
	if !versionPattern.MatchString(s) {
		return Version{}, fmt.Errorf("version %.40q: want three numbers as in 1.0.0", s)
	}
	return Version{s}, nil
}

func (v Version) String() string               { return orInvalid(v.s, "version") }
func (v Version) MarshalText() ([]byte, error) { return []byte(v.s), nil }
func (v *Version) UnmarshalText(b []byte) (err error) {
	*v, err = ParseVersion(string(b))
	return err
}

// A Seq is a position in one HAT's record log: from 1, no gaps, in commit order. All cursors are positions;
// the clock orders nothing.
type Seq int64

// A RecordID is the random UUID of a Record. A RunID is the UUID (version 7, so that runs sort by age) of a Run.
// A UserID is the UUID of a person or service that can log in.
type (
	RecordID = id[recordKind]
	RunID    = id[runKind]
	UserID   = id[userKind]

	recordKind struct{}
	runKind    struct{}
	userKind   struct{}
)

type id[kind any] struct{ u uuid.UUID }

func NewRecordID() RecordID { return RecordID{uuid.New()} }
func NewUserID() UserID     { return UserID{uuid.New()} }
func NewRunID() RunID       { return RunID{uuid.Must(uuid.NewV7())} }

func ParseRecordID(s string) (RecordID, error) { return parseID[recordKind](s) }
func ParseRunID(s string) (RunID, error)       { return parseID[runKind](s) }
func ParseUserID(s string) (UserID, error)     { return parseID[userKind](s) }

// RecordIDFromBytes takes back the 16 bytes that Bytes gave to a store.
func RecordIDFromBytes(b []byte) (RecordID, error) {
	u, err := uuid.FromBytes(b)
	return RecordID{u}, err
}

func parseID[kind any](s string) (id[kind], error) {
	// uuid.Parse would also accept braces and "urn:uuid:".
	if len(s) != 36 {
		return id[kind]{}, fmt.Errorf("id %.40q is not a UUID", s)
	}
	u, err := uuid.Parse(s)
	if err != nil {
		return id[kind]{}, fmt.Errorf("id %.40q is not a UUID", s)
	}
	return id[kind]{u}, nil
}

func (i id[kind]) IsZero() bool                 { return i.u == uuid.Nil }
func (i id[kind]) String() string               { return i.u.String() }
func (i id[kind]) Bytes() []byte                { return i.u[:] }
func (i id[kind]) MarshalText() ([]byte, error) { return []byte(i.u.String()), nil }
func (i *id[kind]) UnmarshalText(b []byte) (err error) {
	*i, err = parseID[kind](string(b))
	return err
}

func orInvalid(s, what string) string {
	if s == "" {
		return "(invalid " + what + ")"
	}
	return s
}

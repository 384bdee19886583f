// Package debit holds the rules of data debits: bundles that the Owner agrees to share with a partner for a
// time. A Debit is a value, and every change returns another one, as of a given time. It does no I/O.
//
// A debit keeps the bundles it was proposed with. A bundle stored elsewhere under the same name changes
// nothing of what an accepted debit shares.
package debit

import (
	"encoding/json"
	"errors"
	"math/big"
	"slices"
	"time"

	"she/internal/bundle"
	"she/internal/hat"
)

// A Debit is one agreement and the history of its terms.
type Debit struct {
	Key     string
	Created time.Time
	Client  Client
	// Partner is the caller who proposed it first; "" in older debits that did not store it.
	Partner string
	// Permissions are all terms that were proposed, the oldest first. There is at least one.
	Permissions []Permissions
}

// Client describes the partner, as stated in the first proposal; it can't be changed later.
type Client struct {
	Name          string `json:"requestClientName"`
	URL           string `json:"requestClientUrl"`
	LogoURL       string `json:"requestClientLogoUrl"`
	CallbackURL   string `json:"requestClientCallbackUrl,omitempty"`
	ApplicationID string `json:"requestApplicationId,omitempty"`
	Description   string `json:"requestDescription,omitempty"`
}

// Permissions are one set of terms and the Owner's decision on it.
type Permissions struct {
	Created           time.Time
	Purpose           string
	Start             time.Time
	Period            hat.Period
	CancelAtPeriodEnd bool
	TermsURL          string
	Conditions        *bundle.Bundle // each property must have a record, else nothing is shared
	Bundle            bundle.Bundle
	Accepted          bool
	CanceledAt        time.Time // zero: not cancelled
	// AtOnce is true if a cancellation did not wait for the end of the period.
	AtOnce bool
}

// TimeFormat is how data debits write times for people and clients.
const TimeFormat = "2006-01-02T15:04:05-0700"

// Terms are what a person reads before agreeing.
type Terms struct {
	Purpose           string         `json:"purpose"`
	Start             string         `json:"start"`
	Period            int64          `json:"period"` // milliseconds
	CancelAtPeriodEnd bool           `json:"cancelAtPeriodEnd"`
	TermsURL          string         `json:"termsUrl"`
	Conditions        *bundle.Bundle `json:"conditions,omitempty"`
	Bundle            bundle.Bundle  `json:"bundle"`
	// Digest identifies all of these and the client. A call that agrees can name it.
	Digest hat.TermsDigest `json:"termsDigest,omitzero"`
}

// Terms writes one set of terms out for a person to read. The digest is made here too, so that people agree
// to exactly what they read.
func (d Debit) Terms(p Permissions) Terms {
	t := Terms{
		Purpose:           p.Purpose,
		Start:             p.Start.Format(TimeFormat),
		Period:            p.Period.After(p.Start).Sub(p.Start).Milliseconds(),
		CancelAtPeriodEnd: p.CancelAtPeriodEnd,
		TermsURL:          p.TermsURL,
		Conditions:        p.Conditions,
		Bundle:            p.Bundle,
	}
	client, err1 := json.Marshal(d.Client)
	words, err2 := json.Marshal(t)
	if err1 == nil && err2 == nil {
		// The texts round times to seconds and months to days, so the digest has the exact values too.
		t.Digest = hat.DigestTerms([]byte(d.Key), client, words, []byte(p.Start.Format(time.RFC3339Nano)), []byte(p.Period.String()))
	}
	return t
}

// Proposed returns the newest terms. changed is true if others were proposed before.
func (d Debit) Proposed() (newest hat.TermsDigest, changed bool) {
	newest = d.Terms(*d.Latest()).Digest
	return newest, slices.ContainsFunc(d.Permissions, func(p Permissions) bool { return d.Terms(p).Digest != newest })
}

// End returns when the terms end: at once if they were cancelled at once, at the end of the period in which
// they were cancelled, or after one period if they are not renewed. none means that they are renewed without
// end.
func (p Permissions) End() (end time.Time, none bool) {
	switch {
	case !p.CanceledAt.IsZero() && p.AtOnce:
		return p.CanceledAt, false
	case !p.CanceledAt.IsZero():
		return p.periodEnd(p.CanceledAt), false
	case p.CancelAtPeriodEnd:
		return p.Period.After(p.Start), false
	}
	return time.Time{}, true
}

// periodEnd returns the first end of a period at or after t. For a fixed length it divides; for calendar
// periods it steps.
func (p Permissions) periodEnd(t time.Time) time.Time {
	if t.Before(p.Start) || t.Equal(p.Start) {
		return p.Start
	}
	if length, fixed := fixedLength(p.Period); fixed {
		return roundedUp(p.Start, t, length)
	}
	end := p.Start
	for end.Before(t) {
		end = p.Period.After(end)
	}
	return end
}

// roundedUp returns the first time at or after t that is a whole number of lengths after start. It avoids a
// time.Duration, which holds 292 years, because terms may begin in the year 1.
func roundedUp(start, t time.Time, length time.Duration) time.Time {
	second := big.NewInt(int64(time.Second))
	span := new(big.Int).Mul(big.NewInt(t.Unix()-start.Unix()), second)
	span.Add(span, big.NewInt(int64(t.Nanosecond()-start.Nanosecond())))
	step := big.NewInt(int64(length))
	n, rest := new(big.Int).QuoRem(span, step, new(big.Int))
	if rest.Sign() > 0 {
		n.Add(n, big.NewInt(1))
	}
	seconds, nanoseconds := new(big.Int).QuoRem(n.Mul(n, step), second, new(big.Int))
	return time.Unix(start.Unix()+seconds.Int64(), int64(start.Nanosecond())+nanoseconds.Int64()).In(start.Location())
}

// fixedLength returns the length of the period, if it is the same in every month and year.
func fixedLength(p hat.Period) (time.Duration, bool) {
	january := time.Date(2001, 1, 1, 0, 0, 0, 0, time.UTC)
	february := time.Date(2004, 2, 1, 0, 0, 0, 0, time.UTC)
	march := time.Date(2005, 2, 1, 0, 0, 0, 0, time.UTC)
	length := p.After(january).Sub(january)
	return length, p.After(february).Sub(february) == length && p.After(march).Sub(march) == length
}

// Ended reports whether the terms are over at a time. Terms that were cancelled at once stay so when the
// clock is set back.
func (p Permissions) Ended(now time.Time) bool {
	end, none := p.End()
	return p.AtOnce && !p.CanceledAt.IsZero() || !none && !end.After(now)
}

// Active reports whether the terms are in force at a time.
func (p Permissions) Active(now time.Time) bool {
	return p.Accepted && !p.Start.After(now) && !p.Ended(now)
}

// Latest returns the newest terms, accepted or not.
func (d Debit) Latest() *Permissions { return &d.Permissions[len(d.Permissions)-1] }

// Active returns the newest terms that are in force at a time, or nil.
func (d Debit) Active(now time.Time) *Permissions {
	for i := range slices.Backward(d.Permissions) {
		if d.Permissions[i].Active(now) {
			return &d.Permissions[i]
		}
	}
	return nil
}

// Propose adds terms. Those in force stay so until the Owner accepts the new ones.
func (d Debit) Propose(p Permissions, now time.Time) Debit {
	p.Created, p.Accepted, p.CanceledAt, p.AtOnce = now, false, time.Time{}, false
	d.Permissions = append(slices.Clone(d.Permissions), p)
	return d
}

// Accept puts the newest terms in force and ends all others. It also accepts terms that had been cancelled.
func (d Debit) Accept() Debit {
	d.Permissions = slices.Clone(d.Permissions)
	for i := range d.Permissions {
		p := &d.Permissions[i]
		p.Accepted = i == len(d.Permissions)-1
		if p.Accepted {
			p.CanceledAt, p.AtOnce = time.Time{}, false
		}
	}
	return d
}

// consent returns the index of the terms that were accepted last and their cancellation; -1 if none were.
func (d Debit) consent() (accepted int, canceled time.Time, atOnce bool) {
	for i, p := range slices.Backward(d.Permissions) {
		if p.Accepted {
			return i, p.CanceledAt, p.AtOnce
		}
	}
	return -1, time.Time{}, false
}

// A Decision is the Owner's decision on a debit, in the words of a receipt.
type Decision struct {
	Outcome   string // "enabled", "disabled", or "disabled at the period's end"
	Terms     hat.TermsDigest
	Endpoints []hat.Endpoint
}

// Decided returns what the Owner decided between before and now, or nil if nothing. The zero Debit is one
// that did not exist.
func (d Debit) Decided(before Debit) *Decision {
	was, wasCanceled, wasAtOnce := before.consent()
	is, canceled, atOnce := d.consent()
	if is < 0 || is == was && canceled.Equal(wasCanceled) && atOnce == wasAtOnce {
		return nil
	}
	p := d.Permissions[is]
	decision := Decision{Outcome: "enabled", Terms: d.Terms(p).Digest, Endpoints: p.Endpoints()}
	switch {
	case canceled.IsZero():
	case atOnce:
		decision.Outcome = "disabled"
	default:
		decision.Outcome = "disabled at the period's end"
	}
	return &decision
}

// Cancel ends all terms that have not ended: now, or at the end of their period. Terms that have not begun
// end at once either way, so a debit that is withdrawn before its start never shares anything. Terms that
// were not accepted are cancelled too; the Owner may still accept them.
func (d Debit) Cancel(atPeriodEnd bool, now time.Time) Debit {
	d.Permissions = slices.Clone(d.Permissions)
	for i := range d.Permissions {
		if p := &d.Permissions[i]; !p.Ended(now) {
			p.CanceledAt, p.AtOnce = now, !atPeriodEnd
		}
	}
	return d
}

// BundleNames returns the names of all bundles of the debit, conditions included.
func (d Debit) BundleNames() []string {
	var names []string
	for _, p := range d.Permissions {
		names = append(names, p.BundleNames()...)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// BundleNames returns the names of the bundles of these terms.
func (p Permissions) BundleNames() []string {
	if p.Conditions == nil {
		return []string{p.Bundle.Name}
	}
	return []string{p.Bundle.Name, p.Conditions.Name}
}

// Endpoints returns all endpoints that these terms read, to share or for a condition.
func (p Permissions) Endpoints() []hat.Endpoint {
	all := p.Bundle.Endpoints()
	if p.Conditions != nil {
		all = append(all, p.Conditions.Endpoints()...)
	}
	return all
}

// stored is the form in which the vault stores a Debit.
type stored struct {
	Key         string              `json:"dataDebitKey"`
	Created     time.Time           `json:"dateCreated"`
	Client      Client              `json:"client"`
	Partner     string              `json:"partner,omitempty"`
	Permissions []storedPermissions `json:"permissions"`
}

type storedPermissions struct {
	Created           time.Time      `json:"dateCreated"`
	Purpose           string         `json:"purpose"`
	Start             time.Time      `json:"start"`
	Period            hat.Period     `json:"period"`
	CancelAtPeriodEnd bool           `json:"cancelAtPeriodEnd"`
	TermsURL          string         `json:"termsUrl"`
	Conditions        *bundle.Bundle `json:"conditions,omitempty"`
	Bundle            bundle.Bundle  `json:"bundle"`
	Accepted          bool           `json:"accepted"`
	CanceledAt        time.Time      `json:"canceledAt,omitzero"`
	AtOnce            bool           `json:"atOnce,omitempty"`
}

// Store returns the text to store.
func (d Debit) Store() ([]byte, error) {
	s := stored{Key: d.Key, Created: d.Created, Client: d.Client, Partner: d.Partner}
	for _, p := range d.Permissions {
		s.Permissions = append(s.Permissions, storedPermissions(p))
	}
	return json.Marshal(s)
}

// FromStore reads what Store wrote.
func FromStore(text []byte) (Debit, error) {
	var s stored
	if err := json.Unmarshal(text, &s); err != nil {
		return Debit{}, errors.New("a stored data debit can't be read")
	}
	if len(s.Permissions) == 0 {
		return Debit{}, errors.New("a stored data debit has no terms")
	}
	d := Debit{Key: s.Key, Created: s.Created, Client: s.Client, Partner: s.Partner}
	for _, p := range s.Permissions {
		d.Permissions = append(d.Permissions, Permissions(p))
	}
	return d, nil
}

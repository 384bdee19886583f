package hatapi

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"she/internal/access"
	"she/internal/agreement"
	"she/internal/bundle"
	"she/internal/debit"
	"she/internal/edge"
	"she/internal/hat"
	"she/internal/vault"
)

// debitTimes are the time formats that data debits accept: any ISO 8601 time with a zone.
var debitTimes = []string{debit.TimeFormat, time.RFC3339Nano, "2006-01-02T15:04:05.999999999-0700"}

// proposal reads the body of POST and PUT data-debit: who asks, and for what.
//
//	{"dataDebitKey":"dd-1","purpose":"why","start":"2024-01-01T00:00:00+0000","period":604800000,
//	 "cancelAtPeriodEnd":false,"requestClientName":"…","requestClientUrl":"…","requestClientLogoUrl":"…",
//	 "requestClientCallbackUrl":null,"requestApplicationId":null,"requestDescription":null,"termsUrl":"…",
//	 "conditions":{"name":"c","bundle":{}},"bundle":{"name":"b","bundle":{"p":{"endpoints":[…]}}}}
//
// The body must contain a key, but the key in the path is used.
func proposal(text []byte) (c debit.Client, p debit.Permissions, err error) {
	o, err := document(text)
	if err != nil {
		return c, p, err
	}
	var start, key string
	for _, field := range []struct {
		name     string
		into     *string
		required bool
	}{
		{"dataDebitKey", &key, true},
		{"purpose", &p.Purpose, true},
		{"start", &start, true},
		{"termsUrl", &p.TermsURL, true},
		{"requestClientName", &c.Name, true},
		{"requestClientUrl", &c.URL, true},
		{"requestClientLogoUrl", &c.LogoURL, true},
		{"requestClientCallbackUrl", &c.CallbackURL, false},
		{"requestApplicationId", &c.ApplicationID, false},
		{"requestDescription", &c.Description, false},
	} {
		read := o.optionalText
		if field.required {
			read = o.text
		}
		if *field.into, err = read(field.name); err != nil {
			return c, p, err
		}
	}
	if p.Start, err = readTime(start); err != nil {
		return c, p, o.wrongAt("start", "error.expected.date.isoformat")
	}
	period, err := o.required("period")
	if err != nil {
		return c, p, err
	}
	if err := p.Period.UnmarshalJSON([]byte(period)); err != nil {
		return c, p, o.wrongAt("period", "error.expected.period")
	}
	if p.CancelAtPeriodEnd, err = o.boolean("cancelAtPeriodEnd"); err != nil {
		return c, p, err
	}
	shared, err := o.required("bundle")
	if err != nil {
		return c, p, err
	}
	if p.Bundle, err = bundle.Parse([]byte(shared)); err != nil {
		return c, p, o.within("bundle", err)
	}
	if conditions, found := o.optional("conditions"); found {
		parsed, err := bundle.Parse([]byte(conditions))
		if err != nil {
			return c, p, o.within("conditions", err)
		}
		p.Conditions = &parsed
	}
	return c, p, nil
}

func readTime(text string) (time.Time, error) {
	for _, layout := range debitTimes {
		// A year with five digits could not be written in these formats.
		if t, err := time.Parse(layout, text); err == nil && t.UTC().Year() < 9000 {
			return t.UTC(), nil
		}
	}
	return time.Time{}, errors.New("no time")
}

// wireDebit and wirePermissions are a debit as clients read it.
type wireDebit struct {
	Key               string            `json:"dataDebitKey"`
	Created           string            `json:"dateCreated"`
	Permissions       []wirePermissions `json:"permissions"` // newest first
	Name              string            `json:"requestClientName"`
	URL               string            `json:"requestClientUrl"`
	LogoURL           string            `json:"requestClientLogoUrl"`
	ApplicationID     string            `json:"requestApplicationId,omitempty"`
	Description       string            `json:"requestDescription,omitempty"`
	Active            bool              `json:"active"`
	Accepted          bool              `json:"accepted"`
	Start             string            `json:"start"`
	End               *string           `json:"end"`
	PermissionsActive *wirePermissions  `json:"permissionsActive"`
	PermissionsLatest wirePermissions   `json:"permissionsLatest"`
}

type wirePermissions struct {
	debit.Terms
	Created    string  `json:"dateCreated"`
	CanceledAt string  `json:"canceledAt,omitempty"`
	Accepted   bool    `json:"accepted"`
	Active     bool    `json:"active"`
	End        *string `json:"end"`
}

func onWire(d debit.Debit, now time.Time) wireDebit {
	wire := wireDebit{
		Key: d.Key, Created: d.Created.Format(debit.TimeFormat),
		Name: d.Client.Name, URL: d.Client.URL, LogoURL: d.Client.LogoURL,
		ApplicationID: d.Client.ApplicationID, Description: d.Client.Description,
		PermissionsLatest: permissionsOnWire(d, *d.Latest(), now),
	}
	for _, p := range slices.Backward(d.Permissions) {
		wire.Permissions = append(wire.Permissions, permissionsOnWire(d, p, now))
	}
	inForce := wire.PermissionsLatest
	if p := d.Active(now); p != nil {
		inForce = permissionsOnWire(d, *p, now)
		wire.PermissionsActive = &inForce
	}
	wire.Active, wire.Accepted, wire.Start, wire.End = inForce.Active, inForce.Accepted, inForce.Start, inForce.End
	return wire
}

func permissionsOnWire(d debit.Debit, p debit.Permissions, now time.Time) wirePermissions {
	wire := wirePermissions{
		Terms: d.Terms(p), Created: p.Created.Format(debit.TimeFormat), Accepted: p.Accepted, Active: p.Active(now),
	}
	if !p.CanceledAt.IsZero() {
		wire.CanceledAt = p.CanceledAt.Format(debit.TimeFormat)
	}
	if end, none := p.End(); !none {
		text := end.Format(debit.TimeFormat)
		wire.End = &text
	}
	return wire
}

func malformed(cause string) *edge.Error {
	return controller(http.StatusBadRequest, "Bad Request", "Data Debit request malformed: "+cause)
}

var (
	errDebitExists  = malformed("Data Debit with such ID already exists")
	errBundleExists = malformed("Data bundle with such ID already exists")
	errDebitMissing = malformed("Data Debit being updated does not exist")
	errNoSuchDebit  = controller(http.StatusBadRequest, "Not Found", "Data Debit with this ID does not exist")
)

// DebitLimits bounds the debits that partners may propose. A list contains all debits of a HAT, and each
// debit is stored whole.
type DebitLimits struct {
	Debits, DebitsOfPartner int
	Bytes, BytesOfPartner   int64 // as stored, with all former terms
	BytesOfDebit            int
	Terms                   int // of one debit, with former terms
}

// defaultDebitLimits let a partner propose a debit for each of its services and change it for years.
var defaultDebitLimits = DebitLimits{
	Debits: 500, DebitsOfPartner: 100,
	Bytes: 32 << 20, BytesOfPartner: 4 << 20, BytesOfDebit: 256 << 10,
	Terms: 100,
}

// OrDefault replaces each bound that is 0 by its default.
func (l DebitLimits) OrDefault() DebitLimits {
	d := defaultDebitLimits
	return DebitLimits{
		Debits: cmp.Or(l.Debits, d.Debits), DebitsOfPartner: cmp.Or(l.DebitsOfPartner, d.DebitsOfPartner),
		Bytes: cmp.Or(l.Bytes, d.Bytes), BytesOfPartner: cmp.Or(l.BytesOfPartner, d.BytesOfPartner),
		BytesOfDebit: cmp.Or(l.BytesOfDebit, d.BytesOfDebit), Terms: cmp.Or(l.Terms, d.Terms),
	}
}

// partnerOf returns a name for the caller who proposes a debit. An application of the Owner has another name
// than the Owner.
func partnerOf(c access.Caller) string { return c.UserID().String() + "/" + c.ApplicationID() }

// roomFor returns an error if the proposal would exceed the limits. before is the debit as already stored.
func (l DebitLimits) roomFor(e vault.Edit, d debit.Debit, before []byte) error {
	if len(d.Permissions) > l.Terms {
		return malformed(fmt.Sprintf("Too many changes of one Data Debit: it may have %d terms", l.Terms))
	}
	body, err := d.Store()
	if err != nil {
		return err
	}
	if len(body) > l.BytesOfDebit {
		return malformed(fmt.Sprintf("Too large, with all its former terms: one Data Debit may have %d bytes", l.BytesOfDebit))
	}
	of, all, err := e.DebitUse(d.Partner)
	if err != nil {
		return err
	}
	more := int64(len(body) - len(before))
	known := d.Partner != "" // debits stored before partners were recorded belong to nobody
	switch {
	case before == nil && known && of.Debits >= l.DebitsOfPartner:
		return malformed(fmt.Sprintf("Too many Data Debits: one partner may propose %d", l.DebitsOfPartner))
	case before == nil && all.Debits >= l.Debits:
		return malformed(fmt.Sprintf("Too many Data Debits: a HAT may have %d", l.Debits))
	case known && of.Bytes+more > l.BytesOfPartner:
		return malformed(fmt.Sprintf("Too large, with all Data Debits of the partner: they may have %d bytes", l.BytesOfPartner))
	case all.Bytes+more > l.Bytes:
		return malformed(fmt.Sprintf("Too large, with all Data Debits of the HAT: they may have %d bytes", l.Bytes))
	}
	return nil
}

// takenBy returns one of the names that a bundle of another debit already has.
func takenBy(e vault.Edit, id string, names []string) (name string, taken bool, err error) {
	for _, name := range names {
		other, err := e.DebitWith(name)
		if err != nil {
			return "", false, err
		}
		if other != "" && other != id {
			return name, true, nil
		}
	}
	return "", false, nil
}

func storeDebit(e vault.Edit, d debit.Debit) error {
	body, err := d.Store()
	if err != nil {
		return err
	}
	return e.Put(vault.Debits, d.Key, body)
}

// postDebit: POST /data-debit/{debit}. The user who proposed the debit gets a role for it in the same
// transaction, and may use the debit immediately.
func (s *API) postDebit(w *edge.Recorder, q *edge.Request) error {
	id := q.Params["debit"]
	text, err := q.JSON(w)
	if err != nil {
		return err
	}
	client, terms, err := proposal(text)
	if err != nil {
		return err
	}
	d := debit.Debit{Key: id, Created: q.Now.UTC(), Client: client, Partner: partnerOf(q.Caller)}.Propose(terms, q.Now.UTC())
	if app, isOfApp := strings.CutPrefix(id, access.DebitOfApplication("")); isOfApp {
		if a, known := s.application(app); known && a.Asks != nil {
			return errDebitExists // only setup creates it, and it shares values with nobody else
		}
	}
	err = documentsOf(q).EditDocuments(q.Context(), q.Caller, func(e vault.Edit) error {
		if _, err := e.Find(vault.Debits, id); err == nil {
			return errDebitExists
		} else if !errors.Is(err, vault.ErrNotFound) {
			return err
		}
		if err := s.Debits.roomFor(e, d, nil); err != nil {
			return err
		}
		if _, taken, err := takenBy(e, id, terms.BundleNames()); err != nil {
			return err
		} else if taken {
			return errBundleExists
		}
		for _, name := range terms.BundleNames() {
			if _, err := e.Find(vault.Bundles, name); err == nil {
				return errBundleExists
			} else if !errors.Is(err, vault.ErrNotFound) {
				return err
			}
		}
		if !e.Caller().IsOwner() {
			role := access.Role{Title: access.TitleDataDebit, Detail: id}
			err := e.ChangeUser(q.User.ID, func(u *vault.User) error {
				if !slices.Contains(u.Roles, role) {
					u.Roles = append(u.Roles, role)
				}
				return nil
			})
			if err != nil {
				return err
			}
		}
		return storeDebit(e, d)
	})
	if err != nil {
		return err
	}
	edge.WriteJSON(w, http.StatusCreated, onWire(d, q.Now))
	s.didShowDebit(q, d)
	return nil
}

// changeDebit replaces a debit by the result of change. missing is the answer if the debit does not exist.
func changeDebit(q *edge.Request, missing *edge.Error, change func(vault.Edit, debit.Debit) (debit.Debit, error)) (changed debit.Debit, err error) {
	err = documentsOf(q).EditDocuments(q.Context(), q.Caller, func(e vault.Edit) error {
		document, err := e.Find(vault.Debits, q.Params["debit"])
		if errors.Is(err, vault.ErrNotFound) {
			return missing
		} else if err != nil {
			return err
		}
		d, err := debit.FromStore(document.Body)
		if err != nil {
			return err
		}
		if changed, err = change(e, d); err != nil {
			return err
		}
		return storeDebit(e, changed)
	})
	return changed, err
}

// putDebit: PUT /data-debit/{debit}. It proposes new terms. The accepted terms stay in force until the Owner
// accepts the new ones.
func (s *API) putDebit(w *edge.Recorder, q *edge.Request) error {
	text, err := q.JSON(w)
	if err != nil {
		return err
	}
	_, terms, err := proposal(text)
	if err != nil {
		return err
	}
	d, err := changeDebit(q, errDebitMissing, func(e vault.Edit, d debit.Debit) (debit.Debit, error) {
		if name, taken, err := takenBy(e, d.Key, terms.BundleNames()); err != nil {
			return d, err
		} else if taken {
			return d, malformed(fmt.Sprintf("Bundle %s already linked and could not be reassigned to a different data debit", name))
		}
		before, err := d.Store()
		if err != nil {
			return d, err
		}
		changed := d.Propose(terms, q.Now.UTC())
		return changed, s.Debits.roomFor(e, changed, before)
	})
	if err != nil {
		return err
	}
	edge.WriteJSON(w, http.StatusOK, onWire(d, q.Now))
	s.didShowDebit(q, d)
	return nil
}

// The JSON for clients can take storedFactor times the memory of the stored debit.
const storedFactor = 3

// listDebits: GET /data-debit. It encodes one debit after the other: beside the output buffer, only one debit
// is in memory.
func (s *API) listDebits(w *edge.Recorder, q *edge.Request) error {
	type terms struct {
		id      string
		newest  hat.TermsDigest
		changed bool
	}
	var listed []terms
	out := q.Spool(w)
	out.Begin()
	err := documentsOf(q).EachDocument(q.Context(), q.Caller, vault.Debits, func(document vault.Document) error {
		d, err := debit.FromStore(document.Body)
		if err != nil {
			return err
		}
		newest, changed := d.Proposed()
		listed = append(listed, terms{d.Key, newest, changed})
		return out.Element(onWire(d, q.Now), storedFactor*len(document.Body))
	})
	if err != nil {
		return err
	}
	if err := out.Finish(); err != nil {
		return err
	}
	for _, t := range listed {
		s.DidShow(q, agreement.Debit, t.id, t.newest, t.changed)
	}
	return nil
}

// debitOf returns the debit in the path. found is false if it does not exist.
func debitOf(q *edge.Request) (d debit.Debit, found bool, err error) {
	document, err := documentsOf(q).Document(q.Context(), q.Caller, vault.Debits, q.Params["debit"])
	if errors.Is(err, vault.ErrNotFound) {
		return d, false, nil
	} else if err != nil {
		return d, false, err
	}
	d, err = debit.FromStore(document.Body)
	return d, err == nil, err
}

func noDebit(id string) *edge.Error {
	return controller(http.StatusNotFound, "Not Found", fmt.Sprintf("Data Debit %s not found", id))
}

func notEnabledDebit(id string) *edge.Error {
	return controller(http.StatusBadRequest, "Bad Request", fmt.Sprintf("Data Debit %s not enabled", id))
}

// getDebit: GET /data-debit/{debit}.
func (s *API) getDebit(w *edge.Recorder, q *edge.Request) error {
	d, found, err := debitOf(q)
	if err != nil {
		return err
	}
	if !found {
		return noDebit(q.Params["debit"])
	}
	edge.WriteJSON(w, http.StatusOK, onWire(d, q.Now))
	s.didShowDebit(q, d)
	return nil
}

// enableDebit: GET /data-debit/{debit}/enable?terms=. One transaction compares the terms with those that the
// caller has seen or names, and accepts them.
func (s *API) enableDebit(w *edge.Recorder, q *edge.Request) error {
	named, err := q.Named()
	if err != nil {
		return err
	}
	d, err := changeDebit(q, errNoSuchDebit, func(_ vault.Edit, d debit.Debit) (debit.Debit, error) {
		terms, changed := d.Proposed()
		if err := s.Agrees(q, agreement.Debit, d.Key, named, terms, changed); err != nil {
			return d, err
		}
		return d.Accept(), nil
	})
	if err != nil {
		return err
	}
	edge.WriteJSON(w, http.StatusOK, onWire(d, q.Now))
	s.didShowDebit(q, d)
	return nil
}

// disableDebit: GET /data-debit/{debit}/disable?atPeriodEnd=bool.
func (s *API) disableDebit(w *edge.Recorder, q *edge.Request) error {
	values, err := q.Query()
	if err != nil {
		return err
	}
	atPeriodEnd, found, err := edge.BoolParam(values, "atPeriodEnd")
	if err != nil {
		return err
	}
	if !found {
		return edge.MissingParameter("atPeriodEnd")
	}
	d, err := changeDebit(q, errNoSuchDebit, func(_ vault.Edit, d debit.Debit) (debit.Debit, error) {
		return d.Cancel(atPeriodEnd, q.Now.UTC()), nil
	})
	if err != nil {
		return err
	}
	edge.WriteJSON(w, http.StatusOK, onWire(d, q.Now))
	s.didShowDebit(q, d)
	return nil
}

// debitValues: GET /data-debit/{debit}/values. It returns what the terms in force share, if every condition
// has a record. If the caller is not the Owner, a receipt is written before the data is sent.
func (s *API) debitValues(w *edge.Recorder, q *edge.Request) error {
	d, found, err := debitOf(q)
	if err != nil {
		return err
	}
	var terms *debit.Permissions
	if found {
		terms = d.Active(q.Now)
	}
	if !found {
		return noDebit(q.Params["debit"])
	}
	if terms == nil {
		return notEnabledDebit(d.Key)
	}
	q.Agreed = func(v edge.Vault, moved bool) error {
		now := s.Now()
		if !terms.Active(now) {
			return notEnabledDebit(d.Key)
		}
		if !moved {
			return nil
		}
		return v.(documents).EditDocuments(q.Context(), q.Caller, func(e vault.Edit) error {
			document, err := e.Find(vault.Debits, d.Key)
			if errors.Is(err, vault.ErrNotFound) {
				return noDebit(d.Key)
			} else if err != nil {
				return err
			}
			fresh, err := debit.FromStore(document.Body)
			if err != nil {
				return err
			}
			if other := fresh.Active(now); other == nil || fresh.Terms(*other).Digest != d.Terms(*terms).Digest {
				return notEnabledDebit(d.Key)
			}
			return nil
		})
	}
	reader := access.UnderDebit(q.Caller.UserID(), terms.Endpoints())
	out := q.Spool(w)
	if !q.Caller.IsOwner() || q.Caller.ApplicationID() != "" {
		out.Shown = &edge.Shown{Entry: func(records []hat.RecordID, endpoints []hat.Endpoint) error {
			err := disclosuresOf(q).Disclose(q.Context(), q.Caller, vault.Disclosure{
				Debit: d.Key, Terms: d.Terms(*terms).Digest, Records: records, Endpoints: endpoints,
			})
			if errors.Is(err, vault.ErrStale) {
				return notEnabledDebit(d.Key)
			}
			return err
		}}
	}
	err = reading(q).Read(q.Context(), reader, func(src bundle.Source, _ hat.Seq) error {
		shared := terms.Bundle.Properties
		out.Text("{")
		if terms.Conditions != nil {
			out.Text(`"conditions":{`)
			conditions := q.Ask(terms.Conditions.Properties)
			for i, name := range conditions.Names() {
				holds, err := anyRecord(q, conditions, name, src)
				if err != nil {
					return err
				}
				if !holds {
					shared = nil
				}
				if i > 0 {
					out.Text(",")
				}
				out.Name(name)
				out.Text(strconv.FormatBool(holds))
			}
			out.Text("},")
		}
		out.Text(`"bundle":`)
		if err := properties(q, out, q.Ask(shared), src); err != nil {
			return err
		}
		out.Text("}")
		return nil
	})
	if err != nil {
		return err
	}
	return out.End()
}

func anyRecord(q *edge.Request, conditions *bundle.Question, name string, src bundle.Source) (bool, error) {
	one := 1
	counts, err := conditions.Evaluate(q.Context(), name, src, bundle.Within{Page: bundle.Page{Take: &one}, Grow: q.Grow},
		func(bundle.Row) error { return nil })
	return counts.Rows > 0, err
}

func (s *API) didShowDebit(q *edge.Request, d debit.Debit) {
	terms, changed := d.Proposed()
	s.DidShow(q, agreement.Debit, d.Key, terms, changed)
}

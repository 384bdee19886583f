package httpapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"net"
	"net/http"
	"net/http/httptrace"
	"strings"
	"testing"

	"she/internal/access"
	"she/internal/bundle"
	"she/internal/edge"
	"she/internal/engine"
	"she/internal/hat"
	"she/internal/ownapi"
	"she/internal/receipt"
	"she/internal/vault"
	"she/internal/vault/ledger"
)

// haltedVaults have one request stop between the check of its token and everything else.
type haltedVaults struct {
	edge.Vaults
	w       *world
	between *func()
}

func (h haltedVaults) Open(ctx context.Context, id hat.ID) (edge.Vault, func(), error) {
	v, release, err := h.Vaults.Open(ctx, id)
	if err != nil {
		return nil, nil, err
	}
	return haltedVault{v.(*ledger.Vault), h.between}, release, nil
}

type haltedVault struct {
	*ledger.Vault
	between *func()
}

func (h haltedVault) Recognise(ctx context.Context, c access.Credential) (access.Caller, vault.User, error) {
	caller, u, err := h.Vault.Recognise(ctx, c)
	if do := *h.between; do != nil && err == nil {
		*h.between = nil
		do()
	}
	return caller, u, err
}

// A writing is a call that writes, as one who may.
type writingCall struct {
	who          string // "owner", "app": a trusted application, "partner", "platform"
	method, path string
	body         string
}

const whateverRecord = "11111111-2222-3333-4444-555555555555"

// writings are all routes that write. {note} and {other} are records, {partner} is a user's id.
var writings = []writingCall{
	{"owner", "POST", api + "/data/rumpel/new", `{"a":1}`},
	{"app", "POST", api + "/data/rumpel/new", `[{"a":1},{"a":2}]`},
	{"partner", "POST", api + "/data/rumpel/new", `[{"a":1}]`},
	{"partner", "POST", api + "/data/rumpel/new?skipErrors=true", `[{"a":1}]`},
	{"owner", "POST", "/api/v2/data/rumpel/new", `{"a":1}`},
	{"owner", "DELETE", api + "/data/rumpel/notes", ``},
	{"app", "DELETE", api + "/data/rumpel/notes", ``},
	{"partner", "DELETE", api + "/data/rumpel/theirs", ``},
	{"owner", "POST", api + "/data-batch", `[{"endpoint":"rumpel/new","data":1,"links":[{"endpoint":"rumpel/new","data":2}]}]`},
	{"app", "POST", api + "/data-batch", `[{"endpoint":"rumpel/new","data":1}]`},
	{"partner", "POST", api + "/data-batch", `[{"endpoint":"rumpel/new","data":1}]`},
	{"owner", "PUT", api + "/data", `[{"endpoint":"rumpel/notes","recordId":"{note}","data":{"new":1}}]`},
	{"app", "PUT", api + "/data", `[{"endpoint":"rumpel/notes","recordId":"{note}","data":{"new":1}}]`},
	{"partner", "PUT", api + "/data", `[{"endpoint":"rumpel/theirs","recordId":"{theirs}","data":{"new":1}}]`},
	{"owner", "DELETE", api + "/data?records={note}", ``},
	{"app", "DELETE", api + "/data?records={note}", ``},
	{"partner", "DELETE", api + "/data?records={theirs}", ``},
	{"owner", "POST", api + "/data-link?records={note}&records={other}", ``},
	{"app", "POST", api + "/data-link?records={note}&records={other}", ``},
	{"owner", "POST", api + "/combinator/c", `[{"endpoint":"rumpel/notes"}]`},
	{"app", "POST", api + "/combinator/c", `[{"endpoint":"rumpel/notes"}]`},
	{"owner", "POST", api + "/data-bundle/new", `{"p":{"endpoints":[{"endpoint":"rumpel/notes"}]}}`},
	{"app", "POST", api + "/data-bundle/new", `{"p":{"endpoints":[{"endpoint":"rumpel/notes"}]}}`},
	{"owner", "POST", api + "/data-debit/dd-2", debitBody("bundle", bundleNamed("n", "rumpel/notes"))},
	{"app", "POST", api + "/data-debit/dd-2", debitBody("bundle", bundleNamed("n", "rumpel/notes"))},
	{"partner", "POST", api + "/data-debit/dd-2", debitBody("bundle", bundleNamed("n", "rumpel/notes"))},
	{"owner", "PUT", dd, debitBody("purpose", `"more"`)},
	{"partner", "PUT", dd, debitBody("purpose", `"more"`)},
	{"owner", "GET", dd + "/enable", ``},
	{"app", "GET", dd + "/enable", ``},
	{"owner", "GET", dd + "/disable?atPeriodEnd=false", ``},
	{"app", "GET", dd + "/disable?atPeriodEnd=false", ``},
	{"owner", "GET", api + "/she/function/counter/enable", ``},
	{"app", "GET", api + "/she/function/counter/enable", ``},
	{"owner", "GET", api + "/she/function/switched/disable", ``},
	{"app", "GET", api + "/she/function/switched/disable", ``},
	{"owner", "GET", api + "/she/function/switched/trigger", ``},
	{"app", "GET", api + "/she/function/switched/trigger", ``},
	{"platform", "GET", api + "/she/function/switched/trigger", ``},
	{"owner", "GET", api + "/applications/plug/setup", ``},
	{"owner", "GET", api + "/applications/pds/disable", ``},
	{"owner", "POST", password, `{"password":"testing","newPassword":"correct horse battery"}`},
	{"owner", "POST", "/users/user", `{"email":"new@x.test","role":"datacredit"}`},
	{"platform", "POST", "/users/user", `{"email":"new@x.test","role":"datacredit"}`},
	{"owner", "PUT", "/users/user/{bystander}/disable", ``},
	{"platform", "PUT", "/users/user/{bystander}/disable", ``},
	{"owner", "PUT", "/users/user/{bystander}/enable", ``},
	{"owner", "PUT", "/users/user/{bystander}/delete", ``},
	{"owner", "PUT", "/users/user/{bystander}/update", `{"userId":"{bystander}","email":"b@x.test","role":"datacredit"}`},
	{"owner", "POST", ownapi.Path + "/receipts/verify", ``},
	{"owner", "POST", ownapi.Path + "/functions/counter/enable", `{}`},
	{"owner", "POST", ownapi.Path + "/functions/switched/replay", `{"failed":true}`},
	{"owner", "POST", ownapi.Path + "/runs/replay", `{"runs":["` + whateverRecord + `"]}`},
	{"owner", "POST", ownapi.Path + "/runs/" + whateverRecord + "/replay", ``},
	{"owner", "POST", ownapi.Path + "/runs/" + whateverRecord + "/skip", ``},
	{"owner", "POST", ownapi.Path + "/runs/" + whateverRecord + "/cancel", ``},
}

// A revocation is what happens to somebody while their request is under way.
type revocation struct {
	says string
	of   string
	do   func(*stage)
}

var revocations = []revocation{
	{"another password", "owner", func(s *stage) {
		s.post(s.token("bob"), password, `{"password":"testing","newPassword":"battery horse correct"}`).want(200)
	}},
	{"the application disabled", "app", func(s *stage) { s.get(s.token("bob"), api+"/applications/pds/disable").want(200) }},
	{"the owner has another password", "app", func(s *stage) {
		s.post(s.token("bob"), password, `{"password":"testing","newPassword":"battery horse correct"}`).want(200)
	}},
	{"the user disabled", "partner", func(s *stage) { s.partner("disable", "") }},
	{"the user deleted", "partner", func(s *stage) { s.partner("delete", "") }},
	{"another password of theirs", "partner", func(s *stage) {
		s.partner("update", `{"userId":"{partner}","email":"partner","pass":"battery horse correct","roles":[{"role":"datacredit"}]}`)
	}},
	{"all their roles taken", "partner", func(s *stage) {
		s.partner("update", `{"userId":"{partner}","email":"partner","roles":[]}`)
	}},
	{"the platform disabled", "platform", func(s *stage) {
		s.change("hpp", func(u *vault.User) { u.Enabled = false })
	}},
	{"the platform's role taken", "platform", func(s *stage) {
		s.change("hpp", func(u *vault.User) { u.Roles = nil })
	}},
}

// A stage is a world with somebody of each kind and something of each kind.
type stage struct {
	*world
	between func()
	names   *strings.Replacer
}

func newStage(t *testing.T) *stage {
	s := &stage{}
	s.world = newWorld(t, withApplications(catalogue), withFunctions(count, functionNamed("counter"), functionNamed("switched")),
		func(o *Options, _ *engine.Options) { o.Vaults = haltedVaults{o.Vaults, s.world, &s.between} })
	s.addUser("partner", access.Role{Title: access.TitleDataCredit}, access.Role{Title: access.TitleDataDebit},
		access.Role{Title: access.TitleNamespaceWrite, Detail: "rumpel"})
	s.addUser("bystander", access.Role{Title: access.TitleDataCredit})
	ids := s.post("bob", notes, `[{"n":1},{"n":2}]`).want(201).records()
	theirs := s.post("partner", api+"/data/rumpel/theirs", `[{"n":1}]`).want(201).records()
	s.post("partner", dd, debitBody()).want(201)
	s.get("bob", api+"/she/function/switched/enable").want(200)
	s.names = strings.NewReplacer("{note}", ids[0].RecordID, "{other}", ids[1].RecordID, "{theirs}", theirs[0].RecordID,
		"{partner}", s.users["partner"].ID.String(), "{bystander}", s.users["bystander"].ID.String())
	return s
}

func (s *stage) partner(what, body string) {
	s.t.Helper()
	status := 200
	if what == "update" {
		status = 201
	}
	s.put(s.token("bob"), "/users/user/"+s.users["partner"].ID.String()+"/"+what, s.names.Replace(body)).want(status)
}

func (s *stage) change(name string, change func(*vault.User)) {
	s.t.Helper()
	v, release := s.open(s.bob)
	defer release()
	_, err := v.PutUser(s.t.Context(), name, func(u *vault.User, _ bool) error { change(u); return nil })
	if err != nil {
		s.t.Fatal(err)
	}
}

func (s *stage) tokenOf(who string) string {
	s.t.Helper()
	switch who {
	case "owner":
		return s.token("bob")
	case "platform":
		return s.token("hpp")
	case "app":
		return s.appToken("pds")
	}
	return s.token(who)
}

// everything is what the vault holds, as far as a call could change it.
func (s *stage) everything() string {
	s.t.Helper()
	v, release := s.open(s.bob)
	defer release()
	var head receipt.Head
	var upto hat.Seq
	err := errors.Join(
		v.Receipts(s.t.Context(), access.Operator(), 0, func(_ iter.Seq2[[]byte, error], h receipt.Head) error { head = h; return nil }),
		v.Read(s.t.Context(), access.Operator(), func(_ bundle.Source, u hat.Seq) error { upto = u; return nil }))
	if err != nil {
		s.t.Fatal(err)
	}
	text := fmt.Sprintln(head, upto)
	owner := access.User(s.users["bob"].ID, s.users["bob"].Roles, "")
	for _, u := range usersOf(s.t, v) {
		text += fmt.Sprintln(u)
	}
	for _, k := range []vault.DocumentKind{vault.Combinators, vault.Bundles, vault.Debits, vault.Setups} {
		for _, d := range must(v.Documents(s.t.Context(), owner, k)) {
			text += fmt.Sprintln(d.Kind, d.ID, string(d.Body), d.Updated)
		}
	}
	for _, c := range must(v.Checkpoints(s.t.Context(), owner)) {
		text += fmt.Sprintln(c.Head)
	}
	for _, f := range must(v.FunctionStates(s.t.Context(), owner)) {
		text += string(must(json.Marshal(f)))
	}
	runs := must(v.Runs(s.t.Context(), owner, hat.FunctionID{}, hat.RunID{}, 100))
	return text + fmt.Sprint(len(runs))
}

// held sends a call's headers, and its body only after do.
func (s *stage) held(method, path, token, body string, do func()) answer {
	s.t.Helper()
	reader, writer := io.Pipe()
	r := must(http.NewRequestWithContext(httptrace.WithClientTrace(s.t.Context(), &httptrace.ClientTrace{
		// The server says so when a handler begins to read the body: the token was checked long before.
		Got100Continue: func() {
			go func() {
				do()
				_, _ = io.WriteString(writer, body)
				writer.Close()
			}()
		},
	}), method, s.url+path, reader))
	r.Host = s.bob.Domain.String()
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Expect", "100-continue")
	r.Header.Set(edge.TokenHeader, token)
	client := http.Client{Transport: &http.Transport{ExpectContinueTimeout: 1 << 40}}
	defer client.CloseIdleConnections()
	resp, err := client.Do(r)
	if err != nil {
		s.t.Fatal(err)
	}
	defer resp.Body.Close()
	return answer{s.t, method + " " + path, resp.StatusCode, resp.Header, string(must(io.ReadAll(resp.Body)))}
}

// Whatever of a caller's rights is revoked while their request is under way: it writes nothing, and is answered as it
// would be if it came now.
func TestWhatWasRevokedWritesNothing(t *testing.T) {
	for _, c := range writings {
		for _, revoked := range revocations {
			if revoked.of != c.who {
				continue
			}
			for _, way := range []string{"before the body", "before the handler"} {
				if way == "before the body" && c.body == "" {
					continue
				}
				t.Run(fmt.Sprintf("%s %s %s, %s %s", c.who, c.method, c.path, revoked.says, way), func(t *testing.T) {
					t.Parallel()
					s := newStage(t)
					token, path, body := s.tokenOf(c.who), s.names.Replace(c.path), s.names.Replace(c.body)
					var before string
					do := func() {
						revoked.do(s)
						before = s.everything()
					}
					var got answer
					if way == "before the body" {
						got = s.held(c.method, path, token, body, do)
					} else {
						s.between = do
						got = s.call(c.method, path, token, body)
					}
					if after := s.everything(); after != before {
						t.Errorf("answered %d, and the vault holds\n%s\nafter\n%s", got.status, after, before)
					}
					fresh := s.call(c.method, path, token, body)
					if fresh.status != 401 && fresh.status != 403 {
						t.Fatalf("revoking it changed nothing: %d %s", fresh.status, fresh.body)
					}
					got.want(fresh.status, fresh.body).refreshed(fresh.header.Get(edge.TokenHeader) != "")
				})
			}
		}
	}
}

// The calls above do write where nothing is revoked; of runs there are none here.
func TestWritingsWrite(t *testing.T) {
	for _, c := range writings {
		if strings.Contains(c.path+c.body, whateverRecord) {
			continue
		}
		t.Run(c.who+" "+c.method+" "+c.path, func(t *testing.T) {
			t.Parallel()
			s := newStage(t)
			if a := s.call(c.method, s.names.Replace(c.path), s.tokenOf(c.who), s.names.Replace(c.body)); a.status >= 300 {
				t.Errorf("%d %s", a.status, a.body)
			}
		})
	}
}

// A route that writes and is not tried above is one that nobody has looked at.
func TestEveryWritingRouteIsTried(t *testing.T) {
	for _, r := range nothing().Routes() {
		if r.Needs == nil || r.Method == http.MethodGet {
			continue
		}
		tried := false
		for _, c := range writings {
			path, _, _ := strings.Cut(strings.NewReplacer("{note}", "x", "{theirs}", "x", "{bystander}", whateverRecord).Replace(c.path), "?")
			if found, _ := (&edge.Calls{Routes: []*edge.Route{r}}).Find(c.method, path); found != nil {
				tried = true
			}
		}
		if !tried {
			t.Errorf("add %s %s to writings", r.Method, r.Pattern)
		}
	}
}

// What is not revoked goes on, whatever else changes meanwhile.
func TestOthersRightsChangeNothing(t *testing.T) {
	s := newStage(t)
	for i, do := range []func(){
		func() { s.partner("disable", "") },
		func() { s.get(s.token("bob"), api+"/applications/plug/setup").want(200) },
		func() { s.get(s.token("bob"), dd+"/enable").want(200) },
		func() { s.change("hpp", func(u *vault.User) { u.Enabled = false }) },
	} {
		s.held("POST", notes, s.token("bob"), fmt.Sprintf(`{"other":%d}`, i), do).want(201)
		s.between = do
		s.post(s.appToken("pds"), notes, fmt.Sprintf(`{"more":%d}`, i)).want(201)
	}
	// One right less is not all of them.
	s.between = func() {
		s.change("partner", func(u *vault.User) { u.Enabled, u.Roles = true, []access.Role{{Title: access.TitleDataCredit}} })
	}
	s.change("partner", func(u *vault.User) { u.Enabled = true })
	s.post("partner", api+"/data-batch", `[{"endpoint":"rumpel/more","data":1}]`).
		want(403, `{"message":"Forbidden","cause":"Access Denied - No rights to insert some or all of the data in the batch"}`)
}

// slowly reads a little of an answer, calls do, and reads the rest: how much came, and whether it came to its end.
func (s *stage) slowly(path, token string, do func()) (size int, whole bool) {
	s.t.Helper()
	dialer := net.Dialer{}
	client := http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			conn, err := dialer.DialContext(ctx, network, address)
			if err == nil {
				err = conn.(*net.TCPConn).SetReadBuffer(64 << 10)
			}
			return conn, err
		},
	}}
	defer client.CloseIdleConnections()
	r := must(http.NewRequestWithContext(s.t.Context(), "GET", s.url+path, nil))
	r.Host = s.bob.Domain.String()
	r.Header.Set(edge.TokenHeader, token)
	resp, err := client.Do(r)
	if err != nil {
		s.t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != 200 {
		s.t.Fatalf("%s: %d", path, resp.StatusCode)
	}
	first, err := io.CopyN(io.Discard, resp.Body, 100_000)
	if err != nil {
		s.t.Fatal(err)
	}
	do()
	rest, err := io.Copy(io.Discard, resp.Body)
	return int(first + rest), err == nil
}

func TestLongAnswersEndWithTheRight(t *testing.T) {
	const records, size = 24, 1 << 20
	change := func(s *stage) {
		s.post(s.token("bob"), password, `{"password":"testing","newPassword":"battery horse correct"}`).want(200)
	}
	disable := func(s *stage) { s.get(s.token("bob"), api+"/applications/pds/disable").want(200) }
	for _, c := range []struct {
		says, who, path string
		revoke          func(*stage)
	}{
		{"records, another password", "owner", notes, change},
		{"records, the application disabled", "app", notes, disable},
		{"records, the user disabled", "reader", notes, func(s *stage) {
			s.change("reader", func(u *vault.User) { u.Enabled = false })
		}},
		{"records, a role taken", "reader", notes, func(s *stage) {
			s.change("reader", func(u *vault.User) { u.Roles = []access.Role{{Title: access.TitleDataCredit}} })
		}},
		{"a combinator, another password", "owner", api + "/combinator/c", change},
		{"a bundle, the application disabled", "app", api + "/data-bundle/stored", disable},
		{"a debit, the partner disabled", "partner", dd + "/values", func(s *stage) { s.partner("disable", "") }},
		{"a debit that is withdrawn", "partner", dd + "/values", func(s *stage) {
			s.get(s.token("bob"), dd+"/disable?atPeriodEnd=false").want(200)
		}},
		{"a debit with other terms", "partner", dd + "/values", func(s *stage) {
			s.put(s.token("partner"), dd, debitBody("bundle", bundleNamed("other", "rumpel/diary"))).want(200)
			s.get(s.token("bob"), dd).want(200)
			s.get(s.token("bob"), dd+"/enable").want(200)
		}},
		{"receipts, another password", "owner", ownapi.Path + "/receipts", change},
	} {
		t.Run(c.says, func(t *testing.T) {
			s := newStage(t)
			s.addUser("reader", access.Role{Title: access.TitleNamespaceRead, Detail: "rumpel"})
			if strings.HasSuffix(c.path, "receipts") {
				s.longReceipts()
			} else {
				for i := range records {
					s.post("bob", notes, `"`+strings.Repeat(fmt.Sprintf("%02d", i), size/2)+`"`).want(201)
				}
			}
			s.get("bob", dd+"/enable").want(200)
			s.post("bob", api+"/combinator/c", `[{"endpoint":"rumpel/notes"}]`).want(201)
			s.post("bob", api+"/data-bundle/stored", `{"p":{"endpoints":[{"endpoint":"rumpel/notes"}]}}`).want(201)
			token := s.tokenOf(c.who)
			if got, whole := s.slowly(c.path, token, func() {}); !whole {
				t.Errorf("nothing is revoked, and %d bytes came", got)
			}
			if got, whole := s.slowly(c.path, token, func() { c.revoke(s) }); whole {
				t.Errorf("all %d bytes came", got)
			}
		})
	}
}

// longReceipts has entries with many long names, for an export of more than a connection holds.
func (s *stage) longReceipts() {
	s.t.Helper()
	var all []hat.Endpoint
	for j := range 2400 {
		all = append(all, must(hat.ParseEndpoint(fmt.Sprintf("rumpel/%d-%s", j, strings.Repeat("x", 400)))))
	}
	v, release := s.open(s.bob)
	defer release()
	for range 16 {
		if err := v.Disclose(s.t.Context(), access.User(s.users["bob"].ID, nil, ""), vault.Disclosure{Endpoints: all}); err != nil {
			s.t.Fatal(err)
		}
	}
}

package access

import (
	"errors"
	"testing"

	"she/internal/bundle"
	"she/internal/hat"
)

var (
	someone  = hat.NewUserID()
	notes    = must(hat.ParseEndpoint("rumpel/notes"))
	tweets   = must(hat.ParseEndpoint("twitter/tweets"))
	emotions = must(hat.ParseEndpoint("she/insights/emotions"))
	moods    = must(hat.ParseFunctionID("moods"))
	counter  = must(hat.ParseFunctionID("counter"))
)

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// The callers of the tables.
var (
	owner         = User(someone, []Role{{TitleOwner, ""}}, TitleOwner)
	ownerNoScope  = User(someone, []Role{{TitleOwner, ""}}, "")
	platform      = User(someone, []Role{{TitlePlatform, ""}}, TitlePlatform)
	debitor       = User(someone, []Role{{TitleDataDebit, ""}}, TitleDataDebit)
	debitorOfOne  = User(someone, []Role{{TitleDataDebit, "dd-1"}}, TitleDataDebit)
	creditor      = User(someone, []Role{{TitleDataCredit, ""}}, TitleDataCredit)
	rumpelWriter  = User(someone, []Role{{TitleDataCredit, ""}, {TitleNamespaceWrite, "rumpel"}}, TitleDataCredit)
	rumpelReader  = User(someone, []Role{{TitleNamespaceRead, "rumpel"}}, "")
	ownerAsGuest  = User(someone, []Role{{TitleOwner, ""}}, TitleValidate)
	guestWithRole = User(someone, []Role{{TitleOwner, ""}, {TitleValidate, ""}}, TitleValidate)
	demoted       = User(someone, []Role{{TitlePlatform, ""}}, TitleOwner)

	trustedApp   = Application("pds", someone, []Role{{TitleOwner, ""}})
	rumpelApp    = Application("rumpel", someone, []Role{{TitleNamespaceWrite, "rumpel"}, {TitleNamespaceRead, "rumpel"}})
	writeOnlyApp = Application("plug", someone, []Role{{TitleNamespaceWrite, "rumpel"}})
	moodsApp     = Application("moods-app", someone, []Role{{TitleManageApp, "moods"}})
	storeApp     = Application("store", someone, []Role{{TitleListApps, ""}, {TitleApplicationToken, "plug"}})
	disabledApp  = Application("gone", someone, nil)

	moodsFunction = AsFunction(someone, Grant{Function: moods, Bundle: reading(notes, tweets), Output: emotions})
	nobodyAtAll   Caller
)

func reading(endpoints ...hat.Endpoint) bundle.Bundle {
	var queries []bundle.EndpointQuery
	for _, e := range endpoints {
		queries = append(queries, bundle.EndpointQuery{Endpoint: e})
	}
	return bundle.Bundle{Name: "test", Properties: map[string]bundle.PropertyQuery{"all": {Endpoints: queries}}}
}

type line struct {
	who        string
	caller     Caller
	permission Permission
	allowed    bool
}

func allow(who string, c Caller, p Permission) line { return line{who, c, p, true} }
func deny(who string, c Caller, p Permission) line  { return line{who, c, p, false} }

func check(t *testing.T, lines ...line) {
	t.Helper()
	for _, l := range lines {
		if got := l.caller.May(l.permission); got != l.allowed {
			t.Errorf("%s: allowed = %v, want %v", l.who, got, l.allowed)
		}
		if err := l.caller.Check(l.permission); errors.Is(err, ErrDenied) == l.allowed {
			t.Errorf("%s: Check = %v", l.who, err)
		}
	}
}

func TestRecords(t *testing.T) {
	check(t,
		allow("the Owner reads anything", owner, ReadRecords(notes)),
		allow("the Owner writes anything", owner, WriteRecords(tweets)),
		allow("a token without a scope is worth its user's roles", ownerNoScope, WriteRecords(notes)),
		deny("a token whose scope its user has lost is worth nothing", demoted, SeeFunctions()),
		deny("the Owner's token for a stranger's service reads nothing", ownerAsGuest, ReadRecords(notes)),
		deny("not even if the Owner has a role of that name", guestWithRole, ReadRecords(notes)),
		deny("the platform reads no records", platform, ReadRecords(notes)),
		allow("a partner writes in its namespace", rumpelWriter, WriteRecords(notes)),
		deny("a partner writes in no other", rumpelWriter, WriteRecords(tweets)),
		deny("writing is not reading", rumpelWriter, ReadRecords(notes)),
		allow("a reader reads its namespace", rumpelReader, ReadRecords(notes)),
		deny("a reader reads no other", rumpelReader, ReadRecords(tweets)),
		deny("reading is not writing", rumpelReader, WriteRecords(notes)),

		allow("an app with role owner reads anything", trustedApp, ReadRecords(notes)),
		allow("an app reads its namespace", rumpelApp, ReadRecords(notes)),
		deny("an app reads no other", rumpelApp, ReadRecords(tweets)),
		allow("a plug writes its namespace", writeOnlyApp, WriteRecords(notes)),
		deny("a plug does not read what it wrote", writeOnlyApp, ReadRecords(notes)),
		deny("a disabled app reads nothing", disabledApp, ReadRecords(notes)),
		deny("a disabled app writes nothing", disabledApp, WriteRecords(notes)),
		deny("nobody reads", nobodyAtAll, ReadRecords(notes)),
		deny("nobody writes", nobodyAtAll, WriteRecords(notes)),
	)
}

func TestBatchesAndSources(t *testing.T) {
	check(t,
		allow("a partner handles its own wherever they are", creditor, HandleOwn(tweets)),
		allow("a writer handles its own where it writes", rumpelWriter, HandleOwn(notes)),
		deny("a reader handles nothing", rumpelReader, HandleOwn(tweets)),
		deny("a plug handles nothing elsewhere", writeOnlyApp, HandleOwn(tweets)),

		allow("the Owner uses batches", owner, UseBatches()),
		allow("a partner uses batches", creditor, UseBatches()),
		deny("a reader does not", rumpelReader, UseBatches()),
		deny("the platform does not", platform, UseBatches()),
		allow("an app that may write somewhere uses batches", writeOnlyApp, UseBatches()),
		deny("one that may not, does not", moodsApp, UseBatches()),

		allow("the Owner lists sources", owner, ListEndpoints()),
		allow("the platform lists sources", platform, ListEndpoints()),
		allow("a partner lists sources", creditor, ListEndpoints()),
		deny("a debit user does not", debitor, ListEndpoints()),
		allow("an app that may write somewhere lists sources", writeOnlyApp, ListEndpoints()),
		deny("one that may not, does not", moodsApp, ListEndpoints()),

		allow("the Owner stores bundles", owner, ManageQueries()),
		allow("so does an app with role owner", trustedApp, ManageQueries()),
		deny("a partner does not", creditor, ManageQueries()),
		deny("an app of one namespace does not", rumpelApp, ManageQueries()),
	)
}

func TestDebits(t *testing.T) {
	check(t,
		allow("the Owner proposes a debit", owner, ProposeDebit()),
		allow("a debit user does", debitor, ProposeDebit()),
		allow("the platform does", platform, ProposeDebit()),
		deny("who holds one debit may not make others", debitorOfOne, ProposeDebit()),
		deny("a partner does not", creditor, ProposeDebit()),
		allow("the holder reads the debit", debitorOfOne, UseDebit("dd-1")),
		deny("but no other one", debitorOfOne, UseDebit("dd-2")),
		deny("who may make debits reads none of others", debitor, UseDebit("dd-1")),
		allow("the Owner reads all", owner, UseDebit("dd-2")),
		allow("the Owner decides", owner, DecideDebits()),
		deny("the holder does not decide", debitorOfOne, DecideDebits()),
		deny("the platform does not decide", platform, DecideDebits()),
		allow("the holder proposes other terms", debitorOfOne, ChangeDebit("dd-1")),
		deny("but not for another's debit", debitorOfOne, ChangeDebit("dd-2")),
		allow("under an accepted debit the agreed endpoints are read", UnderDebit(someone, []hat.Endpoint{notes}), ReadRecords(notes)),
		deny("and no other", UnderDebit(someone, []hat.Endpoint{notes}), ReadRecords(tweets)),
		deny("nothing is written", UnderDebit(someone, []hat.Endpoint{notes}), WriteRecords(notes)),
	)
}

func TestFunctions(t *testing.T) {
	check(t,
		allow("the Owner sees functions", owner, SeeFunctions()),
		allow("the platform sees functions", platform, SeeFunctions()),
		deny("a debit user does not", debitor, SeeFunctions()),
		allow("the Owner switches", owner, SwitchFunctions()),
		allow("an app with role owner switches", trustedApp, SwitchFunctions()),
		deny("the platform does not switch", platform, SwitchFunctions()),
		allow("the platform triggers", platform, TriggerFunction(moods)),
		allow("the app that manages it triggers", moodsApp, TriggerFunction(moods)),
		deny("but no other", moodsApp, TriggerFunction(counter)),
		allow("who triggers one sees it", moodsApp, SeeFunction(moods)),
		deny("and not the rest", moodsApp, SeeFunctions()),
		allow("the Owner sees runs", owner, SeeRuns()),
		deny("the platform does not", platform, SeeRuns()),
		deny("no app does", trustedApp, SeeRuns()),
		allow("the Operator sees that runs happened", Operator(), SeeRuns()),
		deny("but no record", Operator(), ReadRecords(notes)),
		allow("the Owner reads the feed", owner, ReadFeed()),
		deny("the platform does not", platform, ReadFeed()),
	)
}

func TestAFunctionStaysWithinItsGrant(t *testing.T) {
	elsewhere := must(hat.ParseEndpoint("she/insights/emotions/more"))
	check(t,
		allow("it reads what its bundle names", moodsFunction, ReadRecords(notes)),
		allow("all of it", moodsFunction, ReadRecords(tweets)),
		deny("nothing else in the namespace", moodsFunction, ReadRecords(must(hat.ParseEndpoint("rumpel/diary")))),
		deny("not what it wrote, unless it asked", moodsFunction, ReadRecords(emotions)),
		allow("it writes at its address", moodsFunction, WriteRecords(emotions)),
		deny("not below it", moodsFunction, WriteRecords(elsewhere)),
		deny("not where it reads", moodsFunction, WriteRecords(notes)),
		deny("it uses no batches", moodsFunction, UseBatches()),
		deny("it switches nothing", moodsFunction, SwitchFunctions()),
		deny("it triggers nothing", moodsFunction, TriggerFunction(moods)),
		deny("it sees no debits", moodsFunction, DecideDebits()),
		deny("a grant that names nothing permits nothing", AsFunction(someone, Grant{}), ReadRecords(hat.Endpoint{})),
		deny("nor to write", AsFunction(someone, Grant{}), WriteRecords(hat.Endpoint{})),
	)
}

func TestPeopleAndApplications(t *testing.T) {
	check(t,
		allow("the Owner manages the account", owner, ManageAccount()),
		deny("the platform does not", platform, ManageAccount()),
		deny("no app does", trustedApp, ManageAccount()),
		allow("a user's logins are their own", creditor, RememberLogin(someone.String())),
		allow("whatever the scope", demoted, RememberLogin(someone.String())),
		deny("and nobody else's", creditor, RememberLogin(hat.NewUserID().String())),
		deny("no app's", rumpelApp, RememberLogin(someone.String())),
		deny("no function's", moodsFunction, RememberLogin(someone.String())),
		deny("not the operator's", Operator(), RememberLogin(someone.String())),
		allow("the Owner manages users", owner, ManageUsers()),
		allow("the platform manages users", platform, ManageUsers()),
		deny("no app does", trustedApp, ManageUsers()),
		deny("a partner does not", creditor, ManageUsers()),
		allow("the Owner lists applications", owner, ListApplications()),
		allow("an app store lists applications", storeApp, ListApplications()),
		deny("which shows it none that it doesn't manage", storeApp, SeeApplication("plug")),
		deny("reading the state of applications is no right to any", Application("x", someone, []Role{{TitleAppStatusRead, ""}}), SeeApplication("plug")),
		deny("nor is it for a user", User(someone, []Role{{TitleAppStatusRead, ""}, {TitleListApps, ""}}, ""), SeeApplication("plug")),
		allow("who manages an application ends its data debit", Application("x", someone, []Role{{TitleManageApp, "plug"}}), ChangeDebit("app-plug")),
		deny("and no other", Application("x", someone, []Role{{TitleManageApp, "plug"}}), ChangeDebit("app-pds")),
		deny("nor looks at it", Application("x", someone, []Role{{TitleManageApp, "plug"}}), UseDebit("app-plug")),
		deny("a user of that role does not", User(someone, []Role{{TitleManageApp, "plug"}}, ""), ChangeDebit("app-plug")),
		deny("users but the Owner list none", User(someone, []Role{{TitleListApps, ""}}, ""), ListApplications()),
		deny("an ordinary app does not", rumpelApp, ListApplications()),
		allow("an app that manages one sees it", Application("x", someone, []Role{{TitleManageApp, "plug"}}), SeeApplication("plug")),
		deny("and no other", Application("x", someone, []Role{{TitleManageApp, "plug"}}), SeeApplication("pds")),
		allow("an app sees itself", rumpelApp, SeeApplication("rumpel")),
		allow("even when it is disabled", disabledApp, SeeApplication("gone")),
		allow("a token by name", storeApp, IssueApplicationToken("plug")),
		deny("of another app", storeApp, IssueApplicationToken("pds")),
		deny("role owner alone issues no tokens", trustedApp, IssueApplicationToken("plug")),
		allow("the Owner does", owner, IssueApplicationToken("plug")),
	)
}

func TestOwnership(t *testing.T) {
	for _, c := range []struct {
		who    string
		caller Caller
		owns   bool
	}{
		{"the Owner", owner, true},
		{"an app with role owner", trustedApp, true},
		{"the Owner's token for a stranger's service", ownerAsGuest, false},
		{"an app of one namespace", rumpelApp, false},
		{"a partner", rumpelWriter, false},
		{"a function", moodsFunction, false},
		{"nobody", nobodyAtAll, false},
	} {
		if c.caller.IsOwner() != c.owns {
			t.Errorf("%s: IsOwner = %v", c.who, !c.owns)
		}
	}
}

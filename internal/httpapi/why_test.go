package httpapi

import "testing"

func TestWhyOverHTTP(t *testing.T) {
	w := newWorld(t, withFunctions(count, functionNamed("counter")))
	why := func(id string) (r struct{ Function, Code, Text, Until string }) {
		w.get("bob", "/api/she/v1/functions/"+id+"/why").want(200).decode(&r)
		if r.Function != id || r.Text == "" {
			t.Errorf("%+v", r)
		}
		return r
	}
	if r := why("counter"); r.Code != "not-enabled" {
		t.Errorf("at first %+v", r)
	}
	w.get("bob", functions+"/counter/enable").want(200)
	if r := why("counter"); r.Code != "waiting-for-request" {
		t.Errorf("a manual function %+v", r)
	}
	const none = `{"type":"about:blank","title":"Function Not Found","status":404,"detail":"no function of this id is installed or was ever switched on"}`
	w.get("bob", "/api/she/v1/functions/none/why").want(404, none)
	w.get("bob", "/api/she/v1/functions/NO_id/why").want(404, none)
	w.get("", "/api/she/v1/functions/counter/why").want(401,
		`{"type":"about:blank","title":"Not Authenticated","status":401,"detail":"X-Auth-Token holds no token that is valid now; GET /users/access_token gives one"}`)
	w.get("hpp", "/api/she/v1/functions/counter/why").want(403)
}

CREATE TABLE migrations (version INTEGER PRIMARY KEY, applied INTEGER NOT NULL) STRICT;
CREATE TABLE hat (
	one      INTEGER PRIMARY KEY CHECK (one = 1),
	id       TEXT NOT NULL,
	created  INTEGER NOT NULL,
	seq      INTEGER NOT NULL,  -- the last position given out
	receipts INTEGER NOT NULL,  -- how many there are
	head     BLOB NOT NULL      -- hash of the last one
) STRICT;
CREATE TABLE users (
	n           INTEGER PRIMARY KEY,
	id          BLOB NOT NULL UNIQUE,
	username    TEXT NOT NULL UNIQUE,
	password    BLOB,
	roles       TEXT NOT NULL,
	owner       INTEGER NOT NULL,
	enabled     INTEGER NOT NULL,
	tokens_from INTEGER
) STRICT;
CREATE UNIQUE INDEX users_one_owner ON users (owner) WHERE owner;
CREATE TABLE endpoints (
	n    INTEGER PRIMARY KEY,
	name TEXT NOT NULL UNIQUE
) STRICT;
CREATE TABLE chains (
	n    INTEGER PRIMARY KEY,
	path TEXT NOT NULL UNIQUE
) STRICT;
CREATE TABLE log (
	seq      INTEGER PRIMARY KEY,
	kind     INTEGER NOT NULL,  -- 1 created, 2 changed, 3 erased
	born     INTEGER NOT NULL,  -- which record
	endpoint INTEGER NOT NULL REFERENCES endpoints (n),
	chain    INTEGER REFERENCES chains (n),
	at       INTEGER NOT NULL
) STRICT;
CREATE TABLE records (
	born     INTEGER PRIMARY KEY,
	id       BLOB NOT NULL UNIQUE,
	endpoint INTEGER NOT NULL REFERENCES endpoints (n),
	seq      INTEGER NOT NULL,  -- of the last change
	user     INTEGER NOT NULL REFERENCES users (n),
	run      BLOB,
	chain    INTEGER REFERENCES chains (n),
	created  INTEGER NOT NULL,
	updated  INTEGER NOT NULL,
	digest   BLOB NOT NULL,     -- SHA-256 of data
	data     TEXT NOT NULL      -- canonical JSON
) STRICT;
CREATE INDEX records_in_order ON records (endpoint);
CREATE INDEX records_by_change ON records (endpoint, seq);
CREATE UNIQUE INDEX records_once ON records (endpoint, digest);
CREATE TABLE groups (n INTEGER PRIMARY KEY) STRICT;
CREATE TABLE members (
	grp    INTEGER NOT NULL REFERENCES groups (n) ON DELETE CASCADE,
	record INTEGER NOT NULL REFERENCES records (born) ON DELETE CASCADE,
	PRIMARY KEY (grp, record)
) STRICT, WITHOUT ROWID;
CREATE INDEX members_of_record ON members (record);
CREATE TABLE grants (
	n    INTEGER PRIMARY KEY,
	body TEXT NOT NULL
) STRICT;
CREATE TABLE functions (
	n              INTEGER PRIMARY KEY,
	id             TEXT NOT NULL UNIQUE,
	granted        INTEGER NOT NULL REFERENCES grants (n),
	enabled        INTEGER NOT NULL,
	cursor         INTEGER NOT NULL,
	last_execution INTEGER,
	epoch          INTEGER NOT NULL   -- of the last lease
) STRICT;
CREATE TABLE pending (
	function   INTEGER PRIMARY KEY REFERENCES functions (n),
	upto       INTEGER NOT NULL,
	since      INTEGER NOT NULL,
	not_before INTEGER,            -- NULL: only when somebody asks
	attempt    INTEGER NOT NULL,
	fault      TEXT,
	parked     INTEGER NOT NULL,
	chain      INTEGER REFERENCES chains (n)
, replay INTEGER NOT NULL DEFAULT 0) STRICT;
CREATE TABLE leases (
	function INTEGER PRIMARY KEY REFERENCES functions (n),
	run      BLOB NOT NULL,
	epoch    INTEGER NOT NULL,
	expires  INTEGER NOT NULL,
	life     TEXT NOT NULL     -- of the server; a lease of another life has lapsed
) STRICT;
CREATE TABLE runs (
	n          INTEGER PRIMARY KEY,
	id         BLOB NOT NULL UNIQUE,
	function   TEXT NOT NULL,
	granted    INTEGER NOT NULL REFERENCES grants (n),
	state      TEXT NOT NULL,
	plan       TEXT NOT NULL,   -- all but the grant
	ended      INTEGER,
	fault      TEXT,
	stats      TEXT,
	asked      TEXT,            -- the bundle the function asked for this time
	read_ids   BLOB,
	duplicates INTEGER NOT NULL,
	log        BLOB             -- last, so that lists of runs don't read it
) STRICT;
CREATE INDEX runs_of_function ON runs (function, id);
CREATE TABLE outputs (
	run      BLOB NOT NULL,
	response INTEGER NOT NULL,
	ordinal  INTEGER NOT NULL,
	record   BLOB NOT NULL,
	PRIMARY KEY (run, response, ordinal)
) STRICT, WITHOUT ROWID;
CREATE TABLE receipts (
	number INTEGER PRIMARY KEY,
	body   TEXT NOT NULL
) STRICT;
CREATE TABLE documents (
	n       INTEGER PRIMARY KEY,  -- in order of creation
	kind    TEXT NOT NULL,
	id      TEXT NOT NULL,
	body    TEXT NOT NULL,
	created INTEGER NOT NULL,
	updated INTEGER NOT NULL,
	UNIQUE (kind, id)
) STRICT;
CREATE TABLE checkpoints (
	number    INTEGER PRIMARY KEY,
	hash      BLOB NOT NULL,
	at        INTEGER NOT NULL,
	signature BLOB NOT NULL
) STRICT;
CREATE TABLE fields (
	n        INTEGER PRIMARY KEY,
	endpoint INTEGER NOT NULL REFERENCES endpoints (n),
	path     TEXT NOT NULL,
	built    INTEGER NOT NULL,  -- records born up to here have their key,
	behind   INTEGER NOT NULL,  -- and those born behind here; so the index is whole when the two meet
	cut      INTEGER NOT NULL,  -- bytes of data of records whose key is cut
	gone     INTEGER NOT NULL   -- nobody asks for it any more; its keys are being removed
) STRICT;
CREATE UNIQUE INDEX fields_once ON fields (endpoint, path) WHERE NOT gone;
CREATE TABLE field_keys (
	field INTEGER NOT NULL,
	key   BLOB NOT NULL,
	born  INTEGER NOT NULL,
	PRIMARY KEY (field, key, born)
) STRICT, WITHOUT ROWID;
CREATE TABLE field_uses (
	n        INTEGER PRIMARY KEY,  -- in the order they asked
	kind     TEXT NOT NULL,
	holder   TEXT NOT NULL,
	endpoint INTEGER NOT NULL REFERENCES endpoints (n),
	path     TEXT NOT NULL,
	UNIQUE (kind, holder, endpoint, path)
) STRICT;
CREATE TABLE undeclared (
	kind   TEXT NOT NULL,
	holder TEXT NOT NULL,
	PRIMARY KEY (kind, holder)
) STRICT, WITHOUT ROWID;
CREATE TABLE run_changes (
	n   INTEGER PRIMARY KEY,
	run BLOB NOT NULL UNIQUE
) STRICT;
INSERT INTO migrations VALUES (1, 1795447346555207);
INSERT INTO migrations VALUES (2, 1795447346555216);
INSERT INTO migrations VALUES (3, 1795447346555218);
INSERT INTO migrations VALUES (4, 1795447346555221);
INSERT INTO migrations VALUES (5, 1795447346555230);
INSERT INTO hat VALUES (1, 'alice', 1709294400000000, 5, 11, x'26364473be3d0d494da9b49d0c66d820416f77510ad3f887473bfac481d4e228');
INSERT INTO users VALUES (1, x'bbb0de83a3504fe7b14a736d17b71f12', 'alice', NULL, '[{"role":"owner"}]', 1, 1, NULL);
INSERT INTO endpoints VALUES (1, 'b/x');
INSERT INTO endpoints VALUES (2, 'a/x');
INSERT INTO endpoints VALUES (3, 'she/good');
INSERT INTO chains VALUES (1, 'good');
INSERT INTO log VALUES (1, 1, 1, 1, NULL, 1709294400000000);
INSERT INTO log VALUES (2, 1, 2, 2, NULL, 1709294400000000);
INSERT INTO log VALUES (3, 1, 3, 3, 1, 1709294400000000);
INSERT INTO log VALUES (4, 1, 4, 3, 1, 1709294400000000);
INSERT INTO log VALUES (5, 1, 5, 2, NULL, 1709348400000000);
INSERT INTO records VALUES (1, x'b9216274018d4458abf1eb773b57882c', 1, 1, 1, NULL, NULL, 1709294400000000, 1709294400000000, x'c100f95c1913f9c72fc1f4ef0847e1e723ffe0bde0b36e5f36c13f81fe8c26ed', '"b"');
INSERT INTO records VALUES (2, x'25b665958f794ec885144eb60cd8050b', 2, 2, 1, NULL, NULL, 1709294400000000, 1709294400000000, x'6b86b273ff34fce19d6b804eff5a3f5747ada4eaa22f1d49c01e52ddb7875b4b', '1');
INSERT INTO records VALUES (3, x'9e1ac62d519a45f898fc1947a68768bf', 3, 3, 1, x'01a2090056a471229cb2e11d09476aff', 1, 1709294400000000, 1709294400000000, x'49e9fcfb5617aad332d56d58ffd0c7020d29ec1d0d0a03b7d7c47f268820acf3', '"one"');
INSERT INTO records VALUES (4, x'142325ded13f4092a1f78c81f7627fb7', 3, 4, 1, x'01a2090056a471229cb2e11d09476aff', 1, 1709294400000000, 1709294400000000, x'b85d38dc71a8027700bebd3c30d39424852cf532883d88f0a0d992d3bf0eba9b', '"two"');
INSERT INTO records VALUES (5, x'f5f8e5761a274814b8896b32ab78e4b5', 2, 5, 1, NULL, NULL, 1709348400000000, 1709348400000000, x'd4735e3a265e16eee03f59718b9b5d03019c07d8b6c51f90da3a666eec13ab35', '2');
INSERT INTO groups VALUES (1);
INSERT INTO members VALUES (1, 3);
INSERT INTO members VALUES (1, 4);
INSERT INTO grants VALUES (1, '{"function":"good","version":"1.0.0","package":"sha256:00","bundle":{"name":"good","bundle":{"x":{"endpoints":[{"endpoint":"a/x"}]}}},"output":"she/good","trigger":{"triggerType":"individual"},"given":"2024-03-01T12:00:00Z"}');
INSERT INTO grants VALUES (2, '{"function":"bad","version":"1.0.0","package":"sha256:00","bundle":{"name":"bad","bundle":{"x":{"endpoints":[{"endpoint":"a/x"}]}}},"output":"she/bad","trigger":{"triggerType":"individual"},"given":"2024-03-01T12:00:00Z"}');
INSERT INTO functions VALUES (1, 'good', 1, 1, 2, 1709294400000000, 2);
INSERT INTO functions VALUES (2, 'bad', 2, 1, 0, NULL, 6);
INSERT INTO pending VALUES (1, 5, 1709348400000000, 1709348400000000, 0, NULL, 0, NULL, 0);
INSERT INTO pending VALUES (2, 5, 1709294400000000, 1709355642541833, 6, '{"who":"author","code":"Runtime.Exit","text":"it ended"}', 1, NULL, 0);
INSERT INTO leases VALUES (1, x'01a20900570777a486c975d618611686', 2, 1709348460000000, 'DHK7V4JUCY6B6W3DB5RUHW76WL');
INSERT INTO runs VALUES (1, x'01a2090056a471229cb2e11d09476aff', 'good', 1, 'committed', '{"cause":"data","from":"2023-09-01T12:00:00Z","until":"2024-06-01T12:00:00Z","after":0,"upto":2,"attempt":1,"epoch":1,"expires":"2024-03-01T12:01:00Z","due":"2024-03-01T12:00:00Z","claimed":"2024-03-01T12:00:00Z","version":"1.0.0","package":"sha256:00"}', 1709294400000000, NULL, '{"timing":{"queue":0,"sandbox":0,"bundle":0,"query":0,"process":0,"save":1041299},"start":"","read":0,"hidden":0,"inBytes":0,"outBytes":0,"maxMemory":0}', NULL, x'0000000000000000000000000000000000000000000000000000000000000000', 0, x'78');
INSERT INTO runs VALUES (2, x'01a2090056d376d8a737228c5b67d230', 'bad', 2, 'failed', '{"cause":"data","from":"2023-09-01T12:00:00Z","until":"2024-06-01T12:00:00Z","after":0,"upto":4,"attempt":1,"epoch":1,"expires":"2024-03-01T12:01:00Z","due":"2024-03-01T12:00:00Z","claimed":"2024-03-01T12:00:00Z","version":"1.0.0","package":"sha256:00"}', 1709294400000000, '{"who":"author","code":"Runtime.Exit","text":"it ended"}', '{"timing":{"queue":0,"sandbox":0,"bundle":0,"query":0,"process":0,"save":0},"start":"","read":0,"hidden":0,"inBytes":0,"outBytes":0,"maxMemory":0}', NULL, x'0000000000000000000000000000000000000000000000000000000000000000', 0, NULL);
INSERT INTO runs VALUES (3, x'01a2090056eb7272a7c5bc351f0f1c52', 'bad', 2, 'failed', '{"cause":"data","from":"2023-09-01T15:00:00Z","until":"2024-06-01T15:00:00Z","after":0,"upto":4,"attempt":2,"epoch":2,"expires":"2024-03-01T15:01:00Z","due":"2024-03-01T12:00:08.323427Z","claimed":"2024-03-01T15:00:00Z","version":"1.0.0","package":"sha256:00"}', 1709305200000000, '{"who":"author","code":"Runtime.Exit","text":"it ended"}', '{"timing":{"queue":0,"sandbox":0,"bundle":0,"query":0,"process":0,"save":0},"start":"","read":0,"hidden":0,"inBytes":0,"outBytes":0,"maxMemory":0}', NULL, x'0000000000000000000000000000000000000000000000000000000000000000', 0, NULL);
INSERT INTO runs VALUES (4, x'01a2090056ef74ba87b039e8beec07aa', 'bad', 2, 'failed', '{"cause":"data","from":"2023-09-01T18:00:00Z","until":"2024-06-01T18:00:00Z","after":0,"upto":4,"attempt":3,"epoch":3,"expires":"2024-03-01T18:01:00Z","due":"2024-03-01T15:00:51.001383Z","claimed":"2024-03-01T18:00:00Z","version":"1.0.0","package":"sha256:00"}', 1709316000000000, '{"who":"author","code":"Runtime.Exit","text":"it ended"}', '{"timing":{"queue":0,"sandbox":0,"bundle":0,"query":0,"process":0,"save":0},"start":"","read":0,"hidden":0,"inBytes":0,"outBytes":0,"maxMemory":0}', NULL, x'0000000000000000000000000000000000000000000000000000000000000000', 0, NULL);
INSERT INTO runs VALUES (5, x'01a2090056f374078e4fe88413cb721e', 'bad', 2, 'failed', '{"cause":"data","from":"2023-09-01T21:00:00Z","until":"2024-06-01T21:00:00Z","after":0,"upto":4,"attempt":4,"epoch":4,"expires":"2024-03-01T21:01:00Z","due":"2024-03-01T18:05:12.881161Z","claimed":"2024-03-01T21:00:00Z","version":"1.0.0","package":"sha256:00"}', 1709326800000000, '{"who":"author","code":"Runtime.Exit","text":"it ended"}', '{"timing":{"queue":0,"sandbox":0,"bundle":0,"query":0,"process":0,"save":0},"start":"","read":0,"hidden":0,"inBytes":0,"outBytes":0,"maxMemory":0}', NULL, x'0000000000000000000000000000000000000000000000000000000000000000', 0, NULL);
INSERT INTO runs VALUES (6, x'01a2090056fb747090bd0cf9246d3a79', 'bad', 2, 'failed', '{"cause":"data","from":"2023-09-02T00:00:00Z","until":"2024-06-02T00:00:00Z","after":0,"upto":4,"attempt":5,"epoch":5,"expires":"2024-03-02T00:01:00Z","due":"2024-03-01T21:42:38.861692Z","claimed":"2024-03-02T00:00:00Z","version":"1.0.0","package":"sha256:00"}', 1709337600000000, '{"who":"author","code":"Runtime.Exit","text":"it ended"}', '{"timing":{"queue":0,"sandbox":0,"bundle":0,"query":0,"process":0,"save":0},"start":"","read":0,"hidden":0,"inBytes":0,"outBytes":0,"maxMemory":0}', NULL, x'0000000000000000000000000000000000000000000000000000000000000000', 0, NULL);
INSERT INTO runs VALUES (7, x'01a20900570372478511efea79fe4389', 'bad', 2, 'failed', '{"cause":"data","from":"2023-09-02T03:00:00Z","until":"2024-06-02T03:00:00Z","after":0,"upto":5,"attempt":6,"epoch":6,"expires":"2024-03-02T03:01:00Z","due":"2024-03-02T03:00:00Z","claimed":"2024-03-02T03:00:00Z","version":"1.0.0","package":"sha256:00"}', 1709348400000000, '{"who":"author","code":"Runtime.Exit","text":"it ended"}', '{"timing":{"queue":0,"sandbox":0,"bundle":0,"query":0,"process":0,"save":0},"start":"","read":0,"hidden":0,"inBytes":0,"outBytes":0,"maxMemory":0}', NULL, x'0000000000000000000000000000000000000000000000000000000000000000', 0, NULL);
INSERT INTO runs VALUES (8, x'01a20900570777a486c975d618611686', 'good', 1, 'planned', '{"cause":"data","from":"2024-03-01T12:00:00Z","until":"2024-06-02T03:00:00Z","after":2,"upto":5,"attempt":1,"epoch":2,"expires":"2024-03-02T03:01:00Z","due":"2024-03-02T03:00:00Z","claimed":"2024-03-02T03:00:00Z","lastExecution":"2024-03-01T12:00:00Z","version":"1.0.0","package":"sha256:00"}', NULL, NULL, NULL, NULL, NULL, 0, NULL);
INSERT INTO outputs VALUES (x'01a2090056a471229cb2e11d09476aff', 0, 0, x'9e1ac62d519a45f898fc1947a68768bf');
INSERT INTO outputs VALUES (x'01a2090056a471229cb2e11d09476aff', 0, 1, x'142325ded13f4092a1f78c81f7627fb7');
INSERT INTO receipts VALUES (1, '{"number":1,"at":1709294400000000,"previous":"0000000000000000000000000000000000000000000000000000000000000000","kind":"grant","user":"bbb0de83-a350-4fe7-b14a-736d17b71f12","function":"good","version":"1.0.0","package":"sha256:00","bundle":"dda2b9cca12c8dcae77a600b45f4214fdd345f563e349e8c192d71b70bfa2d5e","output":"she/good","outcome":"enabled","endpoints":["a/x"]}');
INSERT INTO receipts VALUES (2, '{"number":2,"at":1709294400000000,"previous":"20cb3b20ff151682e88dfab3b8caabe5135afdebc13614f2e6f818e94cbe03c5","kind":"grant","user":"bbb0de83-a350-4fe7-b14a-736d17b71f12","function":"bad","version":"1.0.0","package":"sha256:00","bundle":"58f1bdc4de49e28bfb1d555c19dca9fcaab0f486efcebc1238fcaaef95800d43","output":"she/bad","outcome":"enabled","endpoints":["a/x"]}');
INSERT INTO receipts VALUES (3, '{"number":3,"at":1709294400000000,"previous":"00a63fd72b5507bdc0512bb2684d9e068c6271650995d6f5004816bd6e3b7ecf","kind":"write","user":"bbb0de83-a350-4fe7-b14a-736d17b71f12","written":{"count":2,"ids":"45578d253c39043a13c64d76ba90f46029bbf89a6c2295f9d5fc37ff615e710c"},"endpoints":["a/x","b/x"],"first":1,"last":2}');
INSERT INTO receipts VALUES (4, '{"number":4,"at":1709294400000000,"previous":"5cf6fd55bf25883e78e932a9dccd5d74aef0a586cbd0d063c708dad517589ddc","kind":"run","function":"good","version":"1.0.0","package":"sha256:00","output":"she/good","run":"01a20900-56a4-7122-9cb2-e11d09476aff","attempt":1,"upto":2,"outcome":"committed","read":{"count":0,"ids":"0000000000000000000000000000000000000000000000000000000000000000"},"written":{"count":2,"ids":"8fe995377f65154cdd00c62f074b172f691fda543a6561610dbc945c0a02b82f"},"endpoints":["she/good"],"first":3,"last":4,"bytes":{"in":0,"out":0},"timings":{"queue":0,"sandbox":0,"bundle":0,"query":0,"process":0,"save":1041}}');
INSERT INTO receipts VALUES (5, '{"number":5,"at":1709294400000000,"previous":"db316b016ac205e496f39b2ec7539d18c07812b9dd1d35b1d771161018237c7a","kind":"run","function":"bad","version":"1.0.0","package":"sha256:00","output":"she/bad","run":"01a20900-56d3-76d8-a737-228c5b67d230","attempt":1,"upto":4,"outcome":"failed","fault":"Runtime.Exit","read":{"count":0,"ids":"0000000000000000000000000000000000000000000000000000000000000000"},"bytes":{"in":0,"out":0}}');
INSERT INTO receipts VALUES (6, '{"number":6,"at":1709305200000000,"previous":"8791540355400161d20f0e027e38e096b72c22a37ca5ecd2162b64ca35564d8a","kind":"run","function":"bad","version":"1.0.0","package":"sha256:00","output":"she/bad","run":"01a20900-56eb-7272-a7c5-bc351f0f1c52","attempt":2,"upto":4,"outcome":"failed","fault":"Runtime.Exit","read":{"count":0,"ids":"0000000000000000000000000000000000000000000000000000000000000000"},"bytes":{"in":0,"out":0}}');
INSERT INTO receipts VALUES (7, '{"number":7,"at":1709316000000000,"previous":"da6b985f906f4d0c3daa1f4d034577f5e962178f11debf9aad2fd96603b839a2","kind":"run","function":"bad","version":"1.0.0","package":"sha256:00","output":"she/bad","run":"01a20900-56ef-74ba-87b0-39e8beec07aa","attempt":3,"upto":4,"outcome":"failed","fault":"Runtime.Exit","read":{"count":0,"ids":"0000000000000000000000000000000000000000000000000000000000000000"},"bytes":{"in":0,"out":0}}');
INSERT INTO receipts VALUES (8, '{"number":8,"at":1709326800000000,"previous":"f55b06b94c065285018ab238ca2ce847b1534af1986b989e6a355bbcf86973af","kind":"run","function":"bad","version":"1.0.0","package":"sha256:00","output":"she/bad","run":"01a20900-56f3-7407-8e4f-e88413cb721e","attempt":4,"upto":4,"outcome":"failed","fault":"Runtime.Exit","read":{"count":0,"ids":"0000000000000000000000000000000000000000000000000000000000000000"},"bytes":{"in":0,"out":0}}');
INSERT INTO receipts VALUES (9, '{"number":9,"at":1709337600000000,"previous":"f8ce5dfce21503f23b900cdfc742a4edcf628e5fe5122a8f1bd03e272f1a407e","kind":"run","function":"bad","version":"1.0.0","package":"sha256:00","output":"she/bad","run":"01a20900-56fb-7470-90bd-0cf9246d3a79","attempt":5,"upto":4,"outcome":"failed","fault":"Runtime.Exit","read":{"count":0,"ids":"0000000000000000000000000000000000000000000000000000000000000000"},"bytes":{"in":0,"out":0}}');
INSERT INTO receipts VALUES (10, '{"number":10,"at":1709348400000000,"previous":"699c9f4f5b4140667e15f4d4f9d0312e75a1d0fcd15c16669c158adfb04b9951","kind":"write","user":"bbb0de83-a350-4fe7-b14a-736d17b71f12","written":{"count":1,"ids":"921c910c0d4fea678816e6743655c6758f9c31e12f2a385863523ec60fd78f41"},"endpoints":["a/x"],"first":5,"last":5}');
INSERT INTO receipts VALUES (11, '{"number":11,"at":1709348400000000,"previous":"0984b4414298cb190d287037085a6064346c854fe49558475633e2b2294b7ce4","kind":"run","function":"bad","version":"1.0.0","package":"sha256:00","output":"she/bad","run":"01a20900-5703-7247-8511-efea79fe4389","attempt":6,"upto":5,"outcome":"failed","fault":"Runtime.Exit","read":{"count":0,"ids":"0000000000000000000000000000000000000000000000000000000000000000"},"bytes":{"in":0,"out":0}}');
INSERT INTO run_changes VALUES (2, x'01a2090056a471229cb2e11d09476aff');
INSERT INTO run_changes VALUES (4, x'01a2090056d376d8a737228c5b67d230');
INSERT INTO run_changes VALUES (6, x'01a2090056eb7272a7c5bc351f0f1c52');
INSERT INTO run_changes VALUES (8, x'01a2090056ef74ba87b039e8beec07aa');
INSERT INTO run_changes VALUES (10, x'01a2090056f374078e4fe88413cb721e');
INSERT INTO run_changes VALUES (12, x'01a2090056fb747090bd0cf9246d3a79');
INSERT INTO run_changes VALUES (14, x'01a20900570372478511efea79fe4389');
INSERT INTO run_changes VALUES (15, x'01a20900570777a486c975d618611686');
PRAGMA application_id = 1397245233;
PRAGMA user_version = 5;
